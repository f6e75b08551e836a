"""Succession: who follows the champion. A model is trained, judged where there is a gate, registered, and promoted.

    trained ──► gate ──► promote | canary | refuse (it stays in the registry, and the champion goes on)

Why a refused model is registered: its card and the row of the history say what was tried and why it was not shown;
whoever disagrees can promote it by hand. Why nobody asks again at once: a gate that is tried every morning lets the
same model through on some morning by luck, so `last_tried` counts for the policy as a training.
"""

from dataclasses import dataclass
from typing import Any

from simlab.errors import DataError
from simlab.recsys.evaluation import relearn, split_by_time
from simlab.recsys.gates import ACTOR, GateConfig, Verdict, judge
from simlab.recsys.log import EventLog
from simlab.recsys.recipe import TrainingConfig
from simlab.recsys.registry import Registry
from simlab.recsys.rivals import rivals
from simlab.recsys.traffic import Change
from simlab.recsys.training import train_next
from simlab.schema import Catalogue, Shoppers


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A wish for a new champion."""

    day: int
    """On whose morning."""
    reason: str
    """Why now."""
    training: TrainingConfig
    """How it is trained."""
    gate: GateConfig | None = None
    """How it is judged; None lets it through. The first champion is not judged: somebody must answer."""


def succeed(log: EventLog, registry: Registry, catalogue: Catalogue, shoppers: Shoppers, attempt: Attempt) -> bool:
    """Trains on what is known at the start of the day, registers, and lets the model follow where it may.

    True where it is the champion now. Done again, it changes nothing. Where there is nothing to learn from, and where
    the gate refuses, the champion stays, and the history of models says why. Raises `DataError` where there is nothing
    to learn from and no champion yet.
    """
    config, day, champion = attempt.training, attempt.day, registry.alias("champion")
    try:
        model, card = train_next(log, registry, catalogue, shoppers, config=config, day=day)
    except DataError as error:
        if champion is None:
            raise
        reason = f"{attempt.reason}, but it stays: {error}"
        registry.promote(champion, day=day, actor="simlab", reason=reason)
        return False
    evidence = offline_evidence(log, registry, catalogue, shoppers, attempt)
    verdict = _verdict(log, registry, catalogue, shoppers, attempt)
    name = f"{config.algorithm}-day{day:05d}"
    if name in registry.versions() and registry.card(name)["settings"] != card["settings"]:
        name += "-again"  # on the same morning, in another way
    judged = {} if verdict is None else {"gate": {"finding": verdict.finding, "outcome": verdict.outcome}}
    registry.register(model, name, {**card, "offline": evidence, **judged})
    if verdict is None:
        registry.promote(name, day=day, actor="simlab", reason=attempt.reason, evidence=evidence)
        return True
    told: dict[str, Any] = {"day": day, "actor": ACTOR, "evidence": {**evidence, "gate": verdict.evidence}}
    if verdict.outcome == "canary":
        registry.change(Change(action="canary", version=name, reason=f"{attempt.reason}; {verdict.reason}", **told))
    elif verdict.outcome == "promote":
        registry.promote(name, reason=f"{attempt.reason}; {verdict.reason}", **told)
    else:
        assert champion is not None
        registry.promote(
            champion, reason=f"{attempt.reason}, but it stays, and {name} does not: {verdict.reason}", **told
        )
    return verdict.outcome == "promote"


def last_tried(registry: Registry) -> int | None:
    """The last day on which the gate has judged; None where it never has."""
    days = [int(row["day"]) for row in registry.history() if row["actor"] == ACTOR]
    return max(days, default=None)


def offline_evidence(
    log: EventLog, registry: Registry, catalogue: Catalogue, shoppers: Shoppers, attempt: Attempt
) -> dict[str, float]:
    """How well the settings do on the last week, learnt from the days before it; empty without such data.

    The model that is promoted has seen that week, so it cannot be judged on it; its settings can.
    """
    try:
        without = registry.quarantined()
        split = split_by_time(log, config=attempt.training, day=attempt.day, holdout_days=7, without=without)
        marks = relearn(split, catalogue, shoppers, config=attempt.training).overall
    except DataError:
        return {}
    return {"recall_at_10": marks.recall, "ndcg_at_10": marks.ndcg, "users": marks.n_users} if marks.n_users else {}


def _verdict(
    log: EventLog, registry: Registry, catalogue: Catalogue, shoppers: Shoppers, attempt: Attempt
) -> Verdict | None:
    """What the gate says; None where nobody is judged."""
    gate, day = attempt.gate, attempt.day
    if gate is None or registry.alias("champion") is None:
        return None
    try:
        models = rivals(log, registry, catalogue, shoppers, config=attempt.training, first=gate.grounds(day).first)
    except DataError as error:
        return Verdict("inconclusive", gate.doubtful, f"inconclusive: {error}", {})
    return judge(log, models, catalogue, shoppers, day=day, config=gate)
