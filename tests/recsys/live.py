"""A shop on a server of its own, and clients that ask and tell it over HTTP, again where nobody answers."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.world import world_of
from simlab.recsys.http import ServeConfig
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel, PopularityModel, SegmentModel
from simlab.recsys.public import write_public
from simlab.recsys.registry import Registry
from simlab.recsys.retrieval import best_items
from simlab.schema import Requests
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS, History

N_USERS, N_ITEMS, N = 2000, 40, 5
TOKEN = "the-right-token"


def version_of(number: int) -> str:
    return f"v{number:03d}"


def make_shop(run: Path, n_versions: int = 1, inbox: str = "") -> ServeConfig:
    """A shop with so many models, each of another opinion; version 0 is at work."""
    world = world_of(N_USERS, N_ITEMS)
    write_public(run / "shop" / "public.npz", world.catalogue, world.shoppers)
    registry, score = Registry(run / "models"), np.arange(float(N_ITEMS))
    EventLog(run / "log").import_history(
        History(impressions=IMPRESSIONS.empty_table(), feedback=FEEDBACK.empty_table())
    )
    segments = np.tile(score, (len(world.shoppers.segment.names), 1))
    registry.register(PopularityModel(score=score), "popular", {})
    registry.register(SegmentModel(score=segments, segment=np.zeros(0, dtype=np.int64)), "segments", {})
    for number in range(n_versions):
        rng = stream(0, "a model of the tests", number)
        model = FactorModel(
            user_vector=rng.normal(size=(N_USERS, 8)),
            item_vector=rng.normal(size=(N_ITEMS, 8)),
            item_bias=rng.normal(size=N_ITEMS),
            known=np.ones(N_USERS, dtype=np.bool_),
        )
        registry.register(model, version_of(number), {"trained_day": 0})
    for alias, version in (("fallback", "popular"), ("segment", "segments"), ("champion", version_of(0))):
        registry.promote(version, alias=alias, day=0, actor="test", reason="the first")
    return ServeConfig(run=str(run), token=TOKEN, inbox=inbox)


def rankings(run: Path, n_versions: int) -> dict[str, list[list[int]]]:
    """The items that each version shows to each user."""
    registry = Registry(run / "models")
    everybody = Requests(day=0, user_id=np.arange(N_USERS), visit=np.zeros(N_USERS, dtype=np.int64), n=N)
    allowed = np.ones(N_ITEMS, dtype=np.bool_)
    names = [version_of(number) for number in range(n_versions)]
    return {name: best_items(registry.load(name)[0], everybody, allowed).tolist() for name in names}


class Client:
    """One connection, which is opened again where it has broken."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.refused = 0
        """How often it was told to come again."""
        self._connection: http.client.HTTPConnection | None = None

    def once(self, path: str, body: object, method: str = "POST") -> tuple[int, dict[str, Any]]:
        """Status and answer. Raises `OSError` or `HTTPException` where nobody answers."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
            self._connection.request(method, path, json.dumps(body), headers)
            answer = self._connection.getresponse()
            return answer.status, dict(json.loads(answer.read()))
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def until(self, path: str, body: object, over: threading.Event) -> tuple[int, dict[str, Any]] | None:
        """The same, again and again with the same words, until somebody answers or it is `over`: then None."""
        while not over.is_set():
            try:
                status, answer = self.once(path, body)
            except (OSError, http.client.HTTPException):
                over.wait(0.02)
                continue
            if status != 503:
                return status, answer
            self.refused += 1
            over.wait(0.02)
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def together(work: Callable[[int], None], n: int) -> tuple[list[threading.Thread], list[BaseException]]:
    """`n` threads at work, and what goes wrong in them."""
    wrong: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    return threads, wrong


def wait_until(there: Callable[[], bool], patience: float = 60.0) -> None:
    """Waits for what must come."""
    deadline = time.monotonic() + patience
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        threading.Event().wait(0.01)
