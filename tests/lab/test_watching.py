"""A report stands beside the truth: ripe estimates lie about it, and those that are not ripe say so."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import simlab
from simlab.cli import main
from simlab.cli.parser import WATCHED
from simlab.errors import ConfigError
from simlab.lab.run import Run
from simlab.lab.watching import TRUE, beside_truth, findings, report_of
from simlab.recsys.monitor import RIPE_AFTER


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return simlab.run(days=42, world={"n_users": 600}, seed=8, out=tmp_path_factory.mktemp("run") / "run")


def test_ripe_intervals_hold_the_truth(run: Run) -> None:
    """Four ripe weeks of four rates: of 16 intervals of 95 % at most 3 miss (p < 0.01 that it is more, by chance)."""
    missed = 0
    for until in (6, 13, 20, 27):
        table = beside_truth(run, report_of(run, until=until)).loc[list(TRUE)]
        assert table["ripe"].all()
        missed += int(((table["truth"] < table["low"]) | (table["truth"] > table["high"])).sum())
    assert missed <= 3


def test_the_truth_of_a_window_is_that_of_its_visits(run: Run) -> None:
    """Clicks a visit: the days' expectations, weighted by their visits; conversion has no expectation to show."""
    told = report_of(run, days=3, until=10)
    days = run.metrics.loc[8:10]
    table = beside_truth(run, told)
    total = float((days["true_clicks_per_visit"] * days["visits"]).sum())
    assert table["truth"]["clicks_per_visit"] == pytest.approx(total / days["visits"].sum())
    assert np.isnan(table["truth"]["conversion"])


def test_a_young_estimate_lies_below_the_truth_and_says_so(run: Run) -> None:
    """Purchases of the week that has just ended; what its clicks foretell is nearer to the truth."""
    told = report_of(run)
    row = beside_truth(run, told).loc["purchases_per_visit"]
    assert (row["ripe"], row["high"] < row["truth"]) == (False, True)
    assert abs(told.foreseen[0] - row["truth"]) < row["truth"] - row["value"]
    assert not report_of(run, until=41 - RIPE_AFTER + 1).ripe


def test_days_that_have_not_happened_are_refused(run: Run) -> None:
    """Each naming what may be given."""
    for words, days, until, known in (
        ("days of a window: 0", 0, None, None),
        ("days of a window: 8 .*1 to 7", 8, 6, None),
        ("known: 42", 7, 41, 42),
        ("known: 5", 3, 6, 5),
    ):
        with pytest.raises(ConfigError, match=words):
            report_of(run, days, until, known)


def test_watch_prints_estimates_beside_the_truth(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A row a rate, those that are not ripe marked; and a row a group for every way to cut."""
    assert main(["watch", str(run.path)]) == 0
    told = capsys.readouterr().out
    assert "days 35 to 41, as known on the evening of day 41" in told
    truth = beside_truth(run, report_of(run))["truth"]["clicks_per_visit"]
    (clicks,) = (line for line in told.splitlines() if line.startswith("clicks a visit"))
    assert f"{truth:.3f}" in clicks
    assert told.count("not ripe") == 4
    assert "nothing is wrong with the data" in told
    assert set(WATCHED) == set(report_of(run).rates["by"])
    for by in ("segment", "position"):
        assert main(["watch", str(run.path), "--by", by, "--until", "20"]) == 0
        assert "click rate" in capsys.readouterr().out
    assert main(["watch", str(run.path), "--until", "90"]) == 2
    assert "until: 90 will not do; give a day from 0 to 41" in capsys.readouterr().err


def test_what_is_wrong_with_the_data_is_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A day whose positions count from 1, written over the log of a copy: named, with the day and a first look."""
    copy = Run(shutil.copytree(run.path, tmp_path / "copy"))
    assert findings(copy, report_of(copy)) == []
    file = copy.path / "log" / "day=00038" / "impressions.parquet"
    table = pq.read_table(file, partitioning=None)
    wrong = pa.array(table["position"].to_numpy() + 1, table.schema.field("position").type)
    pq.write_table(table.set_column(table.column_names.index("position"), "position", wrong), file)
    found = findings(copy, report_of(copy))
    assert {(one.day, one.check) for one in found} == {(38, "slate_holes")}
    assert main(["watch", str(copy.path)]) == 0
    assert "day 38, error, slate_holes" in capsys.readouterr().out
    assert findings(copy, report_of(copy, until=30)) == []
