"""The lesson of each named world, measured with the oracle, and gone where the rate of its behaviour is 0.

The short form is one seed; `make soak` proves the others. Worlds are smaller than the presets, to be quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.lab.config import RunConfig
from simlab.lab.loop import open_ring, run, run_day
from simlab.lab.replay import slates_of
from simlab.lab.run import Run
from simlab.recsys.models import FactorModel
from simlab.recsys.training import TrainingConfig
from simlab.schema import Bools, Floats, Ints, Requests

SEEDS = [pytest.param(seed, marks=[pytest.mark.soak] if seed else []) for seed in range(20)]

SMALL: dict[str, Any] = {"n_users": 800, "n_items": 200}

every_seed = pytest.mark.parametrize("seed", SEEDS)


def played(folder: Path, preset: str, seed: int, world: dict[str, Any], retrain: str = "never", **others: Any) -> Run:
    """A run in a new folder; `others` are days, segments and settings of the training."""
    more = {name: others.pop(name) for name in ("days", "segments") if name in others}
    path = folder / str(len(list(folder.iterdir())))
    training = TrainingConfig(**others)
    return run(RunConfig(preset=preset, seed=seed, world=world, retrain=retrain, training=training, **more), out=path)


def week(run: Run, number: int, name: str = "share_of_best") -> float:
    """A true metric in a week, counted from 1; a visit weighs the same on every day."""
    return float(run.weeks()[name][number])


def told(seed: int, **figures: float | list[float]) -> None:
    """The margins, for whoever wants to see them (pytest -rP)."""
    print(f"seed {seed:2}", *(f"{name} {np.round(value, 3)}" for name, value in figures.items()))


@every_seed
def test_shop(tmp_path: Path, seed: int) -> None:
    """True clicks a visit: in week 1 by what is learnt, counted and drawn; in week 9 trained fortnightly or never."""
    first = {
        name: week(played(tmp_path, "shop", seed, SMALL, days=7, algorithm=name), 1, "true_clicks_per_visit")
        for name in ("random", "popularity", "lightfm")
    }
    frozen, often = (
        week(played(tmp_path, "shop", seed, SMALL, retrain, days=63), 9) for retrain in ("never", "scheduled:14")
    )
    told(seed, **first, frozen=frozen, often=often)
    assert first["lightfm"] > 1.3 * first["popularity"] > 1.3 * 1.5 * first["random"]
    assert often > 1.04 * frozen


@every_seed
def test_drifting(tmp_path: Path, seed: int) -> None:
    """Week 9 against week 1: frozen loses a tenth, trained weekly less than half of that; without drift nothing."""
    crowd, loss = {**SMALL, "n_users": 1200}, {}
    for name, world, retrain in (
        ("frozen", crowd, "never"),
        ("weekly", crowd, "scheduled:7"),
        ("still", {**SMALL, "drift": 0.0}, "never"),
    ):
        of = played(tmp_path, "drifting", seed, world, retrain, days=63, window_days=28)
        loss[name] = 1 - week(of, 9) / week(of, 1)
    told(seed, **loss)
    assert loss["frozen"] > 0.1
    assert loss["weekly"] < loss["frozen"] / 2
    assert abs(loss["still"]) < 0.04


@every_seed
def test_shock(tmp_path: Path, seed: int) -> None:
    """The shock is on the first day of week 4. Falls and recoveries are shares of what there was in week 3."""
    frozen = played(tmp_path, "shock", seed, SMALL, days=63, window_days=14)
    weekly = played(tmp_path, "shock", seed, SMALL, "scheduled:7", days=63, window_days=14)
    calm = played(tmp_path, "shock", seed, {**SMALL, "change": {"shift_share": 0.0}}, days=28, window_days=14)
    fall, rise = {}, {}
    for name, of in (("frozen", frozen), ("weekly", weekly), ("calm", calm)):
        fall[name] = 1 - week(of, 4) / week(of, 3)
        rise[name] = (week(of, 9) - week(of, 4)) / week(of, 3) if of is not calm else 0.0
    told(seed, **fall, back_frozen=rise["frozen"], back_weekly=rise["weekly"])
    assert min(fall["frozen"], fall["weekly"]) > 0.3
    assert abs(rise["frozen"]) < 0.05
    assert rise["weekly"] > 0.2
    assert abs(fall["calm"]) < 0.05


@every_seed
def test_seasonal(tmp_path: Path, seed: int) -> None:
    """Learnt in one fortnight, judged half a year after it (weeks 3 and 4) and a year after it (weeks 7 and 8)."""
    half, year = {}, {}
    for name, rates in (("seasons", {}), ("none", {"season": 0.0})):
        of = played(tmp_path, "seasonal", seed, {**SMALL, "change": rates}, days=56, window_days=14)
        half[name] = (week(of, 3) + week(of, 4)) / 2 / week(of, 1)
        year[name] = (week(of, 7) + week(of, 8)) / 2 / week(of, 1)
    told(seed, half=half["seasons"], year=year["seasons"], half_none=half["none"], year_none=year["none"])
    assert half["seasons"] < 0.9
    assert year["seasons"] > 1
    assert half["seasons"] < 0.75 * year["seasons"]
    assert abs(half["none"] - 1) < 0.05
    assert abs(year["none"] - 1) < 0.05


@every_seed
def test_cold_start(tmp_path: Path, seed: int) -> None:
    """Share of the best with features against without, trained weekly; features that tell nothing do harm."""
    cold = {**SMALL, "loyalty": {"newcomers_per_week": 100}}
    gain = {}
    for name, world, segments in (
        ("cold", cold, False),
        ("strangers", {**cold, "segment_share": 0.0}, False),
        ("segments", cold, True),
    ):
        both = [
            played(tmp_path, "cold-start", seed, world, "scheduled:7", days=28, features=features, segments=segments)
            for features in (True, False)
        ]
        with_, without = (np.average(of.metrics["share_of_best"], weights=of.metrics["visits"]) for of in both)
        gain[name] = float(with_ / without)
    told(seed, **gain)
    assert gain["cold"] > 1.1
    assert gain["strangers"] < 1
    assert 1 < gain["segments"] < gain["cold"]  # counting by segment knows part of what features say


@dataclass(frozen=True)
class Turns:
    """On every second day the `n` items next to the best ten, not the best."""

    model: FactorModel

    @property
    def n_items(self) -> int:
        return self.model.n_items

    def knows(self, user_id: Ints) -> Bools:
        return self.model.knows(user_id)

    def scores(self, requests: Requests) -> Floats:
        scores = self.model.scores(requests)
        if requests.day % 2:
            best = np.argpartition(-scores, requests.n, axis=1)[:, : requests.n]
            np.put_along_axis(scores, best, scores.min() - 1, axis=1)
        return scores


@every_seed
def test_fatigue(tmp_path: Path, seed: int) -> None:
    """True clicks a visit: the best list in week 4 against day 0, and against taking turns; without boredom too."""
    kept, over = {}, {}
    for name, rates in (("bored", {}), ("eager", {"boredom": 0.0, "item_boredom": 0.0})):
        config = RunConfig(preset="fatigue", seed=seed, retrain="never", days=28, world={**SMALL, "change": rates})
        same = run(config, out=tmp_path / name)
        ring = open_ring(config, tmp_path / f"{name} in turns")
        model, _ = ring.registry.load(str(ring.registry.alias("champion")))
        assert isinstance(model, FactorModel)
        ring.service.deploy(Turns(model), "turns")
        for day in range(config.days):
            run_day(ring, day)
        clicks = week(same, 4, "true_clicks_per_visit")
        kept[name] = clicks / same.metrics["true_clicks_per_visit"][0]
        over[name] = week(Run(ring.path), 4, "true_clicks_per_visit") / clicks
    told(seed, kept=kept["bored"], turns=over["bored"], kept_eager=kept["eager"], turns_eager=over["eager"])
    assert kept["bored"] < 0.5
    assert over["bored"] > 1.1
    assert kept["eager"] > 0.9
    assert over["eager"] < 0.9


@every_seed
def test_influence(tmp_path: Path, seed: int) -> None:
    """What is popular, shown for eight weeks: its true clicks (week 8 to week 1), and how far shoppers are apart."""
    rise, apart = {}, {}
    for name, algorithm, rates in (
        ("popular", "popularity", {}),
        ("personal", "lightfm", {}),
        ("free", "popularity", {"influence": 0.0}),
    ):
        of = played(tmp_path, "influence", seed, {**SMALL, "change": rates}, days=56, algorithm=algorithm)
        rise[name] = week(of, 8, "true_clicks_per_visit") / week(of, 1, "true_clicks_per_visit")
        first, last = (of.oracle.state(day).taste for day in (0, 55))
        apart[name] = float(last.var(axis=0).sum() / first.var(axis=0).sum())
    told(seed, **rise, **{f"apart_{name}": value for name, value in apart.items()})
    assert rise["popular"] > 1.25
    assert apart["popular"] < min(0.9, 0.9 * apart["personal"])
    assert abs(rise["free"] - 1) < 0.1
    assert abs(apart["free"] - 1) < 0.05


def first_to_last(of: Run) -> tuple[float, float, float]:
    """How much better the first item of a fixed list is than the last: by raw clicks, by corrected ones, in truth."""
    clicks = "select position, avg(clicked::int) as rate from impressions where day {} group by all order by all"
    seen, curve = (of.log.sql(clicks.format(days), until=20)["rate"].to_numpy() for days in (">= 0", "< 0"))
    examined, clicked = np.zeros(10), np.zeros(10)
    for day in of.log.days:
        chances = of.oracle.chances(slates_of(of.log.day(day)[0], day, 10))
        examined += chances.examined.sum(axis=0)
        clicked += chances.clicked.sum(axis=0)
    fair, true = seen / curve, clicked / examined
    return float(seen[0] / seen[-1]), float(fair[0] / fair[-1]), float(true[0] / true[-1])


@every_seed
def test_position_heavy(tmp_path: Path, seed: int) -> None:
    """The popular list, frozen for three weeks. Where all see the whole slate, raw clicks are right."""
    whole = {**SMALL, "response": {"cascade_share": 0.0, "logit_share": 1.0}}
    raw, fair, true = first_to_last(played(tmp_path, "position-heavy", seed, SMALL, days=21, algorithm="popularity"))
    seen, _, real = first_to_last(played(tmp_path, "position-heavy", seed, whole, days=21, algorithm="popularity"))
    told(seed, raw=raw / true, fair=fair / true, whole=seen / real)
    assert raw > 12 * true
    assert 0.5 < fair / true < 2
    assert 0.7 < seen / real < 1.4


@every_seed
def test_niche(tmp_path: Path, seed: int) -> None:
    """Days 0-6: share of the best that the popular list has, and how much more a personal one is worth."""
    share, worth = {}, {}
    world = {"n_users": 800, "n_items": 400}
    for name, preset, changes in (
        ("niche", "niche", world),
        ("shop", "shop", world),
        ("alike", "niche", {**world, "taste_scale": 0.0, "response": {"base": -3.0}}),
    ):
        popular, personal = (
            week(played(tmp_path, preset, seed, changes, days=7, algorithm=algorithm), 1)
            for algorithm in ("popularity", "lightfm")
        )
        share[name], worth[name] = popular, personal / popular
    told(seed, **share, **{f"worth_{name}": value for name, value in worth.items()})
    assert share["niche"] < 0.75 * share["shop"]
    assert worth["niche"] > worth["shop"]
    assert share["alike"] > 0.8
    assert worth["alike"] < 1


@every_seed
def test_misspecified(tmp_path: Path, seed: int) -> None:
    """Recall on the last week of its own log, of a model trained fortnightly, beside its true share of the best."""
    recall, share = {}, {}
    for name, rates in (("odd", {}), ("plain", {"fuss": 0.0, "budget": 0.0, "complements": 0.0})):
        of = played(tmp_path, "misspecified", seed, {**SMALL, **rates}, "scheduled:14", days=35)
        recall[name] = of.registry.card("lightfm-day00028")["offline"]["recall_at_10"]
        share[name] = week(of, 5)
    told(seed, recall=recall["odd"], share=share["odd"], plain_recall=recall["plain"], plain_share=share["plain"])
    assert recall["odd"] > 0.85
    assert recall["odd"] > recall["plain"] - 0.05
    assert share["odd"] < 0.65
    assert share["plain"] > share["odd"] + 0.1


@pytest.mark.usefixtures("movielens")
@pytest.mark.parametrize("seed", SEEDS)
def test_movielens(tmp_path: Path, seed: int) -> None:
    """True clicks a visit in week 1 by what is learnt, counted and drawn, for a sample of the real users."""
    first = {
        name: week(
            played(tmp_path, "movielens", seed, {"n_users": 300}, days=7, algorithm=name), 1, "true_clicks_per_visit"
        )
        for name in ("random", "popularity", "lightfm")
    }
    told(seed, **first)
    assert first["lightfm"] > 1.1 * first["popularity"] > 1.1 * 1.5 * first["random"]
