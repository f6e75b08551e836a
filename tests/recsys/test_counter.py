"""The counter: whoever asks is answered once, in time, by the traffic of the moment, and what was answered is kept."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import InboxError
from simlab.recsys import counter as counters
from simlab.recsys.counter import NUMBERS, BusyError, Counter, DayError
from simlab.recsys.inbox import Inbox, Receipt, ShadowRow, SlateRow
from simlab.recsys.log import EventLog
from simlab.recsys.online import OnlineConfig
from simlab.recsys.registry import Registry
from simlab.recsys.service import Served, Service
from simlab.recsys.traffic import ARMS, Traffic, arms
from simlab.schema import Bools, Requests, Slates
from tests.recsys.counters import (
    KINDS,
    N_USERS,
    FullInbox,
    Odd,
    Raising,
    Slow,
    ask,
    asked,
    at_work,
    changed,
    favouring,
    goods,
    items,
    opened,
    people,
    tell,
    told,
)


def test_an_answer_is_kept_before_it_is_given(folder: Path) -> None:
    """What the shopper sees is in the inbox, word for word, also for who opens it anew."""
    with opened(folder) as counter:
        answer = ask(counter, 3)
        assert (items(answer), answer["model_version"], answer["rung"]) == ([3, 9, 8], "old", "personal")
        assert (answer["day"], answer["second"], answer["latency_ms"]) == (0, 7, 1.0)
        with Inbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
            assert inbox.counts()[0]["slates"] == 1
            row = SlateRow(int(answer["request_id"]), 0, 3, 7, "another")
            assert json.loads(inbox.commit([row], [])[0][0]) == answer
        assert counter.watch.requests == 1


def test_slates_are_numbered_and_a_day_has_256_of_a_shopper(folder: Path) -> None:
    """Each has ids of its own; who has had all is told to come tomorrow, others are served; tomorrow begins anew."""
    with opened(folder) as counter:

        async def all_at_once() -> list[dict[str, Any]]:
            return list(await asyncio.gather(*(asked(counter, 3) for _ in range(NUMBERS))))

        answers = told(all_at_once)
        numbers = sorted(int(answer["request_id"]) >> 8 & 0xFF for answer in answers)
        assert numbers == list(range(NUMBERS))
        with pytest.raises(DayError, match="user_id: 3 .*256 slates today"):
            ask(counter, 3)
        assert ask(counter, 4)["user_id"] == 4
        counter.inbox.close_day(0)
        assert ask(counter, 3)["day"] == 1


def test_numbers_go_on_in_another_process(folder: Path) -> None:
    """A number that somebody else has given is not given again: no slate is lost or changed."""
    with opened(folder) as one, opened(folder) as other:
        turns = enumerate((one, other, one, other, other))
        ids = [ask(counter, 3, second=second)["request_id"] for second, counter in turns]
    with opened(folder) as third:
        ids.append(ask(third, 3, second=9)["request_id"])
    assert len(set(ids)) == 6


def test_the_same_request_again_gets_the_same_answer(folder: Path) -> None:
    """With a number it is the first answer that counts, whoever answers, and whatever the traffic is by then."""
    with opened(folder) as counter:
        first = ask(counter, 3, number=17)
        changed(folder, "promote", "new")
        assert ask(counter, 3, number=17, n=5) == first
        assert (int(first["request_id"]) >> 12 & 15, int(first["request_id"]) >> 8 & 15) == (1, 1)
        assert ask(counter, 3, number=18)["model_version"] == "new"
        assert counter.inbox.counts()[0]["slates"] == 2
    with opened(folder) as another:
        assert ask(another, 3, number=17) == first


def test_the_same_request_twice_at_once_is_one_slate(folder: Path) -> None:
    """Whoever of the two comes first, both hear the same."""
    with opened(folder) as counter:

        async def together() -> list[dict[str, Any]]:
            return list(await asyncio.gather(*(asked(counter, 3, number=0, second=second) for second in range(20))))

        answers = told(together)
        assert all(answer == answers[0] for answer in answers)
        assert counter.inbox.counts()[0]["slates"] == 1


@pytest.mark.parametrize("day", [1, 5])
def test_another_day_than_the_open_one_is_refused(day: int, folder: Path) -> None:
    """By name, with the open day; the open day itself is welcome, and when it is over it is refused."""
    with opened(folder) as counter:
        with pytest.raises(DayError, match=f"context.day: {day} .*open day is 0"):
            ask(counter, day=day)
        assert ask(counter, day=0)["day"] == 0
        counter.inbox.close_day(0)
        with pytest.raises(DayError, match="context.day: 0 .*open day is 1"):
            ask(counter, day=0)
        assert ask(counter, day=1)["day"] == 1


def test_a_slow_model_is_passed_over_at_the_deadline(folder: Path) -> None:
    """A lower rung answers, and goes on answering until the slow one has come back; its arm is kept."""
    slow = Slow()
    with opened(folder) as counter:
        at_work(counter, slow=slow)
        late = ask(counter, 2, deadline_ms=300)
        assert (late["rung"], late["source"], late["arm"], items(late)) == (
            "segment",
            "fallback",
            "champion",
            [9, 8, 7],
        )
        assert slow.begun.is_set()
        assert ask(counter, 3)["rung"] == "segment"  # without waiting for a deadline that never comes
        slow.go.set()
        rungs = (ask(counter, 4)["rung"] for _ in range(NUMBERS - 1))
        assert "personal" in rungs  # it has come back
        assert counter.inbox.counts()[0]["slates"] == counter.watch.requests


def test_traffic_changes_while_every_version_is_stuck(folder: Path) -> None:
    """The one that never comes back can be replaced: the rungs below see to it."""
    slow = Slow()
    with opened(folder) as counter:
        at_work(counter, slow=slow)
        assert ask(counter, 2, deadline_ms=300)["rung"] == "segment"
        changed(folder, "promote", "new")
        assert any(ask(counter, 2)["model_version"] == "new" for _ in range(NUMBERS - 1))
        slow.go.set()


def test_a_slow_canary_delays_nobody_else(folder: Path) -> None:
    """Each version has a lane of its own: the champion answers its shoppers while the canary is being waited for."""
    slow = Slow()
    with opened(folder) as counter:
        at_work(counter, good=favouring(5), slow=slow)
        arm = arms(np.arange(N_USERS), counter.service.traffic)
        canary, baseline = (int(np.flatnonzero(arm == ARMS.index(name))[0]) for name in ("canary", "baseline"))

        async def both() -> tuple[dict[str, Any], dict[str, Any]]:
            waiting = asyncio.create_task(asked(counter, canary))
            await asyncio.to_thread(slow.begun.wait)
            others = await asked(counter, baseline)
            assert not waiting.done()
            slow.go.set()
            return others, await waiting

        others, waited = told(both)
        assert (others["model_version"], others["arm"], items(others)) == ("good", "baseline", [5, 9, 8])
        assert (waited["model_version"], waited["arm"], items(waited)) == ("slow", "canary", [9, 8, 7])


def test_a_raising_model_is_passed_over_at_once(folder: Path) -> None:
    """However far the deadline, and it is counted against the model."""
    with opened(folder) as counter:
        at_work(counter, raising=Raising())
        answers = [ask(counter, user_id) for user_id in (0, 1, 77)]
        assert [answer["rung"] for answer in answers] == ["segment", "segment", "popular"]
        assert {answer["model_version"] for answer in answers} == {"fallback-segment", "fallback-popular"}
        assert counter.service.failures["raising"] == 3


def test_a_slate_of_no_numbers_is_passed_over(folder: Path) -> None:
    """Those of other shoppers in the same batch are shown; a shadow's are not kept."""
    with opened(folder) as counter:
        models = {"old": Served(favouring(3), 0), "odd": Served(Odd(), 0)}
        counter.service.route(Traffic(champion="odd", row=1), models)
        assert [ask(counter, user_id)["rung"] for user_id in (2, 3)] == ["personal", "segment"]
        assert counter.service.failures["odd"] == 1
        counter.service.route(Traffic(champion="old", shadow="odd", row=1), models)
        assert [ask(counter, user_id)["rung"] for user_id in (2, 3)] == ["personal", "personal"]
        counter.close()
        assert counter.inbox.counts()[0]["shadows"] == 1


def test_who_would_wait_too_long_is_told_to_come_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the length of the queue nobody is taken; all who were taken are answered."""
    monkeypatch.setattr(counters, "QUEUE", 3)
    slow = Slow()
    with opened(folder) as counter:
        at_work(counter, slow=slow)

        async def crowd() -> list[dict[str, Any]]:
            waiting = [asyncio.create_task(asked(counter, 0))]
            await asyncio.to_thread(slow.begun.wait)
            waiting += [asyncio.create_task(asked(counter, user_id)) for user_id in range(1, 5)]
            for _ in range(10):  # turns of the loop, until all have been put into the queue
                await asyncio.sleep(0)
            with pytest.raises(BusyError, match="requests waiting: 3 .*come again"):
                await asked(counter, 6)
            slow.go.set()
            return list(await asyncio.gather(*waiting))

        assert len(told(crowd)) == 5


def test_who_cannot_be_kept_is_not_answered(folder: Path) -> None:
    """A full disk is heard by those who ask and those who tell; the same again succeeds when there is room."""
    with opened(folder) as counter:
        assert isinstance(counter.inbox, FullInbox)
        answer = ask(counter)
        counter.inbox.full = True
        with pytest.raises(InboxError, match="no room"):
            ask(counter)
        with pytest.raises(InboxError, match="no room"):
            tell(counter, answer, "click")
        counter.inbox.full = False
        assert tell(counter, answer, "click") == "accepted"
        assert tell(counter, answer, "click") == "duplicate"
        assert ask(counter)["rung"] == "personal"


def test_what_was_bought_is_not_on_the_next_slate_of_any_process(folder: Path) -> None:
    """Fresh feedback decides at once, also where another process has heard it; only for that shopper."""
    online = OnlineConfig(suppress_days=2)
    with opened(folder, online) as one, opened(folder, online) as other:
        answer = ask(one, 3)
        assert items(answer) == [3, 9, 8]
        assert tell(one, answer, "purchase") == "accepted"
        assert [items(ask(counter, 3)) for counter in (one, other)] == [[9, 8, 7]] * 2
        assert items(ask(one, 4)) == [3, 9, 8]
        one.inbox.close_day(0)
        assert [items(ask(counter, 3)) for counter in (one, other)] == [[9, 8, 7]] * 2
        one.inbox.close_day(1)
        assert [items(ask(counter, 3)) for counter in (one, other)] == [[3, 9, 8]] * 2


def test_the_scribe_outlives_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one batch, the next is kept."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    with opened(folder) as counter:
        with monkeypatch.context() as patch:
            patch.setattr(counter.watch, "answered", broken)
            assert items(ask(counter, 3)) == [3, 9, 8]
            patch.setattr(counter.inbox, "commit", broken)
            with pytest.raises(ZeroDivisionError):
                ask(counter, 3)
        assert items(ask(counter, 3)) == [3, 9, 8]
        assert counter.dead == []


def test_who_cannot_be_numbered_anew_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the trouble of that one, not of the scribe."""

    def away(*_: object) -> int:
        raise InboxError("inbox", "disk", "it is away: try again")

    with opened(folder) as one, opened(folder) as other:
        ask(one, 3, second=1)
        with monkeypatch.context() as patch:
            patch.setattr(other.inbox, "next_number", away)
            with pytest.raises(InboxError, match="away"):
                ask(other, 3, second=2)
        assert ask(other, 3, second=3)["second"] == 3


def test_a_number_of_the_callers_own_leaves_the_others(folder: Path) -> None:
    """Who gives the last number of the day does not take the shopper's other slates."""
    with opened(folder) as counter:
        taken = {ask(counter, 3, number=number)["request_id"] for number in (0, 2, 255)}
        ids = {ask(counter, 3)["request_id"] for _ in range(NUMBERS - 3)}
        assert len(ids | taken) == NUMBERS
        with pytest.raises(DayError, match="come tomorrow"):
            ask(counter, 3)


def test_who_has_to_be_answered_once_more_keeps_the_deadline(folder: Path) -> None:
    """The number was taken, and meanwhile the version has become slow: a lower rung answers, stuck or not."""
    slow = Slow()

    class Turning(FullInbox):
        turned = False

        def commit(self, slates: Any, events: Any, shadows: Any = ()) -> tuple[list[str], list[Receipt]]:
            if not self.turned:
                self.turned = True
                at_work(counter, slow=slow)
                over.wait(0.01)  # the deadline is past
                return [""] * len(slates), []
            return super().commit(slates, events, shadows)

    over = threading.Event()
    with Turning(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        service = Service(goods().launched_by(0), favouring(0), segment=KINDS)
        counter = Counter(service, Registry(folder / "models"), inbox, goods(), people())
        assert ask(counter, 2, deadline_ms=1)["rung"] == "segment"
        slow.go.set()
        counter.close()
    slow = Slow()
    with opened(folder) as one, opened(folder) as other:
        ask(one, 4, second=1)
        at_work(other, slow=slow)
        assert ask(other, 4, second=2, deadline_ms=20)["rung"] == "segment"
        slow.go.set()


def test_a_shadow_scores_what_is_shown_and_is_kept_apart(folder: Path) -> None:
    """The same slates as without it; what it would have shown is in the inbox, not among the slates."""
    with opened(folder) as counter:
        changed(folder, "shadow", "new")
        answer = ask(counter, 3)
        assert (items(answer), answer["model_version"]) == ([3, 9, 8], "old")
        counter.close()  # finishes what waits
        counts = counter.inbox.counts()[0]
        assert (counts["slates"], counts["shadows"]) == (1, 1)


def test_a_raising_shadow_is_nobodys_trouble(folder: Path) -> None:
    """It is the shadow's own affair."""
    with opened(folder) as counter:
        traffic = Traffic(champion="old", shadow="raising", row=1)
        counter.service.route(traffic, {"old": Served(favouring(3), 0), "raising": Served(Raising(), 0)})
        assert items(ask(counter, 3)) == [3, 9, 8]
        assert items(ask(counter, 3)) == [3, 9, 8]
        counter.close()
        assert counter.inbox.counts()[0]["shadows"] == 0


def test_those_who_wait_are_answered_before_it_closes(folder: Path) -> None:
    """Whoever has been taken in is served."""
    with opened(folder) as counter:

        async def closing() -> list[dict[str, Any]]:
            waiting = [asyncio.create_task(asked(counter, user_id % N_USERS)) for user_id in range(50)]
            for _ in range(3):
                await asyncio.sleep(0)
            await asyncio.to_thread(counter.close)
            return list(await asyncio.gather(*waiting))

        assert len({answer["request_id"] for answer in told(closing)}) == 50
        assert counter.inbox.counts()[0]["slates"] == 50


def test_different_wishes_of_one_batch_are_all_met(folder: Path) -> None:
    """Lengths, exclusions and seconds of each, though they are scored together."""
    with opened(folder) as counter:

        async def many() -> list[dict[str, Any]]:
            wishes = [(n, user_id) for n in (1, 2, 12) for user_id in range(N_USERS)]
            return list(
                await asyncio.gather(
                    *(asked(counter, user, n=n, exclude=[3] * (user % 2), second=user) for n, user in wishes)
                )
            )

        answers = told(many)
        for place, answer in enumerate(answers):
            n, user_id = (1, 2, 12)[place // N_USERS], place % N_USERS
            left = [item for item in (3, 9, 8, 7, 6, 5, 4, 2, 1, 0) if not (item == 3 and user_id % 2)]
            assert (answer["user_id"], answer["second"]) == (user_id, user_id)
            assert items(answer) == left[:n]


def test_shadow_rows_leave_out_empty_places(folder: Path) -> None:
    """Items and their scores, best first, of what was left to show."""
    kept: list[ShadowRow] = []

    class Noting(FullInbox):
        def commit(self, slates: Any, events: Any, shadows: Any = ()) -> tuple[list[str], list[Receipt]]:
            kept.extend(shadows)
            return super().commit(slates, events, shadows)

    changed(folder, "shadow", "new")
    with Noting(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        service = Service(goods().launched_by(0), favouring(0), segment=KINDS)
        counter = Counter(service, Registry(folder / "models"), inbox, goods(), people())
        answer = ask(counter, 3, exclude=[9, 8, 7, 6, 5, 3, 2, 1])
        counter.close()
    assert items(answer) == [4, 0]
    (row,) = kept
    assert (row.request_id, row.version, row.items, row.scores) == (int(answer["request_id"]), "new", [4, 0], [104, 0])


def inbox_of(counter: Counter) -> FullInbox:
    assert isinstance(counter.inbox, FullInbox)
    return counter.inbox


def test_a_slow_disk_is_not_the_models_fault(folder: Path) -> None:
    """Those who come while a commit stands still are scored by the model, and only wait for the disk."""
    with opened(folder) as counter:
        inbox = inbox_of(counter)
        inbox.go.clear()

        async def crowd() -> list[dict[str, Any]]:
            first = asyncio.create_task(asked(counter, 0))
            while not inbox.begun.is_set():
                await asyncio.wait([first], timeout=0.01)
            tasks = [asyncio.create_task(asked(counter, user, deadline_ms=50.0)) for user in range(1, 8)]
            await asyncio.wait(tasks, timeout=0.3)  # beyond the deadline
            inbox.go.set()
            return await asyncio.gather(first, *tasks)

        assert [answer["rung"] for answer in told(crowd)] == ["personal"] * 8


def test_a_batch_is_one_commit_whatever_is_asked_for(folder: Path) -> None:
    """Slates of ten lengths, asked for together, are kept together."""
    with opened(folder) as counter:

        async def crowd() -> list[dict[str, Any]]:
            return await asyncio.gather(*(asked(counter, user % 8, n=1 + user // 8) for user in range(80)))

        answers = told(crowd)
        assert sorted(len(answer["items"]) for answer in answers) == sorted(1 + user // 8 for user in range(80))
        assert inbox_of(counter).commits <= 4


class Closing(Service):
    """A service after whose answer something happens."""

    then: Callable[[], None] | None = None

    def recommend(self, requests: Requests, available: Bools | None = None, *, personal: bool = True) -> Slates:
        slates = super().recommend(requests, available, personal=personal)
        if self.then is not None:
            self.then()
        return slates


def test_a_slate_is_of_the_day_that_was_asked_for(folder: Path) -> None:
    """A day that is closed between two lengths of one batch: each is of day 0, or refused, and none is of day 1."""
    with opened(folder, kind=Closing) as counter:
        inbox = inbox_of(counter)
        assert isinstance(counter.service, Closing)

        def close() -> None:
            if inbox.day == 0:
                inbox.close_day(0)
                counter.refresh()

        counter.service.then = close

        async def crowd() -> list[dict[str, Any] | BaseException]:
            asks = (asked(counter, user, n=3 + user, day=0, number=5) for user in range(3))
            return list(await asyncio.gather(*asks, return_exceptions=True))

        assert [type(answer) for answer in told(crowd)] == [DayError] * 3
        assert inbox.counts().get(1, {"slates": 0})["slates"] == 0
