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
from simlab.recsys.log import CAME, EventLog
from simlab.schema import (
    NEVER,
    Clicks,
    Labels,
    Outcomes,
    Requests,
    Slates,
)
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS, History, to_feedback, to_impressions

FIRST, LAST = -12, 6

NOTHING = FEEDBACK.empty_table()


def day_of(day: int, n_rows: int = 30, n: int = 3) -> History:
    """A day's slates and all that comes of them in the end: 0.3 are bought, up to 8 days later, of which most are
    rated and a third is returned, within 3 days more, some at once."""
    rng = stream(1, "test log", day)
    clicked = rng.random((n_rows, n)) < 0.5
    requests = Requests(
        day=day, user_id=np.arange(n_rows) % 20, visit=np.arange(n_rows) // 20, n=n, second=np.arange(n_rows)
    )
    slates = Slates(
        requests=requests,
        item_id=rng.permuted(np.tile(np.arange(9), (n_rows, 1)), axis=1)[:, :n],
        propensity=rng.choice([0.25, 0.5, np.nan], (n_rows, n)),
        source=np.zeros((n_rows, n), dtype=np.int64),
        model_version=Labels.constant(f"m{day // 7}", n_rows),
        arm=Labels.constant("champion", n_rows),
        latency_ms=rng.random(n_rows),
    )
    n_clicks = int(clicked.sum())
    bought = rng.random(n_clicks) < 0.6
    when = np.where(bought, day + rng.integers(0, 9, n_clicks), NEVER)
    rating = np.where(bought, rng.choice([0, 1, 5], n_clicks), 0)
    clicks = Clicks(
        place=np.flatnonzero(clicked),
        dwell=rng.choice([1.5, np.nan], n_clicks),
        units=np.where(bought, rng.integers(1, 3, n_clicks), 0),
        purchase_day=when,
        rating=rating,
        rating_day=np.where(rating > 0, when + rng.integers(0, 3, n_clicks), NEVER),
        return_day=np.where(bought & (rng.random(n_clicks) < 0.3), when + rng.integers(0, 4, n_clicks), NEVER),
    )
    outcomes = Outcomes(examined=np.ones((n_rows, n), dtype=bool), clicked=clicked, clicks=clicks)
    price = np.linspace(1.99, 9.99, 9)
    return History(impressions=to_impressions(slates, outcomes), feedback=to_feedback(slates, outcomes, price))


def shown_on(day: int, n_rows: int = 30, n: int = 3) -> pa.Table:
    return day_of(day, n_rows, n).impressions


DAYS = [day_of(day) for day in range(FIRST, LAST + 1)]
EVERYTHING = History(
    impressions=pa.concat_tables([one.impressions for one in DAYS]).unify_dictionaries(),
    feedback=pa.concat_tables([one.feedback for one in DAYS]).unify_dictionaries(),
)


def arrived(day: int) -> pa.Table:
    """All that comes on one day of everything."""
    return EVERYTHING.feedback.filter(pc.equal(EVERYTHING.feedback["day"], day))


def filled(path: Path, shuffle: int | None = None) -> EventLog:
    """The log of EVERYTHING, as the ring writes it; with its rows in another order where `shuffle` is a seed."""

    def turned(table: pa.Table) -> pa.Table:
        return table if shuffle is None else table.take(stream(shuffle, "rows").permutation(table.num_rows))

    log, before = EventLog(path), EVERYTHING.known(-1)
    log.import_history(History(impressions=turned(before.impressions), feedback=turned(before.feedback)))
    for day in range(LAST + 1):
        log.append(day, turned(shown_on(day)), turned(arrived(day)))
    return log


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    return filled(tmp_path_factory.mktemp("log"))


def joined(history: History) -> pd.DataFrame:
    """The view `impressions` as pandas makes it: what came of each, by kind, beside the row it came of."""
    rows, told = (table.to_pandas() for table in (history.impressions, history.feedback))
    for kind, value in (("purchase", "revenue"), ("rating", "rating"), ("return", "refund")):
        part = told[told["kind"] == kind].set_index("impression_id")
        rows = rows.join(part[["day", "value"]].set_axis([f"{kind}_day", value], axis=1), on="impression_id")
    view: pd.DataFrame = rows.assign(
        purchased=rows["purchase_day"].notna(), returned=rows["return_day"].notna(), revenue=rows["revenue"].fillna(0)
    )
    return view


def plain(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Values only: words as words, ids whole, other numbers as doubles, in the order of `names`."""
    words = {"model_version", "arm", "source", "kind"}
    kinds = {name: "str" if name in words else "int64" if name.endswith("_id") else "float64" for name in names}
    values: pd.DataFrame = table[names].astype(kinds)
    return values


@pytest.mark.parametrize("until", [*range(FIRST - 1, LAST + 3), None])
def test_the_log_knows_what_could_be_known(log: EventLog, until: int | None) -> None:
    """At the end of any day, in history too: the rows of all days so far, with what has come of them by then."""
    known = EVERYTHING.known(LAST if until is None else min(until, LAST))
    names = [*IMPRESSIONS.names, *CAME]
    found = log.sql("select * from impressions order by impression_id", until)
    expected = joined(known).sort_values("impression_id", ignore_index=True)
    pd.testing.assert_frame_equal(plain(found, names), plain(expected, names))
    assert sorted(found.columns) == sorted(names)
    by = ["impression_id", "kind"]
    told = log.sql(f"select * from feedback order by {', '.join(by)}", until)
    expected = plain(known.feedback.to_pandas(), FEEDBACK.names).sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(plain(told, FEEDBACK.names), expected)


@pytest.mark.parametrize("kind", ["purchase", "rating", "return"])
def test_what_comes_later_of_history_is_not_known_before(log: EventLog, kind: str) -> None:
    """A purchase of a history click that comes on day 2 is hidden on day 1 and there on day 2; all kinds alike."""
    came = arrived(2).filter(pc.equal(arrived(2)["kind"].cast(pa.string()), kind))["impression_id"].to_pylist()
    late = [impression for impression in came if (impression >> 47) < (1 << 15)]  # shown before day 0
    assert late
    query = f"select count({kind}_day) as n from impressions where impression_id in {(*late, -1)}"
    assert log.sql(query, until=1)["n"][0] == 0
    assert log.sql(query, until=2)["n"][0] == len(late)


def test_sql_agrees_with_pandas(log: EventLog) -> None:
    """Counts, means with nulls, distinct counts, sums of euros and groups by words and numbers."""
    rows = joined(EVERYTHING.known(LAST))
    found = log.sql(
        """select model_version, position, count(*) as n, count(distinct user_id) as users, avg(rating) as rating,
                  sum(clicked::int) as clicks, sum(purchased::int) as purchases, sum(revenue) as revenue,
                  sum(returned::int) as returns, avg(propensity) as propensity, avg(dwell) as dwell
           from impressions group by all order by model_version, position"""
    )
    grouped = rows.astype({"model_version": "str"}).groupby(["model_version", "position"])
    expected = grouped.agg(
        n=("day", "size"),
        users=("user_id", "nunique"),
        rating=("rating", "mean"),
        clicks=("clicked", "sum"),
        purchases=("purchased", "sum"),
        revenue=("revenue", "sum"),
        returns=("returned", "sum"),
        propensity=("propensity", "mean"),
        dwell=("dwell", "mean"),
    ).reset_index()
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_refunds_lie_in_the_feedback_view(log: EventLog) -> None:
    """Euros given back are the value of its returns; what was paid stays in the view of impressions."""
    found = log.sql(
        """select sum(value) filter (f.kind = 'return') as back, sum(i.revenue) filter (f.kind = 'return') as paid
           from feedback f join impressions i using (impression_id)"""
    )
    told = EVERYTHING.known(LAST).feedback.to_pandas()
    assert found["back"][0] == pytest.approx(told.loc[told["kind"] == "return", "value"].sum())
    assert found["paid"][0] == pytest.approx(found["back"][0])


def test_a_day_comes_back_as_it_was_written(log: EventLog) -> None:
    """Rows and types; a day that was not logged is refused, and those that were are listed."""
    assert log.days == list(range(LAST + 1))
    impressions, feedback = log.day(3)
    assert impressions.schema.equals(IMPRESSIONS)
    assert impressions.equals(shown_on(3))
    assert feedback.schema.equals(FEEDBACK)
    assert feedback.to_pylist() == arrived(3).to_pylist() != []
    with pytest.raises(RunError, match=r"40.*\[0, 1, 2"):
        log.day(40)


def test_a_day_is_logged_once(tmp_path: Path) -> None:
    """The second time is refused, changes nothing and leaves nothing behind."""
    log = EventLog(tmp_path)
    log.append(0, shown_on(0), NOTHING)
    before = log.digest()
    with pytest.raises(RunError, match="day of the log: 0"):
        log.append(0, IMPRESSIONS.empty_table(), NOTHING)
    assert log.digest() == before
    assert [path.name for path in tmp_path.iterdir()] == ["day=00000"]


KILLED = """
import os, pathlib, signal, sys
from simlab.recsys.log import EventLog
from simlab.tables import FEEDBACK, IMPRESSIONS
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
    log.append(7, shown_on(7), NOTHING)
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
    pq.write_table(rows, file)
    assert other.digest() == log.digest()
    file = file.with_name("feedback.parquet")
    told = pq.read_table(file, schema=FEEDBACK, partitioning=None)
    value = told["value"].to_numpy().copy()
    value[0] += 0.01
    pq.write_table(told.set_column(4, "value", pa.array(value)), file)
    assert other.digest() != log.digest()


def test_the_empty_log_answers_too(tmp_path: Path) -> None:
    """No folder, no history, no day: the table is there, without rows."""
    log = EventLog(tmp_path / "nowhere")
    assert log.days == []
    assert log.sql("select count(*) as n from impressions")["n"].tolist() == [0]
    assert log.sql("select * from impressions", until=-3).columns.sort_values().tolist() == sorted(
        [*IMPRESSIONS.names, *CAME]
    )
    assert log.sql("select * from feedback").columns.tolist() == FEEDBACK.names
    assert log.digest() == EventLog(tmp_path / "elsewhere").digest()
    log.append(0, IMPRESSIONS.empty_table(), NOTHING)
    assert log.sql("select count(*) as n from impressions")["n"].tolist() == [0]


def test_a_log_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """Quotes, brackets and stars in a path are letters, not SQL and not patterns."""
    log = filled(tmp_path / 'it\'s a "run" [1] *; drop view impressions--')
    assert log.sql("select count(*) as n from impressions")["n"][0] == EVERYTHING.impressions.num_rows
    assert log.days == list(range(LAST + 1))


def test_runs_beside_each_other_do_not_mix(tmp_path: Path) -> None:
    """Whatever pattern the name of one looks like, its log is its own: y[1] is not y1, and y* is not both."""
    names = ["y1", "y2", "y[1]", "y[!1]", "y*", "y?", "**", "{y1,y2}", "~", "]"]
    for n_rows, name in enumerate(names, start=1):
        EventLog(tmp_path / name).append(0, shown_on(0, n_rows, n=1), NOTHING)
    counts = [EventLog(tmp_path / name).sql("select count(*) as n from impressions")["n"][0] for name in names]
    assert counts == list(range(1, len(names) + 1))


def test_what_is_no_day_is_not_listed(tmp_path: Path) -> None:
    """A folder that somebody else put there changes no answer; days from 100,000 on have longer names."""
    log = EventLog(tmp_path)
    for day in (3, 100_000):
        log.append(day, IMPRESSIONS.empty_table(), NOTHING)
    for name in ("day=foo", "day=", "day=7", "day=00007 copy", "day=000003"):
        (tmp_path / name).mkdir()
    assert log.days == [3, 100_000]
    assert log.sql("select count(*) as n from impressions")["n"].tolist() == [0]


@pytest.mark.parametrize(
    "query",
    ["select clickd from impressions", "selekt 1", "select 1 from orders", "", "-- nothing", "select 1/'x'", "drop x"],
)
def test_sql_that_cannot_be_answered_is_a_data_error(log: EventLog, query: str) -> None:
    """The error repeats the query and lists the tables and columns that there are."""
    listed = (
        r"SQL query.*impressions \(request_id, impression_id.*revenue.*\) and feedback \(impression_id, item_id, kind"
    )
    with pytest.raises(DataError, match=listed) as caught:
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


def test_a_history_without_its_feedback_is_a_data_error(tmp_path: Path) -> None:
    """Purchases that got lost are not taken for none."""
    log = filled(tmp_path)
    (tmp_path / "history_feedback.parquet").unlink()
    with pytest.raises(DataError, match=r"history_feedback\.parquet"):
        log.sql("select count(*) from impressions")


def test_rows_of_another_schema_are_refused(tmp_path: Path) -> None:
    """Impressions, feedback and history alike name the column; nothing is written."""
    log, rows = EventLog(tmp_path / "log"), shown_on(0)
    with pytest.raises(ConfigError, match="impressions of day 0.*add the column clicked"):
        log.append(0, rows.drop_columns(["clicked"]), NOTHING)
    with pytest.raises(ConfigError, match="feedback of day 0.*add the column impression_id"):
        log.append(0, rows, NOTHING.drop_columns(["impression_id"]))
    with pytest.raises(ConfigError, match="impressions of history.*add the column day"):
        log.import_history(History(impressions=shown_on(-1).drop_columns(["day"]), feedback=NOTHING))
    with pytest.raises(ConfigError, match="feedback of history.*add the column kind"):
        log.import_history(History(impressions=shown_on(-1), feedback=NOTHING.drop_columns(["kind"])))
    assert not log.path.exists()


def test_a_day_holds_its_own_rows(tmp_path: Path) -> None:
    """Rows of other days, earlier or later, and days before the first are refused; so are days that are not told."""
    log, rows, told = EventLog(tmp_path / "log"), shown_on(3), arrived(3)
    assert told.num_rows > 0
    for day in (2, 4):
        with pytest.raises(DataError, match=f"^day in the impressions of day {day}: 3"):
            log.append(day, rows, NOTHING)
        with pytest.raises(DataError, match=f"^day in the feedback of day {day}: 3"):
            log.append(day, IMPRESSIONS.empty_table(), told)
    with pytest.raises(DataError, match="^day of the log: -1"):
        log.append(-1, shown_on(-1), NOTHING)
    untold = told.set_column(3, FEEDBACK.field("day"), pa.nulls(told.num_rows, pa.int32()))
    with pytest.raises(DataError, match="^day in the feedback of day 3: None"):
        log.append(3, rows, untold)
    assert not log.path.exists()
    log.append(3, rows, told)


@pytest.mark.parametrize("day", [0, 5])
def test_history_ends_before_day_0(day: int, tmp_path: Path) -> None:
    """What is shown or arrives later does not belong to what the company starts with: the error says which."""
    log, before = EventLog(tmp_path / "log"), EVERYTHING.known(-1)
    with pytest.raises(DataError, match=f"^day in the impressions of history: {day}"):
        log.import_history(
            History(impressions=pa.concat_tables([before.impressions, shown_on(day)]), feedback=before.feedback)
        )
    with pytest.raises(DataError, match=f"^day in the feedback of history: {day}"):
        log.import_history(
            History(impressions=before.impressions, feedback=pa.concat_tables([before.feedback, arrived(day)]))
        )
    assert not log.path.exists()


@pytest.mark.parametrize("kind", ["purchase", "rating", "return"])
def test_nothing_is_logged_twice(kind: str, tmp_path: Path) -> None:
    """An impression comes once, and is bought, rated and returned once each: the error names kind and impression."""
    log, rows, told = EventLog(tmp_path / "log"), shown_on(3), arrived(3)
    one = told.filter(pc.equal(told["kind"].cast(pa.string()), kind)).slice(0, 1)
    first = {name: table["impression_id"][0].as_py() for name, table in (("rows", rows), ("one", one))}
    with pytest.raises(DataError, match=f"impression_id in the impressions of day 3: {first['rows']}"):
        log.append(3, pa.concat_tables([rows, rows.slice(0, 1)]), told)
    with pytest.raises(DataError, match=f"impression_id in the {kind}s of day 3: {first['one']}"):
        log.append(3, rows, pa.concat_tables([told, one]))
    nameless = one.set_column(0, FEEDBACK.field(0), pa.nulls(1, pa.int64()))
    with pytest.raises(DataError, match=f"impression_id in the {kind}s of day 3: None"):
        log.append(3, rows, nameless)
    before = EVERYTHING.known(-1)
    again = History(
        impressions=before.impressions, feedback=pa.concat_tables([before.feedback, before.feedback.slice(0, 1)])
    )
    with pytest.raises(DataError, match="impression_id in the purchases of history"):
        log.import_history(again)
    assert not log.path.exists()


def test_feedback_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    """A misspelt kind would come into no view: the error names it and those that there are."""
    told = (
        arrived(3)
        .slice(0, 1)
        .set_column(2, FEEDBACK.field("kind"), pa.array(["refund"]).cast(FEEDBACK.field("kind").type))
    )
    with pytest.raises(DataError, match="kind in the feedback of day 3: 'refund'.*purchase, rating, return"):
        EventLog(tmp_path / "log").append(3, shown_on(3), told)


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
    for query in (f"copy feedback to '{file}'", "drop view impressions", "select 1; select 2"):
        with pytest.raises(DataError, match="give one select.*impression_id"):
            log.sql(query)
    assert not file.exists()


def test_columns_in_another_order_or_too_many_do_no_harm(tmp_path: Path) -> None:
    """A day is stored as the schema says, whatever came with it."""
    log, rows = EventLog(tmp_path), shown_on(0)
    wide = rows.append_column("note", pa.array(["x"] * rows.num_rows)).select(["note", *reversed(rows.column_names)])
    log.append(0, wide, NOTHING)
    log.append(1, shown_on(1), arrived(1).append_column("note", pa.array(["x"] * arrived(1).num_rows)))
    assert sorted(log.sql("select * from impressions").columns) == sorted([*IMPRESSIONS.names, *CAME])
    assert log.sql("select * from feedback").columns.tolist() == FEEDBACK.names
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


def test_a_query_reads_the_log_and_nothing_else(tmp_path: Path) -> None:
    """What lies beside it is not the company's."""
    (tmp_path / "secret.csv").write_text("truth\n1\n")
    for query in (f"select * from '{tmp_path / 'secret.csv'}'", "select * from read_text('/etc/hostname')"):
        with pytest.raises(DataError, match="SQL query"):
            EventLog(tmp_path / "log").sql(query)
