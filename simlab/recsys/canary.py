"""The judge of a canary: more shoppers by steps, then promotion; or back at once; or a pause, if numbers cannot tell.

    clicks a visit of the canary's shoppers  against  those of the baseline: the champion's, equally many, equally fresh

Why a baseline: the champion's other shoppers are more, and its caches warmer; a difference to them may be due to that.
Why always-valid: the judge looks every morning, and whoever looks twenty times at an ordinary 5 % test finds something
in a quarter of all equal models. The interval used here may be looked at for ever, and acted on at once.
Why by shopper: one shopper's clicks are alike, and it was shoppers who were dealt out.

How much it sees: of canaries among 2,000 shoppers that bring 10, 20 or 30 % more clicks it promotes 1, 6 and 10 of 10
in eight weeks at most, of such that lose as much it sends home 2, 9 and 10; of equal ones 1 of 140.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from simlab.recsys.log import EventLog
from simlab.recsys.monitor import VISIT_BITS, ratio
from simlab.recsys.registry import Registry
from simlab.recsys.traffic import STEPS, Change, Traffic, rising
from simlab.schema import Floats
from simlab.settings import check_types, require

ACTOR = "canary judge"


@dataclass(frozen=True, kw_only=True)
class CanaryConfig:
    """How careful the judge is."""

    steps: tuple[float, ...] = STEPS
    """Rising shares of the shoppers, in (0, 0.5]; as many again are the baseline. Promotion comes after the last.
    Those that a canary was started with come before these."""
    days_per_step: int = 2
    """Days at each share at least, from 1 up."""
    patience_days: int = 14
    """Days at one share after which a person is to decide, from `days_per_step` up."""
    min_users: int = 50
    """Shoppers seen in each of the two groups before clicks are compared, and twice as many in both together before
    their sizes are; from 2 up."""
    alpha: float = 0.05
    """Probability that the interval of the difference ever misses the truth, in (0, 1); half of it on either side."""
    margin: float = 0.0
    """Share of the baseline's clicks a visit that a canary may lose and still be promoted, in [0, 1)."""
    effect: float = 0.2
    """Difference, as a share of the baseline's clicks a visit, that is found soonest; above 0."""
    fallback_gap: float = 0.1
    """By how much more of the canary's shoppers' slates than of the baseline's may be the fallback's, in (0, 1)."""

    def __post_init__(self) -> None:
        check_types(self)
        require("steps", self.steps, rising(self.steps), "give rising shares, above 0 and up to 0.5")
        require("days_per_step", self.days_per_step, self.days_per_step >= 1, "give a whole number from 1 up")
        fits = self.patience_days >= self.days_per_step
        require("patience_days", self.patience_days, fits, "give days_per_step or more")
        require("min_users", self.min_users, self.min_users >= 2, "give a whole number from 2 up")
        require("margin", self.margin, 0 <= self.margin < 1, "give a share in [0, 1)")
        require("effect", self.effect, self.effect > 0, "give a number above 0")
        for name in ("alpha", "fallback_gap"):
            require(name, getattr(self, name), 0 < getattr(self, name) < 1, "give a number in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class Group:
    """What was seen of the shoppers of one arm; arrays of shape (n_users,)."""

    visits: Floats
    clicks: Floats
    """On what the arm's model showed; clicks on the fallback's slates are not to its credit."""
    fallback: Floats
    """Share of what each was shown that the fallback chose."""


@dataclass(frozen=True)
class Verdict:
    """What the judge says."""

    outcome: str
    """promote, rollback, step (the next share), pause (inconclusive: a person decides) or wait."""
    reason: str
    evidence: dict[str, Any]
    """JSON; None where a number cannot be told."""


def msprt(difference: float, variance: float, mixing: float) -> float:
    """How much likelier an observed difference is under differences dealt out as N(0, mixing) than under none.

    Λ = sqrt(V / (V + τ²)) · exp(τ² d² / (2 V (V + τ²))),   V the variance of d so far, τ² the mixing variance

    Under no difference Λ is a martingale that begins at 1, so that P(Λ ever >= 1/alpha) <= alpha however often one
    looks: 1/Λ is a p-value at any time. With n in each group and variance s² of each, V = 2s²/n.
    Source: Johari, Koomen, Pekelis, Walsh, KDD 2017.

    >>> round(msprt(0.1, 2 * 1.0 / 1000, 0.01), 6)
    3.278722
    """
    both = variance + mixing
    with np.errstate(over="ignore"):  # sure beyond what a float can say
        return float(np.sqrt(variance / both) * np.exp(mixing * difference**2 / (2 * variance * both)))


def reach(variance: float, mixing: float, alpha: float) -> float:
    """Half the width of the always-valid interval: the differences that `msprt` does not refuse.

    |d - θ| < sqrt(2 V (V + τ²) / τ² · log(sqrt((V + τ²) / V) / alpha))

    NaN without variance or mixing: then nothing can be told.

    >>> round(msprt(reach(0.002, 0.01, 0.05), 0.002, 0.01), 9)
    20.0
    """
    if not (0 < variance < np.inf and 0 < mixing < np.inf):
        return float("nan")
    both = variance + mixing
    return float(np.sqrt(2 * variance * both / mixing * np.log(np.sqrt(both / variance) / alpha)))


def mismatch(n_canary: int, n_baseline: int) -> float:
    """p-value of so unequal groups where each shopper was as likely to be in either (sample-ratio mismatch).

    chi2 = (a - b)² / (a + b), one degree of freedom.
    Source: Fabijan et al., KDD 2019.

    >>> f"{mismatch(1000, 1200):.6g}"
    '2.00787e-05'
    """
    n = n_canary + n_baseline
    return float(chi2.sf((n_canary - n_baseline) ** 2 / n, 1)) if n else 1.0


BROKEN = 0.001
"""A p-value of the groups' sizes below this says that the assignment is broken."""


def judge(canary: Group, baseline: Group, config: CanaryConfig, *, share: float, days: int) -> Verdict:
    """What to do with a canary that has had `share` for `days`, by all that was seen since its start.

    Rollback where too many of its slates are the fallback's (the model raises, or is late), or where it surely loses
    more clicks than the margin; pause where the groups are so unequal that the assignment must be broken; a step after
    the days of each, and promotion after those of the last, where it surely loses less than the margin. Where patience
    ends, also for want of traffic or of numbers, pause. Else wait.
    """
    seen = len(canary.visits), len(baseline.visits)
    gap = _fallback_gap(canary, baseline, config)
    clicks = _clicks(canary, baseline, config)
    evidence: dict[str, Any] = {
        "share": share,
        "days": days,
        "users": list(seen),
        "visits": [int(canary.visits.sum()), int(baseline.visits.sum())],
        "mismatch_p": mismatch(*seen),
        **{name: float(value) if np.isfinite(value) else None for name, value in {**gap, **clicks}.items()},
    }

    def say(outcome: str, reason: str) -> Verdict:
        return Verdict(outcome, reason, evidence)

    if gap["fallback_gap_low"] > config.fallback_gap:
        return say("rollback", "the fallback answers too many of its shoppers")
    if sum(seen) >= 2 * config.min_users and evidence["mismatch_p"] < BROKEN:  # few are unequal by chance on some day
        return say("pause", f"inconclusive: the assignment is broken, groups of {seen[0]} and {seen[1]} shoppers")
    lack = _lack(seen, evidence, config)
    if lack is None and clicks["high"] < 0:
        return say("rollback", "fewer clicks a visit than the baseline")
    if lack is None and days >= config.days_per_step:
        if share < config.steps[-1]:
            return say("step", "no harm is sure at this share")
        if clicks["low"] > 0:
            return say("promote", "more clicks a visit than the baseline" if config.margin == 0 else "not inferior")
    if days >= config.patience_days:
        return say("pause", f"inconclusive: {lack or 'no difference that is sure'} after {days} days at this share")
    return say("wait", lack or "not sure yet")


def _in_words(evidence: dict[str, Any]) -> str:
    """What a person should know of the numbers; nothing where there are none to compare."""
    if evidence["low"] is None:
        return ""
    ours, theirs, low, high = (
        evidence[name] for name in ("clicks_per_visit", "baseline_clicks_per_visit", "low", "high")
    )
    n, m = evidence["users"]
    return f": {ours:.2f} against {theirs:.2f} clicks a visit ({low:+.2f} to {high:+.2f}), {n} against {m} shoppers"


def _lack(seen: tuple[int, int], evidence: dict[str, Any], config: CanaryConfig) -> str | None:
    """What is missing for a comparison."""
    if 0 in seen:
        return "no traffic"
    if min(seen) < config.min_users:
        return f"too little traffic, {min(seen)} of {config.min_users} shoppers"
    return "clicks a visit cannot be compared" if evidence["low"] is None else None


def _clicks(canary: Group, baseline: Group, config: CanaryConfig) -> dict[str, float]:
    """Clicks a visit of both, and what the canary has more than the baseline less the margin, with its interval."""
    ours, our_error = ratio(canary.clicks, canary.visits)
    theirs, their_error = ratio(baseline.clicks, baseline.visits)
    kept = 1 - config.margin
    more = ours - kept * theirs
    variance, mixing = our_error**2 + (kept * their_error) ** 2, (config.effect * theirs) ** 2
    half = reach(variance, mixing, config.alpha)
    surprise = msprt(more, variance, mixing) if np.isfinite(half) else float("nan")
    return {
        "clicks_per_visit": ours,
        "baseline_clicks_per_visit": theirs,
        "more": more,
        "low": more - half,
        "high": more + half,
        "p": min(1.0, 1 / surprise) if np.isfinite(half) else float("nan"),
    }


def _fallback_gap(canary: Group, baseline: Group, config: CanaryConfig) -> dict[str, float]:
    """How much more of what the canary's shoppers see is the fallback's, and at least.

    Numbers between 0 and 1 have a variance of at most 1/4, so the interval holds without an estimate of it, also for
    ten shoppers who all fare the same.
    """
    n, m = len(canary.fallback), len(baseline.fallback)
    if 0 in (n, m):
        return {"fallback_gap": float("nan"), "fallback_gap_low": float("nan")}
    gap = float(canary.fallback.mean() - baseline.fallback.mean())
    return {"fallback_gap": gap, "fallback_gap_low": gap - reach(0.25 / n + 0.25 / m, 0.25, config.alpha)}


def advance(log: EventLog, registry: Registry, day: int, config: CanaryConfig | None = None) -> Verdict | None:
    """Lets the judge look on the morning of `day`, at the days before it; what it decides is a row of the registry.

    None without a canary, and while it is paused. Looking again on the same day changes nothing: whoever has just
    stepped waits.
    """
    config, traffic = config or CanaryConfig(), registry.traffic()
    if traffic.canary is None or traffic.canary_paused:
        return None
    config = replace(config, steps=traffic.canary_steps or config.steps)
    verdict = judge(*groups(log, traffic, day), config, share=traffic.canary_share, days=max(day - traffic.step_day, 0))
    verdict = replace(verdict, reason=verdict.reason + _in_words(verdict.evidence))
    steps: dict[str, dict[str, Any]] = {
        "step": {
            "action": "canary",
            "version": traffic.canary,
            "share": next((s for s in config.steps if s > traffic.canary_share), 0.5),
        },
        "rollback": {"action": "rollback", "alias": "canary"},
        "pause": {"action": "pause"},
        "promote": {"action": "promote", "version": traffic.canary},
    }
    if verdict.outcome in steps:
        told: dict[str, Any] = {"reason": verdict.reason, "evidence": verdict.evidence}
        registry.change(Change(day=day, actor=ACTOR, **told, **steps[verdict.outcome]))
    return verdict


def groups(log: EventLog, traffic: Traffic, day: int) -> tuple[Group, Group]:
    """The canary's and the baseline's shoppers, as seen from the first day of the comparison to the one before `day`.

    Rows of a version that was replaced meanwhile do not count; the fallback's do, but not as clicks.
    """
    rows = log.sql(
        f"""select arm, user_id, count(distinct request_id >> {VISIT_BITS})::double as visits,
                   sum((clicked and source <> 'fallback')::int)::double as clicks,
                   avg((source = 'fallback')::int)::double as fallback
            from impressions
            where day between {traffic.since_day} and {day - 1} and arm in ('canary', 'baseline')
                  and (source = 'fallback' or model_version =
                       case arm when 'canary' then '{traffic.canary}' else '{traffic.champion}' end)
            group by all order by all""",
        until=day - 1,
    )
    return _group(rows[rows["arm"] == "canary"]), _group(rows[rows["arm"] == "baseline"])


def _group(rows: pd.DataFrame) -> Group:
    visits, clicks, fallback = (rows[name].to_numpy(np.float64) for name in ("visits", "clicks", "fallback"))
    return Group(visits=visits, clicks=clicks, fallback=fallback)
