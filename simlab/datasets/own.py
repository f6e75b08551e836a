"""A learner's own data: ratings, or impressions with their clicks, from CSV or Parquet, whatever columns are called.

    read_own("my.csv", {"user": "who", "item": "what", "rating": "stars", "time": "when"})    Ratings
    read_impressions("log.parquet", {"user": "u", "item": "i", "clicked": "c", "position": "p"})    OwnImpressions

CSV may be separated by , ; tab or |, packed by gzip, in UTF-8 or UTF-16; the first line names the columns. Users and
items are any words. Times are seconds since 1970 (also milli-, micro- or nanoseconds, told by their size), or written
like 20200131 or 2020-01-31 12:00 (UTC unless it says otherwise). A comma in a number is a decimal point.

Ratings become whole stars. Their scale is the narrowest of `SCALES` outside of which at most 5 % of them lie, and

    stars = max(1, ceil(5 * rating / top of the scale))

so 0.5 .. 5 is rounded up, 1 .. 10 halved, 0 and 1 become 1 and 5.

Why lines: whoever has a broken file needs to know where. A few broken rows are left out and listed in `Reading`; more
than 5 % of them, and the file is not what it was taken for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from simlab.datasets.movielens import LATEST
from simlab.datasets.ratings import UNKNOWN, Keys, Ratings, Reading
from simlab.datasets.rows import LISTED, chunks
from simlab.errors import DataError
from simlab.schema import Bools, Floats, Ints
from simlab.settings import choose, require

MOST_BROKEN = 0.05
"""Share of broken rows from which on a file is refused, and of ratings that may lie outside of a scale."""

SCALES = ((0, 1), (0.5, 5), (0, 5), (1, 10), (0, 10), (0, 100))
"""Least and most of a rating, narrowest scale first."""

LAST_POSITION = 256

_LEAST_TIME = 1e8
"""Seconds since 1970, in March 1973; less is more often the number of a day or a year than a time."""

_FLAGS = {
    **dict.fromkeys(("1", "1.0", "true", "t", "yes", "y"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "f", "no", "n"), 0.0),
}


@dataclass(frozen=True, kw_only=True)
class OwnImpressions:
    """Who was shown what, and whether it was clicked; one row an impression, in the order of the file."""

    name: str
    user_id: Ints
    """Index of the user, from 0 in order of appearance."""
    item_id: Ints
    user_key: Keys
    """The file's own word for each user."""
    item_key: Keys
    clicked: Bools
    position: Ints | None
    """From 0, which is the least in the file; None where it tells none."""
    purchased: Bools | None
    reading: Reading

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True)
class _Kind:
    """How the words of a column become numbers."""

    parse: Callable[[Sequence[str], dict[str, int]], Floats]
    """NaN where a word will not do; a code of each word seen, where words are kept."""
    wrong: str


def _number(text: str) -> float:
    try:
        return float("nan") if "_" in text else float(text.replace(",", ".", 1))
    except ValueError:
        return float("nan")


def _numbers(texts: Sequence[str], _: dict[str, int]) -> Floats:
    try:
        values = np.array([float(text) for text in texts])
    except ValueError:
        values = np.array([_number(text) for text in texts])
    else:
        if "_" in "".join(texts):  # Python takes 1_0 for ten
            values = np.array([_number(text) for text in texts])
    return np.where(np.isfinite(values), values, np.nan)


def _words(texts: Sequence[str], known: dict[str, int]) -> Floats:
    stripped = (text.strip() for text in texts)
    return np.array([known.setdefault(text, len(known)) if text else np.nan for text in stripped])


def _labels(texts: Sequence[str], known: dict[str, int]) -> Floats:
    return _words([text.strip() or UNKNOWN for text in texts], known)


def _flags(texts: Sequence[str], _: dict[str, int]) -> Floats:
    return np.array([_FLAGS.get(text.strip().lower(), np.nan) for text in texts])


def _prices(texts: Sequence[str], known: dict[str, int]) -> Floats:
    values = _numbers(texts, known)
    return np.where(values > 0, values, np.nan)


def _positions(texts: Sequence[str], known: dict[str, int]) -> Floats:
    values = _numbers(texts, known)
    return np.where((values >= 0) & (values <= LAST_POSITION) & (values % 1 == 0), values, np.nan)


def _times(texts: Sequence[str], known: dict[str, int]) -> Floats:
    """Whole seconds since 1970."""
    values = _numbers(texts, known)
    for least, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        values = np.where(values >= least, values / unit, values)
    short = np.flatnonzero(values < _LEAST_TIME)
    if len(short):
        dates = np.where((values[short] >= 19700101) & (values[short] % 1 == 0), values[short], 0).astype(np.int64)
        found = _seconds(pd.to_datetime(pd.Series(dates.astype(str)), format="%Y%m%d", utc=True, errors="coerce"))
        values[short] = np.where(np.isnan(found), -1, found)
    written = np.flatnonzero(np.isnan(values))
    if len(written):
        words = pd.Series([texts[k].strip() for k in written.tolist()])
        words = words.where(words.str[:1].str.isdigit())  # pandas takes "now" for a time
        values[written] = _seconds(pd.to_datetime(words, format="ISO8601", utc=True, errors="coerce"))
    return np.where((values >= 0) & (values < LATEST), np.floor(values), np.nan)


def _seconds(dates: pd.Series) -> Floats:
    """Seconds since 1970, NaN where there is no date; whatever the year, for pandas subtracts only near ones."""
    whole = dates.dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    return np.where(np.isnat(whole), np.nan, whole.astype(np.int64))


_KINDS = {
    "user": _Kind(_words, "is no name of a user"),
    "item": _Kind(_words, "is no name of an item"),
    "rating": _Kind(_numbers, "is not a number"),
    "time": _Kind(_times, "is not a time from 1970 to 2038, in seconds since 1970 or like 20200131"),
    "position": _Kind(_positions, f"is not a whole number from 0 to {LAST_POSITION}"),
    "clicked": _Kind(_flags, "is neither 0 nor 1"),
    "purchased": _Kind(_flags, "is neither 0 nor 1"),
    "price": _Kind(_prices, "is not a number above 0"),
    "category": _Kind(_labels, ""),
    "segment": _Kind(_labels, ""),
}


@dataclass(kw_only=True)
class _Table:
    """The rows that are whole, and what is known of the others."""

    file: str
    line: Ints
    columns: dict[str, Floats]
    words: dict[str, list[str]]
    rows: int
    broken: int
    faults: list[tuple[int, str]] = field(default_factory=list)

    def leave_out(self, bad: Bools, wrong: Callable[[int], str]) -> None:
        """Takes the rows `bad` out; `wrong` says what is wrong with one of them."""
        self.broken += int(bad.sum())
        self.faults += [(int(self.line[k]), wrong(int(k))) for k in np.flatnonzero(bad)[:LISTED]]
        self.line = self.line[~bad]
        self.columns = {name: values[~bad] for name, values in self.columns.items()}

    def ids(self, name: str) -> tuple[Ints, Keys]:
        """Indices from 0 in order of appearance, and the words that they stand for; only words of whole rows."""
        codes, index = np.unique(self.columns[name].astype(np.int64), return_inverse=True)
        return index.astype(np.int64), np.array(self.words[name], dtype=object)[codes]

    def told(self, name: str, rows: Ints) -> list[str] | None:
        """The words of a column in some rows; None where the file has no such column."""
        column = self.columns.get(name)
        return None if column is None else [self.words[name][int(code)] for code in column[rows]]

    def reading(self, scale: tuple[float, float] | None = None) -> Reading:
        """The report. Raises `DataError` where too many rows are broken."""
        first = tuple(sorted(self.faults)[:LISTED])
        if self.broken > MOST_BROKEN * self.rows:
            told = "; ".join(f"line {line}: {wrong}" for line, wrong in first[:5])
            share = f"{self.broken} of {self.rows} rows are broken, more than {MOST_BROKEN:.0%}"
            raise DataError(self.file, share, f"mend them, or name other columns; the first: {told}")
        return Reading(file=self.file, rows=self.rows, broken=self.broken, first=first, scale=scale)


def _read(path: Path, columns: Mapping[str, str], needed: tuple[str, ...], wanted: tuple[str, ...]) -> _Table:
    """The columns `needed`, and those `wanted` that are named. Raises `DataError` where too many rows are broken."""
    for ours in columns:
        choose("column to read", ours, _KINDS)
    for ours in needed:
        require(f"columns of {path.name}", dict(columns), ours in columns, f"say which column holds: {ours}")
    taken = [ours for ours in (*needed, *wanted) if ours in columns]
    known: dict[str, dict[str, int]] = {name: {} for name in taken}
    table = _Table(file=path.name, line=np.zeros(0, np.int64), columns={}, words={}, rows=0, broken=0)
    lines: list[Ints] = []
    parts: dict[str, list[Floats]] = {name: [] for name in taken}
    for chunk in chunks(path, tuple(columns.values())):
        values = {name: _KINDS[name].parse(chunk.texts[columns[name]], known[name]) for name in taken}
        bad = np.logical_or.reduce([np.isnan(column) for column in values.values()])
        table.rows += chunk.broken + len(bad)
        table.broken += chunk.broken + int(bad.sum())
        table.faults += chunk.faults
        for k in np.flatnonzero(bad)[:LISTED]:
            name = next(name for name in taken if np.isnan(values[name][k]))
            text = chunk.texts[columns[name]][k][:60]
            table.faults.append((int(chunk.line[k]), f"{name} {text!r} {_KINDS[name].wrong}"))
        table.faults = sorted(table.faults)[:LISTED]
        lines.append(chunk.line[~bad])
        for name in taken:
            parts[name].append(values[name][~bad])
    if table.rows == 0:
        raise DataError(str(path), "no rows", "give a file with a line of column names and rows below it")
    table.line = np.concatenate(lines)
    table.columns = {name: np.concatenate(parts[name]) for name in taken}
    table.words = {name: list(known[name]) for name in taken}
    table.reading()
    return table


def scale_of(rating: npt.ArrayLike) -> tuple[float, float]:
    """Least and most of the scale that ratings were given on: the narrowest of `SCALES` that holds 95 % of them.

    >>> scale_of([1, 2, 3, 5]), scale_of([1, 2, 3, 8]), scale_of([0, 1, 1])
    ((0.5, 5), (1, 10), (0, 1))
    """
    values = np.asarray(rating)
    outside = [float(((values < low) | (values > high)).mean()) for low, high in SCALES]
    return next((scale for scale, share in zip(SCALES, outside, strict=True) if share <= MOST_BROKEN), SCALES[-1])


def whole_stars(rating: npt.ArrayLike, top: float) -> Floats:
    """Stars 1 .. 5 of ratings on a scale that ends at `top`: max(1, ceil(5 rating / top)).

    >>> whole_stars([1, 2, 3, 10], top=10).tolist()
    [1.0, 1.0, 2.0, 5.0]
    """
    return np.maximum(1.0, np.ceil(np.round(5 * np.asarray(rating) / top, 6)))


def read_own(path: Path | str, columns: Mapping[str, str]) -> Ratings:
    """Somebody's own ratings; `columns` says what the file calls our user, item, rating and, if it has them, time,
    price, category and segment (further names of ours are let be).

    Of two ratings of an item by a user the first in the file counts. An item's price and category are those of its
    first row, a user's segment likewise. Without times all was on one day, in the order of the file.
    Raises `ConfigError` for a column that does not exist, `DataError` where the file cannot be read or more than 5 % of
    its rows are broken; fewer stand in `Ratings.reading`.
    """
    path = Path(path)
    table = _read(path, columns, ("user", "item", "rating"), ("time", "price", "category", "segment"))
    low, high = scale_of(table.columns["rating"])
    rating = table.columns["rating"]
    table.leave_out(
        (rating < low) | (rating > high), lambda k: f"rating {rating[k]:g} is not on the scale {low:g} to {high:g}"
    )
    pairs = table.columns["user"] * len(table.words["item"]) + table.columns["item"]
    again = np.ones(len(pairs), dtype=bool)
    again[np.unique(pairs, return_index=True)[1]] = False
    table.leave_out(again, lambda _: "this user has rated this item before")
    reading = table.reading((low, high))
    user_id, user_key = table.ids("user")
    item_id, item_key = table.ids("item")
    first_of_user, first_of_item = (np.unique(index, return_index=True)[1] for index in (user_id, item_id))
    time, price = table.columns.get("time"), table.columns.get("price")

    category, segment = table.told("category", first_of_item), table.told("segment", first_of_user)
    return Ratings(
        name=path.name.split(".")[0],
        user_id=user_id,
        item_id=item_id,
        rating=whole_stars(table.columns["rating"], high),
        timestamp=np.zeros(len(user_id), dtype=np.int64) if time is None else time.astype(np.int64),
        user_key=user_key,
        item_key=item_key,
        title=tuple(item_key),
        genres=((),) * len(item_key) if category is None else tuple((name,) for name in category),
        year=np.zeros(len(item_key), dtype=np.int64),
        segment=None if segment is None else tuple(segment),
        price=None if price is None else price[first_of_item],
        reading=reading,
    )


def read_impressions(path: Path | str, columns: Mapping[str, str]) -> OwnImpressions:
    """Somebody's own impressions; `columns` says what the file calls our user, item, clicked and, if it has them,
    position and purchased (further names of ours are let be).

    A purchase without a click is a broken row. Raises as `read_own`; what is left out stands in
    `OwnImpressions.reading`.
    """
    path = Path(path)
    table = _read(path, columns, ("user", "item", "clicked"), ("position", "purchased"))
    if "purchased" in table.columns:
        unclicked = (table.columns["purchased"] == 1) & (table.columns["clicked"] == 0)
        table.leave_out(unclicked, lambda _: "purchased is 1 where clicked is 0")
    reading = table.reading()
    user_id, user_key = table.ids("user")
    item_id, item_key = table.ids("item")
    position, purchased = table.columns.get("position"), table.columns.get("purchased")
    return OwnImpressions(
        name=path.name.split(".")[0],
        user_id=user_id,
        item_id=item_id,
        user_key=user_key,
        item_key=item_key,
        clicked=table.columns["clicked"] == 1,
        position=None if position is None else (position - position.min()).astype(np.int64),
        purchased=None if purchased is None else purchased == 1,
        reading=reading,
    )
