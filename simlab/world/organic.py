"""Choices before anybody recommended anything, and the model of them that a world is fitted with.

User u takes n_u different items, one after another, each with chances in proportion to exp(utility) among those left
(Plackett-Luce, Luce 1959). The n_u largest of utility + Gumbel noise are such a draw (Kool et al., ICML 2019). Nearly,

    P(u takes i) = 1 - exp(-exp(log_rate_u + quality_i + x_u . y_i))

`fit_margins` finds rates and qualities for which expected choices equal n_u for each user and c_i for each item
(proportional fitting, Deming and Stephan 1940, by Newton steps, for chances end at 1).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from simlab.schema import Catalogue, Floats, Ints, Shoppers
from simlab.settings import require
from simlab.streams import uniforms
from simlab.world.aftermath import rating_chances
from simlab.world.truth import World
from simlab.world.truth import utility as utility_of

_CELLS = 1 << 22
"""Pairs of user and item held in memory at once."""

_LEAST = 0.3
"""Expected choices of an item that nobody chose, before all are scaled to the number of choices."""

_CLOSE = 1e-5
"""Margins are fitted when they are wrong by this share of all choices. On MovieLens 100K 6 to 20 rounds do."""

_ROUNDS = 100
"""No more rounds than this, for whoever chose everything has no finite rate."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Choices with what is public of items and people; one row a choice, each user's in order of time."""

    name: str
    user_id: Ints
    item_id: Ints
    rating: Ints
    """Whole stars, 1..5."""
    catalogue: Catalogue
    shoppers: Shoppers

    @property
    def activity(self) -> Ints:
        """Choices of each user; shape (n_users,)."""
        return np.bincount(self.user_id, minlength=len(self.shoppers))

    @property
    def popularity(self) -> Ints:
        """Choices of each item; shape (n_items,)."""
        return np.bincount(self.item_id, minlength=len(self.catalogue))


@dataclass(frozen=True, kw_only=True)
class ChoiceModel:
    """Factors of taste, and rates and qualities that go with them."""

    x: Floats
    """Taste, shape (n_users, n_dims)."""
    y: Floats
    """Shape (n_items, n_dims)."""
    quality: Floats
    """Shape (n_items,)."""
    log_rate: Floats
    """Shape (n_users,)."""

    def chances(self, rows: slice) -> tuple[Floats, Floats]:
        """Utility and P(user takes item) of the users `rows`; each of shape (rows, n_items)."""
        utility = self.x[rows] @ self.y.T + self.quality
        return utility, -np.expm1(-np.exp(utility + self.log_rate[rows, None]))


def blocks(n_users: int, n_items: int) -> Iterator[slice]:
    """Rows of users, few enough that a table of them and all items fits into memory."""
    size = max(1, _CELLS // n_items)
    return (slice(start, start + size) for start in range(0, n_users, size))


def fit_margins(fit: ChoiceModel, activity: Ints, popularity: Ints) -> ChoiceModel:
    """`fit` with expected choices that equal the margins, by Newton steps for users and for items.

    Why qualities keep their mean: rates of users alone set how many choices there are, else both would overshoot.
    """
    target = np.maximum(popularity, _LEAST)
    target = target * (activity.sum() / target.sum())
    log_rate, quality = fit.log_rate.copy(), fit.quality.copy()
    fit = replace(fit, log_rate=log_rate, quality=quality)
    for _ in range(_ROUNDS):
        expected, slope, wrong = np.zeros(len(target)), np.zeros(len(target)), 0.0
        for rows in blocks(len(activity), len(target)):
            utility, chance = fit.chances(rows)
            curve = np.exp(utility + log_rate[rows, None]) * (1 - chance)
            error = chance.sum(axis=1) - activity[rows]
            log_rate[rows] -= np.clip(error / np.maximum(curve.sum(axis=1), 1e-9), -1, 1)
            expected, slope, wrong = expected + chance.sum(axis=0), slope + curve.sum(axis=0), wrong + abs(error).sum()
        if wrong + abs(expected - target).sum() < _CLOSE * target.sum():
            break
        move = np.clip((np.log(target / expected) * expected) / np.maximum(slope, 1e-9), -1, 1)
        quality += move - move @ target / target.sum()
    return fit


def start_model(x: Floats, y: Floats, activity: Ints, popularity: Ints) -> ChoiceModel:
    """The model before its margins are fitted: popularity alone, no taste in the margins."""
    quality = np.log(np.maximum(popularity, _LEAST) / popularity.sum())
    return ChoiceModel(x=x, y=y, quality=quality, log_rate=np.log(np.maximum(activity, 0.5)))


def expected_utilities(fit: ChoiceModel) -> tuple[Floats, Floats]:
    """The utilities of the expected choices, in bins: their middles, and their shares of all choices."""
    parts = list(blocks(len(fit.x), len(fit.y)))
    ends = [(float(utility.min()), float(utility.max())) for utility, _ in map(fit.chances, parts)]
    edges = np.linspace(min(low for low, _ in ends) - 0.01, max(high for _, high in ends) + 0.01, 401)
    mass = np.zeros(400)
    for utility, chance in map(fit.chances, parts):
        mass += np.histogram(utility, bins=edges, weights=chance)[0]
    return (edges[:-1] + edges[1:]) / 2, mass / mass.sum()


def organic_choices(world: World, activity: Ints, *, seed: int) -> Observed:
    """What the shoppers of `world` choose and rate when left alone, `activity` different items each.

    The `activity[u]` largest of utility + Gumbel noise, in falling order, are a Plackett-Luce draw.
    """
    n_items = len(world.catalogue)
    taste, items = world.state.taste, world.items
    most = int(activity.max(initial=0))
    require("activity", most, most <= n_items, f"there are {n_items} items to choose from")
    taken: list[Ints] = []
    for block in blocks(len(activity), n_items):
        rows = np.arange(len(activity))[block]
        luck = np.clip(uniforms(seed, "organic choices", rows=rows, n=n_items), 1e-300, None)
        # einsum, not BLAS: which item comes first must not depend on the processor
        value = np.einsum("ud,id->ui", taste[rows], items.vector) + items.quality - np.log(-np.log(luck))
        order = np.argsort(-value, axis=1, kind="stable")
        taken += [order[k, : activity[row]] for k, row in enumerate(rows)]
    user_id, item_id = np.repeat(np.arange(len(activity)), activity), np.concatenate(taken)
    felt = utility_of(world, world.state, user_id, item_id[:, None])[:, 0]
    luck = uniforms(seed, "organic ratings", rows=np.arange(len(user_id)), n=1)
    below = np.cumsum(rating_chances(felt, world.config.response), axis=1)[:, :4]
    return Observed(
        name=f"{world.config.name}, simulated",
        user_id=user_id,
        item_id=item_id,
        rating=1 + (luck >= below).sum(axis=1),
        catalogue=world.catalogue,
        shoppers=world.shoppers,
    )
