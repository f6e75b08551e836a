"""The day book: of each logged day the few sums that a watch compares with those of other days.

Why sums: a watch looks back over weeks every evening, and the rows of weeks are too many to read again. Sums are by
shopper where rates are, for the clicks of one shopper are alike (see `monitor.ratio`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlab.recsys.letters import SECONDS, day_of
from simlab.recsys.monitor import VISIT_BITS
from simlab.recsys.service import RUNGS, rung_of
from simlab.schema import Bools, Catalogue, Floats, Ints, Shoppers

NEW_SHOPPER, NEW_ITEM = 7, 14
"""Days for which a shopper and an item count as new."""

DELAYS = 15
"""Purchases are counted by the days since their impression, 14 and more together."""


@dataclass(frozen=True, kw_only=True)
class DaySums:
    """A day in sums."""

    day: int
    shown: Ints
    """Impressions of each shopper; shape (n_users,). Guests are in the sums below, not here."""
    clicked: Ints
    """Clicks of each shopper; shape (n_users,)."""
    position: Ints
    """Clicks by position; shape (256,)."""
    hour: Ints
    """Slates by hour; shape (24,)."""
    delay: Ints
    """Purchases that came, by days since their impression; shape (DELAYS,)."""
    rung: Ints
    """Slates by the rung that answered; shape (4,), as `service.RUNGS`."""
    visits: int
    visits_of_new: int
    """Of shoppers who arrived in the last `NEW_SHOPPER` days, and of guests."""
    item_shown: Ints
    """Shape (n_items,)."""
    item_clicked: Ints
    shown_of_new: int
    """Impressions of items launched in the last `NEW_ITEM` days."""


def day_sums(day: int, impressions: pa.Table, feedback: pa.Table, catalogue: Catalogue, shoppers: Shoppers) -> DaySums:
    """The sums of a day; the tables are as `intake.admit` leaves them, catalogue and shoppers of that day or later."""
    user_id, item_id, position, request_id = (
        impressions[name].to_numpy().astype(np.int64) for name in ("user_id", "item_id", "position", "request_id")
    )
    clicked = impressions["clicked"].to_numpy(zero_copy_only=False).astype(np.bool_)
    known, sold = (user_id >= 0) & (user_id < len(shoppers)), (item_id >= 0) & (item_id < len(catalogue))
    slates, first = np.unique(request_id, return_index=True)
    _, arrival = np.unique(slates >> VISIT_BITS, return_index=True)
    visitor = user_id[first][arrival]
    new = np.ones(len(visitor), dtype=np.bool_)
    there = (visitor >= 0) & (visitor < len(shoppers))
    new[there] = shoppers.arrival_day[visitor[there]] > day - NEW_SHOPPER
    words = impressions["model_version"].cast(pa.string()).take(pa.array(first)).to_pylist()
    rungs = np.array([RUNGS.index(rung_of(str(word))) for word in words], dtype=np.int64)
    second = impressions["second"].take(pa.array(first)).drop_null().to_numpy().astype(np.int64)
    bought = feedback.filter(pc.equal(feedback["kind"].cast(pa.string()), "purchase"))["impression_id"].to_numpy()
    delay = np.clip(day - np.array([day_of(int(one)) for one in bought], dtype=np.int64), 0, DELAYS - 1)
    launch = catalogue.launch_day[item_id[sold]]
    return DaySums(
        day=day,
        shown=_count(user_id[known], len(shoppers)),
        clicked=_count(user_id[known & clicked], len(shoppers)),
        position=_count(position[clicked] & 255, 256),
        hour=_count(np.clip(second, 0, SECONDS - 1) * 24 // SECONDS, 24),
        delay=_count(delay, DELAYS),
        rung=_count(rungs, len(RUNGS)),
        visits=len(visitor),
        visits_of_new=int(new.sum()),
        item_shown=_count(item_id[sold], len(catalogue)),
        item_clicked=_count(item_id[sold & clicked], len(catalogue)),
        shown_of_new=int((launch > day - NEW_ITEM).sum()),
    )


def total(days: Sequence[DaySums], name: str) -> Ints:
    """The sum over days of one of the rows of sums; days with fewer shoppers or items count 0 for the others."""
    rows = [np.atleast_1d(getattr(day, name)) for day in days]
    added = np.zeros(max(map(len, rows), default=0), dtype=np.int64)
    for row in rows:
        added[: len(row)] += row
    return added


def of_group(days: Sequence[DaySums], members: Bools) -> tuple[Floats, Floats]:
    """Clicks and impressions of each member (n_users,) of a group who was shown anything."""
    clicked, shown = total(days, "clicked"), total(days, "shown")
    rows = members[: len(shown)] & (shown > 0)
    return clicked[rows].astype(np.float64), shown[rows].astype(np.float64)


def _count(codes: Ints, n: int) -> Ints:
    return np.bincount(codes, minlength=n)
