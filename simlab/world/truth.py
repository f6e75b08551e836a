"""A world: everything that is true about a shop and its shoppers, of which the company sees only the public part.

    utility of item i for user u on day t  =  taste_u(t) . vector_i + quality_i + season_c(t) + fashion_c(t)
                                              - price_sensitivity_u * price_index_i(t) - boredom_uc(t) - boredom_ui(t)

with c the category of i; and in worlds that no factor model can represent

    + fuss * sin(taste_u . odd_i) - budget * max(0, log price_i(t) - log budget_u) + complements * [c goes with c_u(t)]

where c_u is the category of the shopper's last click. A `World` never changes; what moves from day to day is its
`State`, made by `dynamics`. Why one compiled loop: sampler and oracle take utilities from the same lines.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simlab.compiled import compiled
from simlab.schema import NO_ITEM, Bools, Catalogue, Floats, Ints, Shoppers, Slates
from simlab.settings import require
from simlab.world.config import WorldConfig
from simlab.world.response import FourWays, Preferences, ResponseModel

Small = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ItemTruth:
    """What is true of the items; arrays with one row an item, or one a category."""

    vector: Floats
    """Shape (n_items, n_dims)."""
    odd: Floats
    """The vectors of fussy taste; shape (n_items, n_dims), or (n_items, 0) where there is none."""
    quality: Floats
    price_index: Floats
    """Log list price in standard deviations from its category's mean."""
    season_peak: Floats
    """When a category is wanted most, as a share of the year; shape (n_categories,)."""
    companion: Ints
    """The category that goes with each; shape (n_categories,)."""


@dataclass(frozen=True, kw_only=True)
class PeopleTruth:
    """What is true of the shoppers for good; arrays with one row a user."""

    spread: Floats
    """Standard deviation of a shopper's own taste around home, in each dimension; shape (n_dims,)."""
    activity: Floats
    """Mean visits a day."""
    price_sensitivity: Floats
    patience: Floats
    """Probability of looking at the next position, in [0, 1]."""
    way: Ints
    """How they choose; index into simlab.world.response.WAYS."""
    log_budget: Floats
    """Logarithm of the euros that they can spend on one item without pain."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What is true on one day only; arrays with no columns where a behaviour is absent."""

    day: int
    taste: Floats
    """Shape (n_users, n_dims)."""
    home: Floats
    """The taste that a shopper drifts around; shape (n_users, n_dims)."""
    present: Bools
    """Who has not left for good; shape (n_users,)."""
    satisfaction: Floats
    """Share of recent slates with a click, 1/2 at first; shape (n_users,)."""
    boredom: Small
    """Utility that categories have lost; shape (n_users, n_categories)."""
    seen_item: npt.NDArray[np.int32]
    """Items remembered; shape (n_users, 16)."""
    seen_level: Small
    """Utility that they have lost; shape (n_users, 16)."""
    wanted: Ints
    """The category that goes with the one clicked last; shape (n_users, 1)."""
    fashion: Floats
    """Shape (n_categories,)."""
    price: Floats
    """Euros; shape (n_items,)."""
    price_index: Floats
    """As of today; shape (n_items,)."""
    stock: Floats
    """Units left, infinite where there is no limit; shape (n_items,)."""
    due: Floats
    """Units that will be paid today, tomorrow and so on, of clicks on days before; shape (n_items, max_delay + 1)."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true, to the last day that will be simulated; `state` is where it stands."""

    config: WorldConfig
    catalogue: Catalogue
    shoppers: Shoppers
    items: ItemTruth
    people: PeopleTruth
    state: State
    rows: Ints
    """Each shopper's row in the tables of luck (simlab.world.users.luck_rows); fewer in a part of a world."""

    def __post_init__(self) -> None:
        n_items, n_users = len(self.catalogue), len(self.shoppers)
        of_items = (self.items.vector, self.items.quality, self.items.price_index, self.catalogue.price)
        of_people = (self.state.taste, self.state.home, self.people.activity, self.people.patience, self.rows)
        fits = all(len(part) == n_items for part in of_items) and all(len(part) == n_users for part in of_people)
        require("world", f"{n_users} shoppers, {n_items} items", fits, "give every part a row for each of them")
        change, state = self.config.change, self.state
        for name, rate, memory in (
            ("boredom", change.boredom, state.boredom),
            ("item_boredom", change.item_boredom, state.seen_item),
            ("complements", self.config.complements, state.wanted),
        ):
            # compiled loops write there without asking
            require(
                name, rate, rate == 0 or memory.shape[1] > 0, "its state has no place for it: make it by first_state"
            )

    @property
    def response(self) -> ResponseModel:
        """How its shoppers answer slates."""
        return FourWays(config=self.config.response)


@dataclass(frozen=True, kw_only=True)
class Happened:
    """What shoppers did on a day; R slates of n places, each shopper's in the order of time."""

    user_id: Ints
    """Shape (R,)."""
    item_id: Ints
    """Shape (R, n)."""
    examined: Bools
    """Shape (R, n)."""
    clicked: Bools
    """Shape (R, n)."""
    sold: Floats
    """Units of each item by the days until they are paid, of all shoppers also where these are a part; as `due`."""


class _Tables(NamedTuple):
    """What the compiled loop reads."""

    taste: Floats
    vector: Floats
    odd: Floats
    appeal: Floats
    sensitivity: Floats
    price_index: Floats
    category: Ints
    boredom: Small
    seen_item: npt.NDArray[np.int32]
    seen_level: Small
    wanted: Ints
    log_budget: Floats
    log_price: Floats
    rates: tuple[float, float, float]


def season(world: World, day: int) -> Floats:
    """What the time of the year adds to the utility of each category; shape (n_categories,)."""
    phase = day / world.config.rhythm.year_days - world.items.season_peak
    return np.asarray(world.config.change.season * np.cos(2 * np.pi * phase))


def _tables(world: World, state: State) -> _Tables:
    config, items, people, category = world.config, world.items, world.people, world.catalogue.category.codes
    return _Tables(
        taste=state.taste,
        vector=items.vector,
        odd=items.odd,
        appeal=items.quality + (season(world, state.day) + state.fashion)[category],
        sensitivity=people.price_sensitivity,
        price_index=state.price_index,
        category=category,
        boredom=state.boredom,
        seen_item=state.seen_item,
        seen_level=state.seen_level,
        wanted=state.wanted,
        log_budget=people.log_budget,
        log_price=np.log(state.price),
        rates=(float(config.fuss), float(config.budget), float(config.complements)),  # compiled once, not for 1 too
    )


@compiled
def _extras(tables: _Tables, user: int, item: int) -> float:
    """The terms that most worlds do without."""
    fuss, budget, complements = tables.rates
    value, category = 0.0, tables.category[item]
    if tables.boredom.shape[1] > 0:
        value -= tables.boredom[user, category]
    for k in range(tables.seen_item.shape[1]):
        if tables.seen_item[user, k] == item:
            value -= tables.seen_level[user, k]
    if tables.odd.shape[1] > 0:
        match = 0.0
        for d in range(tables.odd.shape[1]):
            match += tables.taste[user, d] * tables.odd[item, d]
        value += fuss * np.sin(match)
    if budget > 0:
        value -= budget * max(0.0, tables.log_price[item] - tables.log_budget[user])
    if tables.wanted.shape[1] > 0 and tables.wanted[user, 0] == category:
        value += complements
    return value


@compiled
def _utility(tables: _Tables, user_id: Ints, item_id: Ints, plain: bool) -> Floats:
    n_rows, n = item_id.shape
    n_dims = tables.vector.shape[1]
    value = np.zeros((n_rows, n))
    for row in range(n_rows):
        user = user_id[row]
        for place in range(n):
            item = item_id[row, place]
            if item < 0:
                continue
            match = 0.0
            for d in range(n_dims):
                match += tables.taste[user, d] * tables.vector[item, d]
            match += tables.appeal[item] - tables.sensitivity[user] * tables.price_index[item]
            if not plain:
                match += _extras(tables, user, item)
            value[row, place] = match
    return value


def _is_plain(world: World, state: State) -> bool:
    columns = (state.boredom, state.seen_item, state.wanted, world.items.odd)
    return world.config.budget == 0 and all(part.shape[1] == 0 for part in columns)


def utility(world: World, state: State, user_id: Ints, item_id: Ints) -> Floats:
    """Utility of the items `item_id` (R, n) for the users `user_id` (R,); shape (R, n), 0 at NO_ITEM."""
    for name, found, low, n in (
        ("user_id", user_id, 0, len(state.taste)),
        ("item_id", item_id, NO_ITEM, len(world.catalogue)),
    ):
        least, most = int(found.min(initial=0)), int(found.max(initial=-1))  # the compiled loop asks nothing
        require(name, least if least < low else most, low <= least and most < n, f"they are {low} to {n - 1}")
    return _utility(_tables(world, state), user_id, item_id, _is_plain(world, state))


def utility_of_all(world: World, state: State, user_id: Ints, n_items: int) -> Floats:
    """Utility of the first `n_items` items for the users `user_id` (R,); shape (R, n_items)."""
    everything = np.broadcast_to(np.arange(n_items), (len(user_id), n_items))
    return _utility(_tables(world, state), user_id, everything, _is_plain(world, state))


def preferences(world: World, state: State, slates: Slates) -> Preferences:
    """What decides the answer of the shoppers of `slates` on the day of `state`."""
    user_id = slates.requests.user_id
    return Preferences(
        utility=utility(world, state, user_id, slates.item_id),
        patience=world.people.patience[user_id],
        shown=slates.shown,
        way=world.people.way[user_id],
        latency_ms=slates.latency_ms,
    )


def available(world: World, state: State) -> Bools:
    """Which items can be shown today: on sale, and in stock; shape (n_items,). Everybody can see that."""
    return np.asarray(world.catalogue.on_sale(state.day) & (state.stock > 0))
