"""Drills: a shop in which something goes wrong, played from the first day to the last, and what the watch made of it.

    play      a run with an incident, or without one
    score     its alerts against the truth: caught or not, days late, money lost meanwhile, false alarms

The truth of a drill is its twin: the same shop, shoppers and luck without the incident. What the incident costs is the
true margin of the twin less that of the run, and an alert that the twin has too is a false one.
"""

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pandas as pd

from simlab.files import temporary_folder
from simlab.lab.company import Company
from simlab.lab.config import RunConfig
from simlab.lab.incidents import FAULTS, Incident
from simlab.lab.loop import Ring, run, set_up
from simlab.lab.run import Run, claim_folder
from simlab.lab.watched import Watched, watched
from simlab.lab.worlds import open_world
from simlab.recsys.alerts import Alert, AlertConfig
from simlab.recsys.log import EventLog
from simlab.settings import from_dict, merged, require
from simlab.streams import stream

SCENE: dict[str, Any] = {
    "days": 42,
    "retrain": "scheduled:7",
    "world": {
        "n_users": 1200,
        "n_items": 300,
        "history_days": 60,
        "new_items_per_week": 6,
        "loyalty": {"newcomers_per_week": 20},
    },
    "training": {"window_days": 60},
}
"""The shop of the drills: settings of a run."""

FIRST, LAST = 22, 28
"""Between these days an incident begins, so that there are days to compare with, and days to see it."""

LATER = 70
"""Days after the last one whose newcomers can come early."""

CAUGHT = 14
"""Days within which an alert counts as one about the incident."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A drill that is over."""

    run: Run
    alerts: list[Alert]

    @property
    def margin(self) -> pd.Series:
        """True margin by day, in euros."""
        days = self.run.metrics
        return (days["true_margin_per_visit"] * days["visits"]).fillna(0.0)


def incident_of(seed: int) -> Incident | None:
    """The incident that `seed` stands for: any fault, on any day from `FIRST` to `LAST`; or, as often, none."""
    rng = stream(seed, "drill")
    faults = sorted(FAULTS)
    number = int(rng.integers(len(faults) + 1))
    if number == len(faults):
        return None
    fault = faults[number]
    day = int(rng.integers(FIRST, LAST + 1))
    return Incident(fault=fault, day=1 if FAULTS[fault].slow else day, seed=seed)


def config_of(
    seed: int, incident: Incident | None, *, twin: bool = False, scene: Mapping[str, Any] = SCENE
) -> RunConfig:
    """The settings of a drill, or of its `twin`, in which nothing goes wrong."""
    settings = dict(scene)
    if incident is not None:
        settings = merged(settings, incident.kind.scene)
        if incident.kind.settings is not None and not twin:
            settings = merged(settings, incident.kind.settings(incident.day))
    return from_dict(RunConfig, {**settings, "seed": seed})


class _Morning(Exception):  # noqa: N818, it is no error
    """The day has come."""


def morning_of(config: RunConfig, day: int) -> Path:
    """The folder of a watched run of `config` in which nothing went wrong before `day`, as it stands on its morning.

    Drills of the same settings that differ from this day on can all `start` from it.
    """
    path = Path(mkdtemp(dir=temporary_folder()))

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["day"] == day - 1:
            raise _Morning

    with suppress(_Morning):
        run(config, out=path, over=watched, progress=stop)
    return path


def play(
    config: RunConfig,
    incident: Incident | None = None,
    *,
    twin: bool = False,
    start: Path | None = None,
    alerts: AlertConfig | None = None,
) -> Played:
    """A run of `config` with `incident` and a watch; with `twin` only what the incident's scene brings with it.

    It goes on from a copy of the folder `start`, see `morning_of`; by default it begins with day 0. Raises
    `ConfigError` for an incident after the last day, or before the days that have happened.
    """
    path = Path(mkdtemp(dir=temporary_folder()))
    if start is not None:
        shutil.copytree(start, path, dirs_exist_ok=True)
    if incident is not None:
        last, been = config.days - 1, len(EventLog(path / "log").days)
        require("day of an incident", incident.day, incident.day <= last, f"the last day is {last}")
        require("day of an incident", incident.day, been <= incident.day, f"day {been - 1} has been: start earlier")
        if incident.kind.world is not None and not twin and start is None:
            world, history = open_world(replace(config, days=config.days + LATER))
            claim_folder(path, config)
            set_up(path, incident.kind.world(world, incident.day), history)
    watches: list[Watched] = []

    def over(ring: Ring) -> AbstractContextManager[Company]:
        watches.append(Watched(ring, incident, alerts, twin=twin))
        return nullcontext(watches[-1])

    done = run(config, out=path, over=over)
    return Played(run=done, alerts=watches[0].monitor.alerts)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the alerts of a drill were worth."""

    caught: str
    """The check that caught it first; "" where none did."""
    named: bool
    """Whether a check that tells this fault from others is among them; see `Fault.signs`."""
    delay: float
    """Days from the incident to that alert; infinite where it was not caught."""
    lost_before: float
    """Euros of true margin lost until the evening of the alert, all of it where there was none."""
    lost: float
    """Euros of true margin lost until the last day."""
    precision: float
    """Share of the alerts that are about the incident; NaN without any."""
    false_alarms: int
    """Alerts of the twin."""


def score(played: Played, twin: Played, incident: Incident) -> Score:
    """The alerts of `played` against the truth.

    An alert is about the incident where it came in the `CAUGHT` days from its first one on, and the twin had none of
    the kind within a week of it. Raises nothing: without alerts nothing is caught.
    """
    within = len(played.margin) if incident.kind.slow else CAUGHT
    about = [one for one in played.alerts if 0 <= one.day - incident.day <= within and not _told_by(twin, one)]
    first = min(about, key=lambda one: one.day, default=None)
    lost = twin.margin - played.margin
    end = len(lost) if first is None else first.day + 1
    n = len(played.alerts)
    return Score(
        caught="" if first is None else first.check,
        named=any(one.check in incident.kind.signs for one in about),
        delay=float("inf") if first is None else float(first.day - incident.day),
        lost_before=float(lost.iloc[incident.day : end].sum()),
        lost=float(lost.iloc[incident.day :].sum()),
        precision=len(about) / n if n else float("nan"),
        false_alarms=len(twin.alerts),
    )


def _told_by(twin: Played, alert: Alert) -> bool:
    return any(
        (one.check, one.where) == (alert.check, alert.where) and abs(one.day - alert.day) <= 7 for one in twin.alerts
    )
