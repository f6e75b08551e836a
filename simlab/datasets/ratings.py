"""Ratings that real people gave, as plain columns, and how they become a log and the public part of a world.

Why one table for all data sets: calibration, training and the notebooks must not know which one they are given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simlab.schema import (
    KINDS,
    NEVER,
    SOURCES,
    Catalogue,
    Floats,
    Ints,
    Shoppers,
    codes_of,
)
from simlab.settings import require
from simlab.streams import stream, uniforms
from simlab.tables import FEEDBACK, IMPRESSIONS, History
from simlab.world.organic import Observed

DAY = 86_400
"""Seconds."""

AGES = (18, 25, 35, 45, 50, 56)
"""Where an age band begins, in years: the bands of MovieLens 1M."""

UNKNOWN = "unknown"

Keys = Ints | npt.NDArray[np.object_]
"""Ids as a data set has them: whole numbers, or words."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came of reading somebody's own file."""

    file: str
    rows: int
    """Good and broken ones, without the header."""
    broken: int
    """Of them, left out."""
    first: tuple[tuple[int, str], ...] = ()
    """Line (in Parquet row) from 1, and what is wrong, of the first broken rows."""
    scale: tuple[float, float] | None = None
    """Least and most that a rating could be in the file; None where it has no ratings."""

    def __str__(self) -> str:
        told = "" if self.scale is None else f", ratings taken as on a scale up to {self.scale[1]:g}"
        lines = [f"{self.file}: {self.rows} rows, {self.broken} of them broken and left out{told}"]
        lines += [f"  line {line}: {wrong}" for line, wrong in self.first]
        more = self.broken - len(self.first)
        return "\n".join([*lines, f"  and {more} more"] if more else lines)


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Who rated what, when and how high; one row a rating, in the order of the file."""

    name: str
    """The data set."""
    user_id: Ints
    """Index of the user, from 0."""
    item_id: Ints
    """Index of the item, from 0."""
    rating: Floats
    """0.5 .. 5."""
    timestamp: Ints
    """Seconds since 1970, UTC."""
    user_key: Keys
    """The data set's own id of each user."""
    item_key: Keys
    """The data set's own id of each item."""
    title: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    """Of each item, in the data set's order; may be empty."""
    year: Ints
    """Of each item's release; 0 where unknown."""
    age: Ints | None = None
    """Of each user in years; MovieLens 1M gives the first year of a band. None where the data set has none."""
    gender: tuple[str, ...] | None = None
    """"M" or "F", of each user."""
    occupation: tuple[str, ...] | None = None
    """Of each user."""
    segment: tuple[str, ...] | None = None
    """Of each user, in place of the age band."""
    price: Floats | None = None
    """Of each item, above 0; None where the data set has none."""
    reading: Reading | None = None
    """What was left out of somebody's own file."""

    def __len__(self) -> int:
        return len(self.user_id)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_key)

    @property
    def n_items(self) -> int:
        """Number of items, rated or not."""
        return len(self.item_key)

    @property
    def day(self) -> Ints:
        """UTC day of each rating, counted so that the last is -1."""
        day = self.timestamp // DAY
        return np.asarray(day - day.max() - 1) if len(day) else day


def age_band(age: int) -> str:
    """The band of an age in years.

    >>> age_band(17), age_band(18), age_band(60)
    ('under 18', '18-24', '56 and over')
    """
    place = int(np.searchsorted(AGES, age, side="right"))
    if place == 0:
        return f"under {AGES[0]}"
    if place == len(AGES):
        return f"{AGES[-1]} and over"
    return f"{AGES[place - 1]}-{AGES[place] - 1}"


def year_of(text: str) -> int:
    """The year at the end of a date or, in brackets, of a title; 0 where there is none.

    >>> year_of("01-Jan-1995"), year_of("Toy Story (1995)"), year_of("Babylon 5")
    (1995, 1995, 0)
    """
    found = re.search(r"(?:^|[-(])(\d{4})\)?\s*$", text)
    return int(found.group(1)) if found else 0


def observed(ratings: Ratings, *, seed: int) -> Observed:
    """The ratings with public features of items and users, as `calibrate` takes them.

    An item's category is its first genre and its brand the decade of its release; a user's segment is the age band
    and the region the occupation. Where ratings know no prices they are drawn, the same for an item whatever else is
    there; margins always are. All items are on sale, and all users there, from the first day of ratings on.
    """
    n, first_day = ratings.n_items, int(ratings.day.min(initial=-1))
    luck = uniforms(seed, "prices", rows=np.arange(n), n=2)
    categories = [next((g for g in genres if g != UNKNOWN), UNKNOWN) for genres in ratings.genres]
    brands = [f"{year // 10 * 10}s" if year else UNKNOWN for year in ratings.year]
    bands = [UNKNOWN] * ratings.n_users if ratings.age is None else [age_band(int(age)) for age in ratings.age]
    segments = bands if ratings.segment is None else ratings.segment
    catalogue = Catalogue(
        name=ratings.title,
        category=codes_of(categories),
        brand=codes_of(brands),
        price=np.round(5 + 15 * luck[:, 0], 2) if ratings.price is None else ratings.price,
        margin=np.round(0.15 + 0.35 * luck[:, 1], 3),
        launch_day=np.full(n, first_day),
        retire_day=np.full(n, NEVER),
    )
    shoppers = Shoppers(
        segment=codes_of(segments),
        region=codes_of(ratings.occupation or [UNKNOWN] * ratings.n_users),
        arrival_day=np.full(ratings.n_users, first_day),
    )
    order = np.lexsort((ratings.timestamp, ratings.user_id))
    return Observed(
        name=ratings.name,
        user_id=ratings.user_id[order],
        item_id=ratings.item_id[order],
        rating=stars(ratings)[order],
        catalogue=catalogue,
        shoppers=shoppers,
    )


def stars(ratings: Ratings) -> Ints:
    """Whole stars 1..5 of each rating, half stars rounded up."""
    return np.ceil(ratings.rating).astype(np.int64)


def to_history(ratings: Ratings, price: Floats) -> History:
    """The ratings as a log, in order of day, user and time, the last day being -1; `price` of each item in euros.

    Each rating is an item that the user found without us (model "organic", propensity null), clicked, bought at its
    `price`, as `observed(..).catalogue` has it, and rated on the spot. A user's ratings of a day are slates of one item
    each, 16 to a visit; positions go on where 256 slates are not enough.
    """
    order = np.lexsort((ratings.timestamp, ratings.user_id, ratings.day))
    day, user_id, item_id = ratings.day[order], ratings.user_id[order], ratings.item_id[order]
    n = len(order)
    first = np.ones(n, dtype=bool)
    first[1:] = (np.diff(day) != 0) | (np.diff(user_id) != 0)
    start = np.maximum.accumulate(np.where(first, np.arange(n), 0))
    position, slate = np.divmod(np.arange(n) - start, 256)  # visit * 16 + page
    busiest = int(position.max(initial=0))
    require(
        f"{ratings.name}, ratings of one user on one day / 256", busiest, busiest < 256, "give at most 65536 ratings"
    )
    none = np.zeros(n, dtype=np.int64)
    request_id = ((day + (1 << 15)) << 47) | (user_id << 16) | (slate << 8)
    impressions = {
        "request_id": request_id,
        "impression_id": request_id | position,
        "day": day,
        "second": ratings.timestamp[order] % DAY,
        "user_id": user_id,
        "item_id": item_id,
        "position": position,
        "propensity": np.full(n, np.nan),
        "model_version": _words(none, ["organic"]),
        "arm": _words(none, ["history"]),
        "source": _words(none + SOURCES.index("history"), SOURCES),
        "latency_ms": np.full(n, np.nan),
        "clicked": np.ones(n, dtype=bool),
        "dwell": np.full(n, np.nan),
    }
    feedback = {
        "impression_id": np.tile(request_id | position, 2),
        "item_id": np.tile(item_id, 2),
        "kind": _words(np.repeat([KINDS.index("purchase"), KINDS.index("rating")], n), KINDS),
        "day": np.tile(day, 2),
        "value": np.concatenate([price[item_id], stars(ratings)[order]]),
    }
    told = _table(feedback, FEEDBACK)
    return History(
        impressions=_table(impressions, IMPRESSIONS), feedback=told.take(np.argsort(feedback["day"], kind="stable"))
    )


def _table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """The columns in the types of the schema, NaN as null."""
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, from_pandas=True).cast(schema.field(name).type)
        for name, column in columns.items()
    ]
    return pa.table(arrays, schema=schema)


def _words(codes: Ints, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int8), list(names))


def sample(ratings: Ratings, n_users: int, n_items: int | None = None, *, seed: int = 0) -> Ratings:
    """What `n_users` random users rated, only the `n_items` items that most of them rated; all numbered anew from 0.

    Why: a world keeps every pair of user and item in view; 32 million ratings are more than a classroom needs.
    """
    require("n_users", n_users, n_users >= 1, "give a whole number from 1 up")
    require("n_items", n_items, n_items is None or n_items >= 1, "give a whole number from 1 up")
    users = np.sort(stream(seed, "sample of users").permutation(np.unique(ratings.user_id))[:n_users])
    chosen = np.isin(ratings.user_id, users)
    count = np.bincount(ratings.item_id[chosen], minlength=ratings.n_items)
    items = np.sort(np.argsort(-count, kind="stable")[: np.count_nonzero(count)][:n_items])
    kept = chosen & np.isin(ratings.item_id, items)
    return replace(
        ratings,
        user_id=np.searchsorted(users, ratings.user_id[kept]),
        item_id=np.searchsorted(items, ratings.item_id[kept]),
        rating=ratings.rating[kept],
        timestamp=ratings.timestamp[kept],
        user_key=ratings.user_key[users],
        item_key=ratings.item_key[items],
        title=tuple(ratings.title[item] for item in items),
        genres=tuple(ratings.genres[item] for item in items),
        year=ratings.year[items],
        age=None if ratings.age is None else ratings.age[users],
        gender=None if ratings.gender is None else tuple(ratings.gender[user] for user in users),
        occupation=None if ratings.occupation is None else tuple(ratings.occupation[user] for user in users),
        segment=None if ratings.segment is None else tuple(ratings.segment[user] for user in users),
        price=None if ratings.price is None else ratings.price[items],
    )
