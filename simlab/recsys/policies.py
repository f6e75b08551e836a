"""The policies: what each of them looks at, and when it says that it is time to learn again.

Why facts: a policy remembers nothing and draws nothing. It is told the day, the day of the last training and what the
log knows (simlab.recsys.facts), so a run that was killed and goes on decides as if it had not been.

Why a budget of alarms: a policy that looks every morning finds something in the end, so its level is split over the
looks of a month. What that is worth in which world is told in simlab.recsys.retrain.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simlab.recsys.drift import split_budget
from simlab.recsys.facts import Facts, Window
from simlab.recsys.signals import common_fall, mix_drift
from simlab.schema import NEVER
from simlab.settings import check_types, choose, require

LOOKS = 30
"""Looks in a month: one every morning."""

WHOLE = "give a whole number from 1 up"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do this morning, and why."""

    retrain: bool
    reason: str


class RetrainPolicy(Protocol):
    """Decides from what a company can know."""

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """The decision on the morning of `day`, when the last model was trained on the morning of `last_trained`.

        The same arguments give the same decision; of `facts` only days before `day` are asked for.
        """


@dataclass(frozen=True, kw_only=True)
class Never:
    """The first model serves for ever."""

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """Always no."""
        return Decision(retrain=False, reason="never")


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """Every so many days, whatever happens."""

    every: int
    """Days between trainings, from 1 up."""

    def __post_init__(self) -> None:
        check_types(self)
        require("days between trainings", self.every, self.every >= 1, WHOLE)

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """Yes, when the champion is `every` days old."""
        age = day - last_trained
        return Decision(retrain=age >= self.every, reason=f"the champion is {age} days old")


@dataclass(frozen=True, kw_only=True)
class OnVolume:
    """When there is so much more to learn from: a schedule that runs faster where more happens."""

    amount: int
    """Impressions or clicks since the last training, from 1 up."""
    of: str = "impressions"
    """What is counted: impressions or clicks."""

    def __post_init__(self) -> None:
        check_types(self)
        require("amount of on-volume", self.amount, self.amount >= 1, WHOLE)
        choose("what on-volume counts", self.of, dict.fromkeys(("impressions", "clicks")))

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """Yes, when there is `amount`."""
        days = [facts.day(past) for past in range(last_trained, day)]
        n = sum(one.clicks if self.of == "clicks" else one.impressions for one in days)
        return Decision(retrain=n >= self.amount, reason=f"{n} {self.of} since the last training")


@dataclass(frozen=True, kw_only=True)
class OnStaleness:
    """When much of what is shown concerns shoppers or items of whom the last training could know nothing.

    Who has arrived, and what has been launched, since it. Guests do not count: no training makes them known. An item
    that a model of clicks alone never shows does not either, so such a model notices new shoppers only.
    """

    share: float
    """Of the impressions of the last days, in (0, 1)."""
    window: int = 7
    """Days looked back, no further than to the last training; from 1 up."""

    def __post_init__(self) -> None:
        check_types(self)
        require("share of on-staleness", self.share, 0 < self.share < 1, "give a share between 0 and 1")
        require("window of on-staleness", self.window, self.window >= 1, WHOLE)

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """Yes, when the share is reached."""
        days = [facts.day(past) for past in range(max(last_trained, day - self.window), day)]
        first = np.concatenate([np.empty(0, dtype=np.int64), *(one.first_day for one in days)])
        shown = np.concatenate([np.empty(0, dtype=np.int64), *(one.of_first_day for one in days)])
        new, total = int(shown[(first >= last_trained) & (first < NEVER)].sum()), int(shown[first < NEVER].sum())
        share = new / max(total, 1)
        return Decision(
            retrain=share >= self.share, reason=f"{share:.1%} of what is shown is new since the last training"
        )


def _check_alarm(policy: "OnDrop | OnDrift", name: str) -> None:
    check_types(policy)
    weeks = policy.window >= 7 and policy.window % 7 == 0
    require(f"window of {name}", policy.window, weeks, "give whole weeks: 7, 14, 21 ...")
    require(f"alarms of {name}", policy.alarms, 0 < policy.alarms < 1, "give a number between 0 and 1")


def _champions(day: int, last_trained: int, facts: Facts) -> list[tuple[str | None, int]]:
    """Who answered until the eve of `day`, and since when; the last of them no longer than since `last_trained`."""
    *earlier, (name, first) = facts.champions(day) or [(None, day)]
    return [*earlier, (name, max(first, last_trained))]


def _compared(first: int, day: int, window: int, facts: Facts, *, since: int) -> tuple[Window, Window]:
    """The first `window` days of a champion that began on `first`, and the last days before `day` and after `since`.

    At most `window` days, against as many of the first ones on the same days of the week.
    """
    recent = range(max(since, day - window), day)
    return facts.window([first + (past - first) % window for past in recent]), facts.window(recent)


@dataclass(frozen=True, kw_only=True)
class OnDrop:
    """When the click rates of all categories have fallen, measured against what champions reached in their first days.

    There are two yardsticks: the champion's own first days, and the best first days of those before it. For a model
    that was trained in the middle of a change is no yardstick of itself: it is trained again until clicks are back, or
    the memory of better days has faded. A season does not count, see `signals.common_fall`; the days of the week are
    compared with their like.
    """

    window: int = 7
    """Days that are compared, whole weeks; no champion younger than that is sent away."""
    alarms: float = 0.05
    """False alarms in 30 days that you will bear, in (0, 1); a shop in which nothing changes has fewer."""
    memory: int = 365
    """Days for which the first days of an earlier champion are remembered, from 0 up; 0: only its own count."""

    def __post_init__(self) -> None:
        _check_alarm(self, "on-drop")
        require("memory of on-drop", self.memory, self.memory >= 0, "give days from 0 up")

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """Yes, when the fall is beyond chance for a yardstick; each that there might be has its part of the level."""
        *earlier, (name, began) = _champions(day, last_trained, facts)
        if day - began < self.window:
            return Decision(retrain=False, reason="the champion is too young to be compared")
        ends = [first for _, first in [*earlier, (name, began)][1:]]
        old = [
            (who, first)
            for (who, first), end in zip(earlier, ends)
            if end - first >= self.window and first + self.window > day - self.memory
        ]
        yardsticks = [(name, began, began + self.window)] if day - began > self.window else []
        if old:
            best = max(old, key=lambda one: facts.click_rate(range(one[1], one[1] + self.window)))
            yardsticks.append((*best, began))
        reason = "there are no first days to compare with"
        for who, first, since in yardsticks:
            before, after = _compared(first, day, self.window, facts, since=since)
            signal = common_fall(before, after, alpha=split_budget(self.alarms, 1 + len(old), LOOKS))
            reason = f"click rates {signal.size:+.1%} against the first days of {who}, limit {signal.limit:+.1%}"
            if signal.found:
                return Decision(retrain=True, reason=reason)
        return Decision(retrain=False, reason=reason)


@dataclass(frozen=True, kw_only=True)
class OnDrift:
    """When the categories share the champion's clicks otherwise than in its first days, given what it showed of them.

    It sees what all shoppers do alike. So it misses tastes that wander each its own way, and a season is a drift to it.
    Last year's same days are no remedy: another champion showed other categories to other shoppers then.
    """

    window: int = 7
    """Days that are compared, whole weeks."""
    alarms: float = 0.05
    """False alarms in 30 days that you will bear, in (0, 1); a shop in which nothing changes has about as many."""

    def __post_init__(self) -> None:
        _check_alarm(self, "on-drift")

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """Yes, when the PSI is beyond its law."""
        _, began = _champions(day, last_trained, facts)[-1]
        if day - began <= self.window:
            return Decision(retrain=False, reason="the champion is too young to be compared")
        before, after = _compared(began, day, self.window, facts, since=began + self.window)
        signal = mix_drift(before, after, alpha=split_budget(self.alarms, 1, LOOKS))
        reason = f"PSI of clicks by category {signal.size:.4f} against its first days, limit {signal.limit:.4f}"
        return Decision(retrain=signal.found, reason=reason)
