"""Who answers whom: assignment is uniform, sticky and unrelated between rollouts; the fold keeps its promises."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from simlab.errors import ConfigError, ModelError
from simlab.recsys.traffic import (
    ACTIONS,
    ARMS,
    Change,
    Row,
    Traffic,
    arms,
    check_wish,
    next_row,
    share_of,
    splitmix64,
    traffic_of,
)
from simlab.schema import GUESTS, Ints

USERS = np.arange(100_000)
CHAMPION, CHALLENGER, CANARY, BASELINE = range(4)


def canary(share: float, salt: str = "m2@2") -> Ints:
    return arms(USERS, Traffic(champion="m1", canary="m2", canary_share=share, salt=salt))


def done(*changes: dict[str, Any]) -> list[Row]:
    """The rows of a history in which these changes happened, one a day."""
    rows: list[Row] = []
    for day, change in enumerate(changes):
        row = next_row(rows, Change(**{"day": day, "actor": "test", "reason": "because", **change}))
        rows += [row] if row else []
    return rows


FIRST = {"action": "promote", "version": "m1"}


def test_splitmix64_is_the_published_one() -> None:
    """The first numbers of the generator seeded with 0 and with 1234567, as published with its source code."""
    first = splitmix64(np.array([0, 1234567], dtype=np.uint64))
    assert first.tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


def test_shares_are_uniform() -> None:
    """Under any salt, of consecutive ids and of guests: Kolmogorov-Smirnov finds nothing at 1 in 1000."""
    for salt in ("", "m2@2", "m3@17"):
        for users in (USERS, USERS + GUESTS, USERS * 4096):
            u = share_of(users, salt)
            assert 0 <= u.min() <= u.max() < 1
            assert kstest(u, "uniform").pvalue > 0.001


def test_shares_are_unrelated_between_salts() -> None:
    """Ten by ten cells of two salts are equally full: a chi-square test with 81 degrees of freedom at 1 in 1000."""
    tens = [np.floor(10 * share_of(USERS, salt)).astype(np.int64) for salt in ("m2@2", "m2@9")]
    seen = np.bincount(10 * tens[0] + tens[1], minlength=100).reshape(10, 10)
    expected = seen.sum(axis=1, keepdims=True) * seen.sum(axis=0) / len(USERS)
    assert chi2.sf(((seen - expected) ** 2 / expected).sum(), 81) > 0.001


def test_a_user_s_arm_is_a_matter_of_the_user_alone() -> None:
    """Whoever else asks, in whatever order."""
    some = np.array([77, 5, GUESTS + 3, 5])
    traffic = Traffic(champion="m1", canary="m2", canary_share=0.25, salt="m2@2")
    assert arms(some, traffic).tolist() == [int(arms(some[[i]], traffic)[0]) for i in range(4)]


def test_canary_and_baseline_are_equally_many_and_stay_in_while_the_share_grows() -> None:
    """Shares within 4 standard errors; nobody leaves, nobody changes sides; at 0.5 nobody is left over."""
    before = canary(0.05)
    for share in (0.05, 0.1, 0.25, 0.5):
        now = canary(share)
        for arm in (CANARY, BASELINE):
            assert abs((now == arm).mean() - share) < 4 * np.sqrt(share * (1 - share) / len(USERS))
            assert (now[before == arm] == arm).all()
        before = now
    assert set(before.tolist()) == {CANARY, BASELINE}


def test_a_challenger_has_its_share_and_the_champion_the_rest() -> None:
    """No baseline: the rest is large enough. Without a rollout everybody is the champion's."""
    arm = arms(USERS, Traffic(champion="m1", challenger="m2", challenger_share=0.3, salt="m2@2"))
    assert abs((arm == CHALLENGER).mean() - 0.3) < 0.006
    assert set(arm.tolist()) == {CHAMPION, CHALLENGER}
    assert (arms(USERS, Traffic(champion="m1", shadow="m2")) == CHAMPION).all()


def test_a_canary_from_start_to_champion() -> None:
    """Start, step, pause, resume, promotion: shares, days and salt after each."""
    rows = done(
        FIRST,
        {"action": "canary", "version": "m2", "share": 0.05},
        {"action": "canary", "version": "m2", "share": 0.1},
        {"action": "pause"},
        {"action": "resume"},
        {"action": "promote", "version": "m2"},
    )
    states = [traffic_of(rows[:n]) for n in range(len(rows) + 1)]
    assert states[0] == Traffic()
    assert [state.canary_share for state in states] == [0, 0, 0.05, 0.1, 0.1, 0.1, 0]
    assert [state.canary_paused for state in states] == [False, False, False, False, True, False, False]
    assert [state.since_day for state in states[2:6]] == [1, 1, 1, 1]
    assert [state.step_day for state in states[2:6]] == [1, 2, 3, 4]
    assert [state.salt for state in states] == ["", "", *["m2@2"] * 4, ""]
    assert states[5].versions == ("m1", None, "m2", "m1")
    assert (states[6].champion, states[6].canary, states[6].quarantined) == ("m2", None, ())


def test_a_step_by_hand_ends_a_pause() -> None:
    """Whoever lets a paused canary grow has decided; the same share again has not."""
    start: dict[str, Any] = {"action": "canary", "version": "m2", "share": 0.1}
    rows = done(FIRST, start, {"action": "pause"})
    assert next_row(rows, Change(day=3, actor="test", reason="because", **start)) is None
    grown = next_row(rows, Change(day=3, actor="test", reason="because", **{**start, "share": 0.2}))
    assert grown is not None
    assert not traffic_of([*rows, grown]).canary_paused


def test_a_canary_can_bring_its_own_steps() -> None:
    """The first is its share; a later step keeps the others, and the end of the rollout forgets them."""
    start: dict[str, Any] = {"action": "canary", "version": "m2"}
    rows = done(FIRST, {**start, "steps": (0.2, 0.4)}, {**start, "share": 0.4}, {"action": "end"})
    assert rows[1]["steps"] == [0.2, 0.4]
    states = [traffic_of(rows[:n]) for n in (2, 3, 4)]
    assert [(state.canary_share, state.canary_steps) for state in states] == [
        (0.2, (0.2, 0.4)),
        (0.4, (0.2, 0.4)),
        (0, ()),
    ]


def test_a_rollback_of_the_canary_leaves_the_champion_and_a_quarantine() -> None:
    """The row names what was left; promoted after all, the version is out of quarantine."""
    start: dict[str, Any] = {"action": "canary", "version": "m2", "share": 0.1}
    rows = done(FIRST, start, {"action": "rollback", "reason": "worse", "evidence": {"clicks": -0.2}})
    assert rows[-1] == {
        "alias": "canary", "version": "m2", "day": 2, "action": "rollback", "actor": "test", "reason": "worse",
        "evidence": {"clicks": -0.2, "left": "m2"}, "quarantine": ["m2"],
    }  # fmt: skip
    traffic = traffic_of(rows)
    assert (traffic.champion, traffic.rollout, traffic.quarantined) == ("m1", None, ("m2",))
    with pytest.raises(ModelError, match="canary: 'm2' .*in quarantine"):
        next_row(rows, Change(day=3, actor="test", reason="again", **start))
    again = next_row(rows, Change(day=3, actor="test", reason="sure", action="promote", version="m2"))
    assert again is not None
    assert traffic_of([*rows, again]).quarantined == ()


def test_a_rollback_passes_over_what_is_in_quarantine() -> None:
    """m1, m2, m3; then m2 fails as a canary: back from m3 is m1. Without quarantine it would be m2."""
    rows = done(
        FIRST, *({"action": "promote", "version": name} for name in ("m2", "m3")),
        {"action": "canary", "version": "m2", "share": 0.1}, {"action": "rollback"}, {"action": "rollback"},
    )  # fmt: skip
    assert [row["version"] for row in rows[-2:]] == ["m2", "m1"]
    assert traffic_of(rows).quarantined == ("m2", "m3")


def test_another_champion_begins_the_comparison_anew() -> None:
    """The canary keeps its shoppers; what was measured beside the old champion is past. Said again is no news."""
    rows = done(
        FIRST, {"action": "canary", "version": "m2", "share": 0.1}, FIRST, {"action": "promote", "version": "m3"}
    )
    assert traffic_of(rows[:3]).since_day == 1
    traffic = traffic_of(rows)
    assert (traffic.champion, traffic.canary, traffic.since_day, traffic.salt) == ("m3", "m2", 3, "m2@2")


def test_a_rollout_does_not_answer_for_the_one_before_it() -> None:
    """Where another ended on the day of its start, it is measured from the next day on; the share counts at once."""
    first: dict[str, Any] = {"action": "canary", "version": "m2", "share": 0.1, "day": 3}
    ways: list[dict[str, Any]] = [{"action": "rollback"}, {"action": "end"}, {"action": "promote", "version": "m2"}]
    for end in ways:
        for day, since in ((5, 6), (8, 8)):
            rows = done(FIRST, first, {**end, "day": 5}, {**first, "version": "m3", "day": day})
            assert (traffic_of(rows).since_day, traffic_of(rows).step_day) == (since, day)


def test_a_shadow_is_beside_any_rollout_and_ends_when_it_is_promoted() -> None:
    """It has no share; `end` takes a rollout first, then the shadow."""
    rows = done(
        FIRST, {"action": "shadow", "version": "m3"}, {"action": "challenger", "version": "m2", "share": 0.2},
        {"action": "end"},
    )  # fmt: skip
    assert (traffic_of(rows[:3]).shadow, traffic_of(rows[:3]).rollout) == ("m3", "challenger")
    assert (traffic_of(rows).shadow, traffic_of(rows).rollout, traffic_of(rows).quarantined) == ("m3", None, ())
    wishes: list[dict[str, Any]] = [{"action": "end"}, {"action": "promote", "version": "m3"}]
    for change in wishes:
        row = next_row(rows, Change(day=9, actor="test", reason="because", **change))
        assert row is not None
        assert traffic_of([*rows, row]).shadow is None


RUNNING = done(FIRST, {"action": "canary", "version": "m2", "share": 0.1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": "canary", "version": "m3", "share": 0.1}, "canary m2 has traffic"),
        ({"action": "challenger", "version": "m2", "share": 0.1}, "canary m2 has traffic"),
        ({"action": "canary", "version": "m2", "share": 0.51}, "share of the canary: 0.51"),
        ({"action": "challenger", "version": "m2"}, "share of the challenger: None"),
        ({"action": "canary", "version": "m2", "steps": (0.5, 0.1)}, r"steps: \(0.5, 0.1\)"),
        ({"action": "canary", "version": "m2", "share": float("nan")}, "share of the canary: nan"),
        ({"action": "challenger", "version": "m2", "share": 1}, "share of the challenger: 1"),
        ({"action": "shadow", "version": "m1"}, "champion, and shown already"),
        ({"action": "promote", "version": "m3", "alias": "canary"}, "alias to promote"),
        ({"action": "rollback", "alias": "champion"}, "no earlier version"),
        ({"action": "rollback", "alias": "challenger"}, "there is none now"),
        ({"action": "rollback", "alias": "shadow"}, "end it"),
        ({"action": "end", "alias": "champion"}, "there is none now"),
    ],
)
def test_changes_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    """The error says what is in the way."""
    with pytest.raises(ModelError, match=message):
        next_row(RUNNING, Change(day=3, actor="test", reason="because", **change))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"action": "promote", "version": "m2", "share": 0.1}, "share of promote: 0.1"),
        ({"action": "rollback", "version": "m2"}, "version of rollback: 'm2'"),
        ({"action": "challenger", "version": "m2", "share": 0.1, "steps": (0.1,)}, "steps of challenger"),
        ({"action": "pause", "alias": "canary"}, "alias of pause"),
        ({"action": "end", "reason": "  "}, "reason: '  '"),
    ],
)
def test_a_wish_says_nothing_that_is_passed_over(wish: dict[str, Any], message: str) -> None:
    """Who gives a promotion a share believes that it matters: it is said that it does not."""
    with pytest.raises(ConfigError, match=message):
        check_wish(Change(**{"day": 3, "actor": "test", "reason": "because", **wish}))


def test_a_canary_begins_with_the_first_step() -> None:
    """Where no share is given: that of its own steps, or of those that all have."""
    for steps, share in (((), 0.05), ((0.2, 0.4), 0.2)):
        row = next_row(done(FIRST), Change(day=3, actor="t", reason="r", action="canary", version="m2", steps=steps))
        assert row is not None
        assert row["share"] == share


def test_a_canary_needs_a_champion_and_actions_a_name() -> None:
    """Without a champion there is no baseline, without a canary nothing to pause; an unknown word is guessed at."""
    for action in ("canary", "pause", "resume"):
        with pytest.raises(ModelError, match="champion|canary"):
            next_row([], Change(day=0, actor="test", reason="because", action=action, version="m1", share=0.1))
    with pytest.raises(ConfigError, match="did you mean 'promote'"):
        next_row([], Change(day=0, actor="test", reason="because", action="promot", version="m1"))


def test_what_is_so_already_adds_no_row() -> None:
    """The same share, pause, shadow or promotion again, as after a lost answer."""
    rows = done(
        FIRST,
        {"action": "shadow", "version": "m3"},
        {"action": "canary", "version": "m2", "share": 0.1},
        {"action": "pause"},
    )
    for row in rows:
        told: dict[str, Any] = {
            name: row.get(name) for name in ("action", "day", "actor", "reason", "version", "alias", "share")
        }
        told["alias"] = None
        assert next_row(rows, Change(**told)) is None


@st.composite
def any_wish(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "action": draw(st.sampled_from(ACTIONS)),
        "version": draw(st.sampled_from(["m1", "m2", "m3", "m4"])),
        "alias": draw(st.sampled_from([None, "champion", "canary", "challenger", "shadow", "fallback"])),
        "share": draw(st.sampled_from([0.05, 0.1, 0.5, 0.9])),
        "quarantine": draw(st.booleans()),
    }


@given(asked=st.lists(any_wish(), max_size=30))
@settings(max_examples=400, deadline=None)
def test_whatever_is_wished_the_traffic_is_lawful(asked: list[dict[str, Any]]) -> None:
    """Refused or done, one row at most; then: one rollout, beside a champion; no rival is the champion or sick."""
    rows: list[Row] = []
    for day, wish in enumerate(asked):
        before = traffic_of(rows)
        change = Change(day=day, actor="test", reason="because", **wish)
        try:
            row = next_row(rows, change)
        except ModelError:
            continue
        if row is None:
            continue
        rows.append(row)
        now = traffic_of(rows)
        assert now.row == len(rows)
        assert not (now.canary and now.challenger)
        assert now.champion is not None or now.rollout is None
        assert not {now.canary, now.challenger} & {now.champion, *now.quarantined} - {None}
        assert now.shadow is None or now.shadow != now.champion
        assert (now.canary is None) == (now.canary_share == 0)
        assert (now.challenger is None) == (now.challenger_share == 0)
        assert (now.salt == "") == (now.rollout is None)
        assert now.canary or not now.canary_paused
        assert now.since_day <= day + 1
        assert now.step_day <= day
        if row["action"] == "rollback":
            left = row["evidence"]["left"]
            sick = change.quarantine and row["alias"] != "fallback"
            assert (left in now.quarantined) == (sick or left in before.quarantined)
            assert now.champion not in now.quarantined
        if before.rollout == now.rollout and before.salt != now.salt:
            raise AssertionError("shoppers were dealt out again within a rollout")
    assert len(ARMS) == len(Traffic().versions)
