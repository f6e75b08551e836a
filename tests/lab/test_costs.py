"""Costs: a bill that counts, gains that are paired, a frontier that nothing dominates."""

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simlab.errors import ConfigError
from simlab.lab import plots
from simlab.lab.branch import true_values
from simlab.lab.config import RunConfig
from simlab.lab.costs import Comparison, CostConfig, best_margins, bill, compare, frontier, training_cost
from simlab.lab.loop import run
from simlab.lab.replay import slates_of
from simlab.recsys.training import TrainingConfig

SMALL = RunConfig(
    preset="drifting",
    days=10,
    seed=3,
    n_positions=5,
    world={"n_users": 120, "n_items": 60, "history_days": 21},
    training=TrainingConfig(algorithm="als", n_components=4, epochs=3),
)
WEEKLY = "scheduled:3"


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare(SMALL, [WEEKLY, "scheduled:30"], seeds=[3, 4])


def row(table: pd.DataFrame, key: Hashable) -> dict[str, Any]:
    return {str(name): value for name, value in table.to_dict("index")[key].items()}


def test_a_bill_has_a_row_for_each_training_but_the_first(compared: Comparison) -> None:
    """Days 3, 6 and 9 of ten; each costs its rows and epochs, an hour rate and a risk, and none costs a thing twice."""
    costs = CostConfig(compute=50.0, hourly_rate=10.0, training_hours=2.0, promotion_hours=1.0, bad_model_chance=0.5)
    table = bill(compared.runs[3, WEEKLY], costs)
    assert table["day"].tolist() == [3, 6, 9]
    assert table["rows"].is_monotonic_increasing
    assert table["compute"].to_numpy() == pytest.approx(50.0 * table["rows"].to_numpy() * 3 / 1e6)
    assert (table["total"] - table["compute"]).tolist() == pytest.approx([30.0 + 2500.0] * 3)
    assert len(bill(compared.runs[3, "never"])) == 0


def test_a_model_that_is_not_promoted_costs_no_promotion() -> None:
    """Neither the hours nor the risk of it; the training is paid all the same."""
    costs = CostConfig()
    gone = sum(training_cost(1000, 10, costs).values()) - sum(training_cost(1000, 10, costs, promoted=False).values())
    assert gone == pytest.approx(costs.hourly_rate * costs.promotion_hours + 0.02 * 5000.0)


def test_a_warm_start_costs_its_own_epochs(tmp_path: Path) -> None:
    """Two passes after the first model's ten."""
    training = TrainingConfig(n_components=4, warm_epochs=2)
    done = run(replace(SMALL, days=4, retrain=WEEKLY, training=training), out=tmp_path / "warm")
    assert bill(done)["epochs"].tolist() == [2]


def test_gains_are_those_of_the_runs(compared: Comparison) -> None:
    """Margin and profit as the oracle and the bill tell of each run alone; the error is that of paired shoppers."""
    for seed in (3, 4):
        never, often = (true_values(compared.runs[seed, name])["margin"] for name in ("never", WEEKLY))
        told = row(compared.by_seed, (seed, WEEKLY))
        paid = bill(compared.runs[seed, WEEKLY])["total"].sum()
        assert told["margin"] == pytest.approx(often.sum())
        assert told["gain"] == pytest.approx(often.sum() - never.sum() - paid)
        assert told["error"] == pytest.approx(np.sqrt(len(never)) * (often - never).std())


def test_a_policy_that_never_comes_to_train_is_never(compared: Comparison) -> None:
    """Exactly no gain, at no cost, in every shop."""
    rows = compared.by_seed.xs("scheduled:30", level="policy")
    assert (rows[["gain", "error", "cost", "trainings"]].to_numpy() == 0).all()


def test_intervals_are_of_shoppers_and_of_shops(compared: Comparison) -> None:
    """Means over two shops: errors add in squares; Student's t with one degree of freedom over the shops."""
    rows, told = compared.by_seed.xs(WEEKLY, level="policy"), row(compared.table, WEEKLY)
    assert told["gain"] == pytest.approx(rows["gain"].mean())
    assert told["high"] - told["gain"] == pytest.approx(1.959964 * np.hypot(*rows["error"]) / 2)
    low, high = stats.t.interval(0.95, 1, rows["gain"].mean(), stats.sem(rows["gain"]))
    assert (told["seed_low"], told["seed_high"]) == (pytest.approx(low), pytest.approx(high))
    assert "mean of 2 shops" in str(compared)


def test_nothing_earns_more_than_the_best_slates(compared: Comparison) -> None:
    """For every shopper, as nothing here is remembered; and the frontier leaves them out, for they are no policy."""
    never = compared.runs[3, "never"]
    assert (best_margins(never) - true_values(never)["margin"] > -1e-9).all()
    asked = [slates_of(never.log.day(day)[0], day, 5).requests for day in never.days]
    of_clicks = sum(float(never.oracle.value(never.oracle.best(one)).margin.sum()) for one in asked)
    assert best_margins(never).sum() > 1.01 * of_clicks  # which are the best for clicks, and not for margin
    assert compared.table["margin"].idxmax() == "best"
    assert not compared.table["on_frontier"]["best"]


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(-5, 5)), min_size=1, max_size=8)


@given(POINTS)
def test_the_frontier_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    """Whoever is off it is dominated by somebody on it, and along it more cost always brings more profit."""
    table = pd.DataFrame(points, columns=["cost", "profit"], dtype=float)
    on = frontier(table)
    edge = table[on].drop_duplicates().sort_values("cost")
    assert on.any()
    assert (edge["profit"].diff().dropna() > 0).all()
    assert (edge["cost"].diff().dropna() > 0).all()
    for _, off in table[~on].iterrows():
        beaten = edge[(edge["cost"] <= off["cost"]) & (edge["profit"] >= off["profit"])]
        assert len(beaten)
        assert not (beaten == off).all(axis=1).any()


def test_a_larger_company_pays_engineers_once(compared: Comparison) -> None:
    """Ten times the shoppers: ten times the margin and the compute, and the same hours; nothing is run again."""
    one, ten = (row(compared.at(CostConfig(scale=scale)).by_seed, (3, WEEKLY)) for scale in (1, 10))
    assert ten["margin"] == pytest.approx(10 * one["margin"])
    assert ten["error"] == pytest.approx(10 * one["error"])
    assert one["cost"] < ten["cost"] < 1.1 * one["cost"]


def test_the_title_says_who_earns_most(compared: Comparison) -> None:
    """By gain, or that nothing does; every policy stands in the figure by name."""
    table = compared.table
    figure = plots.frontier(table)
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == {"never", WEEKLY, "scheduled:30"}
    dear, cheap = (table.assign(gain=table["gain"].where(table.index == "best", value)) for value in (0.0, 7.0))
    assert plots.frontier(dear).get_suptitle() == "No training pays for itself"
    assert "earns most, 7 € over never" in plots.frontier(cheap).get_suptitle().replace("\n", " ")


def test_what_cannot_be_compared_is_named() -> None:
    """Before anything is run."""
    with pytest.raises(ConfigError, match="retrain policy: 'weekly'"):
        compare(SMALL, ["weekly"])
    for seeds in ([], [1, 1]):
        with pytest.raises(ConfigError, match="seeds"):
            compare(SMALL, [WEEKLY], seeds=seeds)
    for name, value in (("scale", 0.0), ("bad_model_chance", 1.5), ("compute", -1.0)):
        with pytest.raises(ConfigError, match=name):
            replace(CostConfig(), **{name: value})
