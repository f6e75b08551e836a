"""The control room over HTTP: what it shows, and what it can do with the token; see simlab.recsys.http."""

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException

from simlab.errors import ModelError
from simlab.recsys.canary import CanaryConfig, advance
from simlab.recsys.counter import Counter
from simlab.recsys.desk import Desk, say
from simlab.recsys.gauges import gauges_text, last_week, wrong_rows
from simlab.recsys.report import Report
from simlab.recsys.traffic import Change, check_wish
from simlab.recsys.wire import CloseDay, Deploy, OpenDay

AFRESH = 0.9
"""Seconds for which the state of the control room is not made again."""


class Room:
    """The control room of a process: however many look, there is one state a second, and a row is read once."""

    def __init__(self, counter: Counter) -> None:
        self._counter, self._rows = counter, list[dict[str, Any]]()
        self._turn, self._told, self._made = asyncio.Lock(), "", -AFRESH
        self._writing = asyncio.Lock()
        self._report: Report | None = None
        self._wrong: dict[str, int] = {}
        self._reported: list[int] = []

    def state(self) -> dict[str, Any]:
        """As it is now. Raises `InboxError`."""
        if self._counter.registry.last_row() != len(self._rows):
            with contextlib.suppress(ModelError):  # damaged: `refused` tells so
                self._rows = self._counter.registry.history()
        return state_of(self._counter, self._rows)

    async def told(self) -> str:
        """As it was less than a second ago, as JSON. Raises `InboxError`."""
        async with self._turn:
            if time.monotonic() - self._made > AFRESH:
                self._told = json.dumps(await asyncio.to_thread(self.state))
                self._made = time.monotonic()
            return self._told

    async def report(self) -> bytes:
        """The last week, for Prometheus; written when the log has changed. Raises `DataError`, `InboxError`."""
        counter = self._counter
        async with self._writing:
            day, days = await asyncio.to_thread(lambda: (counter.inbox.day, counter.inbox.log.days))
            if self._reported != days:
                log, goods = counter.inbox.log, counter.catalogue
                self._report = await asyncio.to_thread(last_week, log, goods, counter.shoppers)
                self._wrong = await asyncio.to_thread(wrong_rows, log, goods)
                self._reported = days
            return gauges_text(self._report, day, max(days, default=-1), self._wrong)


def state_of(counter: Counter, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the control room shows: counts of today of all workers, rate and latency of this one; `rows` of history."""
    counts, watch, traffic = counter.inbox.counts(), counter.watch, counter.service.traffic
    today = counts.get(counter.day, {})
    others = {*_rungs(rows), traffic.champion}
    shown = ("day", "time", "action", "alias", "version", "share", "actor", "reason")
    history = [{"row": n, **{name: row.get(name) for name in shown}} for n, row in enumerate(rows, start=1)]
    return {
        "day": counter.day,
        "worker": str(os.getpid()),
        "request_rate": watch.rate(),
        "latency_ms": watch.latency_ms(),
        "requests": today.get("slates", 0),
        "feedback": sum(today.get("events", {}).values()),
        "arms": _arms_of(today),
        "rungs": _shares(today.get("rungs", {})),
        "event_lag_s": watch.lag,
        "dead": today.get("dead", {}),
        "traffic": {name: value for name, value in asdict(traffic).items() if name in _TRAFFIC},
        "refused": counter.refused,
        "versions": [name for name in counter.registry.versions() if name not in others],
        "history": history[-20:],
    }


_TRAFFIC = (
    "champion", "challenger", "challenger_share", "canary", "canary_share", "canary_paused", "shadow", "quarantined"
)  # fmt: skip


def _rungs(rows: list[dict[str, Any]]) -> set[str]:
    """The versions that are lower rungs: they stand in, and are not put to work."""
    return {row["version"] for row in rows if row["alias"] in ("fallback", "segment")}


def _arms_of(today: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Slates, impressions, clicks and click rate of each arm and version."""
    table = []
    for name, impressions in sorted(today.get("shown", {}).items()):
        arm, version = name.split(" ")
        clicks = today.get("clicked", {}).get(name, 0)
        slates, rate = today.get("answered", {}).get(name, 0), clicks / impressions if impressions else None
        row = {"arm": arm, "model_version": version, "slates": slates, "impressions": impressions}
        table.append({**row, "clicks": clicks, "click_rate": rate})
    return table


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: n / total for name, n in counts.items()}


async def admit(request: Request) -> None:
    """Lets through who has the token."""
    given = request.headers.get("authorization", "").encode()
    if not secrets.compare_digest(given, f"Bearer {request.app.state.config.token}".encode()):
        raise HTTPException(401, "the admin routes open with the token that simlab serve has printed")


ADMIN = APIRouter(prefix="/admin", dependencies=[Depends(admit)])


@ADMIN.post("/deploy")
async def deploy(body: Deploy, counter: Desk) -> dict[str, Any]:
    """Changes the traffic: one row of the history, and its effect at once, in every worker."""
    wish = {**body.model_dump(), "steps": tuple(body.steps)}
    change = Change(day=counter.day, evidence={"by": "http"}, **wish)
    check_wish(change)
    row = await asyncio.to_thread(counter.registry.change, change)
    say("traffic", row=row)
    await asyncio.to_thread(counter.refresh)
    return {"row": row, "traffic": asdict(counter.service.traffic), "refused": counter.refused}


@ADMIN.post("/day")
async def day(body: OpenDay, counter: Desk) -> dict[str, Any]:
    """What cannot be delivered on the open day."""
    await asyncio.to_thread(counter.inbox.open_day, body.day, body.unavailable)
    return {"day": body.day}


@ADMIN.post("/close-day")
async def close_day(body: CloseDay, counter: Desk, request: Request) -> dict[str, Any]:
    """Moves a day into the log, exactly once, opens the next, and lets the canary be judged."""
    new = await asyncio.to_thread(counter.inbox.close_day, body.day)
    verdict = None
    if request.app.state.config.judge:
        verdict = await asyncio.to_thread(advance, counter.inbox.log, counter.registry, body.day + 1, CanaryConfig())
    say("day closed", day=body.day, new=new, verdict=verdict and verdict.outcome)
    await asyncio.to_thread(counter.refresh)
    return {"closed": new, "day": counter.day, "verdict": verdict and asdict(verdict)}
