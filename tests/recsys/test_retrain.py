"""Policies say when, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.retrain import Never, Scheduled, parse_policy


@given(st.integers(1, 400), st.integers(0, 1000), st.integers(0, 1000))
def test_scheduled_trains_when_the_champion_is_old_enough(every: int, trained: int, age: int) -> None:
    """From `every` days on, also when a day was missed, and never before."""
    decision = Scheduled(every=every).decide(trained + age, trained)
    assert decision.retrain == (age >= every)
    assert str(age) in decision.reason


@given(st.integers(1, 30))
def test_scheduled_trains_every_so_many_days(every: int) -> None:
    """Followed for 100 days, it trains on the days every, 2 every, 3 every ..."""
    policy, trained = Scheduled(every=every), [0]
    for day in range(1, 100):
        if policy.decide(day, trained[-1]).retrain:
            trained.append(day)
    assert trained == list(range(0, 100, every))


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_never_is_never(day: int, trained: int) -> None:
    """However old the model."""
    assert not Never().decide(day, trained).retrain


@given(st.integers(1, 99_999))
def test_a_policy_is_read_from_its_words(every: int) -> None:
    """The words are those of the command line; leading zeros do no harm."""
    assert parse_policy("never") == Never()
    assert parse_policy(f"scheduled:{every}") == parse_policy(f"scheduled:0{every}") == Scheduled(every=every)


@pytest.mark.parametrize(
    "text",
    [
        *["", "Never", "never:", "never:14", "never ", "scheduled", "scheduled:", "scheduled:0", "scheduled:-7"],
        *["scheduled:7.5", "scheduled: 7", "scheduled:7 ", "scheduled:7:7", "scheduled:+7", "scheduled:1_4"],
        *["scheduled:٧", "scheduled:²", "schedule:14", "on-drift", "scheduled:" + "9" * 5000],
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """The error repeats it and says what to give."""
    with pytest.raises(ConfigError, match='retrain policy: .* give "never", or "scheduled:14"'):
        parse_policy(text)


@pytest.mark.parametrize("every", [0, -1])
def test_a_schedule_needs_days(every: int) -> None:
    """Not every morning of the same day."""
    with pytest.raises(ConfigError, match="days between trainings"):
        Scheduled(every=every)
