"""Traffic: which version answers whom, as the history of the registry says, and which changes of it are lawful.

    champion     the version that answers
    challenger   a rival with a share of the shoppers, for as long as a person wants
    canary       a newcomer whose share grows by steps while a judge watches; beside it the baseline: as many shoppers
                 who are answered by the champion, counted apart, so that both are equally fresh and equally many
    shadow       scores what the champion answers; nobody is shown it

Why a fold: traffic is a pure function of the rows, so every process that has read the same rows serves the same, and
what was served on any day can be told from the rows until then.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simlab.errors import ModelError
from simlab.schema import Floats, Ints
from simlab.settings import choose, require

Row = dict[str, Any]

CHAMPION = "champion"

STEPS = (0.05, 0.1, 0.25, 0.5)
"""Shares that a canary climbs, where nothing else is said."""

ARMS = ("champion", "challenger", "canary", "baseline")
"""In which group a shopper is; `arms` gives the index."""

HOLDBACK = "holdback"
"""The arm of shoppers who are kept out of all of these for months; see simlab.lab.holdback."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Who answers whom. At most one of challenger and canary has traffic at a time."""

    champion: str | None = None
    challenger: str | None = None
    challenger_share: float = 0.0
    """Share of the shoppers, in (0, 1); 0 without a challenger."""
    canary: str | None = None
    canary_share: float = 0.0
    """Share of the shoppers, in (0, 0.5], and again as much for the baseline; 0 without a canary."""
    canary_steps: tuple[float, ...] = ()
    """Shares to climb, where the start said which; else the judge's own."""
    canary_paused: bool = False
    """Shares stay as they are and the judge stands aside: a person decides."""
    shadow: str | None = None
    salt: str = ""
    """Of the rollout on traffic: another rollout puts other shoppers to the test."""
    since_day: int = 0
    """First day of the comparison: the start of the rollout or a later change of the champion, but a day later where
    another rollout ended on that day, so that none answers for what another left in the log."""
    step_day: int = 0
    """Since when the canary has had this share, or has been resumed."""
    quarantined: tuple[str, ...] = ()
    """Versions that were rolled back: nothing is learnt from what they showed."""
    row: int = 0
    """Number of the last row of the history."""

    @property
    def rollout(self) -> str | None:
        """What has traffic beside the champion: "canary", "challenger" or None."""
        return "canary" if self.canary else "challenger" if self.challenger else None

    @property
    def versions(self) -> tuple[str | None, ...]:
        """The version that answers each of ARMS."""
        return self.champion, self.challenger, self.canary, self.champion


def share_of(user_id: Ints, salt: str) -> Floats:
    """Where each user stands between 0 and 1 under `salt`: uniform, the same for ever, unrelated between salts.

    The upper 53 bits of splitmix64(user_id xor blake2b(salt)), over 2**53 (Steele, Lea, Flood, OOPSLA 2014).

    >>> share_of(np.array([0, 1, 2]), "canary").round(3).tolist()
    [0.796, 0.682, 0.852]
    """
    key = np.frombuffer(hashlib.blake2b(salt.encode(), digest_size=8).digest(), dtype="<u8")[0]
    return np.asarray((splitmix64(user_id.astype(np.uint64) ^ key) >> np.uint64(11)) * 2.0**-53)


def splitmix64(x: Any) -> Any:
    """One step of the generator splitmix64 from each state `x` (uint64): every bit of x moves every bit of the result.

    >>> hex(splitmix64(np.array([0], dtype=np.uint64))[0])
    '0xe220a8397b1dcdaf'
    """
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def arms(user_id: Ints, traffic: Traffic) -> Ints:
    """The arm of each user, as index into ARMS; shape (R,).

    With u = share_of(user): canary where u < s, baseline where u >= 1 - s, challenger where u < its share. So who is
    in stays in while the share s grows.
    """
    arm = np.zeros(len(user_id), dtype=np.int64)
    if traffic.rollout is None:
        return arm
    u = share_of(user_id, traffic.salt)
    arm[u < traffic.challenger_share] = ARMS.index("challenger")
    arm[u < traffic.canary_share] = ARMS.index("canary")
    arm[u >= 1 - traffic.canary_share] = ARMS.index("baseline")
    return arm


def traffic_of(rows: Sequence[Row]) -> Traffic:
    """What the rows of a history, from the first on, come to."""
    traffic = Traffic()
    for number, row in enumerate(rows, start=1):
        traffic = _after(traffic, row, number)
    return traffic


def _after(traffic: Traffic, row: Row, number: int) -> Traffic:
    action, alias, version, day = row["action"], row["alias"], row["version"], row["day"]
    again = {version} if action == "promote" else set()
    sick = tuple(dict.fromkeys([*traffic.quarantined, *row.get("quarantine", ())]))
    traffic = replace(traffic, row=number, quarantined=tuple(one for one in sick if one not in again))
    if alias == CHAMPION:
        if version != traffic.champion:
            traffic = replace(traffic, champion=version, since_day=max(day, traffic.since_day), step_day=day)
        for name in ("canary", "challenger", "shadow"):  # the champion is no rival of itself
            traffic = _without(traffic, name, day) if getattr(traffic, name) == version else traffic
        return traffic
    if action in ("rollback", "end"):
        return _without(traffic, alias, day)
    if action in ("pause", "resume"):
        return replace(traffic, canary_paused=action == "pause", step_day=day)
    if action == "shadow":
        return replace(traffic, shadow=version)
    if action not in ("canary", "challenger"):
        return traffic  # an alias of somebody's own
    if traffic.rollout is None:
        traffic = replace(traffic, salt=f"{version}@{number}", since_day=max(day, traffic.since_day))
    shares: dict[str, Any] = {action: version, f"{action}_share": row["share"]}
    steps = tuple(row.get("steps", traffic.canary_steps))
    return replace(traffic, step_day=day, canary_paused=False, canary_steps=steps, **shares)


def _without(traffic: Traffic, alias: str, day: int) -> Traffic:
    if alias == "shadow":
        return replace(traffic, shadow=None)
    if alias != traffic.rollout:
        return traffic
    gone: dict[str, Any] = {alias: None, f"{alias}_share": 0.0}
    return replace(traffic, salt="", canary_steps=(), canary_paused=False, since_day=day + 1, **gone)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A wish to change the traffic: who, when, why, on which evidence."""

    action: str
    """promote, rollback; challenger, canary (start, or another share), shadow; pause, resume (the canary); end."""
    day: int
    actor: str
    reason: str
    version: str | None = None
    """Of promote, challenger, canary and shadow."""
    alias: str | None = None
    """Whom to promote, roll back or end; by default the champion is promoted, and what has traffic beside it goes."""
    share: float | None = None
    """Of a challenger, in (0, 1), or a canary, in (0, 0.5], by default the first of its steps."""
    steps: tuple[float, ...] = ()
    """Of a canary: the rising shares that the judge is to climb; by default its own."""
    quarantine: bool = True
    """Whether nothing is to be learnt any more from what a version that is rolled back has shown."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """JSON."""


_FIELDS: dict[str, tuple[str, ...]] = {
    "promote": ("version", "alias"),
    "rollback": ("alias",),
    "challenger": ("version", "share"),
    "canary": ("version", "share", "steps"),
    "shadow": ("version",),
    "pause": (),
    "resume": (),
    "end": ("alias",),
}
"""What a change may say beside who, when and why."""


def check_wish(change: Change) -> None:
    """For doors at which people wish: `ConfigError` for what would be passed over in silence, and for no reason."""
    for name in ("version", "alias", "share", "steps"):
        value = getattr(change, name)
        fits = value in (None, ()) or name in _FIELDS[change.action]
        require(f"{name} of {change.action}", value, fits, "leave it out: it would change nothing")
    require("reason", change.reason, bool(change.reason.strip()), "say why: the history is read by others")


def next_row(rows: Sequence[Row], change: Change) -> Row | None:
    """The row that `change` adds to the history `rows`; None where it says what is so already.

    Raises `ModelError` where the change makes no sense now, and `ConfigError` for an unknown action.
    """
    make = choose("action", change.action, _ROWS)
    told = make(rows, traffic_of(rows), change)
    if told is None:
        return None
    who = {"day": change.day, "action": change.action, "actor": change.actor, "reason": change.reason}
    return {**who, **told, "evidence": {**change.evidence, **told.get("evidence", {})}}


def _promote(rows: Sequence[Row], traffic: Traffic, change: Change) -> Row | None:
    alias = change.alias or CHAMPION
    if alias in ("challenger", "canary", "shadow"):
        raise ModelError("alias to promote", alias, f"promote the version to champion, or use the action {alias}")
    last = next((row for row in reversed(rows) if row["alias"] == alias), None)
    if last and (last["version"], last["day"]) == (change.version, change.day):
        return None
    return {"alias": alias, "version": change.version}


def _start(rows: Sequence[Row], traffic: Traffic, change: Change) -> Row | None:
    name, version, share = change.action, change.version, change.share
    if share is None and name == "canary":
        share = (change.steps or STEPS)[0]
    if change.steps and not (name == "canary" and rising(change.steps)):
        raise ModelError("steps", change.steps, "give rising shares of a canary, above 0 and up to 0.5")
    limit = 0.5 if name == "canary" else 1.0
    if share is None or not 0 < share <= limit or share == 1:
        remedy = "give a number above 0 and up to 0.5, as much again is the baseline"
        raise ModelError(f"share of the {name}", share, remedy if name == "canary" else "give a number between 0 and 1")
    running = traffic.rollout and (traffic.rollout, traffic.canary or traffic.challenger)
    if running and running != (name, version):
        raise ModelError(
            name, version, f"the {running[0]} {running[1]} has traffic: promote it, roll it back or end it"
        )
    if version in traffic.quarantined:
        raise ModelError(name, version, "it was rolled back and is in quarantine: register another version")
    if traffic.champion in (None, version):
        raise ModelError(
            name, version, f"the champion is {traffic.champion}: choose another version to measure beside it"
        )
    if running and share == getattr(traffic, f"{name}_share") and change.steps in ((), traffic.canary_steps):
        return None
    steps: Row = {"steps": list(change.steps)} if change.steps else {}
    return {"alias": name, "version": version, "share": float(share), **steps}


def rising(steps: Sequence[float]) -> bool:
    """Whether these can be the shares of a canary, one after the other.

    >>> rising((0.05, 0.5)), rising((0.5, 0.05)), rising((0.6,)), rising(())
    (True, False, False, False)
    """
    return len(steps) > 0 and steps[-1] <= 0.5 and all(low < high for low, high in zip((0.0, *steps), steps))


def _shadow(rows: Sequence[Row], traffic: Traffic, change: Change) -> Row | None:
    if change.version == traffic.champion:
        raise ModelError("shadow", change.version, "it is the champion, and shown already: choose another version")
    return None if change.version == traffic.shadow else {"alias": "shadow", "version": change.version}


def _pause(rows: Sequence[Row], traffic: Traffic, change: Change) -> Row | None:
    if traffic.canary is None:
        raise ModelError(change.action, None, "there is no canary: start one first")
    same = traffic.canary_paused == (change.action == "pause")
    return None if same else {"alias": "canary", "version": traffic.canary}


def _end(rows: Sequence[Row], traffic: Traffic, change: Change) -> Row | None:
    alias = change.alias or traffic.rollout or "shadow"
    version = getattr(traffic, alias) if alias in ("challenger", "canary", "shadow") else None
    if version is None:
        raise ModelError("end", alias, "there is none now: name a challenger, canary or shadow that there is")
    return {"alias": alias, "version": version}


def _rollback(rows: Sequence[Row], traffic: Traffic, change: Change) -> Row | None:
    alias = change.alias or traffic.rollout or CHAMPION
    if alias == "shadow":
        raise ModelError("rollback", alias, "a shadow is shown to nobody: end it")
    if alias in ("challenger", "canary"):
        left = back = getattr(traffic, alias)
        if left is None:
            raise ModelError("rollback", alias, "there is none now")
    else:
        stack = _stack(rows, alias)
        earlier = [version for version in stack if version not in (*traffic.quarantined, stack[-1])]
        if not earlier:
            raise ModelError("rollback", alias, "there is no earlier version to go back to")
        left, back = stack[-1], earlier[-1]
    sick: Row = {"quarantine": [left]} if change.quarantine and alias in ARMS else {}
    return {"alias": alias, "version": back, "evidence": {"left": left}, **sick}


def _stack(rows: Sequence[Row], alias: str) -> list[str]:
    """The versions of `alias` that a rollback can go back to, the present one last."""
    stack: list[str] = []
    for row in rows:
        if row["alias"] == alias and row["action"] == "rollback":
            while stack[-1] != row["version"]:
                stack.pop()
        elif row["alias"] == alias and stack[-1:] != [row["version"]]:
            stack.append(row["version"])
    return stack


_ROWS: dict[str, Callable[[Sequence[Row], Traffic, Change], Row | None]] = {
    "promote": _promote,
    "rollback": _rollback,
    "challenger": _start,
    "canary": _start,
    "shadow": _shadow,
    "pause": _pause,
    "resume": _pause,
    "end": _end,
}

ACTIONS = tuple(_ROWS)
"""What can be done to the traffic."""
