"""A shop while it is open, served slate by slate: what stands behind the Gymnasium environment, without Gymnasium.

Visits come in order of time, the pages of a visit without a break. After each day shoppers change by what happened on
it. Luck belongs to the visit, so the same slates bring the same clicks at however many desks.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from simlab.lab.config import RunConfig
from simlab.lab.oracle import GOALS, Oracle
from simlab.lab.worlds import open_world
from simlab.schema import (
    NEVER,
    NO_ITEM,
    SOURCES,
    Bools,
    Floats,
    Ints,
    Labels,
    Outcomes,
    Requests,
    Slates,
    join_outcomes,
    join_slates,
)
from simlab.settings import choose, from_dict
from simlab.tables import History
from simlab.world.history import answer
from simlab.world.truth import World, available
from simlab.world.users import PAGE_SECONDS, next_page, visits

Observation = dict[str, Any]
Info = dict[str, Any]

RECENT = 20
"""Clicked items in an observation."""


@dataclass(frozen=True, kw_only=True)
class ShopConfig:
    """Which shop, for how long, and what is to be earned."""

    preset: str = "shop"
    """Name of the world; see simlab.world.presets."""
    days: int = 7
    """Length of an episode, from 1 up."""
    n_positions: int = 10
    """Items in a slate, 1 to 100."""
    world: dict[str, Any] = field(default_factory=dict)
    """Settings of the world to change; names as in WorldConfig."""
    reward: str = "clicks"
    """clicks, purchases, revenue (euros paid) or margin (euros that the shop keeps of what is not given back)."""
    seed: int = 0
    """Of the shop and its shoppers; from 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        choose("reward", self.reward, dict.fromkeys(GOALS))


@lru_cache(maxsize=2)
def _open(settings: str) -> tuple[World, History]:
    """The world on day 0 and what is known of the days before; remembered, for several environments are made of it."""
    world, history = open_world(from_dict(RunConfig, json.loads(settings)))
    return world, history.known(-1)


class Desks:
    """A shop while it is open: `n` desks, at each one visitor at a time, until the last day is over."""

    def __init__(self, config: ShopConfig, n: int) -> None:
        settings = asdict(config)
        self.n, self.reward, self.days, self.n_positions = n, settings.pop("reward"), config.days, config.n_positions
        self._opened, self.history = _open(json.dumps(settings, sort_keys=True))
        self._n_users, self.n_items = len(self._opened.shoppers), len(self._opened.catalogue)
        self._clicked_before = recent_clicks(self.history, self._n_users)
        self.begin(luck=0)

    def begin(self, luck: int) -> None:
        """A new episode."""
        self.world = replace(self._opened, config=replace(self._opened.config, luck=luck))
        self.oracle = Oracle(self.world)
        self._recent = self._clicked_before.copy()
        self._last_slate = np.full((self._n_users, self.n_positions), NO_ITEM, dtype=np.int64)
        self._last_clicked = np.zeros(self._last_slate.shape, dtype=np.bool_)
        self._visit, self._page = np.full(self.n, -1), np.zeros(self.n, dtype=np.int64)
        self._mask = np.zeros((self.n, self.n_items), dtype=np.bool_)
        self._open_day(0)
        self._call(self.asks)

    def _open_day(self, day: int) -> None:
        state = self.oracle.state(day)
        coming = visits(self.world, day, self.n_positions, state)
        self._coming = coming.take(np.argsort(coming.second, kind="stable"))
        self._here, self._called = available(self.world, state), 0
        self._shown: list[tuple[Slates, Outcomes]] = []

    def _call(self, stays: Bools) -> None:
        """Who `stays` (n,) turns the page, the next visits take the other desks; when all have left, a day is over."""
        self._page = np.where(stays, self._page + 1, 0)
        free = np.flatnonzero(~stays)
        while True:
            come = np.arange(self._called, len(self._coming))[: len(free)]
            self._called += len(come)
            self._visit[free] = -1
            self._visit[free[: len(come)]] = come
            self._mask[free] = self._here & self.asks[free, None]
            if self.asks.any() or self._coming.day == self.days - 1:
                return
            if self._shown:
                slates, outcomes = zip(*self._shown, strict=True)
                self.oracle.move(join_slates(slates), join_outcomes(outcomes))
            self._open_day(self._coming.day + 1)

    @property
    def asks(self) -> Bools:
        """At which desks somebody asks, nowhere when the episode is over; shape (n,)."""
        return np.asarray(self._visit >= 0)

    @property
    def requests(self) -> Requests:
        """What is asked for, in the order of desks."""
        asked, page, here = self._coming.take(self._visit[self.asks]), self._page[self.asks], self._here
        second, exclude = asked.second + PAGE_SECONDS * page, np.argwhere(here & ~self._mask[self.asks])
        return replace(asked, page=page, second=second, exclude=exclude)

    def observe(self) -> Observation:
        """What is known at each desk; arrays of n rows."""
        asked, shoppers = self.requests, self.world.shoppers
        known: Observation = {name: getattr(asked, name) for name in ("user_id", "second", "visit", "page")}
        known["day"] = np.full(len(asked), asked.day)
        known["mask"] = self._mask[self.asks]
        for name, of_shoppers in (
            ("segment", shoppers.segment.codes),
            ("region", shoppers.region.codes),
            ("recent", self._recent),
            ("last_slate", self._last_slate),
            ("last_clicked", self._last_clicked),
        ):
            known[name] = of_shoppers[asked.user_id]
        return {name: self._at_desks(values) for name, values in known.items()}

    def _at_desks(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values of those who ask, each at its desk, 0 at the others."""
        whole = np.zeros((self.n, *values.shape[1:]), dtype=np.int8 if values.dtype == np.bool_ else values.dtype)
        whole[self.asks] = values
        return whole

    def serve(self, wanted: Ints) -> tuple[Floats, Info]:
        """Shows the items `wanted` (n, n_positions); the rewards and the truth, 0 where nobody asks; shape (n,)."""
        asks, goal = self.asks, self.reward
        slates = as_slates(self.requests, fill(wanted[asks], self._mask[asks]))
        outcomes = answer(self.world, self.oracle.state(slates.requests.day), slates)
        true = getattr(self.oracle.value(slates), goal)
        best = getattr(self.oracle.value(self.oracle.best(slates.requests, goal)), goal)
        told = np.zeros((4, self.n))
        told[:, asks] = self._earned(slates, outcomes), true, best, best - true
        self._note(slates, outcomes)
        self._call(self._stays(slates))
        return told[0], dict(zip((f"true_{goal}", f"best_{goal}", "regret"), told[1:], strict=True))

    def _earned(self, slates: Slates, outcomes: Outcomes) -> Floats:
        clicks, goods = outcomes.clicks, self.world.catalogue
        item_id = slates.item_id.ravel()[clicks.place]
        euros = clicks.units * self.oracle.state(slates.requests.day).price[item_id]
        worth = {
            "clicks": np.ones(len(item_id)),
            "purchases": clicks.units > 0,
            "revenue": euros,
            "margin": euros * goods.margin[item_id] * (clicks.return_day == NEVER),
        }[self.reward]
        row = clicks.place // self.n_positions
        return np.bincount(row, weights=worth, minlength=len(slates.requests)).astype(np.float64)

    def _note(self, slates: Slates, outcomes: Outcomes) -> None:
        """What the company knows after these slates."""
        user_id = slates.requests.user_id
        for row, place in np.argwhere(outcomes.clicked):
            push(self._recent[user_id[row]], slates.item_id[row, place])
        self._last_slate[user_id], self._last_clicked[user_id] = slates.item_id, outcomes.clicked
        row, place = np.nonzero(slates.shown)
        self._mask[np.flatnonzero(self.asks)[row], slates.item_id[row, place]] = False
        self._shown.append((slates, outcomes))

    def _stays(self, slates: Slates) -> Bools:
        """At which desks the shopper asks for another page; shape (n,)."""
        asked, desk = slates.requests, np.flatnonzero(self.asks)
        who, stays = asked.user_id * 16 + asked.visit, np.zeros(self.n, dtype=np.bool_)
        for page in np.unique(asked.page):
            rows = np.flatnonzero(asked.page == page)
            again = next_page(self.world, as_slates(asked.take(rows), slates.item_id[rows]))
            stays[desk[rows]] = np.isin(who[rows], again.user_id * 16 + again.visit)
        return stays


def recent_clicks(history: History, n_users: int) -> Ints:
    """The last items that each shopper clicked, the latest last; shape (n_users, RECENT)."""
    clicked = history.impressions.filter(history.impressions["clicked"])
    clicked = clicked.sort_by([("day", "ascending"), ("second", "ascending"), ("impression_id", "ascending")])
    recent = np.full((n_users, RECENT), NO_ITEM, dtype=np.int64)
    for user_id, item_id in zip(clicked["user_id"].to_pylist(), clicked["item_id"].to_pylist(), strict=True):
        push(recent[user_id], item_id)
    return recent


def push(recent: Ints, item_id: int) -> None:
    """Puts an item last, and forgets the first."""
    recent[:-1] = recent[1:]
    recent[-1] = item_id


def fill(wanted: Ints, mask: Bools) -> Ints:
    """The slates (R, n) that are shown: nothing where an item is not in the `mask` (R, n_items), or stands higher.

    >>> fill(np.array([[2, 0, 2, 1]]), np.array([[False, True, True]])).tolist()
    [[2, -1, -1, 1]]
    """
    again = np.tril(wanted[:, :, None] == wanted[:, None, :], -1).any(axis=2)
    return np.where(np.take_along_axis(mask, wanted, axis=1) & ~again, wanted, NO_ITEM)


def as_slates(requests: Requests, item_id: Ints) -> Slates:
    """What a learner shows; with what probability is not known."""
    return Slates(
        requests=requests,
        item_id=item_id,
        propensity=np.full(item_id.shape, np.nan),
        source=np.full(item_id.shape, SOURCES.index("model"), dtype=np.int64),
        model_version=Labels.constant("learner", len(requests)),
        arm=Labels.constant("learner", len(requests)),
    )
