"""A learner's own files: read right however they are written, and what is broken is named by its line."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlab.datasets import Ratings, observed, read_impressions, read_own, sample
from simlab.errors import ConfigError, DataError

RATINGS = {"user": "who", "item": "what", "rating": "stars", "time": "when"}

LOG = {"user": "u", "item": "i", "clicked": "c", "position": "p"}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes text or bytes to a file and returns its path."""

    def written(data: str | bytes, name: str = "my.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return written


def lines(n: int = 40) -> list[str]:
    """A header and `n` good ratings, scale 1 to 5, every pair of user and item once; line k + 1 of a file is [k]."""
    return ["who,what,stars,when"] + [f"ann {k % 7},item-{k},{1 + k % 5},{1_000_000_000 + 3600 * k}" for k in range(n)]


def joined(rows: list[str]) -> str:
    """Rows as text."""
    return "\n".join(rows) + "\n"


def told(ratings: Ratings) -> list[tuple[str, str, float, int]]:
    """Each rating with the file's own words."""
    columns = (ratings.user_key[ratings.user_id], ratings.item_key[ratings.item_id], ratings.rating, ratings.timestamp)
    return list(zip(*(column.tolist() for column in columns), strict=True))


GOOD = [(f"ann {k % 7}", f"item-{k}", 1.0 + k % 5, 1_000_000_000 + 3600 * k) for k in range(40)]

BOM = b"\xef\xbb\xbf"

WRITTEN: dict[str, bytes] = {
    "plain": joined(lines()).encode(),
    "no last line end": joined(lines()).rstrip().encode(),
    "windows": joined(lines()).replace("\n", "\r\n").encode(),
    "old mac": joined(lines()).replace("\n", "\r").encode(),
    "semicolons": joined(lines()).replace(",", ";").encode(),
    "tabs": joined(lines()).replace(",", "\t").encode(),
    "bars": joined(lines()).replace(",", "|").encode(),
    "blanks after commas": joined(lines()).replace(",", ", ").encode(),
    "quoted": joined(['"' + line.replace(",", '","') + '"' for line in lines()]).encode(),
    "a mark before the text": BOM + joined(lines()).encode(),
    "a mark and quotes": BOM + joined(['"' + line.replace(",", '","') + '"' for line in lines()]).encode(),
    "utf-16": joined(lines()).encode("utf-16"),
    "packed": gzip.compress(joined(lines()).encode()),
    "blank lines": joined(["", *(part for line in lines() for part in (line, ""))]).encode(),
    "more columns": joined([f'"a, {k}",{line},"said ""yes""\nand {k}"' for k, line in enumerate(lines())]).encode(),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_file_is_read_right_however_it_is_written(how: str, write: Write) -> None:
    """Separators, quotes, line ends, marks, packing and encodings change nothing."""
    ratings = read_own(write(WRITTEN[how]), RATINGS)
    assert told(ratings) == GOOD
    assert ratings.reading is not None
    assert (ratings.reading.rows, ratings.reading.broken, ratings.reading.first) == (40, 0, ())
    assert ratings.name == "my"
    assert ratings.user_key.tolist() == [f"ann {k}" for k in range(7)]
    assert ratings.title == tuple(f"item-{k}" for k in range(40))


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    """Whatever the types: words or dictionaries, whole or other numbers, seconds or times."""
    frame = pd.DataFrame(GOOD, columns=["who", "what", "stars", "when"])
    frame.to_parquet(tmp_path / "a.parquet")
    assert told(read_own(tmp_path / "a.parquet", RATINGS)) == GOOD
    frame["who"] = frame["who"].astype("category")
    frame["stars"] = frame["stars"].astype("int8")
    frame["when"] = pd.to_datetime(frame["when"], unit="s")
    frame.to_parquet(tmp_path / "b")
    assert told(read_own(tmp_path / "b", RATINGS)) == GOOD
    frame["when"] = frame["when"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    frame["what"] = range(40)
    frame.to_parquet(tmp_path / "c")
    assert told(read_own(tmp_path / "c", RATINGS)) == [(u, str(k), s, t) for k, (u, _, s, t) in enumerate(GOOD)]


def test_broken_rows_of_parquet_are_named_by_number(tmp_path: Path) -> None:
    """Nothing where a user should be, and no number, in rows 3 and 5; rows are numbered from 1."""
    frame = pd.DataFrame(GOOD, columns=["who", "what", "stars", "when"])
    frame.loc[2, "who"] = None
    frame.loc[4, "stars"] = np.nan
    frame.to_parquet(tmp_path / "a.parquet")
    ratings = read_own(tmp_path / "a.parquet", RATINGS)
    assert ratings.reading is not None
    assert ratings.reading.first == ((3, "user '' is no name of a user"), (5, "rating '' is not a number"))
    assert told(ratings) == [row for k, row in enumerate(GOOD) if k not in (2, 4)]


NO_TIME = "is not a time from 1970 to 2038, in seconds since 1970 or like 20200131"

BROKEN = {
    "ann,item,3": "expected 4 fields, found 3",
    "ann,item,3,1000000000,5": "expected 4 fields, found 5",
    ",item,3,1000000000": "user '' is no name of a user",
    "ann, ,3,1000000000": "item '' is no name of an item",
    "ann,item,good,1000000000": "rating 'good' is not a number",
    "ann,item,1_0,1000000000": "rating '1_0' is not a number",
    "ann,item,nan,1000000000": "rating 'nan' is not a number",
    "ann,item,inf,1000000000": "rating 'inf' is not a number",
    "ann,item,,1000000000": "rating '' is not a number",
    "ann,item,6,1000000000": "rating 6 is not on the scale 0.5 to 5",
    "ann,item,0,1000000000": "rating 0 is not on the scale 0.5 to 5",
    "ann,item,-3,1000000000": "rating -3 is not on the scale 0.5 to 5",
    "ann,item,3,yesterday": "time 'yesterday' " + NO_TIME,
    "ann,item,3,now": "time 'now' " + NO_TIME,
    "ann,item,3,-5": "time '-5' " + NO_TIME,
    "ann,item,3,17": "time '17' " + NO_TIME,
    "ann,item,3,2020": "time '2020' " + NO_TIME,
    "ann,item,3,20201301": "time '20201301' " + NO_TIME,
    "ann,item,3,99991231": "time '99991231' " + NO_TIME,
    "ann,item,3,1969-12-31": "time '1969-12-31' " + NO_TIME,
    "ann,item,3,9999-12-31": "time '9999-12-31' " + NO_TIME,
    "ann,item,3,2021-02-30": "time '2021-02-30' " + NO_TIME,
    "ann 3,item-3,5,1000000000": "this user has rated this item before",
    '"ann,item,3,1000000000': "expected 4 fields, found 1",
}


@pytest.mark.parametrize("row", BROKEN)
@pytest.mark.parametrize("at", [17, 41])
def test_a_broken_row_is_left_out_and_named_by_its_line(row: str, at: int, write: Write) -> None:
    """In the middle of the file and at its end; all other rows are read as if it were not there."""
    rows = lines()
    rows.insert(at, row)
    if row.startswith('"') and at == 17:
        rows.insert(at + 1, '",,,')  # the quotation mark is closed on the next line
    ratings = read_own(write(joined(rows)), RATINGS)
    assert ratings.reading is not None
    ((line, wrong),) = ratings.reading.first
    assert (line, wrong.split(" on ")[0] if row.startswith('"') else wrong) in [
        (at + 1, BROKEN[row]),
        (at + 1, "expected 4 fields, found 4"),
    ]
    assert told(ratings) == GOOD
    assert f"line {at + 1}: {wrong}" in str(ratings.reading)


def test_lines_are_counted_as_an_editor_counts_them(write: Write) -> None:
    """Blank lines and lines inside quotation marks count, in a file longer than is read at once."""
    n = 20_000
    rows = [f'{line},"two\nlines"' for line in lines(n)]
    rows[0] = "\nwho,what,stars,when,text"
    rows[n // 2] = "\n" + rows[n // 2]
    rows[n] = "ann,item,three,1000000000,end"
    text = joined(rows)
    ratings = read_own(write(text), RATINGS)
    assert ratings.reading is not None
    assert ratings.reading.first == ((len(text.splitlines()), "rating 'three' is not a number"),)
    assert len(ratings) == n - 1


def test_broken_rows_are_listed_up_to_twenty_and_all_counted(write: Write) -> None:
    """Of all kinds, in order of lines, though some are found late; each once."""
    n = 4000
    rows = lines(n)
    bad = {10 + 40 * k: ["x", "ann,b,99,0", rows[k + 1], ",i,3,0"][k % 4] for k in range(90)}
    for k, row in bad.items():
        rows[k] = row
    ratings = read_own(write(joined(rows)), RATINGS)
    assert ratings.reading is not None
    assert (ratings.reading.rows, ratings.reading.broken) == (n, 90)
    assert [line for line, _ in ratings.reading.first] == [k + 1 for k in sorted(bad)[:20]]
    assert "and 70 more" in str(ratings.reading)


def test_more_than_five_in_a_hundred_broken_rows_are_too_many(write: Write) -> None:
    """5 of 100 are left out; 6 of 100 are an error that names the first lines."""
    rows = lines(100)
    for k in range(5):
        rows[10 + k] = "?"
    assert len(read_own(write(joined(rows)), RATINGS)) == 95
    rows[20] = "?"
    with pytest.raises(DataError, match="6 of 100 rows are broken, more than 5%.*line 11: expected 4 fields, found 1"):
        read_own(write(joined(rows)), RATINGS)


def test_a_quotation_mark_left_open_does_not_swallow_rows_in_silence(write: Write) -> None:
    """Every line that it swallows is a broken row: to the end of the file, or to the next mark."""
    rows = [line + ",text" for line in lines(100)]
    rows[60] = rows[60].replace(",text", ',"text')
    with pytest.raises(DataError, match="41 of 100 rows.*line 61: .*on 41 lines: is a quotation mark left open"):
        read_own(write(joined(rows)), RATINGS)
    rows = [line + "," + 10_000 * "x" for line in lines(100)]
    rows[60] = rows[60].replace(",x", ',"x')
    with pytest.raises(DataError, match="line.*is a quotation mark left open above"):
        read_own(write(joined(rows)), RATINGS)


SCALES = {
    (1, 2, 3, 4, 5): (1, 2, 3, 4, 5),
    (0.5, 1, 2.5, 3.5, 5): (1, 1, 3, 4, 5),
    (1, 2, 3, 6, 7, 9, 10): (1, 1, 2, 3, 4, 5, 5),
    (0, 1): (1, 5),
    (1, 1): (5, 5),
    (0.1, 0.2, 0.3, 0.6, 1.0): (1, 1, 2, 3, 5),
    (0, 1, 2, 5): (1, 1, 2, 5),
    (0, 3, 10): (1, 2, 5),
    (0, 20, 21, 60, 100): (1, 1, 2, 3, 5),
}


@pytest.mark.parametrize("given", SCALES)
def test_ratings_of_other_scales_become_whole_stars(given: tuple[float, ...], write: Write) -> None:
    """Stars = max(1, ceil(5 rating / top)), top 1, 5, 10 or 100: the narrowest scale that holds the ratings."""
    rows = ["who,what,stars"] + [f"u{k},i{k},{given[k % len(given)]}" for k in range(60)]
    ratings = read_own(write(joined(rows)), {"user": "who", "item": "what", "rating": "stars"})
    assert ratings.rating.tolist() == [SCALES[given][k % len(given)] for k in range(60)]
    assert f"on a scale up to {min(top for top in (1, 5, 10, 100) if top >= max(given))}" in str(ratings.reading)


def test_a_comma_may_be_the_decimal_point(write: Write) -> None:
    """As spreadsheets of many countries write numbers."""
    text = "who;what;stars\n" + "".join(f"u{k};i;{'3,5' if k % 2 else '5'}\n" for k in range(6))
    columns = {"user": "who", "item": "what", "rating": "stars"}
    assert read_own(write(text), columns).rating.tolist() == [5, 4, 5, 4, 5, 4]
    assert read_own(write(text.replace("3,5", '"3,5"').replace(";", ",")), columns).rating.tolist() == [5, 4] * 3


@pytest.mark.parametrize(
    "when",
    [
        "1500000000",
        "1500000000.9",
        "1.5e9",
        "1500000000000",
        "1500000000000000",
        "1500000000000000000",
        "2017-07-14T02:40:00Z",
        "2017-07-14 02:40",
        "2017-07-14 04:40:00.25+02:00",
    ],
)
def test_times_are_told_by_their_looks(when: str, write: Write) -> None:
    """Seconds, milli-, micro-, nanoseconds since 1970, or a date and time, UTC where no zone is given."""
    assert read_own(write(f"who,what,stars,when\na,b,3,{when}\n"), RATINGS).timestamp.tolist() == [1_500_000_000]


@pytest.mark.parametrize("when", ["20170714", "20170714.0", "2017-07-14", "1499990400"])
def test_a_date_in_eight_digits_is_a_date(when: str, write: Write) -> None:
    """Its first second, as that of a date with hyphens, and not seconds since 1970."""
    assert read_own(write(f"who,what,stars,when\na,b,3,{when}\n"), RATINGS).timestamp.tolist() == [1_499_990_400]


def test_without_times_all_is_on_one_day_in_the_order_of_the_file(write: Write) -> None:
    """The last day, -1."""
    ratings = read_own(write("who,what,stars\na,x,3\na,y,4\n"), {"user": "who", "item": "what", "rating": "stars"})
    assert ratings.day.tolist() == [-1, -1]


def test_what_the_file_knows_of_items_and_users_becomes_public(write: Write) -> None:
    """Category, price and segment, each of the first row of the item or user; nothing said is unknown."""
    text = "u,i,r,price,cat,seg\nann,pot,3,9.5,garden,new\nbob,pot,4,8,kitchen,\nann,pan,5,20,,old\n"
    columns = {"user": "u", "item": "i", "rating": "r", "price": "price", "category": "cat", "segment": "seg"}
    ratings = read_own(write(text), columns)
    assert ratings.title == ("pot", "pan")
    assert ratings.genres == (("garden",), ("unknown",))
    assert ratings.segment == ("new", "unknown")
    assert ratings.price is not None
    assert ratings.price.tolist() == [9.5, 20]
    part = sample(ratings, 1, 1, seed=3)
    assert part.segment in (("new",), ("unknown",))
    assert part.price is not None
    assert part.price.tolist() == [9.5]


def test_own_ratings_are_what_a_world_is_fitted_to(write: Write) -> None:
    """Prices and segments of the file are those of the catalogue and the shoppers."""
    text = "u,i,r,price,seg\nann,pot,3,9.5,new\nbob,pot,4,9.5,old\nann,pan,5,20,new\n"
    columns = {"user": "u", "item": "i", "rating": "r", "price": "price", "segment": "seg"}
    seen = observed(read_own(write(text), columns), seed=0)
    assert seen.catalogue.price.tolist() == [9.5, 20]
    assert [seen.shoppers.segment.names[code] for code in seen.shoppers.segment.codes] == ["new", "old"]
    assert seen.rating.tolist() == [3, 5, 4]


def test_impressions_are_read_with_positions_from_zero(write: Write) -> None:
    """Whatever the file counts from; the same user may see the same item again; flags as 0, no, False."""
    text = "u,i,c,p,buy\nann,pot,1,1,no\nann,pan,0,2,no\nann,pot,True,3,YES\nbob,pot,false,1,0\n"
    log = read_impressions(write(text), {**LOG, "purchased": "buy"})
    assert len(log) == 4
    assert log.user_key[log.user_id].tolist() == ["ann", "ann", "ann", "bob"]
    assert log.item_key[log.item_id].tolist() == ["pot", "pan", "pot", "pot"]
    assert log.clicked.tolist() == [True, False, True, False]
    assert log.purchased is not None
    assert log.purchased.tolist() == [False, False, True, False]
    assert log.position is not None
    assert log.position.tolist() == [0, 1, 2, 0]
    assert log.reading.scale is None
    bare = read_impressions(write(text), {"user": "u", "item": "i", "clicked": "c"})
    assert bare.position is None
    assert bare.purchased is None


def test_a_purchase_without_a_click_is_a_broken_row(write: Write) -> None:
    """One of 40 is left out and named; where it is more than 5 % the columns are not what they were taken for."""
    columns = {"user": "u", "item": "i", "clicked": "c", "purchased": "buy"}
    rows = ["u,i,c,buy"] + [f"u{k},i,{k % 2},{k % 2}" for k in range(40)]
    rows[5] = "u4,i,0,1"
    log = read_impressions(write(joined(rows)), columns)
    assert log.reading.first == ((6, "purchased is 1 where clicked is 0"),)
    assert log.purchased is not None
    assert (len(log), int((log.purchased & ~log.clicked).sum())) == (39, 0)
    with pytest.raises(DataError, match="line 2: purchased is 1 where clicked is 0"):
        read_impressions(write(joined([row.replace("0,0", "0,1") for row in rows])), columns)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("ann,pot,2,1", "clicked '2' is neither 0 nor 1"),
        ("ann,pot,,1", "clicked '' is neither 0 nor 1"),
        ("ann,pot,1,1.5", "position '1.5' is not a whole number from 0 to 256"),
        ("ann,pot,1,-1", "position '-1' is not a whole number from 0 to 256"),
        ("ann,pot,1,999", "position '999' is not a whole number from 0 to 256"),
        (",pot,1,1", "user '' is no name of a user"),
    ],
)
def test_a_broken_impression_is_named_by_its_line(row: str, wrong: str, write: Write) -> None:
    """And left out, with a user or item that stands in no other row."""
    text = "u,i,c,p\n" + "".join(f"u{k},i,0,{k % 10}\n" for k in range(30)) + row + "\n"
    log = read_impressions(write(text), LOG)
    assert log.reading.first == ((32, wrong),)
    assert len(log) == 30
    assert "pot" not in log.item_key
    assert "ann" not in log.user_key


def test_columns_are_asked_for_by_name(write: Write) -> None:
    """A name that is not in the file or not one of ours, one that is missing or there twice: the error says which."""
    path = write(joined(lines()))
    with pytest.raises(ConfigError, match=r"column of my\.csv: 'star' will not do; did you mean 'stars'\?"):
        read_own(path, {**RATINGS, "rating": "star"})
    with pytest.raises(ConfigError, match=r"'users' will not do; did you mean 'user'\?"):
        read_own(path, {"users": "who"})
    with pytest.raises(ConfigError, match="say which column holds: rating"):
        read_own(path, {"user": "who", "item": "what"})
    with pytest.raises(ConfigError, match="say which column holds: clicked"):
        read_impressions(path, {"user": "who", "item": "what"})
    with pytest.raises(DataError, match="2 columns called who"):
        read_own(write("who,what,who,stars\na,b,c,3\n"), {"user": "who", "item": "what", "rating": "stars"})


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "blank": (b"\n\n", "an empty file"),
    "a header alone": (b"who,what,stars,when\n", "no rows"),
    "latin": (joined(lines()).replace("ann 3", "ren\u00e9").encode("latin-1"), "line 5.*save the file as UTF-8"),
    "half of a gzip": (gzip.compress(joined(lines()).encode())[:60], "whole"),
    "open quotes": (b'"who,what,stars\n' + joined(lines(9000)).encode(), "whole"),
    "half of a parquet": (b"PAR1" + bytes(100), "whole"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(100), "save it as CSV"),
    "half a utf-16": (joined(lines()).encode("utf-16")[:-1], "save the file as UTF-8"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_file_that_cannot_be_read_says_so(what: str, write: Write) -> None:
    """And how to make it readable."""
    data, message = UNREADABLE[what]
    with pytest.raises(DataError, match=message):
        read_own(write(data), RATINGS)


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    """A path with nothing, a folder, and a Parquet column that holds lists."""
    with pytest.raises(DataError, match="no such file"):
        read_own(tmp_path / "none.csv", RATINGS)
    with pytest.raises(DataError, match="CSV or Parquet"):
        read_own(tmp_path, RATINGS)
    table = pa.table({"who": [["a", "b"]], "what": ["x"], "stars": [3], "when": [0]})
    pq.write_table(table, tmp_path / "lists.parquet")
    with pytest.raises(DataError, match="CSV or Parquet"):
        read_own(tmp_path / "lists.parquet", RATINGS)
