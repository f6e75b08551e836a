"""The one vocabulary: what passes between the shoppers and the shop, and what is written down.

The world (what is true) and the company (what is run and seen) meet only in these types:

    Catalogue, Shoppers   what everybody may know of items and people
    Requests ──► Slates   who asks on a day, and what is shown to them
    Slates ──► Outcomes   what came of it, also what the company will only learn later
    IMPRESSIONS           one row for each item shown, historical and live alike
    FEEDBACK              purchases and ratings that arrive after the day of the impression

Days count from the first live day, 0; history has negative days. Arrays are indexed by `user_id` and `item_id`,
which count from 0. A position counts from 0, the top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from simlab.errors import ConfigError
from simlab.settings import require

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NO_ITEM = -1
"""Stands in a slate where no item was left to show."""

NEVER = np.iinfo(np.int32).max
"""The `purchase_day` of an impression that is never followed by a purchase."""

SOURCES = ("model", "exploration", "fallback", "history")
"""How an item came into a slate; a slate stores the index."""

_LABEL = pa.dictionary(pa.int8(), pa.string())

IMPRESSIONS = pa.schema(
    [
        ("request_id", pa.int64()),
        ("impression_id", pa.int64()),
        ("day", pa.int32()),
        ("user_id", pa.int32()),
        ("item_id", pa.int32()),
        ("position", pa.int16()),
        ("propensity", pa.float32()),  # P(this item here | who asked, items above), null where unknown
        ("model_version", _LABEL),
        ("arm", _LABEL),
        ("source", _LABEL),
        ("clicked", pa.bool_()),
        ("purchased", pa.bool_()),
        ("purchase_day", pa.int32()),  # null where not (yet) purchased
        ("rating", pa.int8()),  # 1..5, null where none was given; arrives on purchase_day
    ]
)

FEEDBACK = pa.schema(
    [("impression_id", pa.int64()), ("item_id", pa.int32()), ("purchase_day", pa.int32()), ("rating", pa.int8())]
)


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

    def __post_init__(self) -> None:
        require("launch_day", "falling", bool(np.all(np.diff(self.launch_day) >= 0)), "number items in order of launch")

    def __len__(self) -> int:
        return len(self.name)

    def on_sale(self, day: int) -> Bools:
        """Which items can be shown on `day`; shape (n_items,)."""
        return np.asarray(self.launch_day <= day)

    def launched_by(self, day: int) -> "Catalogue":
        """The catalogue as it is known on `day`: items come in order of launch, so it is the first part of this one."""
        n = int(self.on_sale(day).sum())
        return Catalogue(
            name=self.name[:n],
            category=Labels(codes=self.category.codes[:n], names=self.category.names),
            brand=Labels(codes=self.brand.codes[:n], names=self.brand.names),
            price=self.price[:n],
            margin=self.margin[:n],
            launch_day=self.launch_day[:n],
        )


@dataclass(frozen=True, kw_only=True)
class Shoppers:
    """What everybody may know of the shoppers; columns of length n_users."""

    segment: Labels
    region: Labels

    def __len__(self) -> int:
        return len(self.segment)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Who asks for a slate on a day; R rows in any order."""

    day: int
    user_id: Ints
    """Shape (R,)."""
    visit: Ints
    """Number of the user's visit on this day, from 0; shape (R,)."""
    n: int
    """Items wanted in each slate."""
    exclude: Ints = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    """Pairs (row, item_id) that must not be shown; shape (E, 2)."""

    def __post_init__(self) -> None:
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
        return Requests(day=self.day, user_id=self.user_id[rows], visit=self.visit[rows], n=self.n, exclude=exclude)

    @property
    def request_id(self) -> Ints:
        """Says day, user and visit in 63 bits, so it is the same whoever else asks; shape (R,)."""
        day = np.int64(self.day + (1 << 15))
        return (day << 47) | (self.user_id.astype(np.int64) << 16) | (self.visit << 8)


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

    @property
    def shown(self) -> Bools:
        """Where there is an item; shape (R, n)."""
        return np.asarray(self.item_id != NO_ITEM)


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What came of slates in the end, also what the company will only learn later; arrays of shape (R, n)."""

    examined: Bools
    clicked: Bools
    purchased: Bools
    purchase_day: Ints
    """`NEVER` where not purchased."""
    rating: Ints
    """1..5; 0 where none was given."""


def _dictionary(labels: Labels, repeat: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(labels.codes.astype(np.int8), repeat)), pa.array(labels.names, pa.string())
    )


def to_impressions(slates: Slates, outcomes: Outcomes) -> pa.Table:
    """The IMPRESSIONS rows of slates, with what came of them in the end (`known` hides what is not known yet)."""
    requests = slates.requests
    n_rows, n = slates.item_id.shape
    request_id = np.repeat(requests.request_id, n)
    position = np.tile(np.arange(n, dtype=np.int16), n_rows)
    purchased = outcomes.purchased.ravel()
    rating = outcomes.rating.ravel().astype(np.int8)
    columns = [
        pa.array(request_id),
        pa.array(request_id | position),
        pa.array(np.full(n_rows * n, requests.day, dtype=np.int32)),
        pa.array(np.repeat(requests.user_id.astype(np.int32), n)),
        pa.array(slates.item_id.ravel().astype(np.int32)),
        pa.array(position),
        pa.array(slates.propensity.ravel().astype(np.float32), from_pandas=True),
        _dictionary(slates.model_version, n),
        _dictionary(slates.arm, n),
        pa.DictionaryArray.from_arrays(pa.array(slates.source.ravel().astype(np.int8)), pa.array(SOURCES, pa.string())),
        pa.array(outcomes.clicked.ravel()),
        pa.array(purchased),
        pa.array(outcomes.purchase_day.ravel().astype(np.int32), mask=~purchased),
        pa.array(rating, mask=rating == 0),
    ]
    table = pa.table(columns, schema=IMPRESSIONS)
    shown = slates.shown.ravel()
    return table if shown.all() else table.filter(pa.array(shown))


def known(impressions: pa.Table, day: int) -> pa.Table:
    """The impressions as they can be known at the end of `day`: later purchases and their ratings are hidden."""
    arrived = pc.fill_null(pc.less_equal(impressions["purchase_day"], day), False)
    table = impressions
    for name, hidden in (("purchased", False), ("purchase_day", None), ("rating", None)):
        place = table.schema.get_field_index(name)
        kind = IMPRESSIONS.field(name).type
        table = table.set_column(
            place, IMPRESSIONS.field(name), pc.if_else(arrived, table[name], pa.scalar(hidden, kind))
        )
    return table


def arriving(impressions: pa.Table, first: int, last: int = NEVER) -> pa.Table:
    """The FEEDBACK rows of purchases that arrive on days `first` .. `last` (inclusive)."""
    when = impressions["purchase_day"]
    chosen = pc.and_(pc.greater_equal(when, first), pc.less_equal(when, last))
    return impressions.select(FEEDBACK.names).filter(pc.fill_null(chosen, False))


def codes_of(words: Sequence[str]) -> Labels:
    """Words as `Labels`, names in alphabetical order.

    >>> codes_of(["toys", "books", "toys"]).codes.tolist()
    [1, 0, 1]
    """
    names, codes = np.unique(np.asarray(words, dtype=str), return_inverse=True)
    return Labels(codes=codes.astype(np.int64), names=tuple(str(name) for name in names))


def check_columns(table: pa.Table, expected: pa.Schema, where: str) -> None:
    """Raises `ConfigError` naming the first column of `expected` that `table` lacks or has with another type."""
    for wanted in expected:
        if wanted.name not in table.column_names:
            raise ConfigError(f"{where}, columns", table.column_names, f"add the column {wanted.name}")
        found = table.schema.field(wanted.name).type
        if found != wanted.type:
            raise ConfigError(f"{where}, column {wanted.name}", str(found), f"store it as {wanted.type}")
