"""A case: what a company has of a shop in which something may have gone wrong; the answer is sealed.

    log/ models/             what was recorded, and what was learnt
    seen/                    the tables of each day as they came, what was sold out, features as the service read them
    shop/public.npz          goods and shoppers, as everybody may know them
    days.csv                 the company's metrics by day, from its log
    READ_ME.txt              what may have happened, what could mend it, how to answer
    seal.json                SHA-256 of the answer with a salt

Why nothing else: truth and answer follow from the seed, which is in no file. Who gives the seed to `grade` gets the
answer told, and the seal shows that it is the one that was there from the beginning.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from simlab.errors import DataError, RunError
from simlab.files import is_free, write_bytes, write_json
from simlab.lab.drills import Played, config_of, incident_of, play
from simlab.lab.incidents import CURES, FAULTS, Incident
from simlab.lab.watched import SEEN, read_seen
from simlab.recsys.log import EventLog
from simlab.recsys.monitor import daily_metrics
from simlab.recsys.public import read_public, write_public
from simlab.recsys.quality import Finding, check_day
from simlab.recsys.report import Report, report
from simlab.settings import choose, require
from simlab.streams import stream

NOTHING = "nothing"
"""The answer where nothing has happened."""

POINTS = {"detecting": 20, "locating": 30, "dating": 20, "curing": 20, "saving": 10}
"""What an answer can get."""

_COPIED = ("log", "models", SEEN)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a learner says of a case."""

    fault: str
    """One of FAULTS, or nothing."""
    day: int
    """The first day of it."""
    cure: str
    """One of CURES."""
    acted: int | None = None
    """The day on which the cure is given; by default the day after the first."""

    def __post_init__(self) -> None:
        choose("fault", self.fault, {**FAULTS, NOTHING: None})
        choose("cure", self.cure, CURES)
        require("day", self.day, self.day >= 0, "give a day from 0 up")
        acts = self.acted is None or self.acted > self.day
        require("acted", self.acted, acts, "give a day after the first one of the fault")


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What an answer is worth."""

    points: dict[str, float]
    """By what they are for; see POINTS."""
    truth: dict[str, Any]
    """The answer that was sealed."""
    lost: float
    """Euros of true margin that the incident costs until the last day."""
    saved: float
    """Euros of them that the cure saves, given on the day of the answer."""

    @property
    def total(self) -> float:
        """Of 100."""
        return sum(self.points.values())


def new_case(seed: int, out: Path) -> Path:
    """Plays the drill of `seed` and leaves in the new folder `out` what the company has of it.

    Raises `RunError` for a folder in use.
    """
    if not is_free(out):
        raise RunError("case folder", str(out), "it is not empty: choose a new folder")
    incident = incident_of(seed)
    played = play(config_of(seed, incident), incident)
    for name in _COPIED:
        shutil.copytree(played.run.path / name, out / name)
    world, last = played.run.world, played.run.config.days - 1
    goods, people = world.catalogue.launched_by(last), world.shoppers.arrived_by(last)
    write_public(out / "shop" / "public.npz", goods, people)
    rows = [{"day": day, **daily_metrics(*played.run.log.day(day), goods, day)} for day in played.run.log.days]
    write_bytes(out / "days.csv", pd.DataFrame(rows).round(4).to_csv(index=False).encode())
    write_bytes(out / "READ_ME.txt", _words(out, last).encode())
    write_json(out / "seal.json", {"format": 1, "sha256": _digest(seed, incident), "days": last + 1})
    return out


def look(case: Path, days: int = 7, until: int | None = None) -> tuple[Report, list[Finding]]:
    """The report on some days of a case, and what is wrong with their data, as the company can know it."""
    log, (goods, people) = EventLog(case / "log"), read_public(case / "shop" / "public.npz")
    require("case", str(case), bool(log.days), "there is no case in it: make one with simlab drill new")
    until = log.days[-1] if until is None else until
    require("until", until, until in log.days, f"give a day from 0 to {log.days[-1]}")
    found = []
    for day in [day for day in log.days if until - days < day <= until]:
        seen = read_seen(case / SEEN, day)
        found += check_day(day, seen.impressions, seen.feedback, goods.launched_by(day))
    return report(log, goods, people, max(until - days + 1, 0), until, log.days[-1]), found


def grade(case: Path, seed: int, answer: Answer) -> Grade:
    """Opens the seal with the seed and gives points: for detecting, locating, dating and curing, and for money saved.

    Money is told by playing the shop again: without the incident, with it, and cured on the day of the answer. Raises
    `DataError` where the seal is not that of `seed`.
    """
    incident = incident_of(seed)
    _open_seal(case, seed, incident)
    lost, saved = (0.0, 0.0) if incident is None else _money(seed, incident, answer)
    return Grade(points=points_of(incident, answer, lost, saved), truth=_truth(incident), lost=lost, saved=saved)


def points_of(incident: Incident | None, answer: Answer, lost: float, saved: float) -> dict[str, float]:
    """Points by what they are for; `incident` is what there was, `lost` and `saved` are euros, see Grade.

    Half of those for locating are given for the right place; those for dating where the day is at most 1, 3 or 7 off.
    """
    truth, named = _truth(incident), FAULTS.get(answer.fault)
    right, detected = answer.fault == truth["fault"], (named is None) == (incident is None)
    beside = named is not None and incident is not None and named.place == incident.kind.place
    cured = detected and answer.cure == truth["cure"]
    return {
        "detecting": 20.0 * detected,
        "locating": 30.0 if right else 15.0 * beside,
        "dating": (20.0 * right if truth["day"] is None else _of_date(abs(answer.day - truth["day"]))) * detected,
        "curing": 20.0 * cured,
        "saving": 10.0 * cured * (min(max(saved / lost, 0.0), 1.0) if lost > 0 else 1.0),
    }


def _of_date(off: int) -> float:
    return 20.0 if off <= 1 else 12.0 if off <= 3 else 6.0 if off <= 7 else 0.0


def _money(seed: int, incident: Incident, answer: Answer) -> tuple[float, float]:
    """Euros lost by the incident, and saved by its cure on the day of the answer."""
    settings = config_of(seed, incident)
    acted = max(answer.day + 1 if answer.acted is None else answer.acted, incident.day + 1)
    uncured = _margin(play(settings, incident), incident)
    twin = _margin(play(config_of(seed, incident, twin=True), incident, twin=True), incident)
    if acted >= settings.days or answer.cure != incident.kind.cure or answer.cure == "wait":
        return twin - uncured, 0.0
    return twin - uncured, _margin(play(settings, replace(incident, until=acted)), incident) - uncured


def _margin(played: Played, incident: Incident) -> float:
    return float(played.margin.iloc[incident.day :].sum())


def _truth(incident: Incident | None) -> dict[str, Any]:
    if incident is None:
        return {"fault": NOTHING, "day": None, "cure": "wait", "says": "Nothing has happened."}
    day = None if incident.kind.slow else incident.day
    kind = incident.kind
    return {"fault": incident.fault, "day": day, "cure": kind.cure, "says": kind.says, "signature": kind.signature}


def _digest(seed: int, incident: Incident | None) -> str:
    """SHA-256 of a salt that follows from the seed, and the answer: whoever guesses the answer cannot try it."""
    salt = stream(seed, "seal of a case").bytes(32).hex()
    truth = _truth(incident)
    sealed = [salt, truth["fault"], truth["day"], truth["cure"]]
    return hashlib.sha256(json.dumps(sealed).encode()).hexdigest()


def _open_seal(case: Path, seed: int, incident: Incident | None) -> None:
    file = case / "seal.json"
    try:
        told = str(json.loads(file.read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "seal of a case", str(file), "there is none to read: make a case with simlab drill new"
        ) from error
    if told != _digest(seed, incident):
        raise DataError("seed", seed, f"it does not open {file}: give the one that the case was made with")


def _words(out: Path, last: int) -> str:
    faults = "\n".join(f"    {name:18}{fault.place:10}{fault.says}" for name, fault in sorted(FAULTS.items()))
    cures = "\n".join(f"    {name:18}{words}" for name, words in CURES.items())
    return f"""\
A shop, days 0 to {last}. Something may have gone wrong in it. You have what its company has.

Look at days.csv; at any week with
    simlab drill look {out} --until 20
    simlab drill look {out} --until 20 --by segment
at models/history, and at log/ and seen/ with pandas or DuckDB. Then say what happened, since when, and what mends it:
    simlab drill grade {out} --seed SEED --fault NAME --day DAY --cure NAME

What may have happened (or "nothing"):
{faults}

What may mend it:
{cures}
"""
