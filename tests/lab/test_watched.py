"""A run that is watched: whatever stops it, it goes on and says the same; hostile tables are told, and stop nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlab.cli import main
from simlab.errors import ConfigError, DataError, RunError
from simlab.lab.company import Company
from simlab.lab.config import RunConfig
from simlab.lab.loop import Ring, run
from simlab.lab.run import Run
from simlab.lab.watched import ALERTS, SEEN, Watched, read_alerts, read_seen, watched
from simlab.recsys.facts import Facts
from simlab.recsys.lookout import Monitor, Seen
from simlab.schema import Bools, Outcomes, Requests, Slates
from simlab.tables import FEEDBACK, IMPRESSIONS

SMALL = {"n_users": 150, "n_items": 40, "history_days": 14, "new_items_per_week": 3}
TURNED = {**SMALL, "n_users": 400, "change": {"shift_day": 20, "shift_share": 1.0}}
CONFIG = RunConfig(days=24, retrain="scheduled:4", seed=4, world=TURNED)
"""All shoppers change their taste on day 20, so that there is something to tell."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(CONFIG, out=tmp_path_factory.mktemp("whole") / "run", over=watched)


class Breaks:
    """A company that stops as it logs a day, before or after that is done."""

    def __init__(self, company: Company, day: int, *, logged: bool) -> None:
        self._company, self._day, self._logged = company, day, logged

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        self._company.open_day(day, here, arriving)

    def show(self, requests: Requests) -> Slates:
        return self._company.show(requests)

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        self._company.tell(slates, outcomes, feedback)

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        if day == self._day and not self._logged:
            raise RunError("day", day, "the process ends here")
        self._company.close_day(day, impressions, feedback)
        if day == self._day:
            raise RunError("day", day, "the process ends here")


@pytest.mark.parametrize("logged", [False, True])
def test_a_watched_run_that_was_stopped_goes_on(logged: bool, whole: Run, tmp_path: Path) -> None:
    """Before the day is in the log, and after, with the watch not yet told of it: the same log and the same alerts, of
    the day of the stop and of the next."""

    @contextmanager
    def breaking(ring: Ring) -> Iterator[Company]:
        ring.company = Breaks(ring.company, 21, logged=logged)
        yield Watched(ring, None)

    with pytest.raises(RunError, match="ends here"):
        run(CONFIG, out=tmp_path / "run", over=breaking)
    done = run(CONFIG, out=tmp_path / "run", over=watched)
    assert done.log.digest() == whole.log.digest()
    assert (done.path / ALERTS).read_bytes() == (whole.path / ALERTS).read_bytes()
    assert {one.day for one in read_alerts(whole.path)} == {21, 22}  # the day of the stop, and the one after
    assert read_alerts(done.path) == read_alerts(whole.path)


def test_a_run_can_be_watched_from_its_first_day_only(tmp_path: Path) -> None:
    """What came before was not kept as it came."""
    run(RunConfig(days=2, world=SMALL), out=tmp_path / "run")
    with pytest.raises(DataError, match=r"alerts.json.*--watch"):
        read_alerts(tmp_path / "run")
    with pytest.raises(RunError, match="were not watched"):
        run(RunConfig(days=2, world=SMALL), out=tmp_path / "run", over=watched)
    with pytest.raises(ConfigError, match="day 0 in"):
        read_seen(tmp_path / "run" / SEEN, 0)


def test_the_command_tells_alerts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is one it is told in a line; where there is none, that is said."""
    words = ["run", "--days", "3", "--users", "60", "--items", "30", "--watch", "--out"]
    assert main([*words, str(tmp_path / "quiet")]) == 0
    assert "the watch has nothing to say" in capsys.readouterr().out
    file = tmp_path / "quiet" / SEEN / "day=00002.impressions.parquet"
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.append_column("utm", pa.array([1] * table.num_rows)), file)
    assert main([*words, str(tmp_path / "quiet")]) == 0
    assert "day 2  warning schema of impressions: the column utm" in capsys.readouterr().out
    assert main(["watch", str(tmp_path / "quiet"), "--days", "1"]) == 0
    assert "day 2  warning schema of impressions" in capsys.readouterr().out
    assert main(["watch", str(tmp_path / "quiet"), "--days", "1", "--until", "1"]) == 0
    assert "no alerts on these days" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "http"), "--over", "http"]) == 2
    assert "--watch" in capsys.readouterr().err


def monitor(done: Run) -> Monitor:
    goods, people = done.world.catalogue, done.world.shoppers
    return Monitor(goods, people, done.registry, Facts(done.log, goods, people))


def seen(done: Run, day: int, **changes: pa.Table) -> Seen:
    impressions, feedback = done.log.day(day)
    none = np.empty(0, dtype=np.int64)
    tables = {"impressions": impressions, "feedback": feedback, **changes}
    return Seen(day=day, unavailable=none, served={}, trained={}, **tables)


def with_item(table: pa.Table, item_id: int, schema: pa.Schema) -> pa.Table:
    """The table with another item in its first row."""
    items = table["item_id"].to_numpy().copy()
    items[0] = item_id
    place = table.column_names.index("item_id")
    return table.set_column(place, schema.field("item_id"), pa.array(items, pa.int32()))


@pytest.mark.parametrize("item_id", [999_999, -5, 2**31 - 1])
def test_an_impossible_item_is_told_and_stops_nothing(item_id: int, whole: Run) -> None:
    """In either table; the rest of the day is looked at."""
    shown, heard = whole.log.day(0)
    watch = monitor(whole)
    found = watch.look(
        seen(
            whole,
            0,
            impressions=with_item(shown, item_id, IMPRESSIONS),
            feedback=with_item(heard, item_id, FEEDBACK),
        )
    )
    assert {"item_id", "feedback_item"} <= {one.check for one in found}
    assert watch.look(seen(whole, 1)) == []


def test_days_that_nobody_looked_at_are_told(whole: Run) -> None:
    """A gap is an alert of its own; the same day twice is refused."""
    watch = monitor(whole)
    watch.look(seen(whole, 0))
    assert "missing_days" in {one.check for one in watch.look(seen(whole, 3))}
    with pytest.raises(ConfigError, match="day of a look: 3 .*day 3 was the last"):
        watch.look(seen(whole, 3))


def test_a_day_that_is_lost_is_told(whole: Run) -> None:
    """Words for numbers: nothing could be logged, and that is said beside the schema."""
    shown, _ = whole.log.day(0)
    words = shown.set_column(5, "item_id", pa.array(["a"] * shown.num_rows))
    assert {"rows_lost", "schema"} <= {one.check for one in monitor(whole).look(seen(whole, 0, impressions=words))}


def test_an_alert_is_told_once_and_an_error_is_not_hidden_by_a_warning(whole: Run) -> None:
    """A column too many from the first day on is told on that day; one that goes missing later is told too."""
    watch = monitor(whole)
    told = []
    for day in range(6):
        table = whole.log.day(day)[0].append_column("utm", pa.array([1] * whole.log.day(day)[0].num_rows))
        if day == 4:
            table = table.drop_columns(["dwell"])
        told += [(one.day, one.severity, one.where) for one in watch.look(seen(whole, day, impressions=table))]
    schema = [one for one in told if "impressions: the column" in one[2]]
    assert schema == [(0, "warning", "impressions: the column utm"), (4, "error", "impressions: the column dwell")]
