"""The gate in the ring: the oracle proves the home disadvantage, and a run with a gate is a run like any other."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.lab.config import RunConfig
from simlab.lab.loop import Ring, open_ring, run, run_day
from simlab.recsys.evaluation import top_lists
from simlab.recsys.gates import GateConfig
from simlab.recsys.models import FactorModel
from simlab.recsys.online import OnlineConfig
from simlab.recsys.rivals import Home, Models, home_disadvantage
from simlab.schema import Bools, Labels, Requests, Slates

DAYS, N_USERS, N_ITEMS, N = 14, 300, 60, 5
WORLD = {"n_users": N_USERS, "n_items": N_ITEMS, "history_days": 14, "new_items_per_week": 0, "drift": 0.0}
EXPLORING = OnlineConfig(exploration="epsilon", epsilon=0.2, candidates=N_ITEMS)
REQUESTS = Requests(day=DAYS - 1, user_id=np.arange(N_USERS), visit=np.zeros(N_USERS, dtype=np.int64), n=N)
ODD = np.arange(N_ITEMS) % 2 == 1


def knowing(ring: Ring, hidden: Bools) -> FactorModel:
    """A model that knows every shopper's true taste, and thinks nothing of the `hidden` items."""
    taste = np.rint(ring.oracle.utilities(REQUESTS) * 2**10) / 2**10 - 20.0 * hidden
    known = np.ones(N_USERS, dtype=np.bool_)
    return FactorModel(user_vector=taste, item_vector=np.eye(N_ITEMS), item_bias=np.zeros(N_ITEMS), known=known)


@cache
def shop(seed: int) -> tuple[Ring, FactorModel]:
    """A shop after two weeks of a champion that never shows odd items but by exploration, and the champion."""
    config = RunConfig(days=DAYS, retrain="never", seed=seed, n_positions=N, world=WORLD, online=EXPLORING)
    ring = open_ring(config, Path(mkdtemp()) / "run")
    champion = knowing(ring, ODD)
    ring.registry.register(champion, "planted", {"trained_day": 0})
    ring.registry.promote("planted", day=0, actor="test", reason="planted")
    for day in range(DAYS):
        run_day(ring, day)
    return ring, champion


def worth(ring: Ring, model: FactorModel) -> float:
    """True clicks of a place that is filled from what the model has for it: at place p its ranks p+1 .. p+k."""
    best = top_lists(model, REQUESTS.user_id, 2 * N - 1, DAYS - 1, np.ones(N_ITEMS, dtype=np.bool_))
    arm = Labels.constant("test", N_USERS)
    clicks = []
    for shift in range(N):
        items = best[:, shift : shift + N]
        slates = Slates(
            requests=REQUESTS,
            item_id=items,
            propensity=np.ones(items.shape),
            source=np.zeros(items.shape, dtype=np.int64),
            model_version=arm,
            arm=arm,
        )
        clicks.append(ring.oracle.value(slates).clicks.mean())
    return float(np.mean(clicks)) / N


def home(seed: int, hidden: Bools) -> tuple[Home, float]:
    """What the gate's figures say of a challenger that hides these items, and by which share it truly is better."""
    ring, champion = shop(seed)
    challenger = knowing(ring, hidden)
    grounds = replace(GateConfig(k=N, days=DAYS).grounds(DAYS), first=0)
    found = home_disadvantage(
        ring.log, Models(challenger, champion, champion, 0), ring.world.catalogue, ring.world.shoppers, grounds
    )
    return found, worth(ring, challenger) / worth(ring, champion) - 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_champion_wins_at_home_against_its_truly_better(seed: int) -> None:
    """The challenger knows all that the champion knows and hides nothing: the oracle finds it half as good again.

    The plain comparison surely prefers the champion. The corrected one does not: it prefers the challenger, and its
    interval holds the truth.
    """
    found, truth = home(seed, np.zeros(N_ITEMS, dtype=np.bool_))
    assert truth > 0.5
    assert found.plain.high < -0.15
    assert found.corrected.value > 0.3
    assert found.corrected.low < truth < found.corrected.high + 0.1


def test_the_champion_wins_at_home_against_its_equal() -> None:
    """A challenger of the other half of the goods is as good, give or take, and never shown: plainly it loses it all.

    The mean of the corrected figures of three shops is within their errors of the mean of the truths.
    """
    found = [home(seed, ~ODD) for seed in (1, 2, 3)]
    assert all(one.plain.high < -0.9 for one, _ in found)
    truth = np.mean([true for _, true in found])
    errors = [(one.corrected.high - one.corrected.low) / 3.92 for one, _ in found]
    corrected = np.mean([one.corrected.value for one, _ in found])
    assert abs(corrected - truth) < 3 * np.sqrt(np.square(errors).sum()) / 3
    assert abs(truth) < 0.5


SMALL = {"n_users": 200, "n_items": 60, "history_days": 21, "new_items_per_week": 2}
STRICT = RunConfig(days=9, retrain="scheduled:3", seed=7, world=SMALL, gate="strict")


def test_a_gate_that_cannot_tell_lets_nobody_through(tmp_path: Path) -> None:
    """Without exploration the first champion stays; every third day one is tried, registered, and the history says why.

    So all shoppers see what they would see if nothing were ever trained again.
    """
    done = run(STRICT, out=tmp_path / "run")
    rows = [row for row in done.registry.history("champion") if row["actor"] == "gate"]
    assert [row["day"] for row in rows] == [3, 6]
    assert {row["version"] for row in rows} == {"lightfm-day00000"}
    assert all("inconclusive" in row["reason"] for row in rows)
    assert {"lightfm-day00003", "lightfm-day00006"} < set(done.registry.versions())
    never = run(replace(STRICT, retrain="never", gate="none"), out=tmp_path / "never")
    assert done.log.digest() == never.log.digest()
    assert done.metrics["model_age"].tolist() == list(range(9))


def test_a_gated_run_can_be_killed(tmp_path: Path) -> None:
    """Opened again after any day, it goes on as if it had not been: the gate's last try is in the history."""
    config = replace(STRICT, online=replace(EXPLORING, epsilon=0.5))
    whole = run(config, out=tmp_path / "whole")
    for day in range(config.days):
        run_day(open_ring(config, tmp_path / "parts"), day)
    parts = run(config, out=tmp_path / "parts")
    assert parts.log.digest() == whole.log.digest()
    assert parts.registry.history() == whole.registry.history()
    assert parts.metrics.equals(whole.metrics)
    shutil.rmtree(tmp_path / "parts")


def test_a_canary_that_the_gate_sent_is_judged(tmp_path: Path) -> None:
    """The gate's canary has shoppers from the same day on, and no other is trained while it has."""
    done = run(replace(STRICT, gate="canary"), out=tmp_path / "run")
    rows = done.registry.history("canary")
    assert (rows[0]["action"], rows[0]["day"], rows[0]["version"]) == ("canary", 3, "lightfm-day00003")
    arms = done.log.sql("select distinct day from impressions where arm = 'canary' order by day")["day"].tolist()
    assert arms[0] == 3
    assert "lightfm-day00006" not in done.registry.versions()


def test_an_unknown_gate_is_refused() -> None:
    """The names of the gates are listed."""
    with pytest.raises(ConfigError, match="strict"):
        RunConfig(gate="stric")
