"""The service over HTTP: thin. It reads words, asks the counter, and says what came of it.

    POST /recommend, /feedback            for shops and shoppers
    GET  /, /ops                          the pages of shop.html and ops.html, and what they read
    GET  /healthz, /readyz, /metrics      for those who keep it running
    POST /admin/...                       changes traffic and turns days; only with the token

What is wrong with a request is told with 4xx, naming the field. Where nothing can be kept (a full disk, too many who
wait) it is 503: nothing has happened, and the same request can be sent again.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simlab.errors import ConfigError, InboxError, ModelError, SimlabError
from simlab.recsys.control import ADMIN, Room
from simlab.recsys.counter import BusyError, Counter, DayError
from simlab.recsys.desk import LOG, as_json, say, wall_clock
from simlab.recsys.inbox import Inbox
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel, SegmentModel
from simlab.recsys.online import OnlineConfig
from simlab.recsys.public import read_public
from simlab.recsys.registry import Registry
from simlab.recsys.routes import SHOP, FieldError
from simlab.recsys.service import Service
from simlab.recsys.watch import ERRORS
from simlab.recsys.wire import MAX_BODY
from simlab.settings import from_dict

_STATUS: tuple[tuple[type[SimlabError], int], ...] = (
    (BusyError, 503),
    (InboxError, 503),
    (DayError, 409),
    (ModelError, 409),
    (ConfigError, 422),
)

INBOX = "inbox.sqlite"
"""The inbox of a run, in its folder."""

Clock = Callable[[], datetime]


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Which run is served, and how."""

    run: str
    """The run folder."""
    token: str
    """Opens the admin routes."""
    inbox: str = ""
    """Where events are kept: a database by URL, as postgresql+psycopg://host/name; by default a file of the run."""
    online: OnlineConfig = field(default_factory=OnlineConfig)
    """What is decided in real time."""
    seed: int = 0
    """Of exploration."""
    judge: bool = True
    """Whether a canary is judged when a day is closed."""


def open_counter(config: ServeConfig, clock: Clock = wall_clock) -> Counter:
    """The counter of the run of `config`. Raises `SimlabError` where something of it is missing or damaged."""
    run = Path(config.run)
    catalogue, shoppers = read_public(run / "shop" / "public.npz")
    log, registry = EventLog(run / "log"), registry_of(run, clock)
    named = [registry.alias(alias) for alias in ("fallback", "segment")]
    rungs = [None if name is None else registry.load(name)[0] for name in named]
    popular, segment = rungs
    if not (isinstance(popular, PopularityModel) and isinstance(segment, SegmentModel | None)):
        raise ModelError("fallbacks", [type(rung).__name__ for rung in rungs], "they are of other kinds: run it again")
    inbox = Inbox(config.inbox or run / INBOX, log, first_day=max(log.days, default=-1) + 1)
    day = inbox.day
    service = Service(catalogue.launched_by(day), popular, segment=segment, online=config.online, seed=config.seed)
    return Counter(service, registry, inbox, catalogue, shoppers)


def registry_of(run: Path, clock: Clock = wall_clock) -> Registry:
    """The registry of a run, whose rows carry the time."""
    return Registry(run / "models", clock=lambda: clock().isoformat(timespec="milliseconds"))


def app_from_environment() -> FastAPI:
    """The application of the settings in $SIMLAB_SERVE: how each worker process comes to its own."""
    settings = json.loads(os.environ["SIMLAB_SERVE"])
    return create_app(from_dict(ServeConfig, settings), alone=True)


def create_app(config: ServeConfig, clock: Clock = wall_clock, *, alone: bool = False) -> FastAPI:
    """The application that serves `config`; it opens when it is started, and finishes what waits when it is stopped.

    Where it is `alone` in its process, it sets that up for itself too.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        app.state.counter = await asyncio.to_thread(open_counter, config, clock)
        app.state.room, app.state.stopping = Room(app.state.counter), asyncio.Event()
        _stop_at_signals(app.state.stopping)
        if alone:
            gc.freeze()  # what is there now stays for ever: the collector need not look through it again and again
            gc.set_threshold(20_000, 20, 100)  # a batch makes thousands of objects, hardly any of them in a circle
            sys.setswitchinterval(0.0002)  # lanes and the scribe work a little at a time: they get their turn soon
        say("open", run=config.run, day=app.state.counter.day, worker=os.getpid())
        yield
        await asyncio.to_thread(app.state.counter.close)
        app.state.counter.inbox.close()
        say("closed", worker=os.getpid())

    app = FastAPI(
        title="simlab", summary="a recommender in production, in small", lifespan=life, docs_url=None, redoc_url=None
    )
    app.add_middleware(_Bounded)
    app.state.config, app.state.clock = config, clock
    app.include_router(SHOP)
    app.include_router(ADMIN)
    _add_errors(app)
    return app


def _stop_at_signals(stopping: asyncio.Event) -> None:
    """Sets `stopping` when the server is told to stop: it waits for all answers, and a stream has no end of its own."""
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        return  # no signal comes here
    for number in (signal.SIGTERM, signal.SIGINT):
        servers_own = signal.getsignal(number)

        def told(number: int, frame: FrameType | None, then: Any = servers_own) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stopping.set)
            then(number, frame)

        if callable(servers_own):
            signal.signal(number, told)


def _add_errors(app: FastAPI) -> None:
    """What is said where something is wrong."""

    def told(status: int, error: str, field: str = "") -> Response:
        ERRORS.labels(str(status)).inc()
        headers = {"Retry-After": "1"} if status == 503 else {"WWW-Authenticate": "Bearer"} if status == 401 else None
        return as_json({"error": error, "field": field}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            where = f"at character {first['loc'][-1]}: {first['ctx']['error']}"
            return told(422, f"body: it is no JSON, {where}; send what a JSON encoder writes", "body")
        field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return told(422, f"{field}: {str(first.get('input'))[:80]!r} will not do; {first['msg']}", field)

    @app.exception_handler(FieldError)
    async def refused(request: Request, error: FieldError) -> Response:
        return told(422, str(error.error), error.field)

    @app.exception_handler(SimlabError)
    async def known(request: Request, error: SimlabError) -> Response:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        conflict = isinstance(error, InboxError) and request.url.path.startswith("/admin")
        return told(409 if conflict else status, str(error), error.thing)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        return told(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        LOG.error(json.dumps({"event": "error", "path": request.url.path, "error": repr(error)}), exc_info=error)
        return told(500, "this is our bug: see the server's log")


class _Bounded:
    """Refuses bodies of more than MAX_BODY bytes, also those that do not say their length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length[:12]) > MAX_BODY:
            return await self._refuse(send)
        heard = 0

        async def counted() -> Message:
            nonlocal heard
            message = await receive()
            heard += len(message.get("body", b""))
            if heard > MAX_BODY:
                raise HTTPException(413, f"the body has more than {MAX_BODY} bytes: send it in parts")
            return message

        await self._app(scope, counted, send)
        return None

    async def _refuse(self, send: Send) -> None:
        answer = as_json({"error": f"the body has more than {MAX_BODY} bytes: send it in parts", "field": "body"}, 413)
        ERRORS.labels("413").inc()
        begin: dict[str, Any] = {"type": "http.response.start", "status": 413, "headers": answer.raw_headers}
        await send(begin)
        await send({"type": "http.response.body", "body": answer.body})
