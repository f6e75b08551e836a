"""Laws of the gate: who surely is no worse passes, who surely is worse fails, what cannot be told is inconclusive."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.recsys.gates import GATES, GateConfig, Verdict, judge
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel
from simlab.recsys.online import OnlineConfig, explore
from simlab.recsys.rivals import Models
from simlab.schema import Requests
from simlab.settings import from_dict
from simlab.streams import stream
from tests.recsys.logs import goods_of, log_of, people_of

N_ITEMS, N, N_USERS = 20, 4, 6000
ATTRACTION = np.linspace(0.05, 0.43, N_ITEMS)
BEST, WORST = PopularityModel(score=ATTRACTION), PopularityModel(score=-ATTRACTION)
MIDDLE = PopularityModel(score=-np.abs(ATTRACTION - 0.25))
CAREFUL = GateConfig(k=N)


@cache
def log_with(epsilon: float) -> EventLog:
    """A day of slates by MIDDLE with so much exploration among all items; clicks by attraction alone."""
    order = np.argsort(-MIDDLE.score, kind="stable")
    requests = Requests(day=0, user_id=np.arange(N_USERS), visit=np.zeros(N_USERS, dtype=np.int64), n=N)
    config = OnlineConfig(exploration="epsilon", epsilon=epsilon, candidates=N_ITEMS)
    candidates, score = np.tile(order, (N_USERS, 1)), np.tile(MIDDLE.score[order], (N_USERS, 1))
    items, propensity, _ = explore(config, candidates, score, np.zeros(N_ITEMS), requests, seed=3)
    columns: dict[str, Any] = {
        "item_id": items.ravel(),
        "propensity": propensity.ravel(),
        "position": np.tile(np.arange(N), N_USERS),
        "request_id": np.repeat(np.arange(N_USERS) << 12, N),
        "user_id": np.repeat(np.arange(N_USERS), N),
        "clicked": stream(0, "test", "gates").random(N_USERS * N) < ATTRACTION[items.ravel()],
    }
    return log_of(Path(mkdtemp()), **columns)


def verdict(
    challenger: PopularityModel,
    epsilon: float = 0.3,
    config: GateConfig = CAREFUL,
    since: int = -7,
    popularity: PopularityModel = WORST,
) -> Verdict:
    """What the gate says of a challenger of MIDDLE on the morning of day 0."""
    models = Models(challenger, MIDDLE, popularity, since)
    return judge(log_with(epsilon), models, goods_of(N_ITEMS), people_of(N_USERS), day=0, config=config)


def test_who_is_better_passes() -> None:
    """By chance it is surely no worse; that offline it loses at home is in the evidence, and held against nobody."""
    found = verdict(BEST)
    assert (found.finding, found.outcome, found.passes) == ("pass", "promote", True)
    assert found.evidence["home"]["plain"][2] < 0 < found.evidence["home"]["corrected"][1]
    assert "the champion's" in found.reason


def test_who_is_worse_fails() -> None:
    """By chance it is surely worse than the champion by more than the margin, and nothing but a refusal follows."""
    for config in (CAREFUL, replace(CAREFUL, passed="canary", doubtful="canary")):
        found = verdict(WORST, config=config)
        assert (found.finding, found.outcome, found.passes) == ("fail", "refuse", False)


def test_who_is_worse_than_popularity_fails() -> None:
    """Also where it is as good as the champion: then popularity should serve."""
    found = verdict(MIDDLE, popularity=BEST)
    assert found.finding == "fail"
    assert "popularity's" in found.reason


@pytest.mark.parametrize("doubtful", ["refuse", "canary", "promote"])
def test_where_chance_has_shown_too_little_nothing_passes(doubtful: str) -> None:
    """Without exploration, with too little of it, and on too few users the gate says inconclusive, not pass."""
    config = replace(CAREFUL, doubtful=doubtful)
    few = verdict(BEST, epsilon=0.0, config=config)
    assert "what chance has shown is worth 0 of 100 rows" in few.reason
    for found in (
        few,
        verdict(BEST, config=replace(config, min_effective=1e5)),
        verdict(BEST, config=replace(config, min_users=N_USERS + 1)),
        verdict(BEST, config=replace(config, min_covered=1.0, clip=20.0)),  # less than all of its list has been tried
    ):
        assert (found.finding, found.outcome, found.passes) == ("inconclusive", doubtful, False)


def test_an_interval_that_holds_both_is_inconclusive() -> None:
    """The champion's like cannot be told from one that lacks a thousandth where little was seen of it."""
    like = PopularityModel(score=MIDDLE.score + np.where(np.arange(N_ITEMS) % 2 == 0, 0.03, 0.0))
    found = verdict(like, config=replace(CAREFUL, margin=0.001))
    assert found.finding == "inconclusive"
    assert found.evidence["off_policy"]["effective"] > 100


def test_without_chance_what_is_broken_still_fails() -> None:
    """Who is surely worse than popularity even offline is refused where chance has shown nothing."""
    found = verdict(WORST, epsilon=0.0, popularity=MIDDLE)
    assert found.finding == "fail"
    assert "nDCG" in found.reason


def test_days_that_the_champion_has_learnt_from_do_not_count() -> None:
    """Where these are all of them, nothing can be told."""
    assert verdict(BEST, since=-1).finding == "pass"
    found = verdict(BEST, since=0)
    assert (found.finding, found.evidence) == ("inconclusive", {"first_day": 0, "last_day": -1})


def test_the_champion_itself_passes() -> None:
    """Nobody is surely worse than oneself: both differences are 0."""
    found = verdict(MIDDLE)
    assert found.passes
    assert found.evidence["off_policy"]["over_champion"] == [0.0, 0.0, 0.0]


def test_the_evidence_is_json() -> None:
    """It is stored in a history of models: no NumPy's numbers, and no NaN."""
    for epsilon in (0.0, 0.3):
        found = verdict(BEST, epsilon=epsilon)
        assert json.loads(json.dumps(found.evidence, allow_nan=False)) == found.evidence


def test_the_same_days_give_the_same_verdict() -> None:
    """The gate draws nothing."""
    assert verdict(BEST) == verdict(BEST)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("days", 0),
        ("signal", "viewed"),
        ("ripe_after", -1),
        ("k", 0),
        ("margin", 0.0),
        ("margin", 1.0),
        ("min_users", 1),
        ("min_effective", 1.0),
        ("clip", 0.5),
        ("min_covered", 0.0),
        ("passed", "yes"),
        ("doubtful", "wait"),
        ("passed", "refuse"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    """Each is checked when it is made, and named; what passes is not refused."""
    with pytest.raises(ConfigError) as caught:
        from_dict(GateConfig, {setting: value})
    assert caught.value.thing.removeprefix("GateConfig.") == setting


def test_gates_have_names() -> None:
    """None lets everybody through; each of the others refuses who fails, and no doubt is taken for a pass by strict."""
    assert GATES["none"] is None
    strict = GATES["strict"]
    assert strict is not None
    assert (strict.passed, strict.doubtful) == ("promote", "refuse")
