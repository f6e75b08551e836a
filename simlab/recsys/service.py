"""The service: requests come in, slates go out, and each row says which model chose it and how.

Who answers a shopper is a ladder: the first rung that has something to say is taken, so that somebody always answers:

    personal   the model of the shopper's arm, where it knows the shopper
    segment    what is popular among households of the kind
    popular    what is popular
    static     the goods in the order of their numbers

Rows of the lower three say "fallback", and which, so that no model is credited with them; their arm is still the one
that the shopper is in. A model that raises an error, or is not there, or knows too few items, answers nobody.
"""

from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from simlab.errors import ModelError
from simlab.recsys.models import FactorModel, PopularityModel, RandomModel, Recommender, SegmentModel
from simlab.recsys.online import Live, OnlineConfig, explore
from simlab.recsys.registry import Registry
from simlab.recsys.retrieval import best_items
from simlab.recsys.traffic import ARMS, Traffic, arms
from simlab.schema import NO_ITEM, SOURCES, Bools, Catalogue, Floats, Ints, Labels, Requests, Shoppers, Slates
from simlab.settings import require

RUNGS = ("personal", "segment", "popular", "static")

FALLBACKS = tuple(f"fallback-{rung}" for rung in RUNGS[1:])
"""What rows of the lower rungs say instead of a model's version."""

_MODEL, _EXPLORATION, _FALLBACK = (SOURCES.index(word) for word in ("model", "exploration", "fallback"))


def rung_of(version: str) -> str:
    """The rung that answered, from the model_version of a row.

    >>> rung_of("fallback-segment"), rung_of("lightfm-day00014")
    ('segment', 'personal')
    """
    return version.removeprefix("fallback-") if version in FALLBACKS else RUNGS[0]


class Served(NamedTuple):
    """A model at work."""

    model: Recommender
    trained_day: int
    """It has learnt from the days before."""


def at_work(registry: Registry, traffic: Traffic, now: Mapping[str, Served]) -> dict[str, Served]:
    """The models that `traffic` needs; those that are at work `now` are not read again.

    Raises `ModelError` where one is missing or damaged.
    """
    needed = dict.fromkeys(version for version in (*traffic.versions, traffic.shadow) if version)
    return {version: now.get(version) or load(registry, version) for version in needed}


def load(registry: Registry, version: str) -> Served:
    """A model of the registry, checked. Raises `ModelError` where it is missing or damaged."""
    model, card = registry.load(version)
    return Served(model, int(card.get("trained_day", 0)))


class _Work(NamedTuple):
    """What answers: changed as a whole, so that nobody is answered by half of the old and half of the new."""

    catalogue: Catalogue
    segment: SegmentModel | None
    traffic: Traffic
    models: Mapping[str, Served]


class _Ranked(NamedTuple):
    """Items of some slates, best first, with their propensities, and which are there by exploration; shapes (R, n)."""

    item_id: Ints
    propensity: Floats
    chance: Bools


class Service:
    """Answers requests by the models at work. What it knows of shoppers' last doings is in `live`."""

    def __init__(
        self,
        catalogue: Catalogue,
        fallback: PopularityModel,
        *,
        segment: SegmentModel | None = None,
        online: OnlineConfig | None = None,
        seed: int = 0,
    ) -> None:
        """`seed` is that of exploration. Raises `ModelError` where a fallback does not fit the catalogue."""
        self._work = _Work(catalogue, segment, Traffic(), {})
        self._check(fallback, "the fallback")
        if segment is not None:
            self._check(segment, "the segments")
        self.fallback, self.seed = fallback, seed
        self.live = Live(online or OnlineConfig())
        self.failures = Counter[str]()
        """How often each version raised an error instead of answering."""

    @property
    def catalogue(self) -> Catalogue:
        """The goods that can be shown."""
        return self._work.catalogue

    @property
    def traffic(self) -> Traffic:
        """Who answers whom."""
        return self._work.traffic

    @property
    def models(self) -> Mapping[str, Served]:
        """The models at work, by version."""
        return self._work.models

    def deploy(self, model: Recommender, version: str, trained_day: int = 0) -> None:
        """Serves everybody by `model` from now on. Raises `ModelError` where it does not fit; then the old goes on."""
        self.route(Traffic(champion=version), {version: Served(model, trained_day)})

    def route(self, traffic: Traffic, models: Mapping[str, Served]) -> None:
        """Serves `traffic` by `models` from now on. Raises `ModelError` where one does not fit; then the old go on."""
        for version, served in models.items():
            self._check(served.model, version)
        self._work = self._work._replace(traffic=traffic, models=models)

    def rehearse(self, version: str, served: Served, day: int) -> None:
        """Answers by a model that is not yet at work, so that no shopper waits for what is compiled or read first.

        Raises `ModelError` where it does not fit.
        """
        apart = copy(self)
        apart.failures = Counter()  # shoppers have not met them
        apart.deploy(served.model, version, served.trained_day)
        for users in (np.arange(1), np.arange(16)):  # few are ranked in another way than many
            none = np.zeros(len(users), dtype=np.int64)
            apart.recommend(Requests(day=day, user_id=users, visit=none, n=min(10, len(self.catalogue))))

    def new_day(self, catalogue: Catalogue, shoppers: Shoppers) -> None:
        """Takes in who and what has come: items that can be shown, and shoppers whose segment is known."""
        segment = self._work.segment
        if segment is not None:
            segment = replace(segment, segment=shoppers.segment.codes)
        self._work = self._work._replace(catalogue=catalogue, segment=segment)

    def recommend(self, requests: Requests, available: Bools | None = None, *, personal: bool = True) -> Slates:
        """A slate for each request: the best of what is on sale, can be scored and is not excluded.

        `available` (n_items,) says what can be delivered today, by default all that is on sale. A slate depends on its
        own request, and what that shopper did before, alone. Items launched after a model's training are not shown by
        it. Without `personal` the first rung is passed over (there is no time for it). Where too little is left, slates
        end in `NO_ITEM`; raises `ConfigError` where they are to hold more items than there are.
        """
        work, n = self._work, requests.n
        n_items, versions = len(work.catalogue), work.traffic.versions
        require("items in a slate", n, n <= n_items, f"the catalogue has {n_items} items: ask for fewer")
        here = _here(work.catalogue, requests.day, available)
        asked = self._without_bought(requests)
        arm = arms(requests.user_id, work.traffic)
        names = (*dict.fromkeys(version for version in versions if version), *FALLBACKS)
        slates = Slates(
            requests=requests,
            item_id=np.full((len(requests), n), NO_ITEM, dtype=np.int64),
            propensity=np.ones((len(requests), n)),
            source=np.full((len(requests), n), _FALLBACK, dtype=np.int64),
            model_version=Labels(codes=np.full(len(requests), len(names) - 1), names=names),
            arm=Labels(codes=arm, names=ARMS),
        )
        for code in np.unique(arm).tolist() if personal else []:
            version = versions[code]
            if version in work.models:
                self._personal(slates, asked, np.flatnonzero(arm == code), here, (version, work.models[version]))
        for version, model in self._ladder(work):
            rows = np.flatnonzero(slates.item_id[:, 0] == NO_ITEM)
            rows = rows[model.knows(requests.user_id[rows])]
            if len(rows) and n <= model.n_items:
                self._put(slates, rows, _rank(model, asked.take(rows), here), version, _FALLBACK)
        return slates

    def shadow(self, requests: Requests, available: Bools | None = None) -> tuple[Ints, Floats] | None:
        """What the shadow would show, and its scores, shapes (R, n); None without one. It answers, and moves, nobody.

        Raises whatever the shadow raises: that is its own affair.
        """
        work = self._work
        served = work.models.get(work.traffic.shadow or "")
        if served is None:
            return None
        asked = replace(requests, n=min(requests.n, served.model.n_items))
        item_id = _rank(served.model, asked, _here(work.catalogue, requests.day, available)).item_id
        score = np.take_along_axis(served.model.scores(asked), np.maximum(item_id, 0), axis=1)
        return item_id, np.where(item_id == NO_ITEM, np.nan, score)

    def _check(self, model: Recommender, name: str) -> None:
        """Raises `ModelError` where `model` knows of more items than there are."""
        if model.n_items > len(self.catalogue):
            remedy = f"the catalogue has {len(self.catalogue)} items: deploy a model trained on it"
            raise ModelError(f"items of {name}", model.n_items, remedy)

    def _without_bought(self, requests: Requests) -> Requests:
        bought = self.live.bought(requests.user_id, requests.day)
        return replace(requests, exclude=np.concatenate([requests.exclude, bought])) if len(bought) else requests

    def _ladder(self, work: _Work) -> list[tuple[str, Recommender]]:
        static = PopularityModel(score=-np.arange(len(work.catalogue), dtype=np.float64))
        segment: list[Recommender] = [] if work.segment is None else [work.segment]
        rungs: list[Recommender] = [*segment, self.fallback, static]
        return list(zip(FALLBACKS[-len(rungs) :], rungs, strict=True))

    def _personal(self, slates: Slates, asked: Requests, rows: Ints, here: Bools, named: tuple[str, Served]) -> None:
        """Fills in the slates of `rows` that the model, `named` by its version, can tell."""
        version, served = named
        try:
            if served.model.n_items < asked.n:
                return
            known, ranked = self._ranked(served, asked.take(rows), here)
        except Exception:  # whatever a model does, shoppers get an answer from the next rung
            self.failures[version] += 1
            return
        if np.isnan(ranked.propensity).any():
            self.failures[version] += 1
        self._put(slates, rows[known], ranked, version, _MODEL)

    def _put(self, slates: Slates, rows: Ints, ranked: _Ranked, version: str, source: int) -> None:
        slates.item_id[rows], slates.propensity[rows] = ranked.item_id, np.nan_to_num(ranked.propensity, nan=1.0)
        slates.source[rows] = np.where(ranked.chance, _EXPLORATION, source)
        empty = ranked.item_id[:, 0] == NO_ITEM  # the next rung may have something
        slates.model_version.codes[rows[~empty]] = slates.model_version.names.index(version)

    def _ranked(self, served: Served, asked: Requests, here: Bools) -> tuple[Bools, _Ranked]:
        """Whom the model knows, also by fresh clicks, and their slates."""
        model, config = served.model, self.live.config
        known = model.knows(asked.user_id)
        if isinstance(model, FactorModel) and config.fold_in > 0:
            vector, fresh = self.live.fold(model, asked.user_id, asked.day, served.trained_day)
            known = known | fresh
            whole = np.arange(len(known))
            model = replace(model, user_vector=vector, known=np.ones(len(known), dtype=np.bool_))
            ids = asked.user_id
            asked = replace(asked, user_id=whole)
            asked = asked.take(np.flatnonzero(known))
            return known, _sound(model, asked, self._drawn(model, asked, ids[known], here))
        asked = asked.take(np.flatnonzero(known))
        return known, _sound(model, asked, self._drawn(model, asked, asked.user_id, here))

    def _drawn(self, model: Recommender, asked: Requests, user_id: Ints, here: Bools) -> _Ranked:
        """The model's slates, some places of them by exploration; `user_id` says whose luck it is."""
        config = self.live.config
        if config.exploration == "none" or len(asked) == 0 or isinstance(model, RandomModel):  # all chance already
            return _rank(model, asked, here)
        pool = replace(asked, n=min(max(config.candidates, asked.n), model.n_items))
        candidates = _rank(model, pool, here).item_id
        score = _scores(model, asked, candidates)
        lucky = replace(asked, user_id=user_id)
        return _Ranked(*explore(config, candidates, score, self.live.shown, lucky, seed=self.seed))


def _here(catalogue: Catalogue, day: int, available: Bools | None) -> Bools:
    """What can be shown; `available` may be of a day with fewer items."""
    here = catalogue.on_sale(day)
    if available is not None:
        here[: len(available)] &= available[: len(here)]
    return here


def _sound(model: Recommender, asked: Requests, ranked: _Ranked) -> _Ranked:
    """The slates, but empty and of propensity NaN where a score or a propensity in them is no finite number."""
    if len(asked):
        with np.errstate(all="ignore"):
            finite = np.isfinite(ranked.propensity) & np.isfinite(_scores(model, asked, ranked.item_id))
        bad = ~(finite | (ranked.item_id == NO_ITEM)).all(axis=1)
        ranked.item_id[bad], ranked.propensity[bad], ranked.chance[bad] = NO_ITEM, np.nan, False
    return ranked


def _scores(model: Recommender, asked: Requests, item_id: Ints) -> Floats:
    """The model's scores of some items of each row; shape of `item_id`."""
    if isinstance(model, FactorModel):
        vector = model.vectors(asked.user_id)
        return np.asarray(np.einsum("rd,rkd->rk", vector, model.item_vector[item_id]) + model.item_bias[item_id])
    return np.take_along_axis(model.scores(asked), np.maximum(item_id, 0), axis=1)


def _rank(model: Recommender, requests: Requests, here: Bools) -> _Ranked:
    """The items of each slate by rank, and their propensities."""
    allowed, n = here[: model.n_items], requests.n
    requests = replace(requests, n=min(n, int(np.count_nonzero(allowed))))
    item_id = np.full((len(requests), n), NO_ITEM, dtype=np.int64)
    if requests.n:
        item_id[:, : requests.n] = best_items(model, requests, allowed)
    propensity = np.ones(item_id.shape)  # the ranking is certain
    if isinstance(model, RandomModel):
        pairs = np.unique(requests.exclude, axis=0)
        pairs = pairs[(pairs[:, 1] >= 0) & (pairs[:, 1] < model.n_items)]
        banned = np.bincount(pairs[allowed[pairs[:, 1]], 0], minlength=len(requests))
        left = allowed.sum() - banned[:, None] - np.arange(n)  # from which each item was drawn
        propensity = 1 / np.maximum(left, 1)
    return _Ranked(item_id, propensity, np.zeros(item_id.shape, dtype=np.bool_))
