"""When to learn again, in words. A policy is asked every morning; its answer says why.

    never                  the first model serves for ever
    scheduled:14           every 14 days
    on-volume:50000        when so many items have been shown since the last training; on-volume:5000,of=clicks
    on-staleness:0.2       when so much of what is shown concerns shoppers and items that came since
    on-drop                when shoppers click less than they did, whatever the category
    on-drift               when the categories share the clicks otherwise than they did
    on-drop|scheduled:28   when one of them says so
    on-drift:cooldown=7,minimum=20000   not before so many days, nor before so many items were shown

Other settings follow by name, as in on-drop:window=14,alarms=0.01; they are the fields of the policies.

What they are worth: true margin of 180 days as a share of that of scheduled:7, and trainings after the first; seeds 1
and 2 of worlds of 2,000 shoppers, models of the last 28 days.

                        drifting            shock               seasonal
    never               77 %, 83 %    0     52 %, 46 %    0     94 %, 86 %    0
    scheduled:7        100 %, 100 %  25    100 %, 100 %  25    100 %, 100 %  25
    scheduled:14        94 %, 91 %   12     87 %, 85 %   12    102 %, 90 %   12
    scheduled:28        79 %, 81 %    6     73 %, 69 %    6     92 %, 89 %    6
    on-volume:75000     91 %, 95 %   16     99 %, 90 %   22    103 %, 93 %   16
    on-drop             88 %, 91 %   10     99 %, 104 %  17     94 %, 86 %    0
    on-drift            77 %, 81 %    2     51 %, 46 %    1     --,   99 %   22

In 80 made-up shops in which nothing changes, 60 days each, on-drop alarmed in 1 and on-drift in 3; the budget is 8.
"""

import re
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from simlab.errors import ConfigError
from simlab.recsys.facts import Facts
from simlab.recsys.policies import (
    Decision,
    Never,
    OnDrift,
    OnDrop,
    OnStaleness,
    OnVolume,
    RetrainPolicy,
    Scheduled,
)
from simlab.settings import choose, from_dict, require

__all__ = [
    "AnyOf",
    "Decision",
    "Never",
    "OnDrift",
    "OnDrop",
    "OnStaleness",
    "OnVolume",
    "Patient",
    "RetrainPolicy",
    "Scheduled",
    "parse_policy",
]


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """When one of several says so."""

    policies: tuple[RetrainPolicy, ...]
    """Two or more, asked in this order."""

    def __post_init__(self) -> None:
        require("policies to combine", self.policies, len(self.policies) >= 2, "give two or more")

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """The first yes with its reason, else all reasons."""
        reasons = []
        for policy in self.policies:
            decision = policy.decide(day, last_trained, facts)
            if decision.retrain:
                return decision
            reasons.append(decision.reason)
        return Decision(retrain=False, reason="; ".join(reasons))


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A policy that is not asked before there is something to learn from."""

    policy: RetrainPolicy
    cooldown: int = 0
    """Days since the last training, from 0 up."""
    minimum: int = 0
    """Impressions since the last training, from 0 up."""

    def __post_init__(self) -> None:
        for name in ("cooldown", "minimum"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "give a whole number from 0 up")
        require("cooldown and minimum", 0, self.cooldown + self.minimum > 0, "give one of them above 0")

    def decide(self, day: int, last_trained: int, facts: Facts) -> Decision:
        """No while it waits, then what the policy says."""
        if day - last_trained < self.cooldown:
            return Decision(retrain=False, reason=f"{day - last_trained} of {self.cooldown} days of cooldown")
        n = sum(facts.day(past).impressions for past in range(last_trained, day)) if self.minimum else 0
        if n < self.minimum:
            return Decision(retrain=False, reason=f"{n} of at least {self.minimum} impressions since the last training")
        return self.policy.decide(day, last_trained, facts)


NAMES: dict[str, type[Scheduled | OnVolume | OnStaleness | OnDrop | OnDrift]] = {
    "scheduled": Scheduled,
    "on-volume": OnVolume,
    "on-staleness": OnStaleness,
    "on-drop": OnDrop,
    "on-drift": OnDrift,
}

REMEDY = (
    'give "never", or "scheduled:14" for every 14 days, "on-volume:50000", "on-staleness:0.2", "on-drop", "on-drift", '
    'several with | between them, settings like "on-drop:window=14,cooldown=7,minimum=20000"'
)

PATIENCE = ("cooldown", "minimum")
"""What can be said of every policy with settings."""

_WRITTEN = {int: "[0-9]{1,12}", float: r"[0-9]{1,12}(\.[0-9]{1,20})?(e-[0-9]{1,3})?", str: "[a-z]+"}


def parse_policy(text: str) -> RetrainPolicy:
    """The policy that `text` names; see the top of this file. Raises `ConfigError` for anything else.

    >>> parse_policy("scheduled:14")
    Scheduled(every=14)
    >>> parse_policy("on-drop:window=14|scheduled:28").policies[1]
    Scheduled(every=28)
    """
    if text == "never":
        return Never()
    parts = tuple(_parse(part, text) for part in text.split("|"))
    return parts[0] if len(parts) == 1 else AnyOf(policies=parts)


def _parse(part: str, text: str) -> RetrainPolicy:
    name, colon, rest = part.partition(":")
    try:
        kind = choose("policy", name, NAMES)
        values = _values(kind, rest.split(",") if colon else [])
        patience = {key: value for key, value in values.items() if key in PATIENCE}
        policy = from_dict(kind, {key: value for key, value in values.items() if key not in PATIENCE})
    except ConfigError as error:
        raise ConfigError("retrain policy", text, f"{REMEDY} ({error.thing}: {error.remedy})") from error
    return Patient(policy=policy, **patience) if any(patience.values()) else policy


def _values(kind: type[Any], words: list[str]) -> dict[str, Any]:
    """Settings as they stand in the text, each of its type: "14" or "window=14"."""
    kinds = {**get_type_hints(kind), **dict.fromkeys(PATIENCE, int)}
    values: dict[str, Any] = {}
    for place, word in enumerate(words):
        key, equals, value = word.partition("=")
        if place == 0 and not equals and _first(kind):
            key, value = _first(kind), word
        choose("setting", key, kinds)
        require(key, value, key not in values, "give it once")
        require(key, value[:20], bool(re.fullmatch(_WRITTEN[kinds[key]], value)), "write it like 14, 0.2 or clicks")
        values[key] = kinds[key](value)
    return values


def _first(kind: type[Any]) -> str:
    """The setting that needs no name: the one without a default."""
    return next((field.name for field in fields(kind) if field.default is MISSING), "")
