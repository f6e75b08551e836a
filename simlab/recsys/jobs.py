"""What waits at the counter, and how those who wait are told."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simlab.recsys.inbox import Event, Receipt, SlateRow

PATIENCE = 0.8
"""Share of the deadline after which a lower rung is asked: it needs time too."""


@dataclass(eq=False, kw_only=True)
class Ask:
    """Somebody who waits for a slate."""

    user_id: int
    n: int
    exclude: Sequence[int]
    day: int | None
    number: int | None
    """visit * 16 + page where the caller gave them; else the counter counts."""
    second: int
    latency_ms: float | None
    deadline_ms: float
    answer: asyncio.Future[str]
    arrived: float = field(default_factory=time.perf_counter)
    given: int = 0
    """The number the slate has got."""
    scored: bool = False
    """Whether somebody has answered; who comes later has come too late."""
    timer: asyncio.TimerHandle | None = None

    def left(self) -> float:
        """Seconds until a lower rung is to be asked."""
        return self.arrived + PATIENCE * self.deadline_ms / 1000 - time.perf_counter()


@dataclass(eq=False, kw_only=True)
class Post:
    """Events that wait to be kept."""

    events: Sequence[Event]
    receipts: asyncio.Future[list[Receipt]]
    arrived: float = field(default_factory=time.perf_counter)


class Answer(NamedTuple):
    """A slate that waits to be kept."""

    ask: Ask
    row: SlateRow
    arm: str
    rung: str


def setter(future: asyncio.Future[Any], value: object) -> Callable[[], None]:
    """Tells who waits, unless somebody has."""
    return lambda: None if future.done() else future.set_result(value)


def raiser(future: asyncio.Future[Any], error: Exception) -> Callable[[], None]:
    """Tells who waits what has gone wrong, unless there is an answer."""
    return lambda: None if future.done() else future.set_exception(error)
