"""The inbox: durable intake of live slates and events, and the day's move into the log, exactly once.

An answer or a receipt is given only after what it says is on the disk. What one transaction holds is kept whole or
not at all (group commit: requests that wait together share one). Every slate and event has an id of its own, so
that who hears no answer sends the same again, and it counts once.

    accepted    kept and counted, on the day on which it arrived
    duplicate   the same event_id with the same content was accepted before
    dead        kept in `dead_letters` with the reason, never counted:
                "conflict"             the event_id was accepted with other content
                "repeated"             another event told the same about this impression
                "unknown impression"   nothing like it was shown
                "late: ..."            a click on a closed day; all else after ATTRIBUTION_DAYS

Events in any order are welcome: a purchase may come before its click. An event's `time` is the sender's word and
decides nothing; where it is more than an hour before the showing, or after the end of the open day, it counts as
"skewed".

Why a database: it has solved the half-written file, the full disk and the second writer. SQLite does for one
machine, PostgreSQL by URL for several; the same statements run on both.
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from simlab.errors import InboxError
from simlab.recsys.closing import close_day
from simlab.recsys.letters import (
    ATTRIBUTION_DAYS,
    Event,
    Heard,
    News,
    Receipt,
    ShadowRow,
    SlateRow,
    first_id,
    user_of,
)
from simlab.recsys.log import EventLog
from simlab.recsys.sorting import Past, Sorting
from simlab.recsys.storage import (
    COUNTS,
    DEAD,
    EVENTS,
    SHADOWS,
    SLATES,
    STATE,
    make_tables,
    opened,
    rows_of,
    run,
    transaction,
)

__all__ = ["ATTRIBUTION_DAYS", "Event", "Heard", "Inbox", "News", "Receipt", "ShadowRow", "SlateRow"]


def _places(*names: str) -> dict[str, BindParameter[Any]]:
    """Columns of a row, each to be given under its name."""
    return {name: bindparam(name) for name in names}


_TAKE = (
    update(STATE).values(seq=STATE.c.seq + bindparam("events")).returning(STATE.c.day, STATE.c.seq)
)  # the first statement of a transaction: who holds this row is alone
_KEEP_SLATES = insert(SLATES).values(_places("request_id", "second", "body")).on_conflict_do_nothing()
_KEEP_SHADOWS = insert(SHADOWS).on_conflict_do_nothing().returning(SHADOWS.c.request_id)
_counted = insert(COUNTS).values(_places("day", "name", "n"))
_COUNT = _counted.on_conflict_do_update(index_elements=["day", "name"], set_={"n": COUNTS.c.n + _counted.excluded.n})
_BODIES = select(SLATES.c.number, SLATES.c.request_id, SLATES.c.body).where(
    SLATES.c.request_id.in_(bindparam("values", expanding=True))
)
_TODAY = select(STATE.c.day, STATE.c.unavailable, STATE.c.moving, STATE.c.seq)
_NEWS = (
    select(*(EVENTS.c[name] for name in ("seq", "impression_id", "item_id", "type", "value", "day", "model_version")))
    .where(EVENTS.c.day == bindparam("day"), EVENTS.c.seq > bindparam("after"))
    .order_by(EVENTS.c.seq)
)


class Inbox:
    """The inbox at `place`, a file or a URL, that feeds `log`; safe for many threads and processes.

    Every call raises `InboxError` where the database cannot be reached, is locked for 10 s or has no room; what was
    acknowledged stays, and the same call can be made again.
    """

    def __init__(self, url: str | Path, log: EventLog, *, first_day: int = 0) -> None:
        """Makes what is missing; `first_day` is the open day of a new inbox. Raises `InboxError` for a logged day."""
        self.log = log
        self._engine = opened(url)
        self._past = Past(log)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)  # where what follows fails
            self._begin(first_day)
            stack.pop_all()

    def __enter__(self) -> "Inbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def _begin(self, first_day: int) -> None:
        with transaction(self._engine) as connection:
            make_tables(connection)
            if connection.execute(_TODAY).first() is None:
                if not first_day >= 0 or any(first_day <= day for day in self.log.days):
                    raise InboxError("first day", first_day, "give a day from 0 that comes after all in the log")
                row = {"only": 0, "day": first_day, "seq": 0, "unavailable": "[]"}
                connection.execute(insert(STATE).values(row))

    @property
    def day(self) -> int:
        """The open day."""
        with transaction(self._engine) as connection:
            return int(connection.execute(_TODAY).one().day)

    def commit(
        self, slates: Sequence[SlateRow], events: Sequence[Event], shadows: Sequence[ShadowRow] = ()
    ) -> tuple[list[str], list[Receipt]]:
        """Keeps slates and events in one transaction; returns when they are on the disk.

        For each slate, the body to answer: its own (this very object) where it is kept now, else the one that was
        stored first under its request_id, or "" where its day is not the open one, so that it was not kept. For each
        event its receipt; events see these slates.
        """
        with transaction(self._engine) as connection:
            day, seq = run(connection, _TAKE, {"events": len(events)}).fetchone()
            counts = Counter[str]()
            today = [slate for slate in slates if slate.day == day]
            bodies = _keep_slates(connection, today, counts) if today else {}
            seen = [shadow for shadow in shadows if shadow.day == day]
            counts["shadows"] = _keep_shadows(connection, seen) if seen else 0
            receipts: list[Receipt] = []
            if events:
                sorting = Sorting(connection, events, day, self._past)
                receipts = [sorting.sort(event, number) for number, event in enumerate(events, seq - len(events) + 1)]
                counts += sorting.counts
                for table, rows in ((EVENTS, sorting.accepted), (DEAD, sorting.dead)):
                    if rows:
                        connection.execute(insert(table), rows)
            if +counts:
                rows = [{"day": day, "name": name, "n": n} for name, n in sorted((+counts).items())]
                run(connection, _COUNT, *rows)
        return [bodies.get(slate.request_id, "") if slate.day == day else "" for slate in slates], receipts

    def news(self, after: int) -> News:
        """The open day, what cannot be delivered on it, and the events heard on it with a `seq` above `after`.

        While a closed day is moving into the log, its events are told as well.
        """
        with transaction(self._engine) as connection:
            day, unavailable, moving, seq = run(connection, _TODAY).fetchone()
            days = [day] if moving is None else [moving, day]  # no event of the first comes after one of the second
            if seq == after:
                days = []  # spares the question
            rows = [row for one in days for row in run(connection, _NEWS, {"day": one, "after": after})]
        heard = [_heard(row) for row in rows]
        return News(day, _items(unavailable), heard, moving, max([seq, *(one.seq for one in heard[-1:])]))

    def next_number(self, user_id: int, day: int) -> int:
        """The lowest number, visit * 16 + page, under which nothing was answered to the user on `day`: 0 to 256.

        Where it is 256, the user has had all slates of that day. Not the highest and one more: callers may give
        numbers of their own, and one of 255 would leave the shopper without slates.
        """
        first = first_id(day) + (user_id << 16)
        used = select(SLATES.c.request_id).where(SLATES.c.request_id.between(first, first + 0xFFFF))
        with transaction(self._engine) as connection:
            taken = {request_id >> 8 & 0xFF for request_id in connection.execute(used).scalars()}
        return next(number for number in range(257) if number not in taken)

    def open_day(self, day: int, unavailable: Iterable[int] = ()) -> None:
        """Tells what cannot be delivered on `day`. Raises `InboxError` where that is not the open day."""
        items = json.dumps(sorted({int(item) for item in unavailable}))
        with transaction(self._engine) as connection:
            told = connection.execute(update(STATE).where(STATE.c.day == day).values(unavailable=items))
            if told.rowcount == 0:
                raise InboxError("day", day, f"the open day is {connection.execute(_TODAY).one().day}")

    def close_day(self, day: int) -> bool:
        """Opens the next day and moves `day` into the log, exactly once; False where that was done before.

        Safe to call again after a kill at any moment: what was begun is finished. Raises `InboxError` where `day` is
        not open yet, is in the log from elsewhere, or is being closed by another process.
        """
        return close_day(self._engine, self.log, day)

    def dead_letters(self, limit: int = 100) -> list[dict[str, Any]]:
        """The last events that are not counted, newest first, with the reason and the day on which they came."""
        last = select(DEAD.c.event_id, DEAD.c.reason, DEAD.c.day, DEAD.c.content).order_by(DEAD.c.seq.desc())
        with transaction(self._engine) as connection:
            rows = connection.execute(last.limit(limit)).all()
        return [{**row._mapping, "content": json.loads(row.content)} for row in rows]

    def counts(self) -> dict[int, dict[str, Any]]:
        """For each of the last days: slates, shadows, duplicate and skewed events, events by type, dead ones by reason;
        also clicks of the day's slates as "clicked" by arm and version, and whatever SlateRow.tally brought.

        Dead letters and duplicates are counted on the day on which they came; a dead one once.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(select(COUNTS).order_by(COUNTS.c.day, COUNTS.c.name)).all()
            today = connection.execute(_TODAY).one().day
        days: dict[int, dict[str, Any]] = {}
        for day, name, n in [(today, "slates", 0), *rows]:
            empty = {"slates": 0, "shadows": 0, "duplicate": 0, "skewed": 0, "events": {}, "dead": {}}
            counted = days.setdefault(day, empty)
            group, _, word = name.partition(" ")
            if word:
                counted.setdefault(group, {})[word] = n
            else:
                counted[group] = n
        return dict(sorted(days.items()))


def _keep_slates(connection: Connection, slates: Sequence[SlateRow], counts: Counter[str]) -> dict[int, str]:
    """The body of each slate, by request_id, as it was stored first; those that are new are counted."""
    rows = [{"request_id": slate.request_id, "second": slate.second, "body": slate.body} for slate in slates]
    n_new = run(connection, _KEEP_SLATES, *rows).rowcount
    counts["slates"] += n_new
    first = {slate.request_id: slate for slate in reversed(slates)}
    kept = [] if n_new == len(slates) else rows_of(connection, _BODIES, list(first))
    for _, request_id, _ in sorted(kept, key=itemgetter(0))[: len(kept) - n_new]:  # what is new has come last
        del first[request_id]
    for slate in first.values():
        counts.update(dict(slate.tally))
    return {row[1]: row[2] for row in kept} | {number: slate.body for number, slate in first.items()}


def _keep_shadows(connection: Connection, shadows: Sequence[ShadowRow]) -> int:
    """How many of them are new."""
    rows = [
        {
            "request_id": shadow.request_id,
            "version": shadow.version,
            "items": json.dumps(shadow.items),
            "scores": json.dumps(shadow.scores),
        }
        for shadow in shadows
    ]
    return len(connection.execute(_KEEP_SHADOWS, rows).all())


@lru_cache(maxsize=2)
def _items(text: str) -> frozenset[int]:
    return frozenset(json.loads(text))


def _heard(row: Sequence[Any]) -> Heard:
    seq, impression_id, item_id, kind, value, day, model_version = row
    value = math.nan if value is None else value
    return Heard(seq, user_of(impression_id), item_id, kind, value, day, model_version, impression_id)
