"""A case: what a company has of a shop in which something may have gone wrong; the answer is sealed.

    log/ models/             what was recorded, and what was learnt
    seen/                    the tables of each day as they came, what was sold out, features as the service read them
    shop/public.npz          goods and shoppers, as everybody may know them
    days.csv                 the company's metrics by day, from its log
    READ_ME.txt              what may have happened, what could mend it, how to answer
    seal.json                SHA-256 of the answer with a salt

Why nothing else: truth and answer follow from the seed of the case, which is in no file. The shop's own seed, which the
cards of models tell, and the incident's are two parts of what scrypt makes of it: neither leads to the other, and to
try a million seeds takes hours. A short seed is no secret all the same: take a long one where it matters.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from simlab.errors import DataError, RunError
from simlab.files import is_free, write_bytes, write_json
from simlab.lab.drills import Played, config_of, incident_of, morning_of, play, score
from simlab.lab.incidents import CURES, FAULTS, Incident
from simlab.lab.watched import SEEN, features_of, read_seen
from simlab.recsys.log import EventLog
from simlab.recsys.monitor import daily_metrics
from simlab.recsys.public import read_public, write_public
from simlab.recsys.quality import Finding, check_day, usual
from simlab.recsys.report import Report, report
from simlab.recsys.skew import unequal
from simlab.settings import choose, require
from simlab.streams import stream

NOTHING = "nothing"
"""The answer where nothing has happened."""

POINTS = {"detecting": 20, "locating": 30, "dating": 20, "curing": 20, "saving": 10}
"""What an answer can get."""

TRAINED_EVERY = 7
"""Days between trainings in the scene of the drills."""

_COPIED = ("log", "models", SEEN)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a learner says of a case."""

    fault: str
    """One of FAULTS, or nothing."""
    day: int | None
    """The first day of it; None where there is none."""
    cure: str
    """One of CURES."""
    acted: int | None = None
    """The day on which the cure is given; by default the day after the first."""

    def __post_init__(self) -> None:
        choose("fault", self.fault, {**FAULTS, NOTHING: None})
        choose("cure", self.cure, CURES)
        require("day", self.day, self.day is None or self.day >= 0, "give a day from 0 up, or none")
        acts = self.acted is None or self.acted > (self.day or 0)
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
    best: float
    """Euros that the right cure saves where it is given on the day after the first."""
    alert: str
    """What the watch would have called, and when; "" where it is silent."""

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
    shop, luck = secrets_of(seed)
    incident = incident_of(luck)
    played = play(config_of(shop, incident), incident)
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


@cache
def secrets_of(seed: int) -> tuple[int, int]:
    """The seeds of the shop and of the incident of a case (scrypt: Percival, 2009; RFC 7914).

    Raises `ConfigError` for a seed below 0.
    """
    require("seed", seed, seed >= 0, "give a whole number from 0 up")
    told = hashlib.scrypt(str(seed).encode(), salt=b"simlab drill", n=2**14, r=8, p=1, dklen=16)
    return int.from_bytes(told[:8], "big") >> 1, int.from_bytes(told[8:], "big") >> 1


def look(
    case: Path, days: int = 7, until: int | None = None, known: int | None = None
) -> tuple[Report | None, list[Finding]]:
    """The report on some days of a case, None where nothing was shown on them, and what is wrong with their data.

    Raises `ConfigError` for days that are not there, and `DataError` where there is no case.
    """
    log = EventLog(case / "log")
    require("case", str(case), bool(log.days), "there is none in it: make one with simlab drill new")
    goods, people = read_public(case / "shop" / "public.npz")
    last = log.days[-1]
    until = last if until is None else until
    require("days", days, days >= 1, "give a whole number from 1 up")
    require("until", until, until in log.days, f"give a day from 0 to {last}")
    known = last if known is None else known
    require("known", known, until <= known <= last, f"give a day from {until} to {last}")
    first, found = max(until - days + 1, 0), []
    counted = {day: daily_metrics(*log.day(day), goods, day) for day in log.days if first - 28 <= day <= until}
    for day in [day for day in log.days if first <= day <= until]:
        seen = read_seen(case / SEEN, day)
        normal = usual([row for one, row in counted.items() if day - 28 <= one < day and row["impressions"]])
        found += check_day(day, seen.impressions, seen.feedback, goods.launched_by(day), usual=normal)
        found += unequal(features_of(people, goods, seen.impressions), seen.served, day=day)
    shown = any(row["impressions"] for day, row in counted.items() if first <= day)
    return report(log, goods, people, first, until, known) if shown else None, found


def grade(case: Path, seed: int, answer: Answer) -> Grade:
    """Opens the seal with the seed and gives points: for detecting, locating, dating and curing, and for money saved.

    Money is told by playing the shop again: without the incident, with it, and cured on the day of the answer. Raises
    `DataError` where the seal is not that of `seed`.
    """
    incident = incident_of(secrets_of(seed)[1])
    _open_seal(case, seed, incident)
    money = _Money(0.0, 0.0, 0.0, "") if incident is None else _money(seed, incident, answer)
    points = points_of(incident, answer, money.saved, money.best)
    return Grade(points=points, truth=_truth(incident), **money._asdict())


class _Money(NamedTuple):
    """As in `Grade`."""

    lost: float
    saved: float
    best: float
    alert: str


def points_of(incident: Incident | None, answer: Answer, saved: float, best: float) -> dict[str, float]:
    """Points by what they are for; `incident` is what there was, `saved` and `best` are euros, see Grade.

    Half of those for locating are given for the right place; those for dating where the day is at most 1, 3 or 7 off.
    Those for saving are shares of what the right cure can save at best; all of them where that is nothing.
    """
    truth, named = _truth(incident), FAULTS.get(answer.fault)
    right, detected = answer.fault == truth["fault"], (named is None) == (incident is None)
    beside = named is not None and incident is not None and named.place == incident.kind.place
    cured = detected and answer.cure == truth["cure"]
    return {
        "detecting": 20.0 * detected,
        "locating": 30.0 if right else 15.0 * beside,
        "dating": (20.0 * right if truth["day"] is None else _of_date(incident, answer.day)) * detected,
        "curing": 20.0 * cured,
        "saving": 10.0 * cured * (min(max(saved / best, 0.0), 1.0) if best > 0 else 1.0),
    }


def _of_date(incident: Incident | None, day: int | None) -> float:
    """What is wrong in training shows when a model is trained next: any day until then is right."""
    if incident is None or day is None:
        return 0.0
    last = incident.day
    if incident.kind.place == "training":
        last += -last % TRAINED_EVERY
    off = max(incident.day - day, day - last, 0)
    return 20.0 if off <= 1 else 12.0 if off <= 3 else 6.0 if off <= 7 else 0.0


def _money(seed: int, incident: Incident, answer: Answer) -> _Money:
    """Euros lost by the incident, saved by its cure on the day of the answer, and at best; what the watch says."""
    shop, _ = secrets_of(seed)
    settings, first = config_of(shop, incident), incident.day + 1
    start = morning_of(settings, incident.day) if incident.kind.world is None else None
    uncured = play(settings, incident, start=start)
    calm = config_of(shop, incident, twin=True)
    twin = play(calm, incident, twin=True, start=start if calm == settings else None)
    told, low = score(uncured, twin, incident), _margin(uncured, incident)
    lost, alert = _margin(twin, incident) - low, f"{told.caught}, on day {incident.day + told.delay:.0f}"
    alert = alert if told.caught else ""
    if incident.kind.cure == "wait":
        return _Money(lost, 0.0, 0.0, alert)
    best = _margin(play(settings, replace(incident, until=first), start=start), incident) - low
    acted = (answer.day or 0) + 1 if answer.acted is None else answer.acted
    if answer.cure != incident.kind.cure or not incident.day < acted < settings.days:
        return _Money(lost, 0.0, best, alert)  # what is mended before it is broken is a guess
    if acted == first:
        return _Money(lost, best, best, alert)
    saved = _margin(play(settings, replace(incident, until=acted), start=start), incident) - low
    return _Money(lost, saved, best, alert)


def _margin(played: Played, incident: Incident) -> float:
    return float(played.margin.iloc[incident.day :].sum())


def _truth(incident: Incident | None) -> dict[str, Any]:
    if incident is None:
        return {"fault": NOTHING, "day": None, "cure": "wait", "says": "Nothing has happened."}
    day = None if incident.kind.slow else incident.day
    kind = incident.kind
    return {"fault": incident.fault, "day": day, "cure": kind.cure, "says": kind.says, "signature": kind.signature}


def _digest(seed: int, incident: Incident | None) -> str:
    """SHA-256 of a salt that follows from the seed, and the answer."""
    salt = stream(secrets_of(seed)[1], "seal of a case").bytes(32).hex()
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
A shop, days 0 to {last}. Something may have gone wrong in it. You have what its company has:

    days.csv           its metrics, a row a day
    log/               what was recorded, once it was fit to be read: IMPRESSIONS and FEEDBACK by day
    seen/              the same as it came; day=N.unavailable: items sold out; day=N.user_segment and .item_price:
                       features as the service read them (columns of, the user or item, and value)
    models/            the cards of the models; models/history: who promoted what, when, why
    shop/public.npz    goods and shoppers: segment, region, arrival_day; category, brand, price, launch_day

Look at any week, as it was known then or later, whole or cut:
    simlab drill look {out} --until 20
    simlab drill look {out} --until 20 --known 20 --by segment     (or region, category, position, item, user ...)
and at the tables themselves:
    from simlab.recsys.log import EventLog
    log = EventLog({str(out / "log")!r})
    log.sql("select day, count(*), avg(clicked::int) from impressions where day >= 0 group by day order by day")
    from simlab.recsys.public import read_public
    goods, people = read_public(Path({str(out / "shop" / "public.npz")!r}))

Then say what happened, since when, and what mends it:
    simlab drill grade {out} --seed SEED --fault NAME --day DAY --cure NAME
20 points for seeing that something is wrong (or that nothing is), 30 for what (15 for the right place), 20 for the day
(12 within 3 days, 6 within 7), 20 for the cure, 10 for the share of the money that it saves, given on the day after
(--acted). For nothing, and for what was there all the time, leave out --day. The cure of nothing is wait.

What may have happened, and its place (or "nothing"):
{faults}

What may mend it:
{cures}
"""
