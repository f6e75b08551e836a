"""GroupLens' own file formats, read line for line; a broken line is named by its file and number.

    data set         ratings                               items                       users
    movielens-100k   u.data, user item rating time         u.item, id|title|date|...   u.user, id|age|gender|job|zip
    movielens-1m     ratings.dat, separated by ::          movies.dat, id::title::...  users.dat, id::gender::age::...
    movielens-32m    ratings.csv, separated by commas      movies.csv, id,title,...    none

Why twice: millions of ratings are read by Arrow in seconds; only where that fails, a slow reading finds the line.
Source: the READMEs of the data sets; Harper and Konstan, ACM TiiS 2015.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from simlab.datasets.ratings import Ratings, year_of
from simlab.errors import DataError
from simlab.schema import Ints
from simlab.settings import choose

GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The last 19 columns of u.item."""

JOBS_1M = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)
"""What the codes of users.dat mean."""

LATEST = 2**31
"""Seconds since 1970 before which a rating was given: in 2038. Days so far apart still fit into a `request_id`."""

RATING_FIELDS = ("user id", "movie id", "rating", "timestamp")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the files of one data set are written."""

    ratings: str
    items: str
    users: str | None
    separator: str
    encoding: str = "latin-1"
    header: int = 0
    """Lines before the first rating or item."""


LAYOUTS = {
    "movielens-100k": Layout(ratings="u.data", items="u.item", users="u.user", separator="\t"),
    "movielens-1m": Layout(ratings="ratings.dat", items="movies.dat", users="users.dat", separator="::"),
    "movielens-32m": Layout(
        ratings="ratings.csv", items="movies.csv", users=None, separator=",", encoding="utf-8", header=1
    ),
}


@dataclass(kw_only=True)
class _Items:
    key: list[int] = field(default_factory=list)
    title: list[str] = field(default_factory=list)
    genres: list[tuple[str, ...]] = field(default_factory=list)
    year: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class _Users:
    key: list[int] = field(default_factory=list)
    age: list[int] = field(default_factory=list)
    gender: list[str] = field(default_factory=list)
    job: list[str] = field(default_factory=list)


def _broken(path: Path, line: int, value: object, wrong: str) -> NoReturn:
    raise DataError(f"{path.name}, line {line}", value, f"{wrong}; mend the line or fetch the data set again ({path})")


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line, from 1."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    yield number, line.decode(encoding).rstrip("\r\n")
                except UnicodeDecodeError:
                    _broken(path, number, line[:80], f"this is not {encoding} text")
    except OSError as error:
        raise DataError(str(path), error.strerror, "the file is missing or unreadable: fetch the data set") from error


def _rows(path: Path, layout: Layout, separator: str, n: int) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that holds data."""
    for number, line in _lines(path, layout.encoding):
        if number <= layout.header:
            if line[:1].isdigit():
                _broken(path, number, line[:80], "the header is missing")
            continue
        row = next(csv.reader([line])) if separator == "," and line else line.split(separator)
        if len(row) != n:
            _broken(path, number, line[:120], f"expected {n} fields, found {len(row)}")
        yield number, row


def _whole(path: Path, line: int, text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        _broken(path, line, text, f"the {what} is not a whole number")
    return int(text)


def _unique(path: Path, line: int, key: int, known: set[int]) -> int:
    if key in known:
        _broken(path, line, key, "this id stands there twice")
    known.add(key)
    return key


def _read_items(path: Path, layout: Layout, kind: str) -> _Items:
    items, known = _Items(), set[int]()
    old = kind == "movielens-100k"
    for line, row in _rows(path, layout, "|" if old else layout.separator, 24 if old else 3):
        items.key.append(_unique(path, line, _whole(path, line, row[0], "movie id"), known))
        items.title.append(row[1])
        if old:
            if not set(row[5:]) <= {"0", "1"}:
                _broken(path, line, "|".join(row[5:]), "genre flags are 0 or 1")
            items.genres.append(tuple(name for name, flag in zip(GENRES_100K, row[5:], strict=True) if flag == "1"))
        else:
            items.genres.append(tuple(name for name in row[2].split("|") if name != "(no genres listed)"))
        items.year.append(year_of(row[2] if old else row[1]))
    return items


def _read_users(path: Path, layout: Layout, kind: str) -> _Users:
    users, known = _Users(), set[int]()
    old = kind == "movielens-100k"
    for line, row in _rows(path, layout, "|" if old else layout.separator, 5):
        age, gender = (row[1], row[2]) if old else (row[2], row[1])
        users.key.append(_unique(path, line, _whole(path, line, row[0], "user id"), known))
        users.age.append(_whole(path, line, age, "age"))
        if gender not in ("M", "F"):
            _broken(path, line, gender, "the gender is neither M nor F")
        users.gender.append(gender)
        code = row[3] if old else _whole(path, line, row[3], "occupation")
        if not old and int(code) >= len(JOBS_1M):
            _broken(path, line, code, f"occupations are numbered 0 to {len(JOBS_1M) - 1}")
        users.job.append(str(code) if old else JOBS_1M[int(code)])
    return users


def _is_rating(text: str) -> bool:
    try:
        return set(text) <= set("0123456789.") and 0.5 <= float(text) <= 5
    except ValueError:
        return False


def _strange(path: Path, layout: Layout) -> bool:
    """Whether the ratings hold anything but digits, points and separators: Arrow takes 0x1 and blanks for numbers."""
    usual = b"0123456789.\r\n" + layout.separator.encode()
    with path.open("rb") as stream:
        for _ in range(layout.header):
            stream.readline()
        return any(block.translate(None, usual) for block in iter(lambda: stream.read(1 << 24), b""))


def _explain(path: Path, layout: Layout, items: Ints, users: Ints | None) -> NoReturn:
    """Raises the `DataError` that names the first broken line of a ratings file."""
    known_items = set(items.tolist())
    known_users = None if users is None else set(users.tolist())
    for line, row in _rows(path, layout, layout.separator, 4):
        user, item, _, time = (
            text if k == 2 else _whole(path, line, text, RATING_FIELDS[k]) for k, text in enumerate(row)
        )
        if not _is_rating(row[2]):
            _broken(path, line, row[2], "the rating is not a number from 0.5 to 5")
        if int(time) >= LATEST:
            _broken(path, line, time, f"the timestamp is not a time from 0 to {LATEST - 1} seconds after 1970")
        if item not in known_items:
            _broken(path, line, item, f"movie id {item} is not in {layout.items}")
        if known_users is not None and user not in known_users:
            _broken(path, line, user, f"user id {user} is not in {layout.users}")
    raise DataError(str(path), "no readable ratings", "fetch the data set again")


def _fast(path: Path, layout: Layout) -> pa.Table:
    """The ratings file by Arrow, a 64-bit column each. Raises `pa.ArrowInvalid` where a line is broken."""
    source: object = path
    for _, line in zip(range(layout.header), _lines(path, layout.encoding), strict=False):
        if line[1][:1].isdigit():
            raise pa.ArrowInvalid("no header")
    if _strange(path, layout):
        raise pa.ArrowInvalid("something that is no number")
    if layout.separator == "::":  # Arrow knows separators of one character
        data = path.read_bytes()
        if b"\t" in data:
            raise pa.ArrowInvalid("a tab in a file that has none")
        source = io.BytesIO(data.replace(b"::", b"\t"))
    kinds = [pa.int64(), pa.int64(), pa.float64(), pa.int64()]
    return pa_csv.read_csv(
        source,
        read_options=pa_csv.ReadOptions(column_names=RATING_FIELDS, skip_rows=layout.header),
        parse_options=pa_csv.ParseOptions(
            delimiter="," if layout.separator == "," else "\t", quote_char=False, ignore_empty_lines=False
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict(zip(RATING_FIELDS, kinds, strict=True)), null_values=[], strings_can_be_null=False
        ),
    )


def _index(keys: Ints, values: Ints) -> Ints:
    """The place of each of `values` in `keys`; -1 where it is not there."""
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys, values, sorter=order), len(keys) - 1)
    return np.where(keys[order][place] == values, order[place], -1)


def read(name: str, folder: Path) -> Ratings:
    """The data set `name` from GroupLens' own files in `folder`.

    Raises `DataError` naming file and line where a line has the wrong number of fields, something that is not a
    number, a rating outside 0.5 .. 5, a time after 2038, or an id that the other files do not know; `ConfigError` for
    an unknown name.
    """
    layout = choose("data set in GroupLens' format", name, LAYOUTS)
    folder = Path(folder)
    path = folder / layout.ratings
    items = _read_items(folder / layout.items, layout, name)
    users = _read_users(folder / layout.users, layout, name) if layout.users else None
    item_key = np.array(items.key, dtype=np.int64)
    user_key = None if users is None else np.array(users.key, dtype=np.int64)
    if not path.is_file():
        raise DataError(str(path), "no such file", "fetch the data set")
    try:
        table = _fast(path, layout)
    except pa.ArrowInvalid:
        _explain(path, layout, item_key, user_key)
    users_seen, items_seen, rating, timestamp = (np.asarray(column) for column in table.columns)
    if user_key is None:
        user_key = np.unique(users_seen)
    user_id, item_id = _index(user_key, users_seen), _index(item_key, items_seen)
    fine = (user_id >= 0) & (item_id >= 0) & (rating >= 0.5) & (rating <= 5) & (timestamp >= 0) & (timestamp < LATEST)
    if not fine.all() or len(fine) == 0:
        _explain(path, layout, item_key, None if users is None else user_key)
    return Ratings(
        name=name,
        user_id=user_id,
        item_id=item_id,
        rating=rating,
        timestamp=timestamp,
        user_key=user_key,
        item_key=item_key,
        title=tuple(items.title),
        genres=tuple(items.genres),
        year=np.array(items.year, dtype=np.int64),
        age=None if users is None else np.array(users.age, dtype=np.int64),
        gender=None if users is None else tuple(users.gender),
        occupation=None if users is None else tuple(users.job),
    )
