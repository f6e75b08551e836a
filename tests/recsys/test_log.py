"""The log remembers what was known when, whole days at a time, and answers SQL as pandas would."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from simlab.errors import ConfigError, DataError, RunError
from simlab.files import sweep
from simlab.recsys.log import EventLog
from simlab.schema import (
    FEEDBACK,
    IMPRESSIONS,
    NEVER,
    Labels,
    Outcomes,
    Requests,
    Slates,
    arriving,
    known,
    to_impressions,
)
from simlab.streams import stream

FIRST, LAST = -12, 6


def impressions_of(day: int, n_rows: int = 30, n: int = 3) -> pa.Table:
    """What came in the end of a day's slates: a third is bought, up to 8 days later, and half of that is rated."""
    rng = stream(1, "test log", day)
    clicked = rng.random((n_rows, n)) < 0.5
    bought = clicked & (rng.random((n_rows, n)) < 0.6)
    requests = Requests(day=day, user_id=np.arange(n_rows) % 20, visit=np.arange(n_rows) // 20, n=n)
    slates = Slates(
        requests=requests,
        item_id=rng.permuted(np.tile(np.arange(9), (n_rows, 1)), axis=1)[:, :n],
        propensity=rng.choice([0.25, 0.5, np.nan], (n_rows, n)),
        source=np.zeros((n_rows, n), dtype=np.int64),
        model_version=Labels.constant(f"m{day // 7}", n_rows),
        arm=Labels.constant("champion", n_rows),
    )
    outcomes = Outcomes(
        examined=np.ones((n_rows, n), dtype=bool),
        clicked=clicked,
        purchased=bought,
        purchase_day=np.where(bought, day + rng.integers(0, 9, (n_rows, n)), NEVER),
        rating=np.where(bought, rng.choice([0, 1, 5], (n_rows, n)), 0),
    )
    return to_impressions(slates, outcomes)


EVERYTHING = pa.concat_tables([impressions_of(day) for day in range(FIRST, LAST + 1)]).unify_dictionaries()


def of_days(first: int, last: int) -> pa.Table:
    day = EVERYTHING["day"]
    return EVERYTHING.filter(pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last)))


def filled(path: Path, shuffle: int | None = None) -> EventLog:
    """The log of EVERYTHING, as the ring writes it; with its rows in another order where `shuffle` is a seed."""

    def turned(table: pa.Table) -> pa.Table:
        return table if shuffle is None else table.take(stream(shuffle, "rows").permutation(table.num_rows))

    log = EventLog(path)
    log.import_history(turned(known(of_days(FIRST, -1), -1)))
    for day in range(LAST + 1):
        log.append(day, turned(known(of_days(day, day), day)), turned(arriving(of_days(FIRST, day - 1), day, day)))
    return log


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    return filled(tmp_path_factory.mktemp("log"))


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Values only: words as words, numbers as doubles, in the schema's order of columns."""
    words = ["model_version", "arm", "source"]
    numbers = [name for name in IMPRESSIONS.names if name not in words]
    values: pd.DataFrame = table[IMPRESSIONS.names].astype(
        dict.fromkeys(words, "str") | dict.fromkeys(numbers, "float64")
    )
    return values


@pytest.mark.parametrize("until", [*range(FIRST - 1, LAST + 3), None])
def test_the_log_knows_what_could_be_known(log: EventLog, until: int | None) -> None:
    """At the end of any day, in history too: the rows of all days so far, purchases and ratings once they have come."""
    last = LAST if until is None else min(until, LAST)
    expected = known(of_days(FIRST, last), last).to_pandas().sort_values("impression_id", ignore_index=True)
    found = log.sql("select * from impressions order by impression_id", until)
    pd.testing.assert_frame_equal(plain(found), plain(expected))


def test_history_s_late_purchases_come_as_feedback(log: EventLog) -> None:
    """A purchase of a history click that comes on day 2 is hidden on day 1 and there on day 2."""
    late = of_days(FIRST, -1).filter(pc.equal(of_days(FIRST, -1)["purchase_day"], 2))["impression_id"].to_pylist()
    assert late
    query = f"select count(*) filter (purchased) as n from impressions where impression_id in {tuple(late)}"
    assert log.sql(query, until=1)["n"][0] == 0
    assert log.sql(query, until=2)["n"][0] == len(late)


def test_sql_agrees_with_pandas(log: EventLog) -> None:
    """Counts, means with nulls, distinct counts and groups by words and numbers."""
    rows = known(of_days(FIRST, LAST), LAST).to_pandas()
    found = log.sql(
        """select model_version, position, count(*) as n, count(distinct user_id) as users, avg(rating) as rating,
                  sum(clicked::int) as clicks, sum(purchased::int) as purchases, avg(propensity) as propensity
           from impressions group by all order by model_version, position"""
    )
    grouped = rows.astype({"model_version": "str"}).groupby(["model_version", "position"])
    expected = grouped.agg(
        n=("day", "size"),
        users=("user_id", "nunique"),
        rating=("rating", "mean"),
        clicks=("clicked", "sum"),
        purchases=("purchased", "sum"),
        propensity=("propensity", "mean"),
    ).reset_index()
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_a_day_comes_back_as_it_was_written(log: EventLog) -> None:
    """Rows and types; a day that was not logged is refused, and those that were are listed."""
    assert log.days == list(range(LAST + 1))
    impressions, feedback = log.day(3)
    assert impressions.schema.equals(IMPRESSIONS)
    assert impressions.equals(known(of_days(3, 3), 3).unify_dictionaries().combine_chunks())
    assert feedback.equals(arriving(of_days(FIRST, 2), 3, 3).cast(FEEDBACK))
    with pytest.raises(RunError, match=r"40.*\[0, 1, 2"):
        log.day(40)


def test_a_day_is_logged_once(tmp_path: Path) -> None:
    """The second time is refused, changes nothing and leaves nothing behind."""
    log = EventLog(tmp_path)
    nothing = FEEDBACK.empty_table()
    log.append(0, known(impressions_of(0), 0), nothing)
    before = log.digest()
    with pytest.raises(RunError, match="day of the log: 0"):
        log.append(0, IMPRESSIONS.empty_table(), nothing)
    assert log.digest() == before
    assert [path.name for path in tmp_path.iterdir()] == ["day=00000"]


KILLED = """
import os, pathlib, signal, sys
from simlab.recsys.log import EventLog
from simlab.schema import FEEDBACK, IMPRESSIONS
pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
EventLog(pathlib.Path(sys.argv[1])).append(7, IMPRESSIONS.empty_table(), FEEDBACK.empty_table())
"""


def test_a_day_that_was_killed_has_not_happened(tmp_path: Path) -> None:
    """Killed at the last moment before its name, a day is not in the log; what it left is swept away."""
    log = filled(tmp_path)
    before = log.digest()
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert any(path.name.startswith(".day=00007") for path in tmp_path.iterdir())
    assert log.days == list(range(LAST + 1))
    assert log.digest() == before
    sweep(tmp_path)
    log.append(7, known(impressions_of(7), 7), FEEDBACK.empty_table())
    assert log.days[-1] == 7
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_the_digest_is_of_rows_not_of_files(log: EventLog, tmp_path: Path) -> None:
    """Rows in another order, or in files packed otherwise, are the same log; one value changed is another."""
    other = filled(tmp_path / "turned", shuffle=5)
    file = other.path / "day=00002" / "impressions.parquet"
    rows = pq.read_table(file, schema=IMPRESSIONS, partitioning=None)
    pq.write_table(rows, file, compression="none", row_group_size=7)
    assert other.digest() == log.digest()
    assert other.digest(until=3) == log.digest(until=3) != log.digest()

    clicked = rows["clicked"].to_pylist()
    clicked[4] = not clicked[4]
    pq.write_table(rows.set_column(rows.schema.get_field_index("clicked"), "clicked", pa.array(clicked)), file)
    assert other.digest() != log.digest()


def test_the_empty_log_answers_too(tmp_path: Path) -> None:
    """No folder, no history, no day: the table is there, without rows."""
    log = EventLog(tmp_path / "nowhere")
    assert log.days == []
    assert log.sql("select count(*) as n from impressions")["n"].tolist() == [0]
    assert log.sql("select * from impressions", until=-3).columns.sort_values().tolist() == sorted(IMPRESSIONS.names)
    assert log.digest() == EventLog(tmp_path / "elsewhere").digest()
    log.append(0, IMPRESSIONS.empty_table(), FEEDBACK.empty_table())
    assert log.sql("select count(*) as n from impressions")["n"].tolist() == [0]


def test_a_log_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """Quotes, brackets and stars in a path are letters, not SQL and not patterns."""
    log = filled(tmp_path / 'it\'s a "run" [1] *; drop view impressions--')
    assert log.sql("select count(*) as n from impressions")["n"][0] == EVERYTHING.num_rows
    assert log.days == list(range(LAST + 1))


def test_runs_beside_each_other_do_not_mix(tmp_path: Path) -> None:
    """Whatever pattern the name of one looks like, its log is its own: y[1] is not y1, and y* is not both."""
    names = ["y1", "y2", "y[1]", "y[!1]", "y*", "y?", "**", "{y1,y2}", "~", "]"]
    for n_rows, name in enumerate(names, start=1):
        EventLog(tmp_path / name).append(0, known(impressions_of(0, n_rows, n=1), 0), FEEDBACK.empty_table())
    counts = [EventLog(tmp_path / name).sql("select count(*) as n from impressions")["n"][0] for name in names]
    assert counts == list(range(1, len(names) + 1))


def test_what_is_no_day_is_not_listed(tmp_path: Path) -> None:
    """A folder that somebody else put there changes no answer; days from 100,000 on have longer names."""
    log = EventLog(tmp_path)
    for day in (3, 100_000):
        log.append(day, IMPRESSIONS.empty_table(), FEEDBACK.empty_table())
    for name in ("day=foo", "day=", "day=7", "day=00007 copy", "day=000003"):
        (tmp_path / name).mkdir()
    assert log.days == [3, 100_000]
    assert log.sql("select count(*) as n from impressions")["n"].tolist() == [0]


@pytest.mark.parametrize(
    "query",
    ["select clickd from impressions", "selekt 1", "select 1 from orders", "", "-- nothing", "select 1/'x'", "drop x"],
)
def test_sql_that_cannot_be_answered_is_a_data_error(log: EventLog, query: str) -> None:
    """The error repeats the query and lists the columns that there are."""
    with pytest.raises(DataError, match="SQL query.*request_id, impression_id, day, user_id") as caught:
        log.sql(query)
    assert repr(query) in str(caught.value)


def test_a_damaged_file_is_a_data_error(tmp_path: Path) -> None:
    """It is named, whether SQL or the day itself is asked for."""
    log = filled(tmp_path)
    (tmp_path / "day=00001" / "feedback.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"day=00001/feedback\.parquet"):
        log.sql("select count(*) from impressions")
    with pytest.raises(DataError, match=r"day=00001/feedback\.parquet"):
        log.day(1)
    (tmp_path / "day=00001" / "feedback.parquet").unlink()
    with pytest.raises(DataError, match=r"day=00001/feedback\.parquet"):
        log.sql("select count(*) from impressions")
    with pytest.raises(DataError, match=r"day=00001/feedback\.parquet"):
        log.day(1)


def test_rows_of_another_schema_are_refused(tmp_path: Path) -> None:
    """Impressions, feedback and history alike name the column; nothing is written."""
    log, rows = EventLog(tmp_path / "log"), known(impressions_of(0), 0)
    with pytest.raises(ConfigError, match="impressions.*add the column clicked"):
        log.append(0, rows.drop_columns(["clicked"]), FEEDBACK.empty_table())
    with pytest.raises(ConfigError, match="feedback.*add the column impression_id"):
        log.append(0, rows, FEEDBACK.empty_table().drop_columns(["impression_id"]))
    with pytest.raises(ConfigError, match="history.*add the column day"):
        log.import_history(rows.drop_columns(["day"]))
    assert not log.path.exists()


def test_nothing_is_logged_before_it_is_known(tmp_path: Path) -> None:
    """Impressions of tomorrow, and purchases that only the world can know of yet, are refused."""
    log, nothing = EventLog(tmp_path / "log"), FEEDBACK.empty_table()
    with pytest.raises(DataError, match="purchase_day in the log of day 0"):
        log.append(0, impressions_of(0), nothing)
    with pytest.raises(DataError, match="^day in the log of day 0"):
        log.append(0, known(impressions_of(1), 0), nothing)
    with pytest.raises(DataError, match="purchase_day in the log of day 0"):
        log.append(0, known(impressions_of(0), 0), arriving(of_days(FIRST, -1), 1))
    assert not log.path.exists()


def test_a_day_holds_its_own_rows_once(tmp_path: Path) -> None:
    """Rows of another day, purchases of another day, days before the first and rows that come twice are refused."""
    log, nothing = EventLog(tmp_path / "log"), FEEDBACK.empty_table()
    rows, told = known(impressions_of(3), 3), arriving(of_days(FIRST, 2), 3, 3)
    assert told.num_rows > 0
    for day in (9, 10):
        with pytest.raises(DataError, match=f"^day in the log of day {day}: 3"):
            log.append(day, rows, nothing)
    with pytest.raises(DataError, match="^purchase_day in the log of day 4: 3"):
        log.append(4, IMPRESSIONS.empty_table(), told)
    with pytest.raises(DataError, match="^day of the log: -1"):
        log.append(-1, known(impressions_of(-1), -1), nothing)
    first = {name: table["impression_id"][0].as_py() for name, table in (("impressions", rows), ("feedback", told))}
    with pytest.raises(DataError, match=f"impression_id in the impressions of day 3: {first['impressions']}"):
        log.append(3, pa.concat_tables([rows, rows.slice(0, 1)]), told)
    with pytest.raises(DataError, match=f"impression_id in the feedback of day 3: {first['feedback']}"):
        log.append(3, rows, pa.concat_tables([told, told.slice(0, 1)]))
    nameless = told.set_column(0, FEEDBACK.field(0), pa.nulls(told.num_rows, pa.int64()))
    with pytest.raises(DataError, match="impression_id in the feedback of day 3: None"):
        log.append(3, rows, nameless)
    assert not log.path.exists()
    log.append(3, rows, told)


def test_questions_of_the_wrong_type_are_refused(log: EventLog) -> None:
    """What is no text is no query, and what is no number is no day; numpy's whole numbers are."""
    query = "select count(*) as n from impressions"
    with pytest.raises(ConfigError, match="SQL query: None"):
        log.sql(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="until: 'x'"):
        log.sql(query, until="x")  # type: ignore[arg-type]
    assert log.sql(query, until=np.int64(3)).equals(log.sql(query, until=3))  # type: ignore[arg-type]


def test_the_log_is_only_read_by_sql(log: EventLog, tmp_path: Path) -> None:
    """Statements that write, and several at once, are refused before anything happens."""
    file = tmp_path / "out.csv"
    for query in (f"copy impressions to '{file}'", "drop view impressions", "select 1; select 2"):
        with pytest.raises(DataError, match="give one select.*impression_id"):
            log.sql(query)
    assert not file.exists()


def test_columns_in_another_order_or_too_many_do_no_harm(tmp_path: Path) -> None:
    """A day is stored as the schema says, whatever came with it."""
    log, rows = EventLog(tmp_path), known(impressions_of(0), 0)
    wide = rows.append_column("note", pa.array(["x"] * rows.num_rows)).select(["note", *reversed(rows.column_names)])
    log.append(0, wide, FEEDBACK.empty_table())
    log.append(1, known(impressions_of(1), 1), FEEDBACK.empty_table())
    assert sorted(log.sql("select * from impressions").columns) == sorted(IMPRESSIONS.names)
    assert log.day(0)[0].column_names == IMPRESSIONS.names


DIGEST = """
import pathlib, sys
from simlab.recsys.log import EventLog
print(EventLog(pathlib.Path(sys.argv[1])).digest())
"""


def test_answers_are_the_same_in_another_process(log: EventLog) -> None:
    """Files and nothing else: a fresh process, elsewhere on the globe, gives the same digest."""
    asked = subprocess.run(
        [sys.executable, "-c", DIGEST, str(log.path)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, PYTHONHASHSEED="1", TZ="Asia/Tokyo"),
    )
    assert asked.stdout.strip() == log.digest()
