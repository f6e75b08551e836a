"""A world fitted to real ratings: it keeps their item popularity, user activity and rating histogram.

Shoppers choose as in `organic`, with utility_ui = quality_i + scale * x_u . y_i, where

1. x and y are leading singular vectors of a table of users and items, in which a choice made is (n_u c_i) ** -0.3;
   public features of users and items stand in it as more columns and rows, so that features mean something;
2. `scale` is the one under which choices hidden from the fit are likeliest;
3. quality_i comes from proportional fitting: expected choices equal n_u for each user and c_i for each item;
4. the cuts of the rating scale give the real histogram over the choices that the world expects.

Why singular vectors and not a recommender's factors: the world must not be the model family that is tested in it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import bmat, csr_matrix, hstack
from scipy.sparse.linalg import svds
from scipy.special import expit, logit, ndtr

from simlab.schema import Bools, Floats, Ints, Labels
from simlab.settings import check_types, require
from simlab.streams import stream, uniforms
from simlab.world.organic import ChoiceModel, Observed, blocks, expected_utilities, fit_margins, start_model
from simlab.world.response import ResponseConfig
from simlab.world.truth import ItemTruth, PeopleTruth, World, WorldConfig

MOST_PAIRS = 200_000_000
"""Pairs of user and item in a world that is fitted in minutes."""

_TEMPER = 0.3
"""Of the busy users and the popular items before the factors are sought, from 0 (none) to 0.5 (all alike)."""

_FEATURES = 0.4
"""Weight of what is public beside one choice. Both are near where hidden choices of MovieLens 100K are likeliest."""

_DIGITS = 6
"""The stored truth is rounded, so that it does not hang on the last digits of a processor's products."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """What ratings do not tell."""

    seed: int = 0
    """Of the hidden share of choices, and of the world's luck."""
    n_dims: int = 24
    """Hidden dimensions of taste, less than users and items."""
    hidden_share: float = 0.15
    """Share of the choices hidden to find the scale of taste, in (0, 0.5]."""
    click_rate: float = 0.15
    """Probability that an organic choice would be clicked when looked at on a slate, in (0, 1)."""
    purchase_rate: float = 0.35
    """Probability that a click on an organic choice becomes a purchase, in (0, 1)."""
    visits_per_day: float = 0.48
    """Mean visits of a user a day; users differ as their numbers of ratings do; in (0, 3]."""
    drift: float = 0.1
    """Daily step of taste from day 0 on, as a share of its standard deviation, in [0, 1)."""

    def __post_init__(self) -> None:
        check_types(self)
        require("seed", self.seed, self.seed >= 0, "give a whole number from 0 up")
        require("n_dims", self.n_dims, 1 <= self.n_dims <= 1000, "give a whole number from 1 to 1000")
        require("hidden_share", self.hidden_share, 0 < self.hidden_share <= 0.5, "give a share in (0, 0.5]")
        for name in ("click_rate", "purchase_rate"):
            require(name, getattr(self, name), 0 < getattr(self, name) < 1, "give a probability in (0, 1)")
        require("visits_per_day", self.visits_per_day, 0 < self.visits_per_day <= 3, "give a number in (0, 3]")
        require("drift", self.drift, 0 <= self.drift < 1, "give a share in [0, 1)")


def _weighed(table: csr_matrix) -> csr_matrix:
    """Each entry over powers of the sums of its row and its column, so that the busy do not outweigh the rest."""
    rows, columns = (np.maximum(np.asarray(table.sum(axis=axis)).ravel(), 1) ** -_TEMPER for axis in (1, 0))
    return table.multiply(rows[:, None]).multiply(columns).tocsr()


def _features(*labels: Labels) -> csr_matrix:
    """One row for each of those labelled, one column for each word that tells them apart."""
    n = len(labels[0])
    columns = [
        csr_matrix((np.ones(n), (np.arange(n), column.codes)), shape=(n, len(column.names)))
        for column in labels
        if len(column.names) > 1
    ]
    return hstack([csr_matrix((n, 0)), *columns]).tocsr()


def _factors(made: csr_matrix, observed: Observed, n_dims: int) -> tuple[Floats, Floats]:
    """x (n_users, n_dims) and y (n_items, n_dims) such that x . y has standard deviation 1 over all pairs."""
    n_users, n_items = made.shape
    people = _features(observed.shoppers.segment, observed.shoppers.region)
    things = _features(observed.catalogue.category, observed.catalogue.brand)
    table = bmat([[_weighed(made), _FEATURES * _weighed(people)], [_FEATURES * _weighed(things).T, None]]).tocsr()
    left, size, right = svds(table, k=n_dims, v0=np.ones(min(table.shape)))
    order = np.argsort(-size)
    x, y = (left[:, order] * size[order])[:n_users], right[order].T[:n_items]
    sign = np.where((y**3).sum(axis=0) < 0, -1.0, 1.0)
    square = np.einsum("ud,ue->de", x, x) * np.einsum("id,ie->de", y, y)
    variance = square.sum() / (n_users * n_items) - (x.mean(axis=0) @ y.mean(axis=0)) ** 2
    return x * sign / np.sqrt(max(variance, 1e-12)), y * sign


def _made(observed: Observed, rows: Bools) -> csr_matrix:
    """The choices `rows` as a table of users and items."""
    shape = (len(observed.shoppers), len(observed.catalogue))
    return csr_matrix((np.ones(rows.sum()), (observed.user_id[rows], observed.item_id[rows])), shape=shape)


def _likelihood(fit: ChoiceModel, seen: csr_matrix, hidden: csr_matrix) -> float:
    """Mean log probability of the hidden choices, each as the next choice after those seen."""
    total = 0.0
    for rows in blocks(*seen.shape):
        utility, _ = fit.chances(rows)
        left = np.where(seen[rows].toarray() > 0, 0.0, np.exp(utility)).sum(axis=1)
        at = hidden[rows].tocoo()
        total += float((utility[at.row, at.col] - np.log(left)[at.row]).sum())
    return total / int(hidden.nnz)


def scale_of_taste(observed: Observed, config: CalibrationConfig) -> float:
    """The scale under which hidden choices are likeliest, by steps of 0.2 and a parabola through the best three."""
    hide = stream(config.seed, "hidden choices").random(len(observed.user_id)) < config.hidden_share
    seen, hidden = _made(observed, ~hide), _made(observed, hide)
    if hidden.nnz == 0:
        return 1.0
    x, y = _factors(seen, observed, config.n_dims)
    activity = np.asarray(seen.sum(axis=1)).ravel().astype(np.int64)
    popularity = np.asarray(seen.sum(axis=0)).ravel().astype(np.int64)
    fit = start_model(x * 0, y, activity, popularity)
    found: list[float] = []
    for step in range(16):
        fit.x = 0.2 * step * x
        fit_margins(fit, activity, popularity, rounds=5)
        found.append(_likelihood(fit, seen, hidden))
        if step and found[-1] < found[-2]:
            break
    best = int(np.argmax(found))
    if best in (0, len(found) - 1):
        return 0.2 * best
    before, top, after = found[best - 1 : best + 2]
    return round(0.2 * (best + 0.5 * (before - after) / (before - 2 * top + after)), 3)


def _response(
    observed: Observed, config: CalibrationConfig, chosen: Floats, expected: tuple[Floats, Floats]
) -> ResponseConfig:
    """Clicks, purchases and ratings, from the utilities of the choices that were made and of those `expected`."""
    utility, mass = expected
    together = np.corrcoef(chosen, observed.rating)[0, 1] if chosen.std() * observed.rating.std() > 0 else 0.0
    steep = max(0.0, together) / np.sqrt(1 - min(together**2, 0.99))  # of the probit, per standard deviation
    slope = round(float(steep / max(chosen.std(), 1e-9)), _DIGITS)
    count = np.bincount(observed.rating, minlength=6)[1:] + 0.5
    shares = np.cumsum(count)[:4] / count.sum()
    cuts = [brentq(lambda cut, share=share: mass @ ndtr(cut - slope * utility) - share, -99, 99) for share in shares]
    base = brentq(lambda base: mass @ expit(base + utility) - config.click_rate, -99, 99)
    one, two, three, four = (round(float(cut), _DIGITS) for cut in cuts)
    return ResponseConfig(
        base=round(float(base), _DIGITS),
        purchase_base=round(float(logit(config.purchase_rate)), _DIGITS),
        rating_scale=slope,
        rating_cuts=(one, two, three, four),
    )


def _people(taste: Floats, activity: Ints, config: CalibrationConfig) -> PeopleTruth:
    n_users = len(activity)
    luck = uniforms(config.seed, "people", rows=np.arange(n_users), n=1)[:, 0]
    return PeopleTruth(
        taste=taste,
        home=np.tile(np.round(taste.mean(axis=0), _DIGITS), (n_users, 1)),
        spread=np.round(taste.std(axis=0), _DIGITS),
        activity=activity * (config.visits_per_day / activity.mean()),
        price_sensitivity=np.zeros(n_users),
        patience=0.75 + 0.2 * luck,
    )


def calibrate(observed: Observed, *, config: CalibrationConfig) -> World:
    """The world whose shoppers, left alone, would choose and rate as those of `observed` did.

    Tastes are those of day -1, for the real history takes the place of a simulated one. Raises `ConfigError` where
    there are not more users and items than `n_dims`.
    """
    n_users, n_items = len(observed.shoppers), len(observed.catalogue)
    require(
        "n_dims",
        config.n_dims,
        config.n_dims < min(n_users, n_items),
        f"give less than the {n_users} users and {n_items} items, or take more of them",
    )
    pairs = n_users * n_items
    require(
        "users x items", pairs, pairs <= MOST_PAIRS, f"take a sample of users: at most {MOST_PAIRS} pairs are fitted"
    )
    x, y = _factors(_made(observed, np.ones(len(observed.user_id), dtype=bool)), observed, config.n_dims)
    taste, vector = np.round(scale_of_taste(observed, config) * x, _DIGITS), np.round(y, _DIGITS)
    fit = start_model(taste, vector, observed.activity, observed.popularity)
    fit_margins(fit, observed.activity, observed.popularity, rounds=50)
    utility, mass = expected_utilities(fit)
    fit.quality = np.round(fit.quality - utility @ mass, _DIGITS)
    chosen = np.einsum("rd,rd->r", taste[observed.user_id], vector[observed.item_id]) + fit.quality[observed.item_id]
    return World(
        config=WorldConfig(
            name=observed.name,
            seed=config.seed,
            n_users=n_users,
            n_items=n_items,
            n_dims=config.n_dims,
            history_days=1,
            new_items_per_week=0,
            price_sensitivity=0.0,
            drift=config.drift,
            visits_per_day=config.visits_per_day,
            response=_response(observed, config, chosen, (utility - utility @ mass, mass)),
        ),
        catalogue=observed.catalogue,
        shoppers=observed.shoppers,
        items=ItemTruth(vector=vector, quality=fit.quality, price_index=np.zeros(n_items)),
        people=_people(taste, observed.activity, config),
    )
