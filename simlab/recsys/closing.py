"""The move of a closed day from the inbox into the log: exactly once, wherever it is killed.

    1  the next day is opened, and the closed one noted as moving; from here on nothing is added to it
    2  its shadow slates are written, then its slates and events as a day of the log; a renaming is the moment
    3  its slates leave the inbox, and the note

Why in this order: each step can be done again. Killed before 1, nothing has happened; before 2, the same rows give the
same files; before 3, the day is found in the log and only 3 is left. Slates leave the inbox, which outlives a power
cut, only when their files do so too.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection, Engine, Select, Table, delete, select, update

from simlab.errors import InboxError, RunError
from simlab.files import locked, parquet_bytes, sweep, write_bytes
from simlab.recsys.letters import ATTRIBUTION_DAYS, first_id, request_of, user_of
from simlab.recsys.log import EventLog
from simlab.recsys.storage import COUNTS, DEAD, EVENTS, SHADOWS, SLATES, STATE, transaction
from simlab.schema import KINDS, NEVER, NO_ITEM, SOURCES, Clicks, Ints, Outcomes, Requests, Slates, codes_of
from simlab.tables import FEEDBACK, to_impressions

_AT_ONCE = 2000
"""Slates that leave the inbox in one transaction: while it lasts, the service waits."""

_SHADOW = pa.schema(
    [
        ("request_id", pa.int64()),
        ("model_version", pa.string()),
        ("position", pa.int16()),
        ("item_id", pa.int32()),
        ("score", pa.float64()),
    ]
)


def close_day(engine: Engine, log: EventLog, day: int) -> bool:
    """Moves `day` into the log; False where that was done before. Finishes first what another, killed, began.

    Raises `InboxError` where `day` is not open yet, is in the log from elsewhere, where another process is closing and
    where the disk is full.
    """
    try:
        with locked(log.path):
            return _close(engine, log, day)
    except (RunError, OSError) as error:  # another process is at it, or the disk is full
        raise InboxError("day to close", day, f"nothing is lost: try again ({error})") from error


def _close(engine: Engine, log: EventLog, day: int) -> bool:
    with transaction(engine) as connection:
        open_day, moving = connection.execute(select(STATE.c.day, STATE.c.moving)).one()
    if moving is not None:
        _move(engine, log, moving)
    if day < open_day:
        return bool(day == moving)
    if day > open_day:
        raise InboxError("day to close", day, f"it is not open yet: day {open_day} is")
    if day in log.days:
        raise InboxError("day to close", day, "it is in the log already, from elsewhere: move that away")
    with transaction(engine) as connection:
        connection.execute(
            update(STATE).where(STATE.c.day == day).values(day=day + 1, moving=day, unavailable="[]"),
        )
    _move(engine, log, day)
    return True


def _move(engine: Engine, log: EventLog, day: int) -> None:
    """Steps 2 and 3, as far as they are not done."""
    shadow = log.path.parent / "shadow" / f"day={day:05d}.parquet"
    if day not in log.days:
        for folder in (log.path, shadow.parent):
            sweep(folder)  # drafts of who was killed
        with transaction(engine) as connection:
            slates = _slates(connection, day)
            impressions = to_impressions(slates, _outcomes(connection, day, slates))
            feedback, shadows = _feedback(connection, day), _shadows(connection, day)
        if shadows.num_rows:
            write_bytes(shadow, parquet_bytes(shadows))
        log.append(day, impressions, feedback)
    _force(log.path / f"day={day:05d}", shadow)
    for table in (SLATES, SHADOWS):
        some = select(table.c.request_id).where(table.c.request_id < first_id(day + 1)).limit(_AT_ONCE)
        gone = _AT_ONCE
        while gone:
            with transaction(engine) as connection:
                gone = connection.execute(delete(table).where(table.c.request_id.in_(some))).rowcount
    with transaction(engine) as connection:
        oldest = day + 1 - ATTRIBUTION_DAYS
        connection.execute(delete(EVENTS).where(EVENTS.c.impression_id < first_id(oldest)))
        for table in (DEAD, COUNTS):
            connection.execute(delete(table).where(table.c.day < oldest))
        connection.execute(update(STATE).values(moving=None))


def _of_day(table: Table, day: int) -> Select[Any]:
    within = table.c.request_id.between(first_id(day), first_id(day + 1) - 1)
    return (
        select(table).where(within).order_by(table.c.request_id, *table.primary_key).execution_options(yield_per=1000)
    )


def _slates(connection: Connection, day: int) -> Slates:
    """What was answered on `day`, in order of request_id."""
    heads: list[tuple[Any, ...]] = []
    cells = [np.empty((0, 5))]  # row, position, item, propensity, source; made in parts, so that other threads can run
    with connection.execute(_of_day(SLATES, day)) as rows:
        for part in rows.partitions():
            shown: list[tuple[Any, ...]] = []
            for row in part:
                head, items = _answer(row.request_id, row.body)
                shown.extend((len(heads), *item) for item in items)
                heads.append((row.request_id, row.second, *head))
            cells.append(np.array(shown, dtype=np.float64).reshape(-1, 5))
    ids, seconds, versions, arms, waited = _columns(heads, 5)
    of_row, position, item_id, propensity, source = np.concatenate(cells).T
    request_id, place = np.array(ids, dtype=np.int64), (of_row.astype(np.int64), position.astype(np.int64))
    shape = len(heads), 1 + int(position.max(initial=0))
    requests = Requests(
        day=day,
        user_id=user_of(request_id),
        visit=request_id >> 12 & 15,
        page=request_id >> 8 & 15,
        second=np.array(seconds, dtype=np.int64),
        n=shape[1],
    )
    return Slates(
        requests=requests,
        item_id=_table(shape, place, item_id.astype(np.int64), NO_ITEM),
        propensity=_table(shape, place, propensity, np.nan),
        source=_table(shape, place, source.astype(np.int64), 0),
        model_version=codes_of(versions),
        arm=codes_of(arms),
        latency_ms=np.array(waited, dtype=np.float64),
    )


def _answer(request_id: int, body: str) -> tuple[tuple[str, str, float], list[tuple[int, int, float | None, int]]]:
    """Model version, arm and latency of an answered slate, and position, item, propensity and source of its items."""
    try:
        answer = json.loads(body)
        items = [
            (item["position"], item["item_id"], item["propensity"], SOURCES.index(item["source"]))
            for item in answer["items"]
        ]
        return (answer["model_version"], answer["arm"], answer["latency_ms"]), items
    except (ValueError, KeyError, TypeError) as error:
        remedy = f"mend its body in the inbox: it is no answer of the service ({error!r})"
        raise InboxError("slate", request_id, remedy) from error


def _columns(rows: Sequence[tuple[Any, ...]], n: int) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * n


def _table(shape: tuple[int, int], place: tuple[Ints, Ints], values: npt.NDArray[Any], empty: float) -> Any:
    table = np.full(shape, empty, dtype=values.dtype)
    table[place] = values
    return table


def _outcomes(connection: Connection, day: int, slates: Slates) -> Outcomes:
    """The clicks on the slates of `day`. What they led to is told by events of its own."""
    of_day = select(EVENTS.c.impression_id, EVENTS.c.value).where(EVENTS.c.day == day, EVENTS.c.type == "click")
    ids, dwell = _columns(connection.execute(of_day.order_by(EVENTS.c.impression_id)).all(), 2)
    impression_id, n = np.array(ids, dtype=np.int64), slates.requests.n
    place = np.searchsorted(slates.requests.request_id, request_of(impression_id)) * n + (impression_id & 0xFF)
    clicked = np.zeros(slates.item_id.shape, dtype=bool)
    clicked.ravel()[place] = True
    none, never = np.zeros(len(place), dtype=np.int64), np.full(len(place), NEVER, dtype=np.int64)
    clicks = Clicks(
        place=place,
        dwell=np.array(dwell, dtype=np.float64),
        units=none,
        purchase_day=never,
        rating=none,
        rating_day=never,
        return_day=never,
    )
    return Outcomes(examined=clicked, clicked=clicked, clicks=clicks)


def _feedback(connection: Connection, day: int) -> pa.Table:
    """What arrived on `day` but for clicks, in order of impression_id and KINDS."""
    names = ("impression_id", "item_id", "type", "value")
    told = select(*(EVENTS.c[name] for name in names)).where(EVENTS.c.day == day, EVENTS.c.type.in_(KINDS))
    rows = sorted((row[0], KINDS.index(row[2]), row[1], row[3]) for row in connection.execute(told))
    ids, kinds, items, values = _columns(rows, 4)
    kind = pa.DictionaryArray.from_arrays(pa.array(kinds, pa.int8()), pa.array(KINDS, pa.string()))
    return pa.table([ids, items, kind, [day] * len(rows), values], schema=FEEDBACK)


def _shadows(connection: Connection, day: int) -> pa.Table:
    """What shadow models would have shown on `day`: a row for each item, in order of request and version."""
    rows = [
        (row.request_id, row.version, position, *scored)
        for row in connection.execute(_of_day(SHADOWS, day))
        for position, scored in enumerate(zip(json.loads(row.items), json.loads(row.scores), strict=True))
    ]
    return pa.table(_columns(rows, 5), schema=_SHADOW)


def _force(*paths: Path) -> None:
    """Has what is at `paths`, where there is anything, outlive a power cut."""
    there = [path for path in paths if path.exists()]
    files = [file for path in there for file in (path, *path.glob("*"), path.parent)]
    for file in files:
        number = os.open(file, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
