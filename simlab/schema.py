"""The one vocabulary: what passes between the shoppers and the shop. What is written down stands in simlab.tables.

The world (what is true) and the company (what is run and seen) meet only in these types:

    Catalogue, Shoppers   what everybody may know of items and people
    Requests ──► Slates   who asks on a day, and what is shown to them
    Slates ──► Outcomes   what came of it, also what the company will only learn later

Days count from the first live day, 0; history has negative days. Arrays are indexed by `user_id` and `item_id`,
which count from 0. A position counts from 0, the top.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from simlab.errors import ConfigError
from simlab.settings import require

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NO_ITEM = -1
"""Stands in a slate where no item was left to show."""

NEVER = np.iinfo(np.int32).max
"""The day of what does not happen."""

GUESTS = 1 << 30
"""The first user_id of people who look in at the shop's page; they are served and logged, never trained on."""

SOURCES = ("model", "exploration", "fallback", "history")
"""How an item came into a slate; a slate stores the index."""

KINDS = ("purchase", "rating", "return")
"""What a row of FEEDBACK tells."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A column of words: `names[codes[i]]` is the word of row i."""

    codes: Ints
    names: tuple[str, ...]

    @classmethod
    def constant(cls, name: str, n: int) -> "Labels":
        """The same word `n` times."""
        return cls(codes=np.zeros(n, dtype=np.int64), names=(name,))

    def words(self) -> list[str]:
        """The column written out.

        >>> Labels(codes=np.array([1, 0]), names=("toys", "books")).words()
        ['books', 'toys']
        """
        return [self.names[code] for code in self.codes]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What everybody may know of the items, launched or announced; arrays of length n_items."""

    name: tuple[str, ...]
    category: Labels
    brand: Labels
    price: Floats
    """In euros."""
    margin: Floats
    """Share of the price that the shop keeps, in (0, 1)."""
    launch_day: Ints
    """The first day on which the item can be shown; rising with item_id."""
    retire_day: Ints
    """The first day on which it can be shown no more; `NEVER` for most."""

    def __post_init__(self) -> None:
        require("launch_day", "falling", bool(np.all(np.diff(self.launch_day) >= 0)), "number items in order of launch")

    def __len__(self) -> int:
        return len(self.name)

    def on_sale(self, day: int) -> Bools:
        """Which items can be shown on `day`; shape (n_items,)."""
        return np.asarray((self.launch_day <= day) & (day < self.retire_day))

    def launched_by(self, day: int) -> "Catalogue":
        """The catalogue as it is known on `day`: items come in order of launch, so it is the first part of this one.

        Retirements are not announced.
        """
        n = int(np.count_nonzero(self.launch_day <= day))
        return Catalogue(
            name=self.name[:n],
            category=Labels(codes=self.category.codes[:n], names=self.category.names),
            brand=Labels(codes=self.brand.codes[:n], names=self.brand.names),
            price=self.price[:n],
            margin=self.margin[:n],
            launch_day=self.launch_day[:n],
            retire_day=np.where(self.retire_day[:n] <= day, self.retire_day[:n], NEVER),
        )


@dataclass(frozen=True, kw_only=True)
class Shoppers:
    """What everybody may know of the shoppers; columns of length n_users."""

    segment: Labels
    region: Labels
    arrival_day: Ints
    """The first day on which they may visit; rising with user_id."""

    def __post_init__(self) -> None:
        rising = bool(np.all(np.diff(self.arrival_day) >= 0))
        require("arrival_day", "falling", rising, "number shoppers in order of arrival")

    def __len__(self) -> int:
        return len(self.segment)

    def arrived_by(self, day: int) -> "Shoppers":
        """The shoppers of whom the company knows on `day`: the first part of these."""
        return self.first(int(np.count_nonzero(self.arrival_day <= day)))

    def first(self, n: int) -> "Shoppers":
        """The first `n` of them."""
        return Shoppers(
            segment=Labels(codes=self.segment.codes[:n], names=self.segment.names),
            region=Labels(codes=self.region.codes[:n], names=self.region.names),
            arrival_day=self.arrival_day[:n],
        )


def _none() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Who asks for a slate on a day; R rows in any order."""

    day: int
    user_id: Ints
    """Shape (R,)."""
    visit: Ints
    """Number of the user's visit on this day, from 0 to 15; shape (R,)."""
    n: int
    """Items wanted in each slate."""
    page: Ints = field(default_factory=_none)
    """Number of the slate within the visit, from 0 to 15; shape (R,), by default all 0."""
    second: Ints = field(default_factory=_none)
    """Second of the day; shape (R,), by default all 0."""
    exclude: Ints = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    """Pairs (row, item_id) that must not be shown; shape (E, 2)."""

    def __post_init__(self) -> None:
        for name in ("page", "second"):
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, np.zeros(len(self), dtype=np.int64))
        for name in ("visit", "page", "second"):
            n = len(getattr(self, name))
            require(f"rows of {name}", n, n == len(self), f"there are {len(self)} requests: give one row for each")
        rows = self.exclude[:, 0]
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            wrong = int(rows.min()) if rows.min() < 0 else int(rows.max())
            raise ConfigError("row of an exclusion", wrong, f"there are {len(self)} requests, counted from 0")

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, rows: Ints) -> "Requests":
        """The requests of `rows`, each once, in that order, with their exclusions."""
        exclude = self.exclude
        if len(exclude):
            place = np.full(len(self), -1, dtype=np.int64)
            place[rows] = np.arange(len(rows))
            kept = exclude[place[exclude[:, 0]] >= 0]
            exclude = np.column_stack([place[kept[:, 0]], kept[:, 1]])
        parts = {name: getattr(self, name)[rows] for name in ("user_id", "visit", "page", "second")}
        return Requests(day=self.day, n=self.n, exclude=exclude, **parts)

    @property
    def request_id(self) -> Ints:
        """Says day, user, visit and page in 63 bits, so it is the same whoever else asks; shape (R,)."""
        day = np.int64(self.day + (1 << 15))
        return (day << 47) | (self.user_id.astype(np.int64) << 16) | (self.visit << 12) | (self.page << 8)


@dataclass(frozen=True, kw_only=True)
class Slates:
    """What is shown: one row a request, best item first."""

    requests: Requests
    item_id: Ints
    """Shape (R, n); `NO_ITEM` where nothing was left to show."""
    propensity: Floats
    """P(this item at this position | who asked, items above); shape (R, n)."""
    source: Ints
    """Index into SOURCES; shape (R, n)."""
    model_version: Labels
    arm: Labels
    latency_ms: Floats = field(default_factory=lambda: np.empty(0))
    """How long each shopper waited; shape (R,), by default all 0. Kept to the precision of the log (float32)."""

    def __post_init__(self) -> None:
        n_rows, n = len(self.requests), len(self.latency_ms)
        require("rows of latency_ms", n, n in (0, n_rows), f"there are {n_rows} requests: give one row for each")
        waited = self.latency_ms if n else np.zeros(n_rows)
        object.__setattr__(self, "latency_ms", waited.astype(np.float32).astype(np.float64))

    @property
    def shown(self) -> Bools:
        """Where there is an item; shape (R, n)."""
        return np.asarray(self.item_id != NO_ITEM)


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """What came of each click in the end, also what the company will only learn later; arrays of shape (C,)."""

    place: Ints
    """Where it was: row * n + position, rising."""
    dwell: Floats
    """Seconds spent with the item; NaN where that is not measured."""
    units: Ints
    """How many were bought; 0 where none was."""
    purchase_day: Ints
    """`NEVER` where not purchased."""
    rating: Ints
    """1..5; 0 where none is given."""
    rating_day: Ints
    return_day: Ints
    """On which the goods are given back; `NEVER` where they are kept."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What the shoppers did with slates."""

    examined: Bools
    """Which items they looked at; shape (R, n)."""
    clicked: Bools
    """Shape (R, n)."""
    clicks: Clicks
    """A row for each True in `clicked`, in the same order."""

    @property
    def purchased(self) -> Bools:
        """What was bought in the end; shape (R, n)."""
        return self.spread(self.clicks.units > 0, False)

    def spread(self, values: npt.NDArray[Any], empty: object) -> npt.NDArray[Any]:
        """One value a click as a table (R, n), `empty` where there was none."""
        table = np.full(self.clicked.shape, empty, dtype=values.dtype)
        table.ravel()[self.clicks.place] = values
        return table


CELLS = 1 << 22
"""Pairs of request and item that are held in memory at once."""


def blocks(rows: Ints, n_items: int) -> Iterator[Ints]:
    """`rows` in pieces so small that a table of them and of all items is no burden.

    >>> [len(piece) for piece in blocks(np.arange(10), CELLS // 4)]
    [4, 4, 2]
    """
    size = max(1, CELLS // max(n_items, 1))
    return (rows[first : first + size] for first in range(0, len(rows), size))


def join_slates(parts: Sequence[Slates]) -> Slates:
    """Slates of one day, asked for in turn, as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    asked = [part.requests for part in parts]
    columns = {
        name: np.concatenate([getattr(one, name) for one in asked]) for name in ("user_id", "visit", "page", "second")
    }
    starts = np.cumsum([0, *(len(one) for one in asked)])
    exclude = [one.exclude + np.array([start, 0]) for one, start in zip(asked, starts[:-1], strict=True)]
    return Slates(
        requests=Requests(day=first.requests.day, n=first.requests.n, exclude=np.concatenate(exclude), **columns),
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("item_id", "propensity", "source", "latency_ms")
        },
        model_version=_join_labels([part.model_version for part in parts]),
        arm=_join_labels([part.arm for part in parts]),
    )


def _join_labels(parts: Sequence[Labels]) -> Labels:
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    codes = [np.array([names.index(name) for name in part.names], dtype=np.int64)[part.codes] for part in parts]
    return Labels(codes=np.concatenate(codes), names=names)


def join_outcomes(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of slates that were joined."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.clicked.size for part in parts)])
    clicks = [
        replace(part.clicks, place=part.clicks.place + start) for part, start in zip(parts, starts[:-1], strict=True)
    ]
    return Outcomes(
        examined=np.concatenate([part.examined for part in parts]),
        clicked=np.concatenate([part.clicked for part in parts]),
        clicks=Clicks(**{f.name: np.concatenate([getattr(c, f.name) for c in clicks]) for f in fields(Clicks)}),
    )


def codes_of(words: Sequence[str]) -> Labels:
    """Words as `Labels`, names in alphabetical order.

    >>> codes_of(["toys", "books", "toys"]).codes.tolist()
    [1, 0, 1]
    """
    names, codes = np.unique(np.asarray(words, dtype=str), return_inverse=True)
    return Labels(codes=codes.astype(np.int64), names=tuple(str(name) for name in names))
