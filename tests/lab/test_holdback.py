"""A holdback: the same shoppers for months, untouched by models, unseen by judges, and its lift is true."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import ConfigError, RunError
from simlab.lab import plots
from simlab.lab.branch import true_values
from simlab.lab.config import RunConfig
from simlab.lab.holdback import HoldbackConfig, effect, held_back
from simlab.lab.loop import run
from simlab.lab.run import Run
from simlab.lab.watching import findings, report_of
from simlab.recsys.facts import Facts
from simlab.recsys.training import TrainingConfig
from simlab.streams import stream

SHOP = RunConfig(
    days=14,
    seed=6,
    retrain="scheduled:5",
    n_positions=5,
    world={"n_users": 300, "n_items": 60, "history_days": 28},
    training=TrainingConfig(algorithm="als", n_components=4, window_days=28),
)
HALF = HoldbackConfig(share=0.4)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(SHOP, out=tmp_path_factory.mktemp("runs") / "held", over=held_back(HALF))


def test_who_is_held_back_stays_so(held: Run) -> None:
    """The arm of every row of the log is what the hash of its user says, on all days."""
    rows = held.log.sql("select user_id, arm = 'holdback' as held from impressions where day >= 0")
    assert (rows["held"].to_numpy() == HALF.holds(rows["user_id"].to_numpy())).all()
    share = HALF.holds(np.arange(10_000)).mean()
    assert abs(share - 0.4) < 4 * np.sqrt(0.24 / 10_000)


def test_the_held_back_get_chance_and_the_shop_goes_on(held: Run) -> None:
    """Each of 60 items first with the same propensity, credited to no model; a model is trained every five days."""
    rows = held.log.sql("select distinct source, model_version from impressions where arm = 'holdback'")
    assert rows.to_numpy().tolist() == [["exploration", "holdback-random-day00000"]]
    first = held.log.sql("select propensity from impressions where arm = 'holdback' and position = 0")["propensity"]
    assert first.to_numpy() == pytest.approx(1 / held.world.catalogue.on_sale(0).sum(), rel=1e-4)
    assert [row["day"] for row in held.registry.history("champion")] == [0, 5, 10]


def test_the_served_see_what_they_would_have_seen(tmp_path: Path) -> None:
    """With a frozen model, row for row: a holdback moves nobody else."""
    frozen = replace(SHOP, days=5, retrain="never")
    alone, beside = run(frozen, out=tmp_path / "a"), run(frozen, out=tmp_path / "b", over=held_back(HALF))
    rows = [
        one.log.sql("select impression_id, user_id, item_id, clicked from impressions where day >= 0 order by all")
        for one in (alone, beside)
    ]
    served = [part[~HALF.holds(part["user_id"].to_numpy())].to_numpy() for part in rows]
    assert len(served[0])
    assert (served[0] == served[1]).all()
    others = [part[HALF.holds(part["user_id"].to_numpy())].to_numpy() for part in rows]
    assert not (others[0] == others[1]).all()


def test_policies_and_rules_let_it_be(held: Run) -> None:
    """What policies look at has nobody of the holdback in it, and its rows break no rule of the log."""
    facts = Facts(held.log, held.world.catalogue, held.world.shoppers)
    for day in held.days:
        assert not HALF.holds(facts.day(day).user_id).any()
        assert len(facts.day(day).user_id)
    assert findings(held, report_of(held)) == []


def test_the_interval_of_the_lift_holds_the_true_one(held: Run, tmp_path: Path) -> None:
    """The lab runs the shop twice, all served and all by chance; the company has half of it, and its interval."""
    everybody = {
        name: run(replace(SHOP, days=7, training=replace(SHOP.training, algorithm=name)), out=tmp_path / name)
        for name in ("als", "random")
    }
    served, by_chance = (true_values(one)["clicks"].sum() for one in everybody.values())
    (week, *_) = effect(held).to_dict("records")
    assert week["low"] < served / by_chance - 1 < week["high"]
    assert 0 < week["low"] < week["lift"] < week["high"]
    assert week["lift"] == pytest.approx(week["served"] / week["held"] - 1)


def test_the_interval_is_that_of_shoppers_drawn_again(held: Run) -> None:
    """The bootstrap over shoppers of both groups has the same width, to a fifth."""
    rows = held.log.sql(
        """select user_id, sum(clicked::int)::double as clicks, count(distinct request_id)::double as visits
           from impressions where day between 0 and 6 group by all order by all"""
    )
    rng, ratios = stream(1, "shoppers drawn again"), []
    for back in (False, True):
        part = rows[HALF.holds(rows["user_id"].to_numpy()) == back][["clicks", "visits"]].to_numpy(float)
        drawn = part[rng.integers(len(part), size=(2000, len(part)))].sum(axis=1)
        ratios.append(np.log(drawn[:, 0] / drawn[:, 1]))
    low, high = (np.log1p(effect(held)[end][1]) for end in ("low", "high"))
    assert high - low == pytest.approx(2 * 1.96 * float((ratios[0] - ratios[1]).std()), rel=0.2)


def test_where_both_get_the_same_there_is_no_lift(tmp_path: Path) -> None:
    """What was popular for everybody, whatever the arm: 0 lies in the intervals, and the log is that without it."""
    config = replace(SHOP, retrain="never", segments=False, training=TrainingConfig(algorithm="popularity"))
    done = run(config, out=tmp_path / "same", over=held_back(replace(HALF, by="popularity")))
    table = effect(done)
    assert ((table["low"] < 0) & (table["high"] > 0)).all()
    alone = run(config, out=tmp_path / "alone")
    assert done.metrics["clicks"].equals(alone.metrics["clicks"])


def test_a_run_goes_on_with_the_holdback_that_it_had(held: Run, tmp_path: Path) -> None:
    """Killed and gone on with, it is the same run; with another holdback, or begun without one, it is refused."""

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["day"] == 6:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(SHOP, out=path, over=held_back(HALF), progress=stop)
    with pytest.raises(RunError, match="begun with"):
        run(SHOP, out=path, over=held_back(replace(HALF, share=0.3)))
    assert run(SHOP, out=path, over=held_back(HALF)).log.digest() == held.log.digest()
    with pytest.raises(KeyboardInterrupt):
        run(SHOP, out=tmp_path / "without", progress=stop)
    with pytest.raises(RunError, match="begun with None"):
        run(SHOP, out=tmp_path / "without", over=held_back(HALF))


def test_impossible_holdbacks_are_named() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="share of a holdback"):
            HoldbackConfig(share=share)
    with pytest.raises(ConfigError, match="what a holdback shows"):
        HoldbackConfig(by="als")


def test_the_figure_says_the_first_and_the_last_lift(held: Run) -> None:
    table = effect(held)
    first, last = (1 + table["lift"].iloc[place] for place in (0, -1))
    title = plots.lift(table).get_suptitle().replace("\n", " ")
    assert f"{first:.1f} times as often as the held back in week 1, {last:.1f} times in week 2" in title
