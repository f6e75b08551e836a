"""A counter of a small shop, those who come to it, and models that misbehave."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from simlab.errors import InboxError
from simlab.recsys.counter import Counter
from simlab.recsys.inbox import Event, Inbox, Receipt
from simlab.recsys.jobs import Ask
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel, Recommender, SegmentModel
from simlab.recsys.online import OnlineConfig
from simlab.recsys.registry import Registry
from simlab.recsys.service import Served, Service
from simlab.recsys.traffic import Change, Traffic
from simlab.schema import NEVER, Bools, Catalogue, Floats, Ints, Labels, Requests, Shoppers
from simlab.tables import FEEDBACK, IMPRESSIONS, History

N_ITEMS, N_USERS = 12, 8

FOR_EVER = 60_000.0
"""A deadline that never comes."""

T = TypeVar("T")


def goods() -> Catalogue:
    """Ten items, and one more on each of the days 1 and 2."""
    words = Labels.constant("toys", N_ITEMS)
    return Catalogue(
        name=tuple(f"item {i}" for i in range(N_ITEMS)),
        category=words,
        brand=words,
        price=np.ones(N_ITEMS),
        margin=np.full(N_ITEMS, 0.3),
        launch_day=np.maximum(np.arange(N_ITEMS) - 9, 0),
        retire_day=np.full(N_ITEMS, NEVER),
    )


def people() -> Shoppers:
    words = Labels(codes=np.arange(N_USERS) % 2, names=("a", "b"))
    return Shoppers(segment=words, region=words, arrival_day=np.zeros(N_USERS, dtype=np.int64))


def favouring(item_id: int) -> PopularityModel:
    """All think alike: this item first, then those before it."""
    return PopularityModel(score=np.arange(10.0) + 100 * (np.arange(10) == item_id))


KINDS = SegmentModel(score=np.array([np.arange(10.0), -np.arange(10.0)]), segment=people().segment.codes)
"""Shoppers 0, 2, ... are offered 9, 8, 7, and 1, 3, ... 0, 1, 2."""


@dataclass
class Slow:
    """A model that answers when it is told to go."""

    n_items: int = 10
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def knows(self, user_id: Ints) -> Bools:
        return np.ones(len(user_id), dtype=np.bool_)

    def scores(self, requests: Requests) -> Floats:
        self.begun.set()
        assert self.go.wait(60)
        return np.tile(np.arange(float(self.n_items)), (len(requests), 1))


class Raising(Slow):
    """A model that never answers."""

    def scores(self, requests: Requests) -> Floats:
        raise ZeroDivisionError("no score")


@dataclass
class Odd(Slow):
    """A model whose scores are no numbers, now and then."""

    def scores(self, requests: Requests) -> Floats:
        return np.where(requests.user_id[:, None] % 2, np.nan, np.tile(np.arange(10.0), (len(requests), 1)))


class FullInbox(Inbox):
    """An inbox without room, for as long as `full` says, and whose disk stands still until `go`; it counts commits."""

    full = False
    commits = 0

    def __init__(self, *args: Any, **more: Any) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        super().__init__(*args, **more)

    def commit(self, slates: Any, events: Any, shadows: Any = ()) -> tuple[list[str], list[Receipt]]:
        if self.full:
            raise InboxError("inbox", "disk", "there is no room: try again")
        self.begun.set()
        assert self.go.wait(60)
        self.commits += 1
        return super().commit(slates, events, shadows)


def furnish(folder: Path) -> Path:
    """A shop with four registered models of which "old" is the champion."""
    registry = Registry(folder / "models")
    for number, version in enumerate(("old", "new", "third", "fourth")):
        registry.register(favouring(number + 3), version, {"trained_day": 0})
    registry.promote("old", day=0, actor="test", reason="the first")
    EventLog(folder / "log").import_history(
        History(impressions=IMPRESSIONS.empty_table(), feedback=FEEDBACK.empty_table())
    )
    return folder


@contextmanager
def opened(folder: Path, online: OnlineConfig | None = None, kind: type[Service] = Service) -> Iterator[Counter]:
    """One process at its counter."""
    catalogue = goods()
    with FullInbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        service = kind(catalogue.launched_by(inbox.day), favouring(0), segment=KINDS, online=online)
        counter = Counter(service, Registry(folder / "models"), inbox, catalogue, people())
        yield counter
        counter.close()


def at_work(counter: Counter, **models: Recommender) -> None:
    """Puts models to work that no registry holds: the first as champion, a second as a canary for half of all."""
    names = list(models)
    canary: dict[str, Any] = {"canary": names[1], "canary_share": 0.5, "salt": "s"} if len(names) > 1 else {}
    traffic = Traffic(champion=names[0], row=1, **canary)
    counter.service.route(traffic, {name: Served(model, 0) for name, model in models.items()})


def changed(folder: Path, action: str, version: str | None = None, **more: Any) -> None:
    """One more row of the history, by another process."""
    Registry(folder / "models").change(
        Change(action=action, version=version, day=0, actor="test", reason="to see", **more)
    )


def told(test: Callable[[], Awaitable[T]]) -> T:
    """Runs a test's part that is a handler."""

    async def main() -> T:
        return await test()

    return asyncio.run(main())


async def asked(counter: Counter, user_id: int = 0, **more: Any) -> dict[str, Any]:
    """The answer to somebody."""
    usual: dict[str, Any] = {"n": 3, "exclude": [], "day": None, "number": None, "second": 7, "latency_ms": 1.0}
    ask = Ask(
        answer=asyncio.get_running_loop().create_future(),
        **{"user_id": user_id, "deadline_ms": FOR_EVER, **usual, **more},
    )
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(counter.recommend(ask), 60))
    return answer


def ask(counter: Counter, user_id: int = 0, **more: Any) -> dict[str, Any]:
    return told(lambda: asked(counter, user_id, **more))


def tell(counter: Counter, answer: dict[str, Any], kind: str, position: int = 0) -> str:
    """What became of an event about an item of an answer."""
    about = int(answer["items"][position]["impression_id"])
    event = Event(f"{about}-{kind}", about, kind, 2.0, float("nan"))
    return told(lambda: counter.feedback([event]))[0].outcome


def items(answer: dict[str, Any]) -> list[int]:
    return [item["item_id"] for item in answer["items"]]
