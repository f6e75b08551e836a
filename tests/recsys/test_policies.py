"""Policies: what they count is exact, false alarms keep to their budget, a fall is found soon, a season is none."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.facts import Facts
from simlab.recsys.policies import Never, OnDrift, OnDrop, OnStaleness, OnVolume, RetrainPolicy, Scheduled
from tests.recsys.days import MadeDays, goods, people

FACTS = MadeDays().facts()
"""Of a shop in which nothing changes."""


def followed(policy: RetrainPolicy, made: MadeDays, days: int) -> list[int]:
    """The mornings on which `policy` lets a shop train in its first `days`, every training making up for a fall."""
    trained, facts = [0], made.facts()
    for day in range(1, days):
        if policy.decide(day, trained[-1], facts).retrain:
            trained.append(day)
            facts = replace(made, trained=tuple(trained)).facts()
    return trained[1:]


@given(st.integers(1, 400), st.integers(0, 1000), st.integers(0, 1000))
def test_scheduled_trains_when_the_champion_is_old_enough(every: int, trained: int, age: int) -> None:
    """From `every` days on, also when a day was missed, and never before."""
    decision = Scheduled(every=every).decide(trained + age, trained, FACTS)
    assert decision.retrain == (age >= every)
    assert str(age) in decision.reason


@given(st.integers(1, 30))
def test_scheduled_trains_every_so_many_days(every: int) -> None:
    """Followed for 100 days, it trains on the days every, 2 every, 3 every ..."""
    policy, trained = Scheduled(every=every), [0]
    for day in range(1, 100):
        if policy.decide(day, trained[-1], FACTS).retrain:
            trained.append(day)
    assert trained == list(range(0, 100, every))


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_never_is_never(day: int, trained: int) -> None:
    """However old the model."""
    assert not Never().decide(day, trained, FACTS).retrain


@pytest.mark.parametrize("of", ["impressions", "clicks"])
@pytest.mark.parametrize(("trained", "day"), [(0, 4), (3, 10)])
def test_on_volume_counts_since_the_training(of: str, trained: int, day: int) -> None:
    """Yes with exactly as many as there were, no with one more."""
    n = sum(getattr(FACTS.day(past), of) for past in range(trained, day))
    assert OnVolume(amount=n, of=of).decide(day, trained, FACTS).retrain
    decision = OnVolume(amount=n + 1, of=of).decide(day, trained, FACTS)
    assert not decision.retrain
    assert decision.reason == f"{n} {of} since the last training"


@pytest.mark.parametrize(
    "facts",
    [
        Facts(MadeDays(), goods(launch_day=5), people()),
        Facts(MadeDays(), goods(), people(late=10, arrival_day=5)),
    ],
    ids=["item", "shoppers"],
)
def test_on_staleness_sees_what_came_since_the_training(facts: Facts) -> None:
    """A sixtieth of what is shown is an item, a fortieth goes to shoppers, that a training on day 5 cannot know."""
    policy = OnStaleness(share=0.01)
    assert policy.decide(12, 5, facts).retrain
    assert policy.decide(12, 4, facts).retrain
    assert not policy.decide(12, 6, facts).retrain
    assert not OnStaleness(share=0.1).decide(12, 5, facts).retrain
    assert not policy.decide(5, 5, facts).retrain


@pytest.mark.parametrize("policy", [OnDrop(), OnDrift()], ids=["drop", "drift"])
def test_a_constant_shop_fires_within_the_budget(policy: RetrainPolicy) -> None:
    """At most one alarm in 6 shops and 45 days, where the budget of 5 % in a month would allow half of one.

    Measured on 40 shops and 60 days: see simlab.recsys.retrain.
    """
    assert sum(len(followed(policy, MadeDays(seed=seed), 45)) for seed in range(6)) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_a_fall_is_found_soon_and_once(seed: int) -> None:
    """Log-odds fall by 0.8 on day 21; a new model makes up for it, and there is no second alarm."""
    alarms = followed(OnDrop(), MadeDays(seed=seed, fall_day=21), 45)
    assert len(alarms) == 1
    assert 21 < alarms[0] <= 28


@pytest.mark.parametrize("seed", range(3))
def test_a_fall_before_the_training_is_found_by_memory(seed: int) -> None:
    """The model of day 22 has learnt from days before the fall, so it is no better; its predecessor's days tell."""
    made, policy = MadeDays(seed=seed, fall_day=21, fall=1.2), OnDrop()
    facts = Facts(_Fallen(made, trained=22), goods(), people())
    assert any(policy.decide(day, 22, facts).retrain for day in range(29, 36))
    assert not any(OnDrop(memory=0).decide(day, 22, facts).retrain for day in range(29, 36))
    assert not any(policy.decide(day, 22, facts).retrain for day in range(23, 29))


class _Fallen:
    """Days on which the model of day `trained` answers, and has not made up for the fall."""

    def __init__(self, made: MadeDays, trained: int) -> None:
        self._made, self._trained = made, trained

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The rows of `day`, under the name of whoever answers."""
        table, feedback = self._made.day(day)
        name = f"model-day{self._trained if day >= self._trained else 0:05d}"
        place = table.column_names.index("model_version")
        return table.set_column(place, "model_version", [[name] * len(table)]), feedback


@pytest.mark.parametrize("seed", range(3))
def test_a_season_is_no_drop(seed: int) -> None:
    """Through a whole year of 56 days in which categories rise and fall."""
    assert followed(OnDrop(), MadeDays(seed=seed, season=1.5), 64) == []


def test_a_season_is_a_drift() -> None:
    """The categories share the clicks otherwise, again and again."""
    assert len(followed(OnDrift(), MadeDays(season=1.5), 56)) >= 3


@pytest.mark.parametrize("policy", [OnDrop(), OnDrift(), OnVolume(amount=4000), OnStaleness(share=0.1)])
def test_decisions_depend_on_the_arguments_alone(policy: RetrainPolicy) -> None:
    """Asked backwards, by somebody who has read nothing yet, a policy says the same, reason included."""
    made = MadeDays(fall_day=12)
    facts, again = made.facts(), made.facts()
    asked = [policy.decide(day, 0, facts) for day in range(1, 24)]
    assert asked == [policy.decide(day, 0, again) for day in reversed(range(1, 24))][::-1]


@pytest.mark.parametrize("policy", [OnDrop(), OnDrift(), OnVolume(amount=4000), OnStaleness(share=0.1)])
def test_nothing_of_the_day_itself_is_asked_for(policy: RetrainPolicy) -> None:
    """On the morning of a day only the days before it are logged."""
    made = MadeDays()
    for day in (0, 1, 8, 20):
        facts = Facts(_Until(made, day), goods(), people())
        policy.decide(day, 0, facts)


class _Until:
    """The days before `day`; there is no other one yet."""

    def __init__(self, made: MadeDays, day: int) -> None:
        self._made, self._day = made, day

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The rows of `day`."""
        assert 0 <= day < self._day
        return self._made.day(day)


@pytest.mark.parametrize(
    ("make", "thing"),
    [
        (lambda: Scheduled(every=0), "days between trainings"),
        (lambda: Scheduled(every=-1), "days between trainings"),
        (lambda: OnVolume(amount=0), "amount of on-volume"),
        (lambda: OnVolume(amount=9, of="visits"), "what on-volume counts"),
        (lambda: OnStaleness(share=0.0), "share of on-staleness"),
        (lambda: OnStaleness(share=1.0), "share of on-staleness"),
        (lambda: OnStaleness(share=0.5, window=0), "window of on-staleness"),
        (lambda: OnDrop(window=10), "window of on-drop"),
        (lambda: OnDrop(alarms=0.0), "alarms of on-drop"),
        (lambda: OnDrop(memory=-1), "memory of on-drop"),
        (lambda: OnDrift(window=0), "window of on-drift"),
        (lambda: OnDrift(alarms=1.0), "alarms of on-drift"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], RetrainPolicy], thing: str) -> None:
    """With the name of the setting."""
    with pytest.raises(ConfigError, match=thing):
        make()
