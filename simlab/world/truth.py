"""A world: everything that is true about a shop and its shoppers, of which the company sees only the public part.

    utility of item i for user u on day t  =  taste_u(t) . vector_i + quality_i - price_sensitivity_u * price_index_i

`World` never changes; what moves from day to day is the `State`, made by `dynamics`. A world can be written to one
file and read back, so that a run can be examined where its data set is not at hand.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np

from simlab.errors import ConfigError, DataError
from simlab.schema import Catalogue, Floats, Ints, Labels, Shoppers, Slates
from simlab.settings import check_types, from_dict, require
from simlab.world.response import Preferences, ResponseConfig

WEEK = (0.80, 0.85, 0.90, 1.00, 1.15, 1.25, 1.05)
"""Visits by weekday, relative to the mean: Saturday (day 5 of a week) is the busiest."""


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Size and character of a world."""

    name: str = "shop"
    """What the world is called in tables and figures."""
    seed: int = 0
    """Everything hidden and public is drawn from this, and the shoppers' luck too."""
    n_users: int = 2000
    """Shoppers."""
    n_items: int = 500
    """Items on sale on day 0."""
    n_dims: int = 8
    """Hidden dimensions of taste."""
    history_days: int = 90
    """Days of history before day 0, at least 1."""
    new_items_per_week: int = 5
    """Items launched on day 0 and every seventh day before and after; 0 for none."""
    taste_scale: float = 2.4
    """How strongly clicks follow taste: standard deviation of the taste term of utility, from 0 up."""
    segment_share: float = 0.36
    """Share of the variance of taste that shoppers of one segment have in common, in [0, 1]."""
    quality_sd: float = 0.5
    """Standard deviation of what everybody likes about an item."""
    price_sensitivity: float = 0.3
    """Mean loss of utility for a price one standard deviation above its category's."""
    drift: float = 0.12
    """Daily step of a shopper's own taste, as a share of its standard deviation, in [0, 1). 0 is no drift."""
    visits_per_day: float = 0.34
    """Mean visits of a shopper a day; shoppers differ (gamma, shape 1.2)."""
    response: ResponseConfig = field(default_factory=ResponseConfig)
    """How shoppers look, click, buy and rate."""

    def __post_init__(self) -> None:
        check_types(self)
        for name, most in (("n_users", 10**8), ("n_items", 10**6), ("n_dims", 1000), ("history_days", 10_000)):
            fits = 1 <= getattr(self, name) <= most
            require(name, getattr(self, name), fits, f"give a whole number from 1 to {most}")
        for name in ("seed", "new_items_per_week", "taste_scale", "quality_sd", "price_sensitivity"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "give a number from 0 up")
        require("segment_share", self.segment_share, 0 <= self.segment_share <= 1, "give a share in [0, 1]")
        require("drift", self.drift, 0 <= self.drift < 1, "give a share in [0, 1)")
        require("visits_per_day", self.visits_per_day, 0 < self.visits_per_day <= 3, "give a number in (0, 3]")


@dataclass(frozen=True, kw_only=True)
class ItemTruth:
    """What is true of the items; arrays with one row an item."""

    vector: Floats
    """Shape (n_items, n_dims)."""
    quality: Floats
    price_index: Floats
    """Log price in standard deviations from its category's mean."""


@dataclass(frozen=True, kw_only=True)
class PeopleTruth:
    """What is true of the shoppers; arrays with one row a user."""

    taste: Floats
    """On the first day of history; shape (n_users, n_dims)."""
    home: Floats
    """The taste that a shopper drifts around; shape (n_users, n_dims)."""
    spread: Floats
    """Standard deviation of a shopper's own taste around home, in each dimension; shape (n_dims,)."""
    activity: Floats
    """Mean visits a day."""
    price_sensitivity: Floats
    patience: Floats
    """Probability of looking at the next position, in (0, 1]."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true, from the first day of history to the last that will be simulated."""

    config: WorldConfig
    catalogue: Catalogue
    shoppers: Shoppers
    items: ItemTruth
    people: PeopleTruth

    def __post_init__(self) -> None:
        n_items, n_users = len(self.catalogue), len(self.shoppers)
        of_items = (self.items.vector, self.items.quality, self.items.price_index, self.catalogue.price)
        of_people = (self.people.taste, self.people.home, self.people.activity, self.people.patience)
        fits = all(len(part) == n_items for part in of_items) and all(len(part) == n_users for part in of_people)
        require("world", f"{n_users} shoppers, {n_items} items", fits, "give every part a row for each of them")


@dataclass(frozen=True, kw_only=True)
class State:
    """What is true on one day only."""

    day: int
    taste: Floats
    """Shape (n_users, n_dims)."""


def utility(world: World, state: State, user_id: Ints, item_id: Ints) -> Floats:
    """Utility of the items `item_id` (R, n) for the users `user_id` (R,); shape (R, n), without meaning at NO_ITEM."""
    items, people = world.items, world.people
    # einsum, not BLAS: the last digit must not depend on the processor or on threads.
    match = np.einsum("rd,rnd->rn", state.taste[user_id], items.vector[item_id])
    value: Floats = match + items.quality[item_id]
    value -= people.price_sensitivity[user_id][:, None] * items.price_index[item_id]
    return value


def utility_of_all(world: World, state: State, user_id: Ints, n_items: int) -> Floats:
    """Utility of the first `n_items` items for the users `user_id` (R,); shape (R, n_items)."""
    items, people = world.items, world.people
    match: Floats = state.taste[user_id] @ items.vector[:n_items].T
    match += items.quality[:n_items]
    match -= np.outer(people.price_sensitivity[user_id], items.price_index[:n_items])
    return match


def preferences(world: World, state: State, slates: Slates) -> Preferences:
    """What decides the answer of the shoppers of `slates` on the day of `state`."""
    user_id = slates.requests.user_id
    return Preferences(
        utility=utility(world, state, user_id, slates.item_id),
        patience=world.people.patience[user_id],
        shown=slates.shown,
    )


def _flatten(value: Any, path: str, arrays: dict[str, Any], words: dict[str, Any]) -> None:
    for f in fields(value):
        part, name = getattr(value, f.name), f"{path}{f.name}"
        if isinstance(part, np.ndarray):
            arrays[name] = part
        elif is_dataclass(part) and not isinstance(part, WorldConfig):
            _flatten(part, f"{name}.", arrays, words)
        else:
            words[name] = asdict(part) if isinstance(part, WorldConfig) else part


def _unflatten(cls: type[Any], path: str, arrays: Mapping[str, Any], words: Mapping[str, Any]) -> Any:
    parts: dict[str, Any] = {}
    for name, kind in get_type_hints(cls).items():
        full = f"{path}{name}"
        if kind is WorldConfig:
            parts[name] = from_dict(WorldConfig, words[full])
        elif kind in (Catalogue, Shoppers, ItemTruth, PeopleTruth, Labels):
            parts[name] = _unflatten(kind, f"{full}.", arrays, words)
        else:
            parts[name] = arrays[full] if full in arrays else tuple(words[full])
    return cls(**parts)


def to_bytes(world: World) -> bytes:
    """The world as one file: arrays (npz) and words (JSON inside it); the same world gives the same bytes."""
    arrays: dict[str, Any] = {}
    words: dict[str, Any] = {}
    _flatten(world, "", arrays, words)
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(words, sort_keys=True).encode(), dtype=np.uint8)
    np.savez(buffer, __words__=text, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes, where: str = "world file") -> World:
    """The world of `to_bytes`. Raises `DataError` where the bytes are not one."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        words = json.loads(arrays.pop("__words__").tobytes())
        world: World = _unflatten(World, "", arrays, words)
    except (
        ConfigError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(where, str(error), "it is not a whole world file: make it again") from error
    return world
