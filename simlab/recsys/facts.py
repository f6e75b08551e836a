"""Facts: what a company can know of its days, one small summary a day, read from the log when somebody asks.

    DayFacts   a logged day: how much was shown, how new it was, which categories the champion showed and who clicked
    Facts      the days by number, kept in memory once they are read; windows of them as tables of users and categories

Why from the log and not from the ring: what is in the log is there after a run was killed, so a policy that is asked
again is told the same, and whoever reads the log of another shop can ask the same policy.

Why categories: they are few enough to count and say most about what a season moves.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlab.schema import NEVER, Catalogue, Floats, Ints, Shoppers


class DailyLog(Protocol):
    """Where days are read from; an `EventLog` is one."""

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The IMPRESSIONS and the FEEDBACK of `day`."""


@dataclass(frozen=True, kw_only=True)
class DayFacts:
    """A logged day."""

    day: int
    champion: str | None
    """The version that showed most in the champion's arms; None on a day on which none did."""
    impressions: int
    """All items shown, by whatever answered."""
    clicks: int
    first_day: Ints
    """The first days on which anything could be learnt of both the shopper and the item of an impression, rising;
    `NEVER` for guests."""
    of_first_day: Ints
    """How many impressions have each of these days."""
    user_id: Ints
    """One row a shopper and a category that the champion showed: who; shape (n_rows,), as those below."""
    category: Ints
    shown: Ints
    """Items of the category, in all slates of the day."""
    clicked: Ints


@dataclass(frozen=True, kw_only=True)
class Window:
    """Some days of the champion, as tables of shape (n_users, n_categories)."""

    shown: Floats
    clicked: Floats


class Facts:
    """What is known of the days that are logged, by day."""

    def __init__(self, log: DailyLog, catalogue: Catalogue, shoppers: Shoppers) -> None:
        """`catalogue` and `shoppers` may be of later days too: only items and shoppers in the log are looked up."""
        self._log = log
        self._category = catalogue.category
        self._launched, self._arrived = catalogue.launch_day, shoppers.arrival_day
        self._days: dict[int, DayFacts] = {}

    def day(self, day: int) -> DayFacts:
        """The facts of `day`. Raises `RunError` where it has not been logged."""
        if day not in self._days:
            self._days[day] = self._read(day)
        return self._days[day]

    def champions(self, until: int) -> list[tuple[str | None, int]]:
        """Each champion and the first day on which it answered, oldest first, from day 0 to the eve of `until`.

        A day without an answer of the champion belongs to the one before.
        """
        runs: list[tuple[str | None, int]] = []
        for day in range(until):
            name = self.day(day).champion
            if not runs or name not in (None, runs[-1][0]):
                runs.append((name, day))
        return runs

    def window(self, days: Iterable[int]) -> Window:
        """What the champion showed, and what was clicked, on `days` together."""
        facts = [self.day(day) for day in days]
        n = len(self._category.names)
        shape = (int(max((one.user_id.max(initial=-1) for one in facts), default=-1)) + 1, n)
        place = np.concatenate([np.empty(0, dtype=np.int64), *(one.user_id * n + one.category for one in facts)])
        counts = (
            np.concatenate([np.empty(0), *(getattr(one, name) for one in facts)]) for name in ("shown", "clicked")
        )
        shown, clicked = (np.bincount(place, weights=count, minlength=shape[0] * n).reshape(shape) for count in counts)
        return Window(shown=shown.astype(np.float64), clicked=clicked.astype(np.float64))

    def click_rate(self, days: Iterable[int]) -> float:
        """Clicks for each item that the champion showed on `days`; 0 where it showed none."""
        facts = [self.day(day) for day in days]
        return float(sum(one.clicked.sum() for one in facts) / max(sum(one.shown.sum() for one in facts), 1))

    def _read(self, day: int) -> DayFacts:
        table = self._log.day(day)[0]
        user_id, item_id = (table[name].to_numpy().astype(np.int64) for name in ("user_id", "item_id"))
        clicked = table["clicked"].to_numpy().astype(np.int64)
        known = user_id < len(self._arrived)
        first_day = np.full(len(user_id), NEVER, dtype=np.int64)
        first_day[known] = np.maximum(self._arrived[user_id[known]], self._launched[item_id[known]])
        rows = _is(table["arm"], "champion", "baseline") & ~_is(table["source"], "fallback") & known
        versions = Counter(table["model_version"].cast(pa.string()).filter(pa.array(rows)).to_pylist())
        since, of_since = np.unique(first_day, return_counts=True)
        n = len(self._category.names)
        cell, place = np.unique(user_id[rows] * n + self._category.codes[item_id[rows]], return_inverse=True)
        return DayFacts(
            day=day,
            champion=min(versions, key=lambda name: (-versions[name], str(name)), default=None),
            impressions=len(table),
            clicks=int(clicked.sum()),
            first_day=since,
            of_first_day=of_since,
            user_id=cell // n,
            category=cell % n,
            shown=np.bincount(place, minlength=len(cell)),
            clicked=np.bincount(place, weights=clicked[rows], minlength=len(cell)).astype(np.int64),
        )


def _is(column: pa.ChunkedArray, *words: str) -> np.ndarray:
    return np.asarray(pc.is_in(column.cast(pa.string()), pa.array(words)).to_numpy(zero_copy_only=False), dtype=bool)
