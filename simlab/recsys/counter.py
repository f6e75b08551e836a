"""The counter: where requests wait together, are answered by one pass of the model, and kept by one transaction.

    handler ──► lane of the shopper's version ──► scribe ──► handler
                scores all that wait              commits all that wait (slates, events)

Why batches: a model and a disk do thirty as fast as three, so the longer the queue, the less each costs. Nobody waits
for company: whoever is alone goes alone.

Why lanes: each version at work has a thread of its own, so a slow canary delays nobody but its own shoppers, and those
only to their deadline: then a lower rung answers, and goes on answering until the slow one has come back.

Why traffic changes at one moment in all processes: before each batch a lane looks whether the registry has a new row.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from simlab.errors import ModelError, SimlabError
from simlab.recsys.inbox import Event, Inbox, Receipt, ShadowRow, SlateRow
from simlab.recsys.log import EventLog
from simlab.recsys.online import Act
from simlab.recsys.registry import Registry
from simlab.recsys.service import FALLBACKS, Service, at_work, rung_of
from simlab.recsys.traffic import arms
from simlab.recsys.watch import FAILURES, LATE, Watch
from simlab.recsys.wire import answers
from simlab.schema import NO_ITEM, Bools, Catalogue, Ints, Requests, Shoppers, Slates

BATCH = 64
"""Requests scored, and kept, together at most."""

QUEUE = 2000
"""Requests that may wait; more are told to come again."""

NUMBERS = 256
"""Slates of one shopper on one day."""

Job = TypeVar("Job")


class BusyError(SimlabError):
    """So many requests wait that one more would not be answered in time."""


class DayError(SimlabError):
    """The request is for a day that is not the open one, or the shopper has had all slates of the day."""


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


class Lane(Generic[Job]):
    """A thread that works off what has been put before it, up to `most` at a time."""

    def __init__(self, name: str, work: Callable[[list[Job]], None], most: int = BATCH) -> None:
        self._work, self._most = work, most
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()
        self._open = True
        self._busy = self._stuck = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def stuck(self) -> bool:
        """Whether its present batch is past a deadline."""
        return self._stuck

    def miss(self) -> None:
        """Says that a deadline has passed: the lane is stuck until its present batch is done."""
        with self._wake:
            self._stuck = self._busy

    def put(self, jobs: Iterable[Job]) -> None:
        """Puts jobs at the end."""
        with self._wake:
            self._jobs.extend(jobs)
            self._wake.notify()

    def close(self, patience: float = 10.0) -> None:
        """Lets it finish what waits, for so many seconds at most."""
        with self._wake:
            self._open = False
            self._wake.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and self._open:
                    self._wake.wait()
                if not self._jobs:
                    return
                batch = [self._jobs.popleft() for _ in range(min(self._most, len(self._jobs)))]
                self._busy = True
            self._work(batch)
            with self._wake:
                self._busy = self._stuck = False


class Counter:
    """Serves one shop in one process: the models of `registry`, kept by `inbox`, for the goods and people there are."""

    def __init__(
        self, service: Service, registry: Registry, inbox: Inbox, catalogue: Catalogue, shoppers: Shoppers
    ) -> None:
        """Raises `ModelError` where the model at work cannot be loaded."""
        self.service, self.registry, self.inbox = service, registry, inbox
        self.catalogue, self.shoppers = catalogue, shoppers
        self.watch = Watch()
        self.refused = ""
        """Why the last change of traffic was not taken; empty where it was."""
        self._log: EventLog = inbox.log
        self._lock = threading.Lock()
        self._day, self._seq, self._row = -1, 0, 0
        self._unavailable: frozenset[int] = frozenset()
        self._here: Bools = np.zeros(0, dtype=np.bool_)
        self._numbers: dict[int, int] = {}
        self._lanes: dict[str, Lane[Ask]] = {}
        self._coming: dict[Lane[Any], list[Any]] = {}
        self._scribe: Lane[Post | Answer | ShadowRow] = Lane("scribe", self._keep, 8 * BATCH)
        self._late: Lane[Ask] = Lane("late", self._lower)
        self._shadow: Lane[Requests] = Lane("shadow", self._shade, 1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.refresh()
        if self.refused:
            raise ModelError("traffic", self.registry.traffic().champion, self.refused)
        self.warm_up()

    @property
    def day(self) -> int:
        """The open day, as last read."""
        return self._day

    async def recommend(self, ask: Ask) -> str:
        """The answer to `ask`, once it is kept. Raises `BusyError`, `DayError`, `InboxError`."""
        self._loop = asyncio.get_running_loop()
        lane = self._lane_of(ask.user_id)
        if len(lane) + len(self._scribe) > QUEUE:
            raise BusyError("requests waiting", QUEUE, "come again in a second")
        if lane.stuck:
            self._bring(self._late, ask)
        else:
            ask.timer = self._loop.call_later(0.8 * ask.deadline_ms / 1000, self._miss, ask, lane)
            self._bring(lane, ask)
        try:
            return await ask.answer
        finally:
            if ask.timer is not None:
                ask.timer.cancel()

    async def feedback(self, events: Sequence[Event]) -> list[Receipt]:
        """The receipts of `events`, once they are kept. Raises `BusyError`, `InboxError`."""
        self._loop = asyncio.get_running_loop()
        if len(self._scribe) > QUEUE:
            raise BusyError("events waiting", QUEUE, "come again in a second")
        post = Post(events=events, receipts=self._loop.create_future())
        self._bring(self._scribe, post)
        return await post.receipts

    def _bring(self, lane: Lane[Any], job: Ask | Post) -> None:
        """Puts a job into a lane, together with all that the handlers bring in this turn of theirs: waking costs."""
        if not self._coming and self._loop is not None:
            self._loop.call_soon(self._put_all)
        self._coming.setdefault(lane, []).append(job)

    def _put_all(self) -> None:
        coming, self._coming = self._coming, {}
        for lane, jobs in coming.items():
            lane.put(jobs)

    def refresh(self) -> None:
        """Takes in what has changed since the last batch: traffic, day, stock, events. Cheap where nothing has.

        A version that cannot be loaded is refused with the whole change, and the old traffic goes on.
        """
        with self._lock:
            news = self.inbox.news(self._seq)
            turned = news.day != self._day
            if turned:
                self._day, self._seq = news.day, 0
                self._numbers.clear()
                self.service.new_day(self.catalogue.launched_by(news.day), self.shoppers.arrived_by(news.day))
            moved = self.registry.changed(self._row)
            if moved:
                self._turn()
            if turned or moved:
                self.service.live.open_day(self._log, self._day, self.service.traffic.quarantined)
                news = self.inbox.news(0)
            if turned or news.unavailable != self._unavailable:
                self._unavailable = news.unavailable
                self._here = np.ones(len(self.service.catalogue), dtype=np.bool_)
                self._here[[item for item in news.unavailable if item < len(self._here)]] = False
            bad = self.service.traffic.quarantined
            acts = [
                Act(one.user_id, one.item_id, one.type, one.day) for one in news.heard if one.model_version not in bad
            ]
            self.service.live.hear(acts)
            self._seq = news.heard[-1].seq if news.heard else self._seq

    def warm_up(self) -> None:
        """Answers once by every model at work, so that the first shopper does not wait for what is compiled or read."""
        if len(self.service.catalogue):
            nobody = np.array([0], dtype=np.int64)
            asked = Requests(day=self._day, user_id=nobody, visit=nobody, n=min(10, len(self.service.catalogue)))
            answers(self.service.recommend(asked, self._here))
            self.service.recommend(asked, self._here, personal=False)

    def close(self) -> None:
        """Finishes what waits."""
        for lane in self._lanes.values():
            lane.close()
        self._late.close()
        self._shadow.close()
        self._scribe.close()

    def _turn(self) -> None:
        traffic = self.registry.traffic()
        self._row = traffic.row
        try:
            self.service.route(traffic, at_work(self.registry, traffic, self.service.models))
            self.refused = ""
        except SimlabError as error:
            self.refused = str(error)
            quarantined = replace(self.service.traffic, quarantined=traffic.quarantined)
            self.service.route(quarantined, self.service.models)

    def _lane_of(self, user_id: int) -> Lane[Ask]:
        traffic = self.service.traffic
        arm = 0 if traffic.rollout is None else int(arms(np.array([user_id]), traffic)[0])
        name = traffic.versions[arm] or FALLBACKS[0]
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, self._score)
            for old in [name for name in self._lanes if name not in (*traffic.versions, FALLBACKS[0])]:
                threading.Thread(target=self._lanes.pop(old).close, daemon=True).start()
        return lane

    def _score(self, asks: list[Ask]) -> None:
        """Work of a lane: slates by all rungs."""
        try:
            self.refresh()
        except Exception as error:
            self._fail(asks, error)
            return
        self._answer(asks, personal=True)

    def _answer(self, asks: list[Ask], *, personal: bool) -> None:
        """Slates for those who still wait."""
        try:
            asks = self._of_the_day([ask for ask in asks if not ask.scored])
            for n in {ask.n for ask in asks}:
                some = [ask for ask in asks if ask.n == n]
                requests = self._requests(some)
                self._hand_over(some, self.service.recommend(requests, self._here, personal=personal))
                self.watch.failed(self.service.failures)
                if self.service.traffic.shadow is not None and len(self._shadow) < BATCH:
                    self._shadow.put([requests])
        except Exception as error:  # a handler that waits must hear of it, whatever it is
            self._fail(asks, error)

    def _miss(self, ask: Ask, lane: Lane[Ask]) -> None:
        """The deadline has come: a lower rung answers, unless the model just has."""
        if not ask.scored:
            lane.miss()
            self._bring(self._late, ask)

    def _lower(self, asks: list[Ask]) -> None:
        """Work of the lane of those who cannot wait: slates by the rungs below."""
        LATE.inc(len(asks))
        self._answer(asks, personal=False)

    def _of_the_day(self, asks: list[Ask]) -> list[Ask]:
        """Those who ask for the open day, each with a number; the others are told."""
        fits: list[Ask] = []
        for ask in asks:
            if ask.day not in (None, self._day):
                self._fail([ask], DayError("context.day", ask.day, f"the open day is {self._day}"))
                continue
            ask.given = self._numbers.get(ask.user_id, 0) if ask.number is None else ask.number
            if ask.given >= NUMBERS:
                self._fail([ask], DayError("user_id", ask.user_id, f"has had {NUMBERS} slates today: come tomorrow"))
                continue
            if ask.number is None:
                self._numbers[ask.user_id] = ask.given + 1
            fits.append(ask)
        return fits

    def _requests(self, asks: Sequence[Ask]) -> Requests:
        number = np.array([ask.given for ask in asks], dtype=np.int64)
        pairs = [(row, item) for row, ask in enumerate(asks) for item in ask.exclude]
        return Requests(
            day=self._day,
            user_id=np.array([ask.user_id for ask in asks], dtype=np.int64),
            visit=number >> 4,
            page=number & 15,
            second=np.array([ask.second for ask in asks], dtype=np.int64),
            n=min(asks[0].n, len(self.service.catalogue)),
            exclude=np.array(pairs, dtype=np.int64).reshape(len(pairs), 2),
        )

    def _hand_over(self, asks: list[Ask], slates: Slates) -> None:
        """Gives the slates of those who have not been answered meanwhile to the scribe."""
        now = time.perf_counter()
        waited = [1000 * (now - ask.arrived) if ask.latency_ms is None else ask.latency_ms for ask in asks]
        slates = replace(slates, latency_ms=np.array(waited))
        request_id = slates.requests.request_id.tolist()
        shown, rows = slates.shown.sum(axis=1).tolist(), list[Answer]()
        words = list(zip(slates.arm.words(), slates.model_version.words(), shown, answers(slates), strict=True))
        with self._lock:
            for ask, number, (arm, version, n, body) in zip(asks, request_id, words, strict=True):
                if not ask.scored:
                    ask.scored = True
                    name, rung = f"{arm} {version}", rung_of(version)
                    tally = ((f"answered {name}", 1), (f"shown {name}", n), (f"rungs {rung}", 1))
                    row = SlateRow(number, slates.requests.day, ask.user_id, ask.second, body, tally)
                    rows.append(Answer(ask, row, arm, rung))
        self._scribe.put(rows)

    def _shade(self, batch: list[Requests]) -> None:
        """Work of the shadow's lane."""
        requests, version = batch[0], self.service.traffic.shadow
        try:
            told = self.service.shadow(requests, self._here)
        except Exception:
            FAILURES.labels(str(version)).inc()
            return
        if told is not None and version is not None:
            self._scribe.put(_shadow_rows(requests, version, *told))

    def _keep(self, batch: list[Post | Answer | ShadowRow]) -> None:
        """Work of the scribe: one transaction for all that wait."""
        served = [job for job in batch if isinstance(job, Answer)]
        posts = [job for job in batch if isinstance(job, Post)]
        shadows = [job for job in batch if isinstance(job, ShadowRow)]
        events = [event for post in posts for event in post.events]
        try:
            bodies, receipts = self.inbox.commit([answer.row for answer in served], events, shadows)
        except Exception as error:
            self._fail([answer.ask for answer in served], error)
            self._call(*(_raiser(post.receipts, error) for post in posts))
            return
        now, done = time.perf_counter(), list[Callable[[], None]]()
        told = list[tuple[str, str, float]]()
        for (ask, row, arm, rung), body in zip(served, bodies, strict=True):
            if body is row.body or (body and ask.number is not None):  # another's may read the same
                done.append(_setter(ask.answer, body))
                told.append((arm, rung, now - ask.arrived))
            else:
                self._again(ask, body)
        left = iter(receipts)
        done += [_setter(post.receipts, [next(left) for _ in post.events]) for post in posts]
        self._call(*done)
        self.watch.answered(told)
        if posts:
            self.watch.received([one.outcome for one in receipts], now - posts[0].arrived)

    def _again(self, ask: Ask, body: str) -> None:
        """The number was taken by another process, or the day was closed: once more."""
        if body:
            self._numbers[ask.user_id] = self.inbox.next_number(ask.user_id, self._day)
        ask.scored = False
        self._lane_of(ask.user_id).put([ask])

    def _fail(self, asks: Sequence[Ask], error: Exception) -> None:
        self._call(*(_raiser(ask.answer, error) for ask in asks))

    def _call(self, *functions: Callable[[], None]) -> None:
        """Calls functions on the handlers' thread."""
        loop = self._loop
        if functions and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(lambda: [function() for function in functions])


def _shadow_rows(requests: Requests, version: str, item_id: Ints, score: Any) -> list[ShadowRow]:
    rows = zip(requests.request_id.tolist(), item_id.tolist(), score.tolist(), strict=True)
    return [
        ShadowRow(
            number,
            requests.day,
            version,
            [item for item in items if item != NO_ITEM],
            [one for item, one in zip(items, scores, strict=True) if item != NO_ITEM],
        )
        for number, items, scores in rows
    ]


def _setter(future: asyncio.Future[Any], value: object) -> Callable[[], None]:
    return lambda: None if future.done() else future.set_result(value)


def _raiser(future: asyncio.Future[Any], error: Exception) -> Callable[[], None]:
    return lambda: None if future.done() else future.set_exception(error)
