"""The counter: where requests wait together, are answered by one pass of the model, and kept by one transaction.

    handler ──► lane of the shopper's version ──► scribe ──► handler
                scores all that wait              commits all that wait (slates, events)

Why batches: a model and a disk do thirty as fast as three, so the longer the queue, the less each costs. Nobody waits
for company that is not in the house: whoever is alone goes alone.

Why one thread at a time, as far as it goes: the interpreter runs one, and two that want it take turns of a tenth of a
millisecond. So the handlers give way to a lane that begins, and to the scribe after it, for some milliseconds.

Why lanes: each version at work has a thread of its own, so a slow canary delays nobody but its own shoppers, and those
only to their deadline: then a lower rung answers, and goes on answering until the slow one has come back.

Before each batch a lane takes in what is new in the registry and the inbox (see upkeep.py).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simlab.errors import SimlabError
from simlab.recsys.inbox import Event, Inbox, Receipt, ShadowRow, SlateRow
from simlab.recsys.jobs import Answer, Ask, Post, raiser, setter
from simlab.recsys.lane import BATCH, Lane
from simlab.recsys.registry import Registry
from simlab.recsys.service import FALLBACKS, Service, rung_of
from simlab.recsys.traffic import arms
from simlab.recsys.upkeep import Upkeep
from simlab.recsys.watch import FAILURES, LATE, Watch
from simlab.recsys.wire import answers
from simlab.schema import NO_ITEM, Catalogue, Ints, Requests, Shoppers, Slates

QUEUE = 2000
"""Requests that may wait; more are told to come again."""

TURNS = 8
"""Of the handlers' loop, for which a request waits for company at most."""

GIVE_WAY = 0.005
"""Seconds for which handlers let a lane work alone: two threads that take turns with one interpreter do less."""

NUMBERS = 256
"""Slates of one shopper on one day."""


class BusyError(SimlabError):
    """So many requests wait that one more would not be answered in time."""


class DayError(SimlabError):
    """The request is for a day that is not the open one, or the shopper has had all slates of the day."""


class Counter:
    """Serves one shop in one process: the models of `registry`, kept by `inbox`, for the goods and people there are."""

    def __init__(
        self, service: Service, registry: Registry, inbox: Inbox, catalogue: Catalogue, shoppers: Shoppers
    ) -> None:
        """Where the champion cannot be loaded the lower rungs answer, and `refused` says why."""
        self.service, self.registry, self.inbox = service, registry, inbox
        self.catalogue, self.shoppers = catalogue, shoppers
        self.watch, self._upkeep = Watch(), Upkeep(service, registry, inbox, catalogue, shoppers)
        self._hand = threading.Lock()
        self._numbers: dict[int, int] = {}
        self._numbered = -1
        """The day of the numbers."""
        self._lanes: dict[str, Lane[Ask]] = {}
        self._coming: dict[Lane[Any], list[Any]] = {}
        self._scribe: Lane[Post | Answer | ShadowRow] = Lane("scribe", self._keep, self._unkept, 8 * BATCH)
        self._late: Lane[Ask] = Lane("late", self._lower, self._fail)
        self._turner: Lane[None] = Lane("traffic", lambda _: self.refresh(), lambda _, error: None)
        self._shadow: Lane[Requests] = Lane("shadow", self._shade, lambda requests, error: None, 1)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def day(self) -> int:
        """The open day, as last read."""
        return self._upkeep.day

    @property
    def refused(self) -> str:
        """Why the last change of traffic was not taken, or not wholly; empty where it was."""
        return self._upkeep.refused

    def refresh(self, *, turn: bool = True) -> None:
        """As `Upkeep.refresh`."""
        self._upkeep.refresh(turn=turn)

    @property
    def dead(self) -> list[str]:
        """The lanes whose threads have ended, which should never be."""
        with self._hand:
            lanes: list[Lane[Any]] = [*self._lanes.values(), self._late, self._turner, self._shadow, self._scribe]
        return [lane.name for lane in lanes if lane.dead]

    async def recommend(self, ask: Ask) -> str:
        """The answer to `ask`, once it is kept. Raises `BusyError`, `DayError`, `InboxError`."""
        self._loop = asyncio.get_running_loop()
        lane = self._lane_of(ask.user_id)
        if len(lane) + len(self._scribe) > QUEUE:
            raise BusyError("requests waiting", QUEUE, "come again in a second")
        self._queue(ask, lane)
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

    def _queue(self, ask: Ask, lane: Lane[Ask]) -> None:
        """To `lane`, that of the shopper's version; to the late one where that is stuck, or the deadline past."""
        left = ask.left()
        if ask.timer is not None:
            ask.timer.cancel()
        if lane.stuck or left <= 0:
            self._bring(self._late, ask)
            return
        ask.timer = asyncio.get_running_loop().call_later(left, self._miss, ask, lane)
        self._bring(lane, ask)

    def _bring(self, lane: Lane[Any], job: Ask | Post) -> None:
        """Puts a job into a lane, together with what other handlers bring meanwhile: a pass costs as much for few."""
        if not self._coming:
            self._gather()
        self._coming.setdefault(lane, []).append(job)

    def _gather(self, turns: int = 0, before: int = 0) -> None:
        """Lets handlers that have heard of a request bring it too: some turns of the loop, while more come."""
        n = sum(map(len, self._coming.values()))
        if turns < 3 or (n > before and turns < TURNS):
            asyncio.get_running_loop().call_soon(self._gather, turns + 1, n)
            return
        coming, self._coming = self._coming, {}
        until, quick = time.perf_counter() + GIVE_WAY, self._scribe.idle  # nobody waits for a disk that is slow
        began = [lane for lane, jobs in coming.items() if lane.put(jobs)]
        for lane in [*began, self._scribe] if quick else began:
            lane.give_way(max(0.0, until - time.perf_counter()))

    def close(self) -> None:
        """Finishes what waits."""
        with self._hand:
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.close()
        self._late.close()
        self._turner.close(patience=1)
        self._shadow.close()
        self._scribe.close()

    def _lane_of(self, user_id: int) -> Lane[Ask]:
        traffic = self.service.traffic
        arm = 0 if traffic.rollout is None else int(arms(np.array([user_id]), traffic)[0])
        name = traffic.versions[arm] or FALLBACKS[0]
        with self._hand:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(name, self._score, self._fail)
                for old in [name for name in self._lanes if name not in (*traffic.versions, FALLBACKS[0])]:
                    self._lanes.pop(old).close(patience=0)
        return lane

    def _score(self, asks: list[Ask]) -> None:
        """Work of a version's lane."""
        self._answer(asks, personal=True)

    def _lower(self, asks: list[Ask]) -> None:
        """Work of the lane of those who cannot wait for their version."""
        LATE.inc(len(asks))
        if self._upkeep.behind:
            self._turner.put([None])  # the versions' own lanes may all be stuck
        self._answer(asks, personal=False)

    def _answer(self, asks: list[Ask], *, personal: bool) -> None:
        """Slates for those who still wait, by all rungs or the lower ones."""
        rows: list[Answer] = []
        try:
            self.refresh(turn=personal)
            day, here = self._upkeep.today
            asks = self._of_the_day([ask for ask in asks if not ask.scored], day)
            for n in {ask.n for ask in asks}:
                some = [ask for ask in asks if ask.n == n]
                requests = self._requests(some, day)
                rows += self._answers(some, self.service.recommend(requests, here, personal=personal))
                self.watch.failed(self.service.failures)
                if self.service.traffic.shadow is not None and len(self._shadow) < BATCH:
                    self._shadow.put([requests])
        except Exception as error:  # a handler that waits must hear of it, whatever it is
            self._fail([ask for ask in asks if not ask.scored], error)
        if rows:
            self._scribe.put(rows)

    def _miss(self, ask: Ask, lane: Lane[Ask]) -> None:
        """The deadline has come: a lower rung answers, unless the model just has."""
        if not ask.scored:
            lane.miss()
            self._bring(self._late, ask)

    def _of_the_day(self, asks: list[Ask], day: int) -> list[Ask]:
        """Those who ask for the open day, each with a number; the others are told."""
        fits: list[Ask] = []
        if self._numbered != day:
            self._numbers, self._numbered = {}, day
        for ask in asks:
            if ask.day not in (None, day):
                self._fail([ask], DayError("context.day", ask.day, f"the open day is {day}"))
                continue
            ask.given = self._numbers.get(ask.user_id, 0) if ask.number is None else ask.number
            if ask.given >= NUMBERS:
                self._fail([ask], DayError("user_id", ask.user_id, f"has had {NUMBERS} slates today: come tomorrow"))
                continue
            if ask.number is None:
                self._numbers[ask.user_id] = ask.given + 1
            fits.append(ask)
        return fits

    def _requests(self, asks: Sequence[Ask], day: int) -> Requests:
        number = np.array([ask.given for ask in asks], dtype=np.int64)
        pairs = [(row, item) for row, ask in enumerate(asks) for item in ask.exclude]
        return Requests(
            day=day,
            user_id=np.array([ask.user_id for ask in asks], dtype=np.int64),
            visit=number >> 4,
            page=number & 15,
            second=np.array([ask.second for ask in asks], dtype=np.int64),
            n=min(asks[0].n, len(self.service.catalogue)),
            exclude=np.array(pairs, dtype=np.int64).reshape(len(pairs), 2),
        )

    def _answers(self, asks: list[Ask], slates: Slates) -> list[Answer]:
        """The slates of those who have not been answered meanwhile, for the scribe."""
        now = time.perf_counter()
        waited = [1000 * (now - ask.arrived) if ask.latency_ms is None else ask.latency_ms for ask in asks]
        slates = replace(slates, latency_ms=np.array(waited))
        request_id = slates.requests.request_id.tolist()
        shown, rows = slates.shown.sum(axis=1).tolist(), list[Answer]()
        words = list(zip(slates.arm.words(), slates.model_version.words(), shown, answers(slates), strict=True))
        with self._hand:
            for ask, number, (arm, version, n, body) in zip(asks, request_id, words, strict=True):
                if not ask.scored:
                    ask.scored = True
                    name, rung = f"{arm} {version}", rung_of(version)
                    tally = ((f"answered {name}", 1), (f"shown {name}", n), (f"rungs {rung}", 1))
                    row = SlateRow(number, slates.requests.day, ask.user_id, ask.second, body, tally)
                    rows.append(Answer(ask, row, arm, rung))
        return rows

    def _shade(self, batch: list[Requests]) -> None:
        """Work of the shadow's lane."""
        requests, version = batch[0], self.service.traffic.shadow
        try:
            told = self.service.shadow(requests, self._upkeep.today.here)
        except Exception:
            FAILURES.labels(str(version)).inc()
            return
        if told is None or version is None:
            return
        if np.isfinite(told[1][told[0] != NO_ITEM]).all():
            self._scribe.put(_shadow_rows(requests, version, *told))
        else:
            FAILURES.labels(version).inc()

    def _keep(self, batch: list[Post | Answer | ShadowRow]) -> None:
        """Work of the scribe: one transaction for all that wait."""
        served = [job for job in batch if isinstance(job, Answer)]
        posts = [job for job in batch if isinstance(job, Post)]
        shadows = [job for job in batch if isinstance(job, ShadowRow)]
        events = [event for post in posts for event in post.events]
        bodies, receipts = self.inbox.commit([answer.row for answer in served], events, shadows)
        now, done = time.perf_counter(), list[Callable[[], None]]()
        told = list[tuple[str, str, float]]()
        for (ask, row, arm, rung), body in zip(served, bodies, strict=True):
            if body is row.body or (body and ask.number is not None):  # another's may read the same
                done.append(setter(ask.answer, body))
                told.append((arm, rung, now - ask.arrived))
            else:
                self._again(ask, body)
        left = iter(receipts)
        done += [setter(post.receipts, [next(left) for _ in post.events]) for post in posts]
        try:
            self.watch.answered(told)
            if posts:
                self.watch.received([one.outcome for one in receipts], now - posts[0].arrived)
        finally:
            self._call(*done)  # they are kept, whoever can or cannot count them

    def _again(self, ask: Ask, body: str) -> None:
        """The number was taken by another process, or the day was closed: once more."""
        try:
            if body:
                numbers, day = self._numbers, self._numbered
                numbers[ask.user_id] = self.inbox.next_number(ask.user_id, day)  # a new day has new ones
        except Exception as error:  # it is this one's trouble, not that of those who were kept
            self._fail([ask], error)
            return
        ask.scored = False
        self._call(lambda: self._queue(ask, self._lane_of(ask.user_id)))

    def _unkept(self, batch: list[Post | Answer | ShadowRow], error: Exception) -> None:
        """Nothing of the batch is sure to be kept: all hear of it, and may send the same again."""
        self._fail([job.ask for job in batch if isinstance(job, Answer)], error)
        self._call(*(raiser(job.receipts, error) for job in batch if isinstance(job, Post)))

    def _fail(self, asks: Sequence[Ask], error: Exception) -> None:
        self._call(*(raiser(ask.answer, error) for ask in asks))

    def _call(self, *functions: Callable[[], None]) -> None:
        """Calls functions on the handlers' thread."""
        loop = self._loop
        if functions and loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it was closed just now: nobody waits
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
