"""What real time adds over batch alone, in true value: a lesson that must hold, and its counterfactual."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

import simlab
from simlab.lab.branch import what_if
from simlab.recsys.online import OnlineConfig

ON = asdict(OnlineConfig(fold_in=4.0))


def gain(seed: int, days: int = 28, **world: Any) -> float:
    """By how much fold-in raises the true clicks a visit of a model that is never trained again, as a share."""
    clicks = []
    for online in ({}, ON):
        run = simlab.run(
            preset="drifting", days=days, seed=seed, retrain="never", online=online, world={"n_users": 600, **world}
        )
        weeks = run.metrics
        clicks.append(np.average(weeks["true_clicks_per_visit"], weights=weeks["visits"]))
    return float(clicks[1] / clicks[0] - 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_fold_in_is_worth_something_where_tastes_drift(seed: int) -> None:
    """Between trainings fresh clicks alone bring back part of what the drift takes."""
    assert gain(seed) > 0.02


@pytest.mark.soak
def test_what_fold_in_is_worth_on_twenty_seeds() -> None:
    """Every seed gains, and the median is several per cent."""
    gains = np.array([gain(seed) for seed in range(20)])
    print(f"fold-in, drifting, 28 days: min {gains.min():.3f}, median {np.median(gains):.3f}, max {gains.max():.3f}")
    assert gains.min() > 0
    assert np.median(gains) > 0.04


def test_a_branch_with_real_time_is_paired_with_its_run() -> None:
    """The same shoppers with the same luck: what real time adds is told with an interval, and is above 0."""
    done = simlab.run(preset="drifting", days=21, seed=5, retrain="never", world={"n_users": 600})
    told = what_if(done, 7, {"online": ON}).table.loc["clicks"]
    assert told["low"] > 0


def test_a_page_shows_what_the_click_before_it_has_changed() -> None:
    """Within one visit: with fold-in the second page differs from the batch's, and only after a click."""
    world = {"n_users": 200, "rhythm": {"next_page": 0.6}}
    runs = [simlab.run(days=1, seed=2, online=online, world=world) for online in ({}, ON)]
    batch, live = (run.log.sql("select * from impressions where day = 0 order by impression_id") for run in runs)
    tables = [
        rows[(rows["request_id"] // 4096 % 16) == 0]
        .groupby("request_id")
        .agg(items=("item_id", tuple), clicks=("clicked", "sum"))
        for rows in (batch, live)
    ]
    first = [table[(table.index // 256 % 16) == 0] for table in tables]
    fresh = first[0].index.to_numpy() // 65536  # nobody has clicked since the model was trained
    assert first[0]["items"].equals(first[1]["items"])
    second = [table[(table.index // 256 % 16) == 1] for table in tables]
    clicked = dict(zip(fresh.tolist(), first[1]["clicks"].tolist(), strict=True))
    same = {True: 0, False: 0}
    changed = {True: 0, False: 0}
    for request_id, items in second[1]["items"].items():
        after = clicked[int(str(request_id)) // 65536] > 0
        equal = second[0]["items"].get(request_id) == items
        (same if equal else changed)[after] += 1
    assert changed[False] == 0
    assert changed[True] > 0.5 * (changed[True] + same[True])
