"""The registry: which models there are, where they come from, and who put which of them to work, when and why.

    models/<version>/            arrays and card, never changed
    models/history/00001.json    promotions, rollouts and rollbacks, one file a row, never changed

Why files: a row is written under a temporary name and linked to its number, which fails if the number is taken; so a
row appears whole, in order, once, whatever is killed and however many processes write. Who lost the number looks at the
new history and decides again: a row is lawful after all rows before it. The link is also the moment at which traffic
changes, for every process that serves.
"""

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from simlab.errors import ModelError
from simlab.files import draft_of
from simlab.recsys.models import Model, load_model, save_model, to_json
from simlab.recsys.traffic import ACTIONS, CHAMPION, Change, Traffic, next_row, traffic_of

RESERVED = ("history", "none", "fallback", "fallback-segment", "fallback-popular", "fallback-static")
"""No versions: the folder of the history, and what the service says where no model answers."""

_WRITING = threading.Lock()
"""A process has one draft of a row."""


class Registry:
    """The registry in the folder `path`, which is made when the first model comes."""

    def __init__(self, path: Path, clock: Callable[[], str] | None = None) -> None:
        """`clock` gives the time, as ISO 8601, that rows are to carry; without one they carry only the shop's day."""
        self.path = path
        self._clock = clock

    def register(self, model: Model, version: str, card: dict[str, Any]) -> None:
        """Stores a model under a new version. The same model again changes nothing; another one is a `ModelError`."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", version) or version in RESERVED:
            remedy = f"use letters, digits, dots, dashes and underscores, at most 100, and not {' or '.join(RESERVED)}"
            raise ModelError("model version", version, remedy)
        draft = draft_of(self.path / version)
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
        save_model(model, draft, card)
        try:
            draft.rename(self.path / version)  # fails where the version is there already
        except OSError as error:
            same = _digest(draft) == _digest(self.path / version)
            shutil.rmtree(draft)
            if not same:
                remedy = "it holds another model: a version never changes, take a new one"
                raise ModelError("model version", version, remedy) from error

    def versions(self) -> list[str]:
        """Every version, in alphabetical order."""
        return sorted(folder.parent.name for folder in self.path.glob("*/model.json") if folder.parent.name[0] != ".")

    def load(self, version: str) -> tuple[Model, dict[str, Any]]:
        """A model and its card: data window and hash, settings, offline metrics, package versions."""
        if version not in self.versions():
            raise ModelError("model version", version, f"the registry holds: {', '.join(self.versions()) or 'none'}")
        return load_model(self.path / version)

    def card(self, version: str) -> dict[str, Any]:
        """The lineage of a model."""
        return self.load(version)[1]

    def promote(
        self,
        version: str,
        *,
        alias: str = CHAMPION,
        day: int,
        actor: str,
        reason: str,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        """Lets `alias` mean `version` from `day` on: one more row. Said again on the same day, it changes nothing.

        Raises `ModelError` where there is no such version, and for evidence that is no JSON, like NumPy's numbers.
        """
        self.change(
            Change(
                action="promote",
                version=version,
                alias=alias,
                day=day,
                actor=actor,
                reason=reason,
                evidence=evidence or {},
            )
        )

    def rollback(self, alias: str = CHAMPION, *, day: int, actor: str, reason: str) -> str:
        """Lets `alias` mean again what it meant before its present version; one more row. Returns the version.

        Rolling back twice goes back two versions: versions that were left by a rollback are passed over, and are in
        quarantine until they are promoted again. Raises `ModelError` where there is nothing to go back to.
        """
        row = self.change(Change(action="rollback", alias=alias, day=day, actor=actor, reason=reason))
        assert row is not None
        return str(row["version"])

    def change(self, change: Change) -> dict[str, Any] | None:
        """Adds the row that `change` comes to, and returns it; None where it says what is so already.

        Raises `ModelError` where it makes no sense after the rows there are, where the version is missing, damaged or
        not given, and for evidence that is no JSON, like NumPy's numbers; `ConfigError` for an unknown action.
        """
        if change.action in ("promote", "challenger", "canary", "shadow"):
            self.load(change.version or "")  # a damaged model gets no traffic
        while True:
            rows = self.history()
            row = next_row(rows, change)
            if row is None:
                return None
            if row["action"] == "rollback":
                self.load(row["version"])  # nor does a damaged one get it back
            if self._clock is not None:
                row["time"] = self._clock()
            if self._append(row, len(rows) + 1):
                return row

    def traffic(self) -> Traffic:
        """Who answers whom now."""
        return traffic_of(self.history())

    def quarantined(self) -> tuple[str, ...]:
        """The versions that were rolled back: what they showed is not learnt from."""
        return self.traffic().quarantined

    def alias(self, name: str) -> str | None:
        """The version that `name` means now; None before the first promotion, and where a rollout has ended."""
        if name in ("challenger", "canary", "shadow"):
            version: str | None = getattr(self.traffic(), name)
            return version
        rows = self.history(name)
        return str(rows[-1]["version"]) if rows else None

    def history(self, alias: str | None = None) -> list[dict[str, Any]]:
        """Every row, oldest first; those of one alias, or all.

        Raises `ModelError` naming a row that is missing or damaged.
        """
        rows = [_row(self._file(number)) for number in range(1, self.last_row() + 1)]
        return [row for row in rows if alias in (None, row["alias"])]

    def table(self) -> pd.DataFrame:
        """The history as a table, without the evidence."""
        columns = ["day", "alias", "action", "version", "actor", "reason"]
        return pd.DataFrame(self.history(), columns=[*columns, "evidence"])[columns]

    def last_row(self) -> int:
        """The highest number of a row; rows are linked in order, so all lower ones are there too."""
        names = (file.stem for file in (self.path / "history").glob("*.json"))
        return max((int(name) for name in names if re.fullmatch(r"[0-9]{5,}", name)), default=0)

    def changed(self, after: int) -> bool:
        """Whether there is a row after number `after`: one look at one name, cheap enough for every request."""
        return self._file(after + 1).exists()

    def _file(self, number: int) -> Path:
        return self.path / "history" / f"{number:05d}.json"

    def _append(self, row: dict[str, Any], number: int) -> bool:
        """Gives `row` its number; False where another has taken it."""
        text = to_json("promotion or rollback", row)
        folder = self.path / "history"
        folder.mkdir(parents=True, exist_ok=True)
        draft = draft_of(folder / "row")
        with _WRITING:
            # Left by a killed process, the draft may be a second name of a row: writing to it would change the row.
            draft.unlink(missing_ok=True)
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # a row outlives a power cut, or never was
            try:
                os.link(draft, self._file(number))
            except FileExistsError:
                return False
            finally:
                draft.unlink()
        return True


def _row(file: Path) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise ModelError("history of models", str(file), "the row is missing: put it back") from error
    except ValueError as error:
        raise ModelError("history of models", str(file), "it is damaged: put it back") from error
    if not isinstance(row, dict) or not row.keys() >= {"alias", "version", "day", "action"}:
        raise ModelError("history of models", str(file), "it is no row of a history: put it back")
    if row["action"] not in ACTIONS:
        raise ModelError("action in the history of models", row["action"], f"this simlab knows: {', '.join(ACTIONS)}")
    return row


def _digest(folder: Path) -> str:
    parts = [file.read_bytes() for file in (folder / "arrays.npz", folder / "model.json") if file.exists()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
