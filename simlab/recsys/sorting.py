"""What becomes of the events of one transaction: the rules, and what they ask of the tables.

Why in this order: what was decided once stays decided, so who sends an event again hears the same.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import BindParameter, Connection, bindparam, select

from simlab.errors import RunError
from simlab.recsys.letters import (
    ATTRIBUTION_DAYS,
    SECONDS,
    Content,
    Event,
    Receipt,
    Shown,
    day_of,
    request_of,
    shown_at,
)
from simlab.recsys.log import EventLog
from simlab.recsys.storage import DEAD, EVENTS, SLATES, rows_of
from simlab.schema import Ints, Labels, codes_of

_SKEW = 3600
"""Seconds by which a clock may be wrong before that is counted."""

_ids: BindParameter[Any] = bindparam("values", expanding=True)
_heard = select(
    *(EVENTS.c[name] for name in ("event_id", "impression_id", "type", "value", "time")),
    *(EVENTS.c[name] for name in ("item_id", "second", "model_version")),
)
_HEARD_BY_ID = _heard.where(EVENTS.c.event_id.in_(_ids))
_HEARD_ABOUT = _heard.where(EVENTS.c.impression_id.in_(_ids))
_DEAD = select(DEAD.c.event_id, DEAD.c.content, DEAD.c.reason).where(DEAD.c.event_id.in_(_ids))
_SLATES = select(SLATES.c.request_id, SLATES.c.body).where(SLATES.c.request_id.in_(_ids))


class Past:
    """What was shown on days that are in the log, or before day 0; the last few days asked for are held."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._of_day = lru_cache(maxsize=16)(self._read)

    def shown(self, impression_id: int) -> Shown | None:
        """What an impression of a closed day showed; None where there was no such impression."""
        try:
            ids, item_id, second, version = self._of_day(max(day_of(impression_id), -1))
        except RunError:  # that day is not in the log, or not yet: this is not remembered
            return None
        place = int(np.searchsorted(ids, impression_id))
        if place == len(ids) or ids[place] != impression_id:
            return None
        return Shown(int(item_id[place]), int(second[place]), version.names[version.codes[place]])

    def _read(self, day: int) -> tuple[Ints, Ints, Ints, Labels]:
        names = ["impression_id", "item_id", "second", "model_version"]
        if day < 0:
            rows = self._log.sql(f"select {', '.join(names)} from impressions order by impression_id", until=-1)
        else:
            rows = self._log.day(day)[0].select(names).sort_by("impression_id").to_pandas()
        ids, item_id, second = (rows[name].to_numpy(np.int64) for name in names[:3])
        return ids, item_id, second, codes_of(rows["model_version"].tolist())


class Sorting:
    """Decides about `events` in turn, in the transaction of `connection`, while `day` is open.

    What it decides is collected: rows of the tables, and how many there were of each sort.
    """

    def __init__(self, connection: Connection, events: Sequence[Event], day: int, past: Past) -> None:
        names = [event.event_id for event in events]
        about = list({event.impression_id for event in events})
        self.accepted: list[dict[str, Any]] = []
        self.dead: list[dict[str, Any]] = []
        self.counts = Counter[str]()
        self._day, self._past = day, past
        self._reasons = {
            (name, Content(**json.loads(content))): str(reason)
            for name, content, reason in rows_of(connection, _DEAD, names)
        }
        self._content: dict[str, Content] = {}
        self._told: set[tuple[int, str]] = set()
        self._shown: dict[int, Shown | None] = {}
        for row in rows_of(connection, _HEARD_BY_ID, names) + rows_of(connection, _HEARD_ABOUT, about):
            content, shown = Content(*row[1:5]), Shown(*row[5:])
            self._content[row[0]] = content
            self._told.add((content.impression_id, content.type))
            self._shown[content.impression_id] = shown
        asked = list({request_of(impression_id) for impression_id in about})
        self._bodies = {row[0]: row[1] for row in rows_of(connection, _SLATES, asked)}

    def sort(self, event: Event, seq: int) -> Receipt:
        """What becomes of `event`, number `seq`; those that follow are judged in its light."""
        name, content = event.event_id, event.content
        if self._content.get(name) == content:
            self.counts["duplicate"] += 1
            return Receipt(name, "duplicate")
        if (name, content) in self._reasons:
            return Receipt(name, "dead", self._reasons[name, content])
        about = self._judge(event)
        if isinstance(about, str):
            self._reasons[name, content] = about
            letter = {"event_id": name, "content": json.dumps(content._asdict()), "reason": about}
            self.dead.append({**letter, "day": self._day, "seq": seq})
            self.counts[f"dead {about}"] += 1
            return Receipt(name, "dead", about)
        self._content[name] = content
        self._told.add((event.impression_id, event.type))
        self.accepted.append({"event_id": name, "seq": seq, "day": self._day} | content._asdict() | about._asdict())
        self.counts[f"events {event.type}"] += 1
        if event.type == "click":  # on a slate of today
            told = json.loads(self._bodies[request_of(event.impression_id)])
            self.counts[f"clicked {told['arm']} {told['model_version']}"] += 1
        self.counts["skewed"] += self._is_skewed(event, about)
        return Receipt(name, "accepted")

    def _judge(self, event: Event) -> Shown | str:
        """What a new event is about, or why it is not counted."""
        age = self._day - day_of(event.impression_id)
        if event.event_id in self._content:
            return "conflict"
        if age > ATTRIBUTION_DAYS:
            return "late: beyond the attribution window"
        if age > 0 and event.type == "click":
            return "late: its day is closed"
        if (event.impression_id, event.type) in self._told:
            return "repeated"
        return self._find(event.impression_id) or "unknown impression"

    def _find(self, impression_id: int) -> Shown | None:
        """What an event is about; None where nothing like it was shown."""
        if impression_id not in self._shown:
            body = self._bodies.get(request_of(impression_id))
            if body is not None:
                self._shown[impression_id] = shown_at(impression_id & 0xFF, body)
            else:
                closed = day_of(impression_id) < self._day
                self._shown[impression_id] = self._past.shown(impression_id) if closed else None
        return self._shown[impression_id]

    def _is_skewed(self, event: Event, shown: Shown) -> bool:
        """Whether its time is far before the showing or after the end of the open day; a time not told is not."""
        since = day_of(event.impression_id) * SECONDS + shown.second
        return event.time < since - _SKEW or event.time > (self._day + 1) * SECONDS + _SKEW
