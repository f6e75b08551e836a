"""When to learn again. A policy is asked every morning; its answer says why.

Policies that look at the report of the day before (on drift, on a drop) join when there is a monitor to report.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from simlab.errors import ConfigError
from simlab.settings import require


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do this morning, and why."""

    retrain: bool
    reason: str


class RetrainPolicy(Protocol):
    """Decides from what a company can know."""

    def decide(self, day: int, last_trained: int) -> Decision:
        """The decision on the morning of `day`, when the champion was trained on the morning of `last_trained`."""


@dataclass(frozen=True, kw_only=True)
class Never:
    """The first model serves for ever."""

    def decide(self, day: int, last_trained: int) -> Decision:
        """Always no."""
        return Decision(retrain=False, reason="never")


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """Every so many days, whatever happens."""

    every: int
    """Days between trainings, from 1 up."""

    def __post_init__(self) -> None:
        require("days between trainings", self.every, self.every >= 1, "give a whole number from 1 up")

    def decide(self, day: int, last_trained: int) -> Decision:
        """Yes, when the champion is `every` days old.

        >>> Scheduled(every=14).decide(28, 14).reason
        'the champion is 14 days old'
        """
        age = day - last_trained
        return Decision(retrain=age >= self.every, reason=f"the champion is {age} days old")


def parse_policy(text: str) -> RetrainPolicy:
    """The policy that `text` names: "never" or "scheduled:N". Raises `ConfigError` for anything else.

    >>> parse_policy("scheduled:14")
    Scheduled(every=14)
    """
    if text == "never":
        return Never()
    scheduled = re.fullmatch("scheduled:0*([1-9][0-9]{0,5})", text)
    if scheduled:
        return Scheduled(every=int(scheduled[1]))
    raise ConfigError("retrain policy", text, 'give "never", or "scheduled:14" for every 14 days')
