"""Policies in words: what can be said is read, combined and said again; anything else is refused with what to say."""

from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.lab.config import RunConfig
from simlab.lab.loop import open_ring, run, run_day
from simlab.recsys.facts import Facts
from simlab.recsys.retrain import (
    NAMES,
    AnyOf,
    Decision,
    Never,
    OnDrift,
    OnDrop,
    OnStaleness,
    OnVolume,
    Patient,
    RetrainPolicy,
    Scheduled,
    parse_policy,
)
from tests.recsys.days import MadeDays

FACTS = MadeDays().facts()

weeks = st.integers(1, 20).map(lambda n: 7 * n)
level = st.floats(1e-6, 1, exclude_max=True)
single = st.one_of(
    st.builds(Scheduled, every=st.integers(1, 10_000)),
    st.builds(OnVolume, amount=st.integers(1, 10**9), of=st.sampled_from(["impressions", "clicks"])),
    st.builds(OnStaleness, share=level, window=st.integers(1, 99)),
    st.builds(OnDrop, window=weeks, alarms=level, memory=st.integers(0, 999)),
    st.builds(OnDrift, window=weeks, alarms=level),
)
patient = st.builds(Patient, policy=single, cooldown=st.integers(0, 99), minimum=st.integers(1, 10**9))
several = st.builds(AnyOf, policies=st.lists(single | patient, min_size=2, max_size=4).map(tuple))


@given(st.integers(1, 99_999))
def test_a_policy_is_read_from_its_words(every: int) -> None:
    """The words are those of the command line; leading zeros do no harm."""
    assert parse_policy("never") == Never()
    assert parse_policy(f"scheduled:{every}") == parse_policy(f"scheduled:0{every}") == Scheduled(every=every)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("on-drop", OnDrop()),
        ("on-drop:window=14,alarms=0.01", OnDrop(window=14, alarms=0.01)),
        ("on-volume:50000", OnVolume(amount=50_000)),
        ("on-volume:5000,of=clicks", OnVolume(amount=5000, of="clicks")),
        ("on-volume:amount=7", OnVolume(amount=7)),
        ("on-staleness:0.2", OnStaleness(share=0.2)),
        ("on-drift:cooldown=7", Patient(policy=OnDrift(), cooldown=7)),
        ("on-drift:minimum=9,window=14", Patient(policy=OnDrift(window=14), minimum=9)),
        ("on-drop:cooldown=0", OnDrop()),
        ("on-drop|scheduled:28", AnyOf(policies=(OnDrop(), Scheduled(every=28)))),
    ],
)
def test_settings_follow_the_name(text: str, policy: RetrainPolicy) -> None:
    """In any order, the one without a default also without its name."""
    assert parse_policy(text) == policy


def words_of(policy: RetrainPolicy) -> str:
    """The shortest text that says `policy`, written from its fields."""
    if isinstance(policy, AnyOf):
        return "|".join(words_of(part) for part in policy.policies)
    inner = policy.policy if isinstance(policy, Patient) else policy
    (name,) = (name for name, kind in NAMES.items() if isinstance(inner, kind))
    told = []
    for part in (inner, policy) if isinstance(policy, Patient) else (inner,):
        for field in fields(part):  # type: ignore[arg-type]
            value = getattr(part, field.name)
            if field.name != "policy" and value != field.default:
                told.append(f"{value}" if field.default is MISSING else f"{field.name}={value}")
    return name + (":" + ",".join(told) if told else "")


@given(single | patient | several)
def test_words_say_the_policy(policy: RetrainPolicy) -> None:
    """Whatever is written from its fields is read back as the same."""
    assert parse_policy(words_of(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        *["", "Never", "never:", "never:14", "never ", "scheduled", "scheduled:", "scheduled:0", "scheduled:-7"],
        *["scheduled:7.5", "scheduled: 7", "scheduled:7 ", "scheduled:7:7", "scheduled:+7", "scheduled:1_4"],
        *["scheduled:٧", "scheduled:²", "schedule:14", "scheduled:" + "9" * 5000, "on-drop:7", "on-drop:", "on-drop,"],
        *["on-volume", "on-volume:1e3", "on-volume:5,of=visits", "on-staleness:2", "on-staleness:nan", "on-drift:x=1"],
        *["on-drop|", "|", "never|on-drop", "on-drop|never", "on-drop:cooldown=1,cooldown=1", "on-drop:cooldown=-1"],
        *["on-drop:window=10", "on-drop:alarms=0", "on-drift:policy=never", "on-drop:cooldown=1e400"],
        *["on-drop:alarms=" + "9" * 5000, "on-drop:minimum=0.5", "on-drop: window=7", "on-drop +scheduled:7"],
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """The error repeats it and says what to give."""
    with pytest.raises(ConfigError, match='retrain policy: .* give "never", or "scheduled:14"'):
        parse_policy(text)


def test_several_policies_ask_one_after_the_other() -> None:
    """The first yes counts, with its reason; a no tells all reasons."""
    both = AnyOf(policies=(Scheduled(every=9), OnVolume(amount=100)))
    volume = sum(FACTS.day(past).impressions for past in range(4))
    assert both.decide(4, 0, FACTS) == OnVolume(amount=100).decide(4, 0, FACTS)
    assert both.decide(10, 0, FACTS).reason == "the champion is 10 days old"
    neither = AnyOf(policies=(Scheduled(every=9), OnVolume(amount=volume + 1))).decide(4, 0, FACTS)
    assert neither == Decision(
        retrain=False, reason=f"the champion is 4 days old; {volume} impressions since the last training"
    )


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 30_000))
def test_patience_waits_for_days_and_for_data(day: int, cooldown: int, minimum: int) -> None:
    """Yes as soon as both are there and the policy says so, and not before."""
    always = Scheduled(every=1)
    shown = sum(FACTS.day(past).impressions for past in range(day))
    patient = Patient(policy=always, cooldown=cooldown, minimum=minimum + 1)
    assert patient.decide(day, 0, FACTS).retrain == (day >= max(cooldown, 1) and shown > minimum)


class Mine:
    """A policy of somebody's own."""

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """On Mondays."""
        return Decision(retrain=day % 7 == 0, reason="it is Monday")


def test_policies_of_anyone_s_own_take_part() -> None:
    """They can be combined and waited for."""
    assert AnyOf(policies=(Mine(), Scheduled(every=9))).decide(7, 0, FACTS).reason == "it is Monday"
    assert not Patient(policy=Mine(), cooldown=8).decide(7, 0, FACTS).retrain


def test_combinations_that_say_nothing_are_refused() -> None:
    """One policy is no combination, and patience without anything to wait for is none."""
    with pytest.raises(ConfigError, match="policies to combine"):
        AnyOf(policies=(Never(),))
    with pytest.raises(ConfigError, match="cooldown and minimum"):
        Patient(policy=Never())
    with pytest.raises(ConfigError, match="cooldown"):
        Patient(policy=Never(), cooldown=-1, minimum=5)


def test_a_run_that_is_taken_up_again_decides_the_same(tmp_path: Path) -> None:
    """Opened anew on every morning, as after a kill, the ring trains on the same days for the same reasons."""
    config = RunConfig(
        days=10,
        retrain="on-volume:1500,cooldown=2|on-drop",
        seed=7,
        world={"n_users": 150, "n_items": 40, "history_days": 14},
    )
    whole = run(config, out=tmp_path / "whole")
    for day in range(config.days):
        run_day(open_ring(config, tmp_path / "parts"), day)
    parts = open_ring(config, tmp_path / "parts")
    assert parts.log.digest() == whole.log.digest()
    rows = parts.registry.history("champion")
    assert rows == whole.registry.history("champion")
    assert len(rows) > 2
    assert "impressions since the last training" in rows[-1]["reason"]
