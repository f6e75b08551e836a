"""What if: branches are the run until their day, and pairs are surer than strangers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import ConfigError, RunError
from simlab.lab.branch import branch, true_values, what_if
from simlab.lab.config import RunConfig
from simlab.lab.loop import run
from simlab.lab.oracle import what_if as asked_of_the_oracle
from simlab.lab.run import Run
from simlab.recsys.training import TrainingConfig
from tests.lab.test_loop import DEEP_CONFIG, contents

QUICK = TrainingConfig(algorithm="als", n_components=8)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a world with every behaviour on."""
    return run(replace(DEEP_CONFIG, training=QUICK), out=tmp_path_factory.mktemp("runs") / "deep")


@pytest.mark.parametrize("day", [0, 1, 5])
def test_a_branch_with_nothing_changed_is_the_run(day: int, deep: Run, tmp_path: Path) -> None:
    """What shoppers remember is told again from the log: from whichever day it goes on, every byte is the same."""
    twin = branch(deep, day, {}, out=tmp_path / "twin")
    ours, theirs = contents(twin.path), contents(deep.path)
    assert json.loads(ours.pop("config.json"))["branch"]["day"] == day
    del theirs["config.json"]
    assert ours == theirs


def test_a_branch_is_the_run_until_its_day_and_another_after(deep: Run, tmp_path: Path) -> None:
    """The same log before; other models after. It can be gone on with like any run."""
    other = branch(deep, 4, {"retrain": "never", "training": {"algorithm": "popularity"}}, out=tmp_path / "other")
    assert other.log.digest(until=3) == deep.log.digest(until=3)
    assert other.log.digest() != deep.log.digest()
    rows = other.registry.history("champion")
    assert [row["day"] for row in rows] == [0, 3, 4]
    assert rows[-1]["reason"] == "branch: other training"
    assert run(other.config, out=other.path).log.digest() == other.log.digest()


def test_the_difference_is_that_of_the_metrics(deep: Run) -> None:
    """Summed over shoppers it is what the days' own truth says."""
    found = what_if(deep, 3, {"latency_ms": 2000.0})
    for name, column in (("clicks", "true_clicks_per_visit"), ("margin", "true_margin_per_visit")):
        totals = [(one.metrics[column] * one.metrics["visits"]).loc[3:].sum() for one in (found.run, found.branch)]
        assert found.by_user[name].sum() == pytest.approx(totals[1] - totals[0])
    assert "branch less run, days 3 to 7" in str(found)
    row = found.table.loc["clicks"]
    assert row["high"] < 0  # slow slates are looked at less
    assert row["difference"] == pytest.approx(found.by_user["clicks"].mean())
    assert row["high"] - row["low"] == pytest.approx(2 * 1.959964 * row["error"])


def test_nothing_changed_makes_no_difference(deep: Run) -> None:
    """Exactly none, also when asked of the oracle."""
    assert (asked_of_the_oracle(deep, 2, {}).by_user == 0).all(axis=None)


@pytest.mark.parametrize(
    ("day", "change", "named"),
    [
        (8, {}, "day of a branch: 8"),
        (-1, {}, "day of a branch: -1"),
        ("2", {}, "day of a branch: '2'"),
        (True, {}, "day of a branch: True"),
        (2, None, "change: None"),
        (2, {"algorithm": "als"}, "it is in training"),
        (2, {"training": {"seed": 5}}, "training.seed: 5"),
        (2, {"seed": 3}, "setting of a branch: 'seed'"),
        (2, {"retrain": "weekly"}, "retrain policy: 'weekly'"),
        (2, {"training": {"algorithm": "magic"}}, "algorithm: 'magic'"),
    ],
)
def test_what_cannot_be_branched_is_named(day: Any, change: Any, named: str, deep: Run) -> None:
    with pytest.raises(ConfigError, match=named):
        what_if(deep, day, change)


def test_a_folder_in_use_and_an_unfinished_run_are_refused(deep: Run, tmp_path: Path) -> None:
    """Nothing is put into somebody's folder, and half a run has no other half."""
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        branch(deep, 2, {}, out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]
    part = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        run(replace(deep.config, days=5), out=part, progress=_stop)
    with pytest.raises(RunError, match="not finished"):
        branch(Run(part), 2, {})


def _stop(metrics: dict[str, Any]) -> None:
    if metrics["day"] == 2:
        raise KeyboardInterrupt


def errors_of(n_lucks: int, *, n_users: int, days: int, day: int) -> tuple[float, float, float]:
    """Standard errors of the true difference in clicks between retraining and not, over `n_lucks` of one world.

    The first between a run and its branch, the second between runs of different luck; the third is what `what_if`
    states, the mean of it.
    """
    world = {"n_users": n_users, "n_items": 150, "history_days": 28}
    never, often, stated = [], [], []
    for luck in range(n_lucks):
        config = RunConfig(days=days, retrain="never", world={**world, "luck": luck}, training=QUICK)
        done = run(config)
        found = what_if(done, day, {"retrain": "scheduled:7"})
        never.append(true_values(done, day)["clicks"].sum())
        often.append(true_values(found.branch, day)["clicks"].sum())
        stated.append(float(found.table["error"]["clicks"]) * n_users)
    pairs = np.array(often) - np.array(never)
    strangers = np.var(often, ddof=1) + np.var(never, ddof=1)  # of independent runs
    return float(np.std(pairs, ddof=1)), float(np.sqrt(strangers)), float(np.mean(stated))


def test_pairs_are_surer_than_strangers() -> None:
    """A short form: the standard error of paired runs is less than half of that of independent ones."""
    paired, independent, _ = errors_of(8, n_users=200, days=16, day=7)
    assert paired < independent / 2


@pytest.mark.soak
def test_pairing_cuts_the_standard_error_threefold() -> None:
    """Over 40 lucks of a world of 400 shoppers: at least threefold, and the stated error holds that of the pairs."""
    paired, independent, stated = errors_of(40, n_users=400, days=42, day=14)
    print(f"standard error of the difference: paired {paired:.1f}, independent {independent:.1f}, stated {stated:.1f}")
    assert paired < independent / 3
    assert 0.6 * paired < stated < 2.5 * paired
