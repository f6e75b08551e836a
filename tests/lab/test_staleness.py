"""Staleness: losses that are paired, a period that is the least of them, and an interval that tells when it is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.lab import plots
from simlab.lab.config import RunConfig
from simlab.lab.costs import CostConfig
from simlab.lab.loop import run
from simlab.lab.run import Run
from simlab.lab.staleness import Staleness, log_effect, staleness
from simlab.recsys.training import TrainingConfig
from simlab.schema import Floats
from simlab.streams import stream

SHOP = RunConfig(
    preset="drifting",
    days=24,
    seed=5,
    retrain="scheduled:6",
    n_positions=5,
    world={"n_users": 500, "n_items": 60, "history_days": 28, "drift": 0.5},
    training=TrainingConfig(algorithm="als", n_components=8, window_days=14),
)

FREE = CostConfig(compute=0.0, training_hours=0.0, promotion_hours=0.0, bad_model_chance=0.0)


def priced(euros: float) -> CostConfig:
    """A training for `euros`, whatever its size."""
    return replace(FREE, training_hours=1.0, hourly_rate=euros)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(SHOP, out=tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def found(done: Run) -> Staleness:
    return staleness(done, every=3, horizon=12)


def made(curve: Floats, *, noise: float = 0.0, n_models: int = 30, n_users: int = 50) -> Staleness:
    """Losses that lie around `curve`, one age a day: a day's noise that a model's shoppers share."""
    loss = np.broadcast_to((curve / n_users)[None, :, None], (n_models, len(curve), n_users)).copy()
    luck = stream(1, "made losses").standard_normal((n_models, len(curve)))
    loss += (noise * luck / n_users)[:, :, None]
    return Staleness(
        trained=np.arange(n_models),
        ages=np.arange(len(curve)),
        loss=loss,
        fresh=np.ones((n_models, n_users)),
        rows=1000.0,
        epochs=10,
        seed=1,
    )


def test_the_period_is_that_of_the_closed_form() -> None:
    """Where a model loses b euros a day more each day, (C + b T (T - 1) / 2) / T is least at T = sqrt(2 C / b)."""
    for euros, slope in ((400.0, 8.0), (100.0, 2.0), (162.0, 1.0)):
        advice = made(slope * np.arange(40.0)).advise(priced(euros))
        best = np.sqrt(2 * euros / slope)
        assert advice.period == round(best)
        assert advice.policy == f"scheduled:{round(best)}"
        rate = (euros + slope * best * (best - 1) / 2) / best
        assert advice.table["cost"][advice.period] == pytest.approx(rate)


def test_dear_trainings_are_rarer() -> None:
    """The period grows with the price; a training for nothing is made daily, and one beyond price never."""
    losses = made(5.0 * np.arange(20.0))
    periods = [losses.advise(priced(euros)).period for euros in (0.0, 50.0, 400.0, 1e6)]
    assert periods == sorted(set(periods))
    assert (periods[0], periods[-1]) == (1, 20)
    assert "it may be longer, or never" in str(losses.advise(priced(1e6)))
    assert "never" not in str(losses.advise(priced(50.0)))


def test_a_worse_log_shortens_the_period() -> None:
    """With g euros a day for each day of it, (C + b T (T - 1) / 2) / T + g T is least at T = sqrt(C / (b / 2 + g))."""
    losses = made(2.0 * np.arange(60.0))
    assert losses.advise(priced(900.0), log_effect=3.0).period == 15
    assert losses.advise(replace(priced(3600.0), scale=4.0), log_effect=3.0).period == 15
    rarely = replace(losses, fresh=losses.fresh - 0.5)  # of each of 50 shoppers, over 5 days
    value, error = log_effect(losses, rarely, 5)
    assert value == pytest.approx(5.0)
    assert error == pytest.approx(0.0)
    with pytest.raises(ConfigError, match="runs to compare"):
        log_effect(losses, made(np.arange(60.0), n_users=20), 5)


def test_shoppers_are_drawn_again() -> None:
    """Where only shoppers differ, the interval is that of their mean: 1.96 standard deviations times sqrt(U) a side."""
    own = stream(2, "shoppers").standard_normal(400)
    losses = replace(made(np.zeros(4), n_users=400), loss=np.broadcast_to(own, (30, 4, 400)).copy())
    half = (losses.curve["high"] - losses.curve["low"]).to_numpy() / 2
    assert half == pytest.approx(1.96 * own.std() * 20, rel=0.15)


def test_a_larger_company_trains_more_often() -> None:
    """What age costs grows with the shoppers, what an engineer costs does not: four times as many, half the period."""
    losses = made(2.0 * np.arange(60.0))
    assert losses.advise(priced(900.0)).period == 30
    assert losses.advise(replace(priced(900.0), scale=4.0)).period == 15


def test_intervals_hold_the_truth_and_shrink_with_models() -> None:
    """A known curve with noise: it lies within the band at four ages of five; four times the models, half as wide."""
    curve = 100.0 * (1 - np.exp(-np.arange(30.0) / 10))
    few, many = (made(curve, noise=20.0, n_models=n) for n in (20, 80))
    table = many.curve
    inside = (table["low"] <= curve) & (curve <= table["high"])
    assert inside.iloc[1:].mean() >= 0.8
    width = [float((one.curve["high"] - one.curve["low"]).mean()) for one in (few, many)]
    assert 1.6 < width[0] / width[1] < 2.4
    advice = many.advise(priced(300.0))
    true = (300.0 + np.cumsum(curve)) / np.arange(1, 31)
    assert advice.low <= 1 + int(true.argmin()) <= advice.high
    assert advice.low < advice.high


def test_a_fresh_model_loses_nothing_and_an_old_one_something(found: Staleness) -> None:
    """Exactly nothing at age 0; where tastes run, more by the end, beyond its interval."""
    curve = found.curve
    assert (curve.loc[0, ["loss", "low", "high"]] == 0).all()
    assert curve["low"][12] > 0
    assert curve["loss"][12] > curve["loss"][3] > 0
    assert curve["models"].tolist() == [8, 7, 6, 5, 4]


def test_the_model_of_a_day_is_the_one_the_ring_trained(done: Run, found: Staleness) -> None:
    """Day 6 is a training day of the run: both learnt from the same rows."""
    cards = [done.registry.card(f"als-day{day:05d}")["rows"] for day in (0, 6, 12, 18)]
    other = staleness(done, every=6, horizon=6)
    assert other.trained.tolist() == [0, 6, 12, 18]
    assert other.rows == pytest.approx(np.mean(cards))
    assert other.loss[1, 1] == pytest.approx(found.loss[2, 2])


def test_where_nothing_moves_nothing_is_lost(tmp_path: Path) -> None:
    """Random slates are as good at any age: no euro is lost, whoever trains."""
    still = replace(
        SHOP, days=9, retrain="never", world={**SHOP.world, "n_users": 100}, training=TrainingConfig(algorithm="random")
    )
    losses = staleness(run(still, out=tmp_path / "still"), every=3, horizon=6)
    assert np.nanmax(np.abs(losses.loss)) == 0
    assert losses.advise().period == losses.advise().horizon


def test_the_run_is_left_as_it_was(done: Run) -> None:
    """Looking back trains models that nobody promotes: not a file is changed."""
    before = {file: file.read_bytes() for file in sorted(done.path.rglob("*")) if file.is_file()}
    staleness(done, every=8, horizon=8)
    assert {file: file.read_bytes() for file in sorted(done.path.rglob("*")) if file.is_file()} == before


def test_the_figure_says_the_period(found: Staleness) -> None:
    """Or that none up to the horizon is best."""
    losses = made(5.0 * np.arange(20.0))
    cheap, dear = losses.advise(priced(90.0)), losses.advise(priced(1e6))
    assert "a training every 6 days" in plots.staleness(losses.curve, cheap.table).get_suptitle()
    assert "No period up to 20 days" in plots.staleness(losses.curve, dear.table).get_suptitle()
    assert plots.png(plots.staleness(found.curve, found.advise().table)).startswith(b"\x89PNG")


def test_impossible_ages_are_named(done: Run) -> None:
    for words, settings in (("every", {"every": 0}), ("horizon", {"horizon": 24}), ("horizon", {"every": 13})):
        with pytest.raises(ConfigError, match=words):
            staleness(done, **settings)
