"""What if: the same shop, the same shoppers and the same luck, and from some day on another policy.

A branch is a run whose days before `day` are those of another run. Its shoppers come at the same moments, in the same
moods, and who is shown the same does the same; so what differs, differs by policy. The true difference is taken shopper
by shopper,

    d_u = value of all slates of u in the branch - value of all slates of u in the run,      days from `day` on

and its mean is told with an interval over shoppers. The models are taken as they came out of training: their own luck
is not in it.

Why pairs: most of what two runs differ by is who happened to come. That part is the same here and cancels (common
random numbers; Glasserman and Yao, Management Science 1992).
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd

from simlab.errors import RunError
from simlab.files import draft_of, is_free, temporary_folder, write_json
from simlab.lab.config import RunConfig
from simlab.lab.loop import open_ring, retrain, run
from simlab.lab.oracle import Value
from simlab.lab.replay import slates_of
from simlab.lab.run import Run, day_file
from simlab.recsys.monitor import Z
from simlab.settings import choose, from_dict, merged, require

CHANGES = ("retrain", "gate", "training", "segments", "online", "latency_ms")
"""Settings of a run that are the company's, so that a branch may have others."""


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """A run beside its branch."""

    run: Run
    branch: Run
    day: int
    """The first day on which they may differ."""
    by_user: pd.DataFrame
    """True value in the branch less that in the run, one row a shopper: clicks, purchases, revenue, refunds, margin."""

    def __str__(self) -> str:
        days = f"days {self.day} to {self.run.config.days - 1}"
        head = f"branch less run, {days}, mean of {len(self.by_user):,} shoppers; money in euros, 95 % intervals"
        foot = "the models are taken as they came out of training: other data would have made others"
        return f"{head}\n{self.table.round(3).to_string()}\n{foot}"

    @property
    def table(self) -> pd.DataFrame:
        """Mean difference a shopper over the days, its standard error, and the 95 % interval; one row a goal."""
        mean, error = self.by_user.mean(), self.by_user.std() / np.sqrt(len(self.by_user))
        return pd.DataFrame(
            {"difference": mean, "error": error, "low": mean - Z * error, "high": mean + Z * error}
        ).rename_axis("goal")


def what_if(done: Run, day: int, change: Mapping[str, Any], *, out: Path | None = None) -> WhatIf:
    """What another policy would have done to the run `done` from `day` on; see `branch` for `change` and errors."""
    other = branch(done, day, change, out=out)
    first, last = true_values(done, day), true_values(other, day)
    return WhatIf(run=done, branch=other, day=day, by_user=last - first)


def branch(done: Run, day: int, change: Mapping[str, Any], *, out: Path | None = None) -> Run:
    """The run `done` until `day`, then on to its last day with the settings `change`, in the new folder `out`.

    `change` names settings of `CHANGES`, e.g. {"retrain": "never"} or {"training": {"algorithm": "als"}}; where
    training changes, the branch trains on `day` at once. `out` is a temporary folder by default. Raises `ConfigError`
    for other settings, and `RunError` for an unfinished run, a day that it does not have and a folder in use.
    """
    require("change", change, isinstance(change, Mapping), 'give settings such as {"retrain": "never"}')
    config: RunConfig = from_dict(RunConfig, merged(asdict(done.config), change))
    for name in change:
        choose("setting of a branch", name, dict.fromkeys(CHANGES))
    seed = config.training.seed
    require("training.seed", seed, seed == done.config.training.seed, "training has the seed of the run: leave it out")
    whole = isinstance(day, int) and not isinstance(day, bool)
    if not done.finished:
        raise RunError("run", str(done.path), "it is not finished: run it again to finish it")
    require("day of a branch", day, whole and 0 <= day < config.days, f"the run has the days 0 to {config.days - 1}")
    path = Path(mkdtemp(dir=temporary_folder())) if out is None else Path(out)
    if not is_free(path):
        raise RunError("folder of a branch", str(path), "it is not empty: choose a new one")
    draft = draft_of(path)
    _copy(done, draft, day)
    write_json(
        draft / "config.json", {"settings": asdict(config), "branch": {"of": str(done.path.resolve()), "day": day}}
    )
    path.mkdir(parents=True, exist_ok=True)
    draft.replace(path)
    if config.training != done.config.training:
        retrain(open_ring(config, path), day, "branch: other training")
    return run(config, out=path)


def _copy(done: Run, path: Path, day: int) -> None:
    """What the folder of a run held at the end of the day before `day`."""
    shutil.rmtree(path, ignore_errors=True)  # of a process that was killed
    for folder in ("log", "truth", "models/history"):
        (path / folder).mkdir(parents=True)
    for name in ("log/history.parquet", "log/history_feedback.parquet", "truth/history.parquet", "truth/world.npz"):
        shutil.copy2(done.path / name, path / name)
    for past in range(day):
        shutil.copytree(done.path / "log" / f"day={past:05d}", path / "log" / f"day={past:05d}")
        for ending in ("parquet", "json"):
            shutil.copy2(day_file(done.path, past, ending), day_file(path, past, ending))
    kept = [row for row in done.registry.history() if row["day"] < day]
    for number, row in enumerate(kept, start=1):
        write_json(path / "models" / "history" / f"{number:05d}.json", row)
    for version in {str(row["version"]) for row in kept}:
        shutil.copytree(done.path / "models" / version, path / "models" / version)


def true_values(done: Run, first: int = 0) -> pd.DataFrame:
    """True value of all slates shown from day `first` on, one row a shopper, columns as in `Value`."""
    columns = [part.name for part in fields(Value)]
    total = np.zeros((len(columns), len(done.world.shoppers)))
    for day in range(first, len(done.days)):
        slates = slates_of(done.log.day(day)[0], day, done.config.n_positions)
        value, user_id = done.oracle.value(slates), slates.requests.user_id
        for row, name in enumerate(columns):
            total[row] += np.bincount(user_id, weights=getattr(value, name), minlength=total.shape[1])
    return pd.DataFrame(dict(zip(columns, total, strict=True))).rename_axis("user_id")
