"""What shops, shoppers and those who keep the service running may ask over HTTP; see simlab.recsys.http."""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from simlab.errors import DataError, InboxError, SimlabError
from simlab.recsys.counter import Counter
from simlab.recsys.desk import Desk, as_json
from simlab.recsys.inbox import Event
from simlab.recsys.jobs import Ask
from simlab.recsys.watch import metrics_text
from simlab.recsys.wire import EventBody, Feedback, Recommend
from simlab.schema import GUESTS

PAGES = Path(__file__).parent / "pages"

SHOP = APIRouter()


class FieldError(Exception):
    """An event that no inbox can keep."""

    def __init__(self, field: str, error: SimlabError) -> None:
        super().__init__(field, error)
        self.field = f"{field}.{error.thing.split()[0]}"
        self.error = error


_NOTHING = json.dumps(
    {"request_id": "0" * 19, "items": [{"item_id": 0, "impression_id": "0" * 19}] * 10, "n": "x" * 400}
)


@SHOP.post("/recommend")
async def recommend(request: Request, body: Recommend) -> Response:
    """A slate for a shopper, kept before it is answered. With context.visit and .page, repeating is harmless."""
    told, now = body.context, request.app.state.clock()
    ask = Ask(
        user_id=body.user_id,
        n=body.n,
        exclude=body.exclude,
        day=told.day,
        number=None if told.visit is None or told.page is None else told.visit * 16 + told.page,
        second=now.hour * 3600 + now.minute * 60 + now.second if told.second is None else told.second,
        latency_ms=told.latency_ms,
        deadline_ms=body.deadline_ms,
        answer=asyncio.get_running_loop().create_future(),
    )
    counter: Counter = request.app.state.counter
    return Response(await counter.recommend(ask), media_type="application/json")


@SHOP.post("/feedback")
async def feedback(body: Feedback, counter: Desk) -> Response:
    """What shoppers did, kept before it is acknowledged; sent again, an event counts once."""
    events = [_event(row, number) for number, row in enumerate(body.events)]
    return as_json({"receipts": [asdict(receipt) for receipt in await counter.feedback(events)]})


@SHOP.post("/noop")
async def noop(body: Recommend) -> Response:
    """Reads a request as /recommend does and answers as much, doing nothing: what the server itself costs."""
    return Response(_NOTHING, media_type="application/json")


@SHOP.get("/catalogue")
async def catalogue(counter: Desk) -> Response:
    """The goods, and what is decided between trainings: whether a click changes the next slate."""
    goods, day, online = counter.service.catalogue, counter.day, counter.service.live.config
    sold = goods.on_sale(day).tolist()
    columns = (goods.name, goods.category.words(), goods.brand.words(), goods.price.tolist(), sold)
    names = ("item_id", "name", "category", "brand", "price", "on_sale")
    items = [dict(zip(names, (number, *row), strict=True)) for number, row in enumerate(zip(*columns, strict=True))]
    told = {"fold_in": online.fold_in, "suppress_days": online.suppress_days, "exploration": online.exploration}
    return as_json({"day": day, "online": told, "items": items})


@SHOP.get("/shoppers")
async def shoppers(counter: Desk, n: Annotated[int, Query(ge=1, le=1000)] = 50) -> Response:
    """The first `n` shoppers, and from where on a user_id is a guest's."""
    people = counter.shoppers.arrived_by(counter.day).first(n)
    rows = zip(people.segment.words(), people.region.words(), strict=True)
    told = [{"user_id": number, "segment": s, "region": r} for number, (s, r) in enumerate(rows)]
    return as_json({"shoppers": told, "guests_from": GUESTS})


def _event(row: EventBody, number: int) -> Event:
    value, time = (math.nan if part is None else part for part in (row.value, row.time))
    try:
        return Event(row.event_id, row.impression_id, row.type, value, time)
    except InboxError as error:
        raise FieldError(f"events.{number}", error) from error


@SHOP.get("/", include_in_schema=False)
async def shop() -> FileResponse:
    """The shop."""
    return FileResponse(PAGES / "shop.html")


@SHOP.get("/ops", include_in_schema=False)
async def ops() -> FileResponse:
    """The control room."""
    return FileResponse(PAGES / "ops.html")


@SHOP.get("/look.css", include_in_schema=False)
async def look() -> FileResponse:
    """The style of both."""
    return FileResponse(PAGES / "look.css")


@SHOP.get("/healthz")
async def healthz() -> Response:
    """Whether the process is alive."""
    return as_json({"status": "ok"})


@SHOP.get("/readyz")
async def readyz(counter: Desk) -> Response:
    """Whether it can keep what it answers, and serves what the registry says; 503 with the reason where not."""
    try:
        await asyncio.to_thread(counter.refresh)
    except SimlabError as error:
        return as_json({"status": "not ready", "reason": str(error)}, 503)
    if counter.dead:
        reason = f"lanes {', '.join(counter.dead)}: their threads have ended; start this process again"
        return as_json({"status": "not ready", "reason": reason}, 503)
    if counter.refused:
        return as_json({"status": "not ready", "reason": counter.refused}, 503)
    return as_json({"status": "ready", "day": counter.day, "row": counter.service.traffic.row})


@SHOP.get("/metrics")
async def metrics() -> Response:
    """Counters, in Prometheus' text format."""
    return Response(await asyncio.to_thread(metrics_text), media_type="text/plain; version=0.0.4; charset=utf-8")


@SHOP.get("/metrics/report")
async def report(request: Request) -> Response:
    """The last full week as the company knows it, in Prometheus' text format."""
    try:
        text = await request.app.state.room.report()
    except DataError as error:
        return as_json({"error": str(error), "field": error.thing}, 503)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@SHOP.get("/ops/state")
async def state(request: Request) -> Response:
    """What the control room shows."""
    return as_json(await asyncio.to_thread(request.app.state.room.state))


@SHOP.get("/ops/events")
async def events(request: Request) -> StreamingResponse:
    """The same, each second, as server-sent events, until the server stops."""
    room, stopping = request.app.state.room, request.app.state.stopping

    async def each_second() -> AsyncIterator[str]:
        while not stopping.is_set() and not await request.is_disconnected():
            try:
                yield f"data: {await room.told()}\n\n"
            except SimlabError:
                yield ": the inbox cannot be read just now\n\n"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1)

    return StreamingResponse(each_second(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
