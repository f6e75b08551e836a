"""The judge of a canary: statistics against closed forms and simulation, and a defined outcome for every case."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from simlab.errors import ConfigError
from simlab.recsys.canary import ACTOR, CanaryConfig, Group, Verdict, advance, judge, mismatch, msprt, reach
from simlab.recsys.log import EventLog
from simlab.recsys.models import RandomModel
from simlab.recsys.registry import Registry
from simlab.recsys.traffic import ARMS, Change, arms
from simlab.schema import Floats
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS

CONFIG = CanaryConfig()


def test_msprt_is_the_published_one() -> None:
    """references.md: n=1000 an arm, d=0.1, variance 1, mixing 0.01 -> 3.278722, p 0.304997; and the paper's formula."""
    assert msprt(0.1, 2 / 1000, 0.01) == pytest.approx(3.278722, abs=5e-7)
    assert 1 / msprt(0.1, 2 / 1000, 0.01) == pytest.approx(0.304997, abs=5e-7)
    for n, d, s2, t2 in ((1000, 0.1, 1.0, 0.01), (7, -2.0, 3.0, 0.5), (50_000, 0.002, 0.2, 1e-5)):
        paper = np.sqrt(2 * s2 / (2 * s2 + n * t2)) * np.exp(n**2 * t2 * d**2 / (4 * s2 * (2 * s2 + n * t2)))
        assert msprt(d, 2 * s2 / n, t2) == pytest.approx(paper, rel=1e-12)


def test_the_interval_holds_what_the_test_does_not_refuse() -> None:
    """At its ends the likelihood ratio is 1/alpha; without variance or mixing there is no interval."""
    for variance, mixing, alpha in ((0.002, 0.01, 0.05), (3.0, 0.1, 0.01), (1e-6, 2.0, 0.2)):
        assert msprt(reach(variance, mixing, alpha), variance, mixing) == pytest.approx(1 / alpha, rel=1e-9)
    assert msprt(1.0, 1e-6, 0.1) == np.inf
    for variance, mixing in ((0.0, 0.1), (0.1, 0.0), (float("nan"), 0.1), (0.1, float("nan")), (np.inf, 0.1)):
        assert np.isnan(reach(variance, mixing, 0.05))


def test_mismatch_is_the_published_one() -> None:
    """references.md: 1000/1200 and 821,588/815,482 (Fabijan et al.); equal groups, and nobody at all, are no alarm."""
    assert mismatch(1000, 1200) == pytest.approx(2.00787e-5, rel=1e-5)
    assert mismatch(821_588, 815_482) == pytest.approx(1.82e-6, rel=5e-3)
    assert mismatch(500, 500) == mismatch(0, 0) == 1


def shoppers(seed: int, n: int, days: int, lift: float = 0.0) -> tuple[Floats, Floats]:
    """Visits and clicks of each shopper on each day, shapes (n, days); all differ in how often they come and click."""
    rng = stream(seed, "canary", "shoppers")
    visits = rng.poisson(rng.gamma(1.2, 0.4, size=(n, 1)), size=(n, days)).astype(np.float64)
    taste = rng.gamma(1.5, 1 / 1.5, size=(n, 1)) * (1 + lift)
    return visits, rng.poisson(taste * visits).astype(np.float64)


def fate(seed: int, lift: float, config: CanaryConfig = CONFIG, n_users: int = 2000) -> tuple[str, int]:
    """What becomes of a canary whose shoppers click `1 + lift` times as much, and after how many days."""
    days = config.patience_days * len(config.steps)
    told = shoppers(2 * seed, n_users // 2, days, lift), shoppers(2 * seed + 1, n_users // 2, days)
    share, since = config.steps[0], 0
    entered = np.full(n_users // 2, days)  # day on which each came under test
    for day in range(1, days + 1):
        inside = np.arange(n_users // 2) < round(share * n_users)
        entered[inside] = np.minimum(entered[inside], day - 1)
        seen = []
        for visits, clicks in told:
            counts = np.arange(days) >= entered[:, None]
            counts[:, day:] = False
            met = (visits * counts).sum(axis=1) > 0
            total = [(table * counts).sum(axis=1)[met] for table in (visits, clicks)]
            seen.append(Group(visits=total[0], clicks=total[1], fallback=0 * total[0]))
        verdict = judge(seen[0], seen[1], config, share=share, days=day - since)
        if verdict.outcome == "step":
            share, since = min(s for s in config.steps if s > share), day
        elif verdict.outcome != "wait":
            return verdict.outcome, day
    raise AssertionError("the judge never decides")


def fates(lift: float, n: int) -> dict[str, float]:
    outcomes = [fate(seed, lift)[0] for seed in range(n)]
    return {outcome: outcomes.count(outcome) / n for outcome in ("promote", "rollback", "pause")}


def test_an_equal_canary_is_seldom_sent_home() -> None:
    """A/A under daily looks, shoppers who differ: at most alpha/2 on either side, and the rest is inconclusive."""
    share = fates(0.0, 60)
    assert share["rollback"] <= CONFIG.alpha / 2 + 0.025  # 60 draws: at most 3
    assert share["pause"] >= 0.9


@pytest.mark.soak
def test_an_equal_canary_is_seldom_sent_home_in_two_thousand_trials() -> None:
    """Both errors within alpha/2 and three standard errors."""
    share = fates(0.0, 2000)
    bound = CONFIG.alpha / 2 + 3 * np.sqrt(CONFIG.alpha / 2 / 2000)
    assert share["rollback"] <= bound
    assert share["promote"] <= bound


@pytest.mark.parametrize(("lift", "outcome"), [(-0.5, "rollback"), (0.5, "promote")])
def test_what_differs_much_is_found(lift: float, outcome: str) -> None:
    """Half the clicks, or half as many again: of 20 at least 18; the worse one at a small share, the better at last."""
    found = [fate(seed, lift) for seed in range(20)]
    assert [name for name, _ in found].count(outcome) >= 18
    if outcome == "promote":
        assert min(day for _, day in found) >= CONFIG.days_per_step * len(CONFIG.steps)


def test_an_ordinary_test_would_be_wrong_more_often() -> None:
    """The control: daily looks at |d| > 1.96 standard errors send home a multiple of the always-valid judge's."""
    wrong = 0
    for seed in range(100):
        (visits, clicks), (others, theirs) = shoppers(2 * seed, 500, 30), shoppers(2 * seed + 1, 500, 30)
        for day in range(1, 31):
            table = [x[:, :day].sum(axis=1) for x in (visits, clicks, others, theirs)]
            rate = table[1].sum() / table[0].sum(), table[3].sum() / table[2].sum()
            error = [
                np.sqrt(np.square(c - r * v).sum()) / v.sum()
                for c, v, r in ((table[1], table[0], rate[0]), (table[3], table[2], rate[1]))
            ]
            if rate[0] - rate[1] < -1.96 * np.hypot(*error):
                wrong += 1
                break
    assert wrong >= 8


def group(n: int, rate: float = 1.0, fallback: float = 0.0, *, spread: bool = True) -> Group:
    """`n` shoppers of two visits and about `rate` clicks each; a share `fallback` of them only meet the fallback."""
    clicks = np.full(n, 2 * rate) + (np.where(np.arange(n) % 2, 0.5, -0.5) * rate if spread else 0)
    left = np.arange(n) < fallback * n
    return Group(visits=np.full(n, 2.0), clicks=np.where(left, 0, clicks), fallback=left.astype(np.float64))


def said(canary: Group, baseline: Group, share: float = 0.05, days: int = 2, **settings: Any) -> tuple[str, str]:
    verdict = judge(canary, baseline, CanaryConfig(**settings), share=share, days=days)
    json.dumps(verdict.evidence, allow_nan=False)
    return verdict.outcome, verdict.reason


def test_the_outcomes() -> None:
    """Each case that there is, by hand."""
    same, good, bad = group(200), group(200, 1.3), group(200, 0.7)
    assert said(bad, same, days=1)[0] == "rollback"
    assert said(same, same, days=1) == ("wait", "not sure yet")
    assert said(same, same)[0] == said(good, same)[0] == "step"
    assert said(good, same, share=0.5) == ("promote", "more clicks a visit than the baseline")
    assert said(good, same, share=0.5, days=1)[0] == "wait"
    assert said(same, same, share=0.5)[0] == "wait"
    outcome, reason = said(same, same, share=0.5, days=14)
    assert (outcome, "no difference that is sure after 14 days" in reason) == ("pause", True)


def test_a_margin_lets_an_equal_one_through_and_still_sends_a_bad_one_home() -> None:
    """With 10 % to lose, equal is good enough; half the clicks is not; with nothing to lose equal is inconclusive."""
    same = group(2000)
    assert said(same, same, share=0.5, margin=0.1) == ("promote", "not inferior")
    assert said(group(2000, 0.5), same, share=0.5, margin=0.1)[0] == "rollback"
    assert said(same, same, share=0.5)[0] == "wait"


@pytest.mark.parametrize(
    ("canary", "baseline", "reason"),
    [
        (group(0), group(0), "no traffic"),
        (group(49), group(60), "too little traffic, 49 of 50 shoppers"),
        (group(49, 0.1), group(60), "too little traffic, 49 of 50 shoppers"),
        (group(1), group(1), "too little traffic"),
        (group(90, 0.0), group(90, 0.0), "clicks a visit cannot be compared"),
        (group(90, 1.0, spread=False), group(90, 1.0, spread=False), "clicks a visit cannot be compared"),
        (replace(group(90), clicks=np.full(90, np.nan)), group(90), "clicks a visit cannot be compared"),
    ],
)
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_without_numbers_nothing_moves(canary: Group, baseline: Group, reason: str, share: float) -> None:
    """No traffic, too little, no clicks, all alike, NaN: no step and no verdict, and after the patience a pause."""
    outcome, why = said(canary, baseline, share=share, days=13)
    assert outcome == "wait"
    assert reason in why
    outcome, why = said(canary, baseline, share=share, days=14)
    assert outcome == "pause"
    assert f"inconclusive: {reason}" in why


def test_a_broken_assignment_pauses() -> None:
    """200 against 120 shoppers, or none at all in one group: whatever the clicks say, nothing is concluded."""
    for canary, baseline in ((200, 120), (120, 200), (0, 100), (100, 0)):
        outcome, reason = said(group(canary, 0.1), group(baseline))
        assert outcome == "pause"
        assert "assignment is broken" in reason
    assert said(group(200), group(190))[0] == "step"
    assert said(group(20), group(60)) == ("wait", "too little traffic, 20 of 50 shoppers")


def test_a_canary_that_leaves_its_shoppers_to_the_fallback_goes_back() -> None:
    """All of them: with 10 shoppers already. A fifth more than the baseline's: with many. As many as there: no harm."""
    assert said(group(10, fallback=1.0), group(10), days=1)[0] == "rollback"
    assert said(group(2000, fallback=0.3), group(2000), days=1)[0] == "rollback"
    assert said(group(200, fallback=0.4), group(200, fallback=0.4))[0] == "step"
    assert said(group(30, fallback=0.2), group(30), days=1)[0] == "wait"


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": ()},
        {"steps": (0.1, 0.1)},
        {"steps": (0.1, 0.6)},
        {"steps": (0.0, 0.1)},
        {"days_per_step": 0},
        {"patience_days": 1},
        {"min_users": 1},
        {"alpha": 1.0},
        {"margin": -0.1},
        {"effect": 0.0},
        {"fallback_gap": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match=next(iter(settings))):
        CanaryConfig(**settings)


N_USERS = 1000


class Shop:
    """A shop whose shoppers click as they are told, so that what the judge reads is known."""

    def __init__(self, path: Path) -> None:
        self.log, self.registry = EventLog(path / "log"), Registry(path / "models")
        for version in ("m1", "m2", "m3"):
            self.registry.register(RandomModel(seed=1, n_items=3), version, {})
        self.change("promote", "m1")
        self.change("canary", "m2", share=0.1)

    def change(self, action: str, version: str | None = None, *, day: int = 0, share: float | None = None) -> None:
        self.registry.change(
            Change(action=action, version=version, day=day, share=share, actor="test", reason="because")
        )

    def live(self, day: int, *, canary: float = 0.3, source: str = "model", lost: float = 0.0) -> None:
        """Everybody visits once and sees 4 items; clicks of the canary's shoppers come at the rate `canary`.

        Slates of the canary are of `source`, and a share of them is `lost` on the way to the log.
        """
        users, traffic = np.arange(N_USERS), self.registry.traffic()
        rng = stream(day, "canary", "clicks")
        arm = arms(users, traffic)
        hit = arm == ARMS.index("canary")
        users = users[~hit | (rng.random(N_USERS) >= lost)]
        arm, hit = arm[users].repeat(4), hit[users].repeat(4)
        n, version = len(arm), [traffic.versions[code] for code in arm.tolist()]
        request = (np.int64(day + 2**15) << 47) | (users.astype(np.int64) << 16)
        failed = hit if source == "fallback" else np.zeros(n, dtype=np.bool_)
        position = np.tile(np.arange(4), len(users))
        columns: dict[str, Any] = {
            "request_id": request.repeat(4),
            "impression_id": request.repeat(4) | position,
            "day": np.full(n, day),
            "second": np.zeros(n),
            "user_id": users.repeat(4),
            "item_id": position,
            "position": position,
            "propensity": np.ones(n),
            "model_version": ["fallback-popular" if lower else name for lower, name in zip(failed, version)],
            "arm": [ARMS[code] for code in arm.tolist()],
            "source": ["fallback" if lower else "model" for lower in failed],
            "latency_ms": np.zeros(n),
            "clicked": rng.random(n) < np.where(hit, canary, 0.3),
            "dwell": np.ones(n),
        }
        rows = pa.table({name: pa.array(columns[name]) for name in IMPRESSIONS.names}).cast(IMPRESSIONS)
        self.log.append(day, rows, FEEDBACK.empty_table())

    def until(self, days: int, config: CanaryConfig = CONFIG, **told: Any) -> list[Verdict]:
        """Lives up to `days` more days, and asks the judge each morning, until it has decided."""
        verdicts: list[Verdict] = []
        for day in range(len(self.log.days), len(self.log.days) + days):
            self.live(day, **told)
            verdict = advance(self.log, self.registry, day + 1, config)
            assert verdict is not None
            verdicts.append(verdict)
            if verdict.outcome not in ("wait", "step"):
                break
        return verdicts


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_better_canary_goes_up_by_steps_and_becomes_champion(shop: Shop) -> None:
    """Two days at each share; each step and the promotion are rows by the judge, with their evidence."""
    verdicts = shop.until(20, canary=0.5)
    assert [verdict.outcome for verdict in verdicts] == ["wait", "step", "wait", "step", "wait", "promote"]
    rows = shop.registry.history()[2:]
    assert [(row["action"], row["day"], row.get("share")) for row in rows] == [
        ("canary", 2, 0.25), ("canary", 4, 0.5), ("promote", 6, None),
    ]  # fmt: skip
    assert all(row["actor"] == ACTOR and row["evidence"]["low"] is not None for row in rows)
    assert rows[-1]["evidence"]["clicks_per_visit"] > 1.8 > 1.4 > rows[-1]["evidence"]["baseline_clicks_per_visit"]
    traffic = shop.registry.traffic()
    assert (traffic.champion, traffic.canary, traffic.quarantined) == ("m2", None, ())


def test_a_canary_climbs_the_steps_that_it_was_started_with(tmp_path: Path) -> None:
    """They come before the judge's own."""
    shop = Shop(tmp_path)
    shop.change("end")
    steps = Change(action="canary", version="m3", steps=(0.2, 0.4), day=0, actor="test", reason="because")
    shop.registry.change(steps)
    assert shop.until(20, canary=0.6)[-1].outcome == "promote"
    assert [row.get("share") for row in shop.registry.history()[3:]] == [0.2, 0.4, None]


def test_a_worse_canary_is_rolled_back_and_its_rows_are_quarantined(shop: Shop) -> None:
    """The champion has all traffic again; there is nothing left to judge."""
    assert shop.until(9, canary=0.05)[-1].outcome == "rollback"
    traffic = shop.registry.traffic()
    assert (traffic.champion, traffic.rollout, traffic.quarantined) == ("m1", None, ("m2",))
    assert (arms(np.arange(N_USERS), traffic) == 0).all()
    row = shop.registry.history()[-1]
    assert (row["alias"], row["actor"], row["quarantine"]) == ("canary", ACTOR, ["m2"])
    assert row["evidence"]["high"] < 0
    assert advance(shop.log, shop.registry, 9) is None


def test_a_raising_canary_is_rolled_back_on_the_first_morning(shop: Shop) -> None:
    """Its shoppers are answered by the fallback, and click as much as ever: that is not to its credit."""
    (verdict,) = shop.until(1, source="fallback")
    assert verdict.outcome == "rollback"
    assert "fallback" in verdict.reason
    assert verdict.evidence["clicks_per_visit"] == 0


def test_an_equal_canary_ends_in_a_pause_and_a_person_decides(shop: Shop) -> None:
    """Traffic stays as it is and the judge is silent; after `resume` it looks again, with new patience."""
    config = CanaryConfig(steps=(0.1, 0.25), patience_days=4)
    assert [verdict.outcome for verdict in shop.until(20, config)][-1] == "pause"
    day, before = len(shop.log.days), shop.registry.traffic()
    assert (before.canary_share, before.canary_paused, before.champion) == (0.25, True, "m1")
    shop.live(day)
    assert advance(shop.log, shop.registry, day + 1, config) is None
    shop.change("resume", day=day + 1)
    after = shop.registry.traffic()
    assert (arms(np.arange(N_USERS), after) == arms(np.arange(N_USERS), before)).all()
    assert [verdict.outcome for verdict in shop.until(20, config)] == ["wait", "wait", "wait", "pause"]


def test_lost_rows_break_the_assignment(shop: Shop) -> None:
    """Where half of the canary's slates never reach the log, the groups are unequal: nothing is concluded."""
    (verdict,) = shop.until(1, canary=0.9, lost=0.6)
    assert verdict.outcome == "pause"
    assert "assignment is broken" in verdict.reason
    assert shop.registry.traffic().canary_paused


def test_no_traffic_waits_and_then_pauses(shop: Shop) -> None:
    """A shop where nobody comes: no crash, no verdict."""
    config = CanaryConfig(patience_days=3)
    outcomes = [advance(shop.log, shop.registry, day, config) for day in range(4)]
    assert [verdict.outcome if verdict else None for verdict in outcomes] == ["wait", "wait", "wait", "pause"]
    assert "no traffic" in shop.registry.history()[-1]["reason"]


def test_looking_again_on_the_same_day_changes_nothing(shop: Shop) -> None:
    """As after a killed run: a step is taken once, and a rollback does not roll back the champion too."""
    shop.live(0)
    shop.live(1)
    first = advance(shop.log, shop.registry, 2)
    assert first is not None
    assert first.outcome == "step"
    rows = shop.registry.history()
    again = advance(shop.log, shop.registry, 2)
    assert again is not None
    assert again.outcome == "wait"
    assert shop.registry.history() == rows


def test_another_champion_begins_the_comparison_anew(shop: Shop) -> None:
    """What was seen beside the old one counts no more, for either group."""
    shop.until(1)
    shop.change("promote", "m3", day=1)
    (verdict,) = shop.until(1)
    assert verdict.evidence["visits"] == verdict.evidence["users"]
    assert verdict.evidence["days"] == 1


def test_another_canary_of_the_same_day_is_not_this_one_s_fault(shop: Shop) -> None:
    """m2 raised and was taken away at noon; m3 began then: what m2 left in the log of the day is passed over."""
    shop.live(0, source="fallback")
    shop.change("rollback")
    shop.change("canary", "m3", share=0.1)
    verdict = advance(shop.log, shop.registry, 1)
    assert verdict is not None
    assert (verdict.outcome, verdict.evidence["users"]) == ("wait", [0, 0])
    assert shop.until(1)[-1].evidence["users"][0] > 60
