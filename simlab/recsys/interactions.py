"""Interactions: the rows of the log that a model learns from, as they are known on some morning.

Why tables of three columns: whatever a way of training changes (window, forgetting, debiasing, negatives), it changes
who, what and how much; the algorithms need know nothing of it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from simlab.errors import DataError
from simlab.recsys.debias import examination, inverse, told, within
from simlab.recsys.log import EventLog
from simlab.recsys.recipe import TrainingConfig
from simlab.schema import GUESTS, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Who liked what, and how much; one row a user, an item and a day. Repeated rows count repeatedly."""

    user_id: Ints
    item_id: Ints
    weight: Floats
    """How often, less where it is long ago; below 0 where somebody passed the item over, else above."""

    def __len__(self) -> int:
        return len(self.user_id)

    def check(self, n_users: int, n_items: int) -> None:
        """Raises `DataError` where a row names a user or an item that there is not."""
        for name, ids, n in (("user_id", self.user_id, n_users), ("item_id", self.item_id, n_items)):
            wrong = ids[(ids < 0) | (ids >= n)]
            if len(wrong):
                raise DataError(f"interactions, {name}", int(wrong[0]), f"only 0 .. {n - 1} are known")

    def of_shoppers(self, n_users: int) -> "Interactions":
        """The rows of users 0 .. n_users - 1: whoever else came in is answered, and not learnt from."""
        rows = self.user_id < n_users
        return Interactions(user_id=self.user_id[rows], item_id=self.item_id[rows], weight=self.weight[rows])

    def digest(self) -> str:
        """SHA-256 of the rows."""
        kinds = (("<i8", self.user_id), ("<i8", self.item_id), ("<f8", self.weight))
        return hashlib.sha256(b"".join(part.astype(kind).tobytes() for kind, part in kinds)).hexdigest()


def interactions(
    log: EventLog, *, config: TrainingConfig, day: int, without: Sequence[str] = (), known: int | None = None
) -> Interactions:
    """What can be learnt from at the start of `day`: the rows of the window before it, as known then.

    Rows that the versions `without` showed are left out, for a version that was rolled back would go on teaching its
    mistakes; so are those of guests, who are no shoppers.

    A purchase that arrives on `day` or later is not there yet, though its impression is; it stays one where the goods
    come back. With `known`, a later day, what arrived before that day is there. A row that is a days older than the
    last of the window weighs 0.5 ** (a / half_life).
    """
    return lesson(log, config=config, day=day, without=without, known=known)[0]


def lesson(
    log: EventLog, *, config: TrainingConfig, day: int, without: Sequence[str] = (), known: int | None = None
) -> tuple[Interactions, dict[str, Any]]:
    """The interactions, and what a card should say of how they were made; nothing of plain ones."""
    until = (day if known is None else known) - 1
    where = f"{within(day, config.window_days)} and user_id < {GUESTS}" + _other_than(without)
    card: dict[str, Any] = {}
    if config.debias == "none":
        rows = log.sql(
            f"""select user_id, item_id, day, count(*) as n from impressions
                where {config.signal} and {where}
                group by all order by day, user_id, item_id""",
            until=until,
        )
    else:
        rows, card["debias"] = _weighed(log, config, day, where, until)
    if config.algorithm == "lightfm" and config.negatives == "skipped":
        refused = _skipped(log, where, until)
        card["skipped"] = len(refused)
        rows = pd.concat([rows, refused])
    age = day - 1 - rows["day"].to_numpy(np.float64)
    fade = 1.0 if config.half_life is None else 0.5 ** (age / config.half_life)
    data = Interactions(
        user_id=rows["user_id"].to_numpy(np.int64),
        item_id=rows["item_id"].to_numpy(np.int64),
        weight=rows["n"].to_numpy(np.float64) * fade,
    )
    return data, card


def _other_than(without: Sequence[str]) -> str:
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in without)
    return f" and coalesce(model_version, '') not in ({names})" if names else ""


def _weighed(
    log: EventLog, config: TrainingConfig, day: int, where: str, until: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Likes in which each row has its weight, 1 on average, and what is to be told of the weights."""
    rows = log.sql(
        f"""select user_id, item_id, day, position, propensity::double as propensity from impressions
            where {config.signal} and {where} order by day, user_id, item_id, impression_id""",
        until=until,
    )
    card: dict[str, Any] = {"way": config.debias}
    if config.debias == "position":
        seen = examination(log, day=day, window_days=config.window_days)
        weight = seen.weight(rows["position"].to_numpy(np.int64), config.max_weight)
        card |= {"curve": seen.curve.round(6).tolist(), "curve_clicks": seen.clicks, "by_chance": seen.by_chance}
    else:
        weight = inverse(rows["propensity"].to_numpy(np.float64), config.max_weight)
        card["unknown_share"] = float(rows["propensity"].isna().mean()) if len(rows) else 0.0
    card |= told(weight, config.max_weight)
    rows["n"] = weight / max(float(weight.mean()), 1e-12) if len(weight) else weight
    return rows.groupby(["day", "user_id", "item_id"])[["n"]].sum().reset_index(), card


def _skipped(log: EventLog, where: str, until: int) -> pd.DataFrame:
    """What people passed over on the way to a click below it in the slate, counted below 0 (Joachims, KDD 2002)."""
    return log.sql(
        f"""select user_id, item_id, day, -count(*) as n from (
                select *, max(position) filter (clicked) over (partition by request_id) as last
                from impressions where {where}
            ) where not clicked and position < last
            group by all order by day, user_id, item_id""",
        until=until,
    )
