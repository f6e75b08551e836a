"""A small shop that is served: a run, made once, and a real server on a free port in a thread of this process."""

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

import simlab
from simlab.lab.run import load_run
from simlab.lab.serving import serve_config
from simlab.recsys.counter import Counter
from simlab.recsys.http import ServeConfig, create_app
from simlab.recsys.models import PopularityModel
from simlab.recsys.online import OnlineConfig
from simlab.schema import Floats, Ints

TOKEN = "the-right-token"

ADMIN = {"Authorization": f"Bearer {TOKEN}"}

DAY = 2
"""The open day of a new shop."""

N_ITEMS, N_USERS = 40, 60


@dataclass
class Shop:
    """A server and a client of it."""

    app: FastAPI
    client: httpx.Client
    config: ServeConfig

    @property
    def counter(self) -> Counter:
        counter: Counter = self.app.state.counter
        return counter

    @property
    def champion(self) -> str:
        champion = self.counter.registry.alias("champion")
        assert champion is not None
        return champion

    def ask(self, user_id: int = 3, n: int = 3, **more: object) -> dict[str, Any]:
        """A slate."""
        answer = self.client.post("/recommend", json={"user_id": user_id, "n": n, "deadline_ms": 60_000, **more})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def tell(self, *events: tuple[str, str, str], **more: object) -> list[dict[str, Any]]:
        """The receipts of events: id, impression, type."""
        names = ("event_id", "impression_id", "type")
        answer = self.client.post("/feedback", json={"events": [{**dict(zip(names, one)), **more} for one in events]})
        assert answer.status_code == 200, answer.text
        receipts: list[dict[str, Any]] = answer.json()["receipts"]
        return receipts

    def admin(self, route: str, **body: object) -> httpx.Response:
        """What an admin route answers to who has the token."""
        return self.client.post(f"/admin/{route}", json=body, headers=ADMIN)

    def register(self, version: str, first: Ints | list[int]) -> None:
        """One more model: these items first, for everybody."""
        score = ranking(first)
        self.counter.registry.register(PopularityModel(score=score), version, {"trained_day": DAY})


def ranking(first: Ints | list[int]) -> Floats:
    """Scores that rank these items first, in their order, then the others."""
    score = -np.arange(N_ITEMS, dtype=np.float64)
    score[np.asarray(first)] = 100.0 - np.arange(len(first))
    return score


@contextmanager
def served(factory: pytest.TempPathFactory, *, online: OnlineConfig | None = None) -> Iterator[Shop]:
    """Serves a copy of the run."""
    made = factory.getbasetemp() / "small shop"
    if not made.exists():
        simlab.run(
            days=DAY,
            seed=3,
            out=made,
            training={"algorithm": "lightfm"},
            world={"n_users": N_USERS, "n_items": N_ITEMS, "history_days": 14},
        )
    folder = factory.mktemp("served") / "run"
    shutil.copytree(made, folder)
    settings = serve_config(load_run(folder), token=TOKEN)
    if online is not None:
        settings = ServeConfig(run=settings.run, token=TOKEN, online=online, seed=3)
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:  # it listens before the server runs: nobody has to wait
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
                client.get("/healthz")
                yield Shop(app, client, settings)
        finally:
            server.should_exit = True
            thread.join()
