"""GroupLens' formats: the same ratings come out of each, and a broken line is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simlab.datasets import Ratings, read
from simlab.errors import ConfigError, DataError

FLAGS = "|".join("1" if k in (3, 4) else "0" for k in range(19))
NONE = "|".join(["1", *["0"] * 18])

TINY = {
    "movielens-100k": {
        "u.data": "7\t2\t5\t86400\n7\t9\t1\t86401\n5\t2\t3\t0\n5\t4\t4\t172800\n",
        "u.item": f"2|Misérables, Les (1995)|01-Jan-1995||u|{FLAGS}\n4|Up (2009)|||u|{NONE}\n9|unknown||||{NONE}\n",
        "u.user": "5|17|F|writer|00000\n7|60|M|other|T8H1N\n",
    },
    "movielens-1m": {
        "ratings.dat": "7::2::5::86400\n7::9::1::86401\n5::2::3::0\n5::4::4::172800\n",
        "movies.dat": "2::Misérables, Les (1995)::Animation|Children's\n4::Up (2009)::Drama\n9::unknown::Drama\n",
        "users.dat": "5::F::1::20::00000\n7::M::56::0::55455\n",
    },
    "movielens-32m": {
        "ratings.csv": "userId,movieId,rating,timestamp\n7,2,5.0,86400\n7,9,0.5,86401\n5,2,3.0,0\n5,4,3.5,172800\n",
        "movies.csv": 'movieId,title,genres\n2,"Misérables, Les (1995)",Animation|Children\n4,Up (2009),Drama\n'
        '9,"The ""unknown""",(no genres listed)\n',
    },
}


@pytest.fixture
def write_tiny(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the tiny data set in the format of a name, and returns the folder."""

    def write(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in TINY[name].items():
            (folder / file).write_bytes(text.encode("utf-8" if name == "movielens-32m" else "latin-1"))
        return folder

    return write


@pytest.fixture(params=sorted(TINY))
def tiny(request: pytest.FixtureRequest, write_tiny: Callable[[str], Path]) -> tuple[str, Path]:
    """Name of a format and a folder with the tiny data set in it."""
    name = str(request.param)
    return name, write_tiny(name)


RATINGS = {"movielens-100k": "u.data", "movielens-1m": "ratings.dat", "movielens-32m": "ratings.csv"}
SEPARATOR = {"movielens-100k": "\t", "movielens-1m": "::", "movielens-32m": ","}


def test_every_format_tells_the_same(tiny: tuple[str, Path]) -> None:
    """Users and items count from 0 in the order of their files, rows stay in the order of theirs."""
    name, folder = tiny
    ratings = read(name, folder)
    assert ratings.user_id.tolist() == [1, 1, 0, 0]
    assert ratings.item_id.tolist() == [0, 2, 0, 1]
    assert ratings.user_key.tolist() == [5, 7]
    assert ratings.item_key.tolist() == [2, 4, 9]
    assert ratings.timestamp.tolist() == [86400, 86401, 0, 172800]
    assert ratings.rating.tolist() == ([5, 0.5, 3, 3.5] if name == "movielens-32m" else [5, 1, 3, 4])
    assert ratings.title[0] == "Misérables, Les (1995)"
    assert len(ratings.genres[0]) == 2
    assert ratings.year.tolist() == ([1995, 0, 0] if name == "movielens-100k" else [1995, 2009, 0])


def test_people(tiny: tuple[str, Path]) -> None:
    """Ages, genders and occupations come in words and years; 32M, which has none, says None and invents nothing."""
    name, folder = tiny
    ratings = read(name, folder)
    if name == "movielens-32m":
        assert ratings.age is None
        assert ratings.gender is None
        assert ratings.occupation is None
    else:
        assert ratings.age is not None
        assert ratings.age.tolist() == ([17, 60] if name == "movielens-100k" else [1, 56])
        assert ratings.gender == ("F", "M")
        assert ratings.occupation == ("writer", "other")


BREAKS = [
    ("7{s}2{s}5", "expected 4 fields, found 3"),
    ("7{s}2{s}5{s}1{s}1", "expected 4 fields, found 5"),
    ("", "expected 4 fields, found"),
    ("x{s}2{s}5{s}1", "the user id is not a whole number"),
    ("7{s}2.5{s}5{s}1", "the movie id is not a whole number"),
    ("7{s}2{s}five{s}1", "the rating is not a number from 0.5 to 5"),
    ("7{s}2{s}nan{s}1", "the rating is not a number from 0.5 to 5"),
    ("7{s}2{s}0{s}1", "the rating is not a number from 0.5 to 5"),
    ("7{s}2{s}5.5{s}1", "the rating is not a number from 0.5 to 5"),
    ("7{s}2{s}5{s}", "the timestamp is not a whole number"),
    ("7{s}2{s}5{s}-1", "the timestamp is not a whole number"),
    ("7{s}3{s}5{s}1", "movie id 3 is not in"),
    ("0x7{s}2{s}5{s}1", "the user id is not a whole number"),
    ("7{s} 2{s}5{s}1", "the movie id is not a whole number"),
    ("7{s}2{s}5e0{s}1", "the rating is not a number from 0.5 to 5"),
    ("7{s}2{s}5{s}0x1", "the timestamp is not a whole number"),
    ("7{s}2{s}5{s}2147483648", "the timestamp is not a time"),
]


@pytest.mark.parametrize(("line", "wrong"), BREAKS)
def test_a_broken_line_is_named(tiny: tuple[str, Path], line: str, wrong: str) -> None:
    """Whatever is wrong with a rating, the error names the file, the number of the line, and the fault."""
    name, folder = tiny
    path = folder / RATINGS[name]
    lines = path.read_text().splitlines()
    lines[2] = line.format(s=SEPARATOR[name])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        read(name, folder)
    assert f"{path.name}, line 3" in str(caught.value)
    assert wrong in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "line", "number", "wrong"),
    [
        ("movielens-100k", "u.item", "4|Up (2009)|||u|1|0", 2, "expected 24 fields"),
        ("movielens-100k", "u.item", "4|Up (2009)|||u|" + "|".join(["7"] * 19), 2, "genre flags are 0 or 1"),
        ("movielens-100k", "u.item", "2|Up (2009)|||u|" + "|".join(["0"] * 19), 2, "this id stands there twice"),
        ("movielens-100k", "u.user", "5|old|F|writer|0", 1, "the age is not a whole number"),
        ("movielens-100k", "u.user", "5|17|?|writer|0", 1, "neither M nor F"),
        ("movielens-1m", "movies.dat", "2::Up::(2009)::Drama", 1, "expected 3 fields, found 4"),
        ("movielens-1m", "users.dat", "5::F::1::21::0", 1, "occupations are numbered 0 to 20"),
        ("movielens-32m", "movies.csv", "2,Up, too,Drama", 2, "expected 3 fields, found 4"),
        ("movielens-32m", "movies.csv", "1,Up,Drama", 1, "the header is missing"),
        ("movielens-32m", "ratings.csv", "7,2,5.0,1", 1, "the header is missing"),
    ],
)
def test_a_broken_item_or_user_is_named(
    write_tiny: Callable[[str], Path], name: str, file: str, line: str, number: int, wrong: str
) -> None:
    """The files of items and users are read as strictly as the ratings."""
    folder = write_tiny(name)
    path = folder / file
    encoding = "utf-8" if name == "movielens-32m" else "latin-1"
    lines = path.read_text(encoding=encoding).splitlines()
    first = 1 if wrong == "the header is missing" else number
    lines[first - 1] = line
    if "twice" in wrong:
        lines[1] = line
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    with pytest.raises(DataError) as caught:
        read(name, folder)
    assert f"{file}, line {number}" in str(caught.value)
    assert wrong in str(caught.value)


def test_a_rating_by_nobody_is_named(write_tiny: Callable[[str], Path]) -> None:
    """Where users have a file of their own, a rating by somebody else is a fault."""
    folder = write_tiny("movielens-100k")
    with (folder / "u.data").open("a") as file:
        file.write("6\t2\t5\t1\n")
    with pytest.raises(DataError, match="u.data, line 5.*user id 6 is not in u.user"):
        read("movielens-100k", folder)


def test_text_in_another_encoding_is_named(write_tiny: Callable[[str], Path]) -> None:
    """32M is UTF-8; a byte that is not is found in its line."""
    folder = write_tiny("movielens-32m")
    (folder / "movies.csv").write_bytes(b"movieId,title,genres\n2,Mis\xe9rables (1995),Drama\n")
    with pytest.raises(DataError, match="movies.csv, line 2.*not utf-8"):
        read("movielens-32m", folder)


def test_missing_and_empty_files_are_named(tiny: tuple[str, Path]) -> None:
    """A file without a rating and a file that is not there are told apart."""
    name, folder = tiny
    path = folder / RATINGS[name]
    path.write_text("userId,movieId,rating,timestamp\n" if name == "movielens-32m" else "")
    with pytest.raises(DataError, match="no readable ratings"):
        read(name, folder)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read(name, folder)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """A misspelt name is answered with the one that was meant."""
    with pytest.raises(ConfigError, match="did you mean 'movielens-1m'"):
        read("movielens-1M", tmp_path)


ROW = st.tuples(st.sampled_from([5, 7]), st.sampled_from([2, 4, 9]), st.integers(1, 5), st.integers(0, 2**31 - 1))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=20))
def test_what_is_written_is_read(rows: list[tuple[int, int, int, int]], tiny: tuple[str, Path]) -> None:
    """Reading gives back any table of ratings, row for row."""
    name, folder = tiny
    text = "".join(SEPARATOR[name].join(map(str, row)) + "\n" for row in rows)
    header = "userId,movieId,rating,timestamp\n" if name == "movielens-32m" else ""
    (folder / RATINGS[name]).write_text(header + text)
    ratings = read(name, folder)
    columns = (ratings.user_key[ratings.user_id], ratings.item_key[ratings.item_id], ratings.rating, ratings.timestamp)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows


def test_the_real_ratings_are_as_their_readme_says(movielens: Ratings) -> None:
    """100,000 ratings 1..5 by 943 users on 1,682 items, each user at least 20, from 1997-09-19 to 1998-04-22.

    Counts, the genres and the 61 women and men of each job are those of the README, u.info and u.occupation.
    """
    assert (len(movielens), movielens.n_users, movielens.n_items) == (100_000, 943, 1682)
    assert np.bincount(movielens.user_id).min() == 20
    assert set(movielens.rating) == {1, 2, 3, 4, 5}
    assert movielens.timestamp.min() == 874724710
    assert movielens.timestamp.max() == 893286638
    assert movielens.title[0] == "Toy Story (1995)"
    assert movielens.genres[0] == ("Animation", "Children's", "Comedy")
    assert movielens.occupation is not None
    assert len(set(movielens.occupation)) == 21
    assert movielens.gender is not None
    assert movielens.gender.count("M") == 670
