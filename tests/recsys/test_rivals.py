"""Laws of comparing rivals: at home the champion beats its betters, on what chance has shown it does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel, RandomModel
from simlab.recsys.online import OnlineConfig, explore
from simlab.recsys.recipe import TrainingConfig
from simlab.recsys.registry import Registry
from simlab.recsys.rivals import Grounds, Models, compare_by_chance, compare_offline, home_disadvantage, rivals
from simlab.schema import Bools, Floats, Ints, Requests
from simlab.streams import stream
from tests.recsys.logs import PEOPLE, goods_of, log_of, people_of

N_ITEMS, N = 20, 4
ATTRACTION = np.linspace(0.05, 0.43, N_ITEMS)
EVEN = np.arange(N_ITEMS) % 2 == 0
GROUNDS = Grounds(first=-7, last=-1, known=0, k=N)


def ranking(hidden: Bools | None = None) -> PopularityModel:
    """Items by how good they are; the `hidden` ones last."""
    score = ATTRACTION - (0 if hidden is None else 9.0 * hidden)
    return PopularityModel(score=np.asarray(score))


def log_by(path: Path, model: PopularityModel, epsilon: float, n: int = 5000, seed: int = 0) -> EventLog:
    """Slates of `model` on day -1 with so much exploration among all items; clicks by attraction alone."""
    rng = stream(seed, "test", "rivals")
    order = np.argsort(-model.score, kind="stable")
    score = np.tile(model.score[order], (n, 1))
    requests = Requests(day=0, user_id=np.arange(n), visit=np.zeros(n, dtype=np.int64), n=N)
    config = OnlineConfig(exploration="epsilon", epsilon=epsilon, candidates=N_ITEMS)
    items, propensity, chance = explore(config, np.tile(order, (n, 1)), score, np.zeros(N_ITEMS), requests, seed=seed)
    columns: dict[str, Any] = {
        "item_id": items.ravel(),
        "propensity": propensity.ravel(),
        "position": np.tile(np.arange(N), n),
        "request_id": np.repeat(np.arange(n) << 12, N),
        "user_id": np.repeat(np.arange(n), N),
        "source": np.where(chance, "exploration", "model").ravel(),
        "clicked": rng.random(n * N) < ATTRACTION[items.ravel()],
    }
    return log_of(path, **columns)


def worth(model: PopularityModel) -> float:
    """Clicks of a place filled from what the model has for it, by definition: ranks p+1 .. p+k at place p."""
    best = ATTRACTION[np.argsort(-model.score, kind="stable")]
    return float(np.mean([best[place : place + N].mean() for place in range(N)]))


CHAMPION, EQUAL, BETTER = ranking(EVEN), ranking(~EVEN), ranking()
"""The champion shows odd items; its equal those between them, that are 0.02 less liked each; the better one all."""


@pytest.mark.parametrize("rival", [EQUAL, BETTER], ids=["equal", "better"])
def test_chance_tells_what_is_true(tmp_path: Path, rival: PopularityModel) -> None:
    """Over 8 logs the mean difference is that of the definition within 4 errors, whoever filled the other places.

    Most single intervals cover it.
    """
    models, truth = Models(rival, CHAMPION, BETTER, -9), worth(rival) - worth(CHAMPION)
    found = [
        compare_by_chance(log_by(tmp_path / str(seed), CHAMPION, 0.3, 3000, seed), models, goods_of(N_ITEMS), GROUNDS)
        for seed in range(8)
    ]
    values = np.array([one.over_champion.value for one in found])
    assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / np.sqrt(8)
    assert values.std(ddof=1) < 0.06
    assert sum(one.over_champion.low <= truth <= one.over_champion.high for one in found) >= 5
    assert min(one.effective for one in found) > 100
    assert all(0.8 < one.covered < 1.25 for one in found)
    lower = np.array([one.challenger_ips for one in found])
    assert abs(lower.mean() - worth(rival)) < 0.1 * worth(rival)  # all could have been shown: IPS is no lower bound


def test_the_champion_wins_at_home_against_its_better(tmp_path: Path) -> None:
    """Offline both its equal and its better lose surely; corrected, the better wins surely, and neither loses.

    The plain loss is the greater the less of the list has been shown.
    """
    log = log_by(tmp_path, CHAMPION, 0.3, n=12000)
    goods = goods_of(N_ITEMS)
    equal, better = (
        home_disadvantage(log, Models(rival, CHAMPION, BETTER, -9), goods, people_of(12000), GROUNDS)
        for rival in (EQUAL, BETTER)
    )
    assert equal.plain.high < 0
    assert better.plain.high < 0
    assert equal.plain.value < better.plain.value
    assert equal.corrected.high > 0
    assert better.corrected.low > 0


def test_against_itself_nobody_is_better(tmp_path: Path) -> None:
    """Both differences are exactly 0."""
    log = log_by(tmp_path, CHAMPION, 0.1, n=500)
    home = home_disadvantage(log, Models(CHAMPION, CHAMPION, BETTER, -9), goods_of(N_ITEMS), people_of(500), GROUNDS)
    assert tuple(home.plain) == tuple(home.corrected) == (0.0, 0.0, 0.0)


def test_without_chance_nothing_is_told(tmp_path: Path) -> None:
    """Rows that were certain to be shown say nothing of what was not."""
    log = log_by(tmp_path, CHAMPION, 0.0, n=200)
    found = compare_by_chance(log, Models(BETTER, CHAMPION, EQUAL, -9), goods_of(N_ITEMS), GROUNDS)
    assert (found.rows, found.effective) == (0, 0.0)
    assert np.isnan(found.over_champion).all()


def test_a_list_beyond_the_candidates_counts_for_nothing(tmp_path: Path) -> None:
    """A rival whose items chance could never show has no weight at all, and says so."""
    n = 300
    columns: dict[str, Any] = {
        "item_id": np.tile([0, 1], n),
        "request_id": np.repeat(np.arange(n) << 12, 2),
        "position": np.tile([0, 1], n),
        "propensity": np.full(2 * n, 0.5),
        "user_id": np.repeat(np.arange(n) % 50, 2),
    }
    stranger = PopularityModel(score=np.array([0.0, 0.0, 5.0, 5.0, 5.0, 5.0]))
    native = PopularityModel(score=np.array([5.0, 5.0, 0.0, 0.0, 0.0, 0.0]))
    grounds = replace(GROUNDS, k=2)
    found = compare_by_chance(log_of(tmp_path, **columns), Models(stranger, native, native, -9), goods_of(6), grounds)
    assert (found.effective, found.covered, found.challenger_ips) == (0.0, 0.0, 0.0)
    assert np.isnan(found.challenger)
    assert found.champion == 1.0


def test_what_chance_could_not_have_shown_counts_for_nobody(tmp_path: Path) -> None:
    """Among the champion's 8 best candidates a rival of the other end is judged by the items that both have.

    Half of its list of ranks is beyond them: it is covered by so much, and its lower bound is far below its figure.
    """
    n = 6000
    rng = stream(5, "test", "support")
    items = np.array([rng.permutation(8)[:2] for _ in range(n)])
    columns: dict[str, Any] = {
        "item_id": items.ravel(),
        "propensity": np.tile([1 / 8, 1 / 7], n),
        "position": np.tile([0, 1], n),
        "request_id": np.repeat(np.arange(n) << 12, 2),
        "user_id": np.repeat(np.arange(n), 2),
        "clicked": rng.random(2 * n) < 0.3,
    }
    champion = PopularityModel(score=-np.arange(16.0))
    rival = PopularityModel(score=np.array([9.0, 8.0, *np.zeros(8), 7.5, 8.5, *np.zeros(4)]))  # ranks 0, 11, 1, 10
    log, grounds = log_of(tmp_path, **columns), replace(GROUNDS, k=2)
    found = compare_by_chance(log, Models(rival, champion, champion, -9), goods_of(16), grounds)
    assert found.covered == pytest.approx(0.5, abs=0.03)
    assert found.challenger == pytest.approx(0.3, abs=0.03)
    assert found.challenger_ips == pytest.approx(0.15, abs=0.02)


def test_offline_marks_are_those_of_the_lists(tmp_path: Path) -> None:
    """Worked by hand: of two users one chose what stands first in one list and second in the other."""
    log = log_of(tmp_path, item_id=[0, 0], user_id=[0, 1], clicked=[True, True])
    first, second = PopularityModel(score=np.array([3.0, 2.0, 1.0])), PopularityModel(score=np.array([2.0, 3.0, 1.0]))
    found = compare_offline(log, Models(second, first, second, -9), goods_of(3), PEOPLE, replace(GROUNDS, k=2))
    assert (found.users, found.champion) == (2, 1.0)
    assert found.challenger == pytest.approx(1 / np.log2(3))
    assert found.over_champion.value == pytest.approx(1 / np.log2(3) - 1)
    assert found.over_popularity == (0.0, 0.0, 0.0)


def test_rivals_have_not_seen_the_days_of_the_judgement(tmp_path: Path) -> None:
    """Challenger and popularity learn from the days before; the champion is taken as it is, from when it has learnt."""
    item, day = np.array([0, 0, 1, 1, 1]), np.array([-20, -20, -3, -3, -3])
    log = log_of(tmp_path, item_id=item, day=day, user_id=np.arange(5))
    registry = Registry(tmp_path / "models")
    champion = RandomModel(seed=0, n_items=2)
    registry.register(champion, "old", {"trained_day": -5})
    registry.promote("old", day=-5, actor="test", reason="first")
    config = TrainingConfig(algorithm="segment")
    found = rivals(log, registry, goods_of(2), PEOPLE, config=config, first=-8)
    assert isinstance(found.popularity, PopularityModel)
    assert found.popularity.score.tolist() == [2.0, 0.0]
    assert found.champion == champion
    assert found.since == -5
    assert rivals(log, registry, goods_of(2), PEOPLE, config=config, first=-2).since == -2


def ranks(model: PopularityModel) -> Ints:
    """Items, best first."""
    return np.argsort(-model.score, kind="stable")


def test_the_planted_rivals_are_what_they_are_said_to_be() -> None:
    """The champion and its equal share no item of their lists, and are worth the same to a tenth; the better more."""
    lists: list[Floats | Ints] = [ranks(model)[: 2 * N] for model in (CHAMPION, EQUAL)]
    assert not set(lists[0].tolist()) & set(lists[1].tolist())
    assert worth(EQUAL) == pytest.approx(worth(CHAMPION), rel=0.1)
    assert worth(BETTER) > 1.1 * worth(CHAMPION)
