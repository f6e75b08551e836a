"""The ring over HTTP: shoppers as clients of a server that runs in a process of its own.

Why the same ids again: a client that hears no answer cannot know whether the request or the answer was lost. So it
says the same once more, with the same ids, until somebody answers; the inbox sees to it that it counts once. A server
that has died is started again, as whoever keeps a shop would.
"""

import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa

from simlab.errors import RunError
from simlab.lab.loop import Ring
from simlab.lab.run import Run
from simlab.lab.serving import Server, free_port, serve_config
from simlab.recsys.wire import MAX_EVENTS
from simlab.schema import NO_ITEM, SOURCES, Bools, Catalogue, Outcomes, Requests, Slates, codes_of

CLIENTS = 8
"""Connections that ask at the same time."""

PATIENCE = 120.0
"""Seconds for which a request is sent again."""

Answer = dict[str, Any]


class OverHttp:
    """A `Company` behind the socket of `server`, which it starts again when it has died."""

    def __init__(self, server: Server, catalogue: Catalogue, latency_ms: float) -> None:
        """`latency_ms` is what simulated shoppers feel, whatever the real server takes."""
        self.server = server
        self._catalogue, self._latency_ms = catalogue, latency_ms
        self._clients = ThreadPoolExecutor(CLIENTS, thread_name_prefix="shopper")
        self._own, self._starting = threading.local(), threading.Lock()
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Hangs up."""
        self._clients.shutdown()
        for connection in self._connections:
            connection.close()

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        """Tells what cannot be delivered, and what has come in the post."""
        missing = np.flatnonzero(self._catalogue.on_sale(day) & ~here)
        self._post("/admin/day", {"day": day, "unavailable": missing.tolist()})
        self._tell(_events(arriving))

    def show(self, requests: Requests) -> Slates:
        """A slate for each request, each asked for by itself."""
        excluded: dict[int, list[int]] = {}
        for row, item in requests.exclude.tolist():
            excluded.setdefault(row, []).append(item)
        columns = (requests.user_id, requests.visit, requests.page, requests.second)
        bodies = [
            {
                "user_id": user_id,
                "n": requests.n,
                "exclude": excluded.get(row, []),
                "context": {
                    "day": requests.day,
                    "visit": visit,
                    "page": page,
                    "second": second,
                    "latency_ms": self._latency_ms,
                },
                "deadline_ms": 60_000,
            }
            for row, (user_id, visit, page, second) in enumerate(zip(*(part.tolist() for part in columns), strict=True))
        ]
        return slates_of(requests, list(self._clients.map(lambda body: self._post("/recommend", body), bodies)))

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        """Posts the clicks, and what is paid at once."""
        clicks, n = outcomes.clicks, slates.item_id.shape[1]
        shown = slates.requests.request_id[clicks.place // n] | (clicks.place % n)
        dwell = clicks.dwell.astype(np.float32).tolist()  # as the log keeps it
        clicked = [_event(number, "click", value) for number, value in zip(shown.tolist(), dwell, strict=True)]
        self._tell(clicked + _events(feedback))

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Lets the server move the day into the log: it has heard of all that is in it."""
        self._post("/admin/close-day", {"day": day})

    def _tell(self, events: Sequence[Answer]) -> None:
        for first in range(0, len(events), MAX_EVENTS):
            told = self._post("/feedback", {"events": events[first : first + MAX_EVENTS]})
            dead = [receipt for receipt in told["receipts"] if receipt["outcome"] == "dead"]
            if dead:
                raise RunError("events of the ring", dead[0], "the inbox is not that of this run: remove it")

    def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """The answer to `body`; sent again, the same, while nobody answers or the server says that it cannot now."""
        text, until = json.dumps(body), time.monotonic() + PATIENCE
        while True:
            try:
                status, answer = self._once(path, text)
            except (OSError, http.client.HTTPException) as error:
                status, answer = 503, str(error)
                self._drop()
                self._revive()
            if status == 200:
                return dict(json.loads(answer))
            if status != 503 or time.monotonic() > until:
                raise RunError(f"server, {path}", f"{status} {answer}", "see its log, then go on with the same command")
            time.sleep(0.05)

    def _once(self, path: str, text: str) -> tuple[int, str]:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
            self._own.connection = connection
            self._connections.append(connection)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.server.config.token}"}
        connection.request("POST", path, text, headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()

    def _drop(self) -> None:
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            self._own.connection = None

    def _revive(self) -> None:
        with self._starting:
            if self.server.died:
                with suppress(RunError):  # it died again while it began: the next try begins it anew
                    self.server.start()


@contextmanager
def over_http(ring: Ring, *, port: int = 0, told: Callable[[Server], None] | None = None) -> Iterator[OverHttp]:
    """A server for the run of `ring` while it turns, on `port` or any that is free; `told` hears of it when it is up.

    Give it to `simlab.lab.loop.run` as `over`.
    """
    config = serve_config(Run(ring.path), judge=False)  # the ring asks the judge, as it does in one process
    with Server(config, port or free_port()) as server:
        if told is not None:
            told(server)
        company = OverHttp(server, ring.world.catalogue, ring.config.latency_ms)
        try:
            yield company
        finally:
            company.close()


def slates_of(requests: Requests, answers: Sequence[Answer]) -> Slates:
    """The slates that the answers to `requests`, in the same order, tell of."""
    item_id = np.full((len(answers), requests.n), NO_ITEM, dtype=np.int64)
    propensity = np.ones(item_id.shape)
    source = np.full(item_id.shape, SOURCES.index("fallback"), dtype=np.int64)
    for row, answer in enumerate(answers):
        for item in answer["items"]:
            place = row, item["position"]
            item_id[place], propensity[place] = item["item_id"], item["propensity"]
            source[place] = SOURCES.index(item["source"])
    return Slates(
        requests=requests,
        item_id=item_id,
        propensity=propensity,
        source=source,
        model_version=codes_of([answer["model_version"] for answer in answers]),
        arm=codes_of([answer["arm"] for answer in answers]),
    )


def _event(impression_id: int, kind: str, value: float) -> Answer:
    told = None if math.isnan(value) else value
    return {"event_id": f"{impression_id}-{kind}", "impression_id": str(impression_id), "type": kind, "value": told}


def _events(feedback: pa.Table) -> list[Answer]:
    columns = (feedback[name].to_pylist() for name in ("impression_id", "kind", "value"))
    return [_event(*row) for row in zip(*columns, strict=True)]
