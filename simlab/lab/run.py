"""A run: a folder that holds everything that happened, readable while it grows and after.

    config.json          every setting, the seed, versions of the packages
    log/                 what the company recorded: history*.parquet, day=00012/*.parquet
    models/              what it learnt, and who promoted what, when, why
    metrics.parquet      one row a day: what the company sees beside the truth
    truth/               what only the lab knows: world.npz, and for each day what is still to come

`check_folder` decides whether a folder may be used: a new one, or the same run to go on with, and nothing else.
"""

import json
import math
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from simlab.errors import RunError, SimlabError
from simlab.files import is_free, write_json
from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.lab.replay import journal
from simlab.recsys.log import EventLog
from simlab.recsys.registry import Registry
from simlab.settings import from_dict
from simlab.world.snapshot import from_bytes
from simlab.world.truth import World

PACKAGES = ("simlab", "numpy", "scipy", "pandas", "pyarrow", "duckdb", "lightfm-next", "implicit")


_AGAIN = "remove the run folder, and run it again"


def day_file(path: Path, day: int, ending: str) -> Path:
    """Where the lab keeps what it knows of `day`."""
    return path / "truth" / f"day={day:05d}.{ending}"


def _stored(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    try:
        stored: dict[str, Any] = dict(json.loads(file.read_text()))
        dict(stored["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            "run folder", str(path), f"its config.json is damaged ({error}): choose another folder"
        ) from error
    return stored


def check_folder(path: Path, config: RunConfig) -> None:
    """Finds that `path` is the folder of the run `config`, or can become it, and changes nothing.

    Raises `RunError` for a file, a folder with anything else in it, and a run made with other settings.
    """
    if path.exists() and not path.is_dir():
        raise RunError("run folder", str(path), "it is a file: choose another name")
    if (path / "config.json").exists():
        settings = _settings(config)
        before = {**_settings(RunConfig()), **_stored(path)["settings"]}  # an older simlab had fewer
        for name in sorted(set(before) | set(settings)):
            if before.get(name) != settings.get(name):
                remedy = f"it holds a run with {name} = {before.get(name)!r}, not {settings.get(name)!r}: "
                raise RunError("run folder", str(path), remedy + "choose another folder, or the same settings")
        return
    if not is_free(path):
        raise RunError("run folder", str(path), "it is not empty and holds no run: choose a new folder")


def claim_folder(path: Path, config: RunConfig) -> bool:
    """Makes `path`, which this process holds, the folder of the run `config`; False where it was that already.

    Raises `RunError` as `check_folder` does.
    """
    check_folder(path, config)
    if (path / "config.json").exists():
        return False
    packages = {name: version(name) for name in PACKAGES}
    write_json(path / "config.json", {"settings": _settings(config), "packages": packages})
    return True


def check_whole(path: Path) -> None:
    """Finds that nothing is missing or damaged of the days that have happened. Raises `RunError` naming the file."""
    days = EventLog(path / "log").days[: int(_stored(path)["settings"]["days"])]
    if days != list(range(len(days))):
        missing = min(set(range(max(days))) - set(days))
        raise RunError("run folder", str(path), f"day {missing} is missing in its log: {_AGAIN}")
    files = [
        path / "log" / "history.parquet",
        path / "log" / "history_feedback.parquet",
        path / "truth" / "history.parquet",
    ]
    for day in days:
        folder = path / "log" / f"day={day:05d}"
        files += [folder / "impressions.parquet", folder / "feedback.parquet", day_file(path, day, "parquet")]
    for file in files:
        try:
            pq.read_metadata(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError("file of the run", str(file), f"it is missing or damaged: {_AGAIN}") from error


def day_metrics(path: Path, day: int) -> dict[str, Any]:
    """The metrics of `day`, NaN where there is no number. Raises `RunError` where they are missing or damaged."""
    file = day_file(path, day, "json")
    try:
        row: dict[str, Any] = dict(json.loads(file.read_text()))
        row["visits"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError("file of the run", str(file), f"it is missing or damaged: {_AGAIN}") from error
    return {name: math.nan if value is None else value for name, value in row.items()}


def _settings(config: RunConfig) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return settings


class Run:
    """What happened, read from its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config: RunConfig = from_dict(RunConfig, _stored(path)["settings"])
        self.log = EventLog(path / "log")
        self.registry = Registry(path / "models")

    def __repr__(self) -> str:
        return f"<Run {self.path}: {len(self.days)} of {self.config.days} days>"

    @property
    def days(self) -> list[int]:
        """The days that have happened; what was served to people after the last one is in the log alone."""
        return self.log.days[: self.config.days]

    @cached_property
    def world(self) -> World:
        """What is true. A company never sees it."""
        file = self.path / "truth" / "world.npz"
        if not file.exists():
            raise RunError("run folder", str(self.path), "its truth/world.npz is missing: run it again to restore it")
        return from_bytes(file.read_bytes(), str(file))

    @cached_property
    def oracle(self) -> Oracle:
        """Answers what would have happened, in expectation."""
        return Oracle(self.world, journal(self.world, self.log, self.config.n_positions))

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a day, `day` the index: what the company sees, then the truth beside it."""
        rows = [day_metrics(self.path, day) for day in self.days]
        if not rows:
            return pd.DataFrame()
        table = pd.DataFrame(rows).set_index("day")
        return table[sorted(table.columns, key=_is_true)]

    @property
    def finished(self) -> bool:
        """Whether every day of the run has happened."""
        return len(self.days) >= self.config.days

    def weeks(self) -> pd.DataFrame:
        """The metrics by week: sums of counts and money, means of the rest weighted by visits; `week` counts from 1."""
        return weeks_of(self.metrics)


def _is_true(name: object) -> bool:
    """Whether a metric is known to the lab alone."""
    return str(name).startswith(("true_", "best_", "share_of_best"))


SUMS = (
    "visits", "impressions", "clicks", "purchases", "revenue", "refunds", "returns", "ratings", "margin", "retrained"
)  # fmt: skip
"""Metrics that are added up over a week; the others are averaged."""


def weeks_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """Daily metrics by week; a visit weighs the same on a quiet day and on a busy one."""
    week = pd.Series(metrics.index // 7 + 1, index=metrics.index, name="week")
    numbers = metrics.select_dtypes("number")
    weight = numbers["visits"]
    columns: dict[str, pd.Series[Any]] = {}
    for name in numbers.columns:
        if name in SUMS:
            columns[name] = numbers[name].groupby(week).sum()
        else:
            columns[name] = (numbers[name] * weight).groupby(week).sum() / weight.groupby(week).sum()
    return pd.DataFrame(columns)


def load_run(path: str | Path) -> Run:
    """The run in the folder `path`. Raises `RunError` where there is none."""
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise RunError("run folder", str(path), "there is no run in it: make one with simlab run --out")
    try:
        return Run(folder)
    except SimlabError as error:
        raise RunError("run folder", str(path), f"its settings cannot be read ({error})") from error
