"""The counter: whoever asks is answered once, in time, by the traffic of the moment, and what was answered is kept."""

import asyncio
import json
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from simlab.errors import InboxError
from simlab.recsys import counter as counters
from simlab.recsys.counter import NUMBERS, BusyError, Counter, DayError
from simlab.recsys.inbox import Event, Inbox, Receipt, ShadowRow, SlateRow
from simlab.recsys.jobs import Ask
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel, Recommender, SegmentModel
from simlab.recsys.online import OnlineConfig
from simlab.recsys.registry import Registry
from simlab.recsys.service import Served, Service
from simlab.recsys.traffic import ARMS, Change, Traffic, arms
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
        return np.tile(np.arange(10.0), (len(requests), 1))


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
    """An inbox without room, for as long as `full` says."""

    full = False

    def commit(self, slates: Any, events: Any, shadows: Any = ()) -> tuple[list[str], list[Receipt]]:
        if self.full:
            raise InboxError("inbox", "disk", "there is no room: try again")
        return super().commit(slates, events, shadows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop with four registered models of which "old" is the champion."""
    registry = Registry(tmp_path / "models")
    for number, version in enumerate(("old", "new", "third", "fourth")):
        registry.register(favouring(number + 3), version, {"trained_day": 0})
    registry.promote("old", day=0, actor="test", reason="the first")
    EventLog(tmp_path / "log").import_history(
        History(impressions=IMPRESSIONS.empty_table(), feedback=FEEDBACK.empty_table())
    )
    return tmp_path


@contextmanager
def opened(folder: Path, online: OnlineConfig | None = None) -> Iterator[Counter]:
    """One process at its counter."""
    catalogue = goods()
    with FullInbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        service = Service(catalogue.launched_by(inbox.day), favouring(0), segment=KINDS, online=online)
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


def test_a_new_day_brings_new_goods(folder: Path) -> None:
    """What is launched can be shown, by the rung that knows it."""
    with opened(folder) as counter:
        assert len(ask(counter, n=12)["items"]) == 10
        counter.inbox.close_day(0)
        assert sorted(items(ask(counter, n=12))) == list(range(11))


def test_what_cannot_be_delivered_is_not_shown(folder: Path) -> None:
    """From the telling on, until the day is over; items that nobody knows change nothing."""
    with opened(folder) as counter:
        counter.inbox.open_day(0, [3, 8, 500])
        assert items(ask(counter)) == [9, 7, 6]
        counter.inbox.open_day(0, [])
        assert items(ask(counter)) == [3, 9, 8]
        counter.inbox.open_day(0, range(12))
        assert ask(counter)["items"] == []
        counter.inbox.close_day(0)
        assert items(ask(counter)) == [3, 9, 8]


def test_traffic_changes_with_the_row_in_every_process(folder: Path) -> None:
    """The next slate after the row is of the new traffic; so is one of a process that never heard of the change."""
    with opened(folder) as one, opened(folder) as other:
        assert [ask(counter)["model_version"] for counter in (one, other)] == ["old", "old"]
        changed(folder, "promote", "new")
        assert [ask(counter)["model_version"] for counter in (one, other)] == ["new", "new"]
        changed(folder, "rollback", alias="champion")
        assert [ask(counter)["model_version"] for counter in (one, other)] == ["old", "old"]
        changed(folder, "challenger", "third", share=0.5)
        traffic = one.registry.traffic()
        for user_id in range(N_USERS):
            arm = ARMS[arms(np.array([user_id]), traffic)[0]]
            for counter in (one, other):
                answer = ask(counter, user_id)
                expected = (arm, "third" if arm == "challenger" else "old")
                assert (answer["arm"], answer["model_version"]) == expected


def damage(folder: Path, version: str) -> None:
    (folder / "models" / version / "arrays.npz").write_bytes(b"nothing")


def test_a_damaged_model_is_refused_and_the_old_one_goes_on(folder: Path) -> None:
    """Damaged between the row and the load: what is wrong is told, until there is traffic that can be served."""
    with opened(folder) as counter:
        assert (ask(counter)["model_version"], counter.refused) == ("old", "")
        changed(folder, "promote", "new")
        damage(folder, "new")
        assert ask(counter)["model_version"] == "old"
        assert "new" in counter.refused
        assert "checksum" in counter.refused
        changed(folder, "promote", "third")
        assert (ask(counter)["model_version"], counter.refused) == ("third", "")


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_lower_rungs_serve_while_the_champion_cannot_be_loaded(how: str, folder: Path) -> None:
    """There is no old one to go on with: shoppers are served all the same, and what is wrong is told until mended."""
    if how == "damaged":
        damage(folder, "old")
    else:
        shutil.rmtree(folder / "models" / "old")
    with opened(folder) as counter:
        assert "old" in counter.refused
        answer = ask(counter, 2)
        assert (answer["rung"], answer["arm"], items(answer)) == ("segment", "champion", [9, 8, 7])
        changed(folder, "promote", "new")
        assert (ask(counter, 2)["model_version"], counter.refused) == ("new", "")


@pytest.mark.parametrize("action", ["challenger", "canary"])
def test_without_a_rival_that_cannot_be_loaded_all_else_goes_on(action: str, folder: Path) -> None:
    """Its shoppers are answered by the rungs below, and changes of the champion are taken: also the one that saves."""
    with opened(folder) as counter:
        changed(folder, "promote", "new")
        changed(folder, action, "third", share=0.5)
        changed(folder, "shadow", "fourth")
        damage(folder, "third")
        damage(folder, "fourth")
        arm = arms(np.arange(N_USERS), counter.registry.traffic())
        for user_id in range(N_USERS):
            answer = ask(counter, user_id)
            lower = ARMS[arm[user_id]] == action
            assert answer["arm"] == ARMS[arm[user_id]]
            assert answer["model_version"] == ("fallback-segment" if lower else "new")
        assert "third" in counter.refused
        assert "fourth" in counter.refused
        changed(folder, "rollback", alias="champion")
        others = np.flatnonzero(arms(np.arange(N_USERS), counter.registry.traffic()) != ARMS.index(action))
        assert ask(counter, int(others[0]))["model_version"] == "old"
        assert "third" in counter.refused
        changed(folder, "end", alias=action)
        changed(folder, "end", alias="shadow")
        assert (ask(counter)["model_version"], counter.refused) == ("old", "")


def test_the_old_traffic_goes_on_while_the_history_is_damaged(folder: Path) -> None:
    """Nobody is refused; what is wrong is told, until the row is put back."""
    with opened(folder) as counter:
        changed(folder, "promote", "new")
        row = folder / "models" / "history" / "00002.json"
        right = row.read_text()
        row.write_text("{")
        assert ask(counter)["model_version"] == "old"
        assert "00002.json" in counter.refused
        row.write_text(right)
        assert (ask(counter)["model_version"], counter.refused) == ("new", "")


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


def test_a_model_too_slow_to_be_warmed_up_is_put_to_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It delays its own shoppers, and no later change."""
    monkeypatch.setattr(counters, "WARM_UP", 0.01)
    slow = Slow()
    with FullInbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        service = Service(goods().launched_by(0), favouring(0), segment=KINDS)
        registry = Slowly(folder / "models", slow)
        registry.go.set()
        counter = Counter(service, registry, inbox, goods(), people())
        changed(folder, "promote", "new")
        counter.refresh()
        assert counter.service.traffic.champion == "new"
        changed(folder, "rollback", alias="champion")
        assert ask(counter, 2)["model_version"] == "old"
        slow.go.set()
        counter.close()


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


def test_what_was_bought_is_known_while_its_day_moves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to a process that opens then; when the day is in the log, the live state is opened from that, once."""
    online = OnlineConfig(suppress_days=3)

    def full(*_: object) -> None:
        raise OSError("no room")

    with opened(folder, online) as one:
        assert tell(one, ask(one, 3), "purchase") == "accepted"
        with monkeypatch.context() as patch:
            patch.setattr(one.inbox.log, "append", full)
            with pytest.raises(InboxError, match="no room"):
                one.inbox.close_day(0)
        with opened(folder, online) as other:
            assert [(ask(counter, 3)["day"], items(ask(counter, 3))) for counter in (one, other)] == [
                (1, [9, 8, 7]),
                (1, [9, 8, 7]),
            ]
            live, days = one.service.live, list[int]()
            right = live.open_day

            def noting(log: EventLog, day: int, without: Sequence[str] = ()) -> None:
                days.append(day)
                right(log, day, without)

            monkeypatch.setattr(live, "open_day", noting)
            assert one.inbox.close_day(0)
            for _ in range(3):
                assert [items(ask(counter, 3)) for counter in (one, other)] == [[9, 8, 7]] * 2
            assert days == [1]


def test_a_day_that_could_not_be_opened_is_opened_by_the_next_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is noted as done before it is."""
    with opened(folder, OnlineConfig(suppress_days=3)) as counter:
        assert tell(counter, ask(counter, 3), "purchase") == "accepted"
        counter.inbox.close_day(0)

        def broken(*_: object) -> None:
            raise OSError("the log is away")

        with monkeypatch.context() as patch:
            patch.setattr(counter.service.live, "open_day", broken)
            with pytest.raises(OSError, match="away"):
                ask(counter, 3)
        answer = ask(counter, 3)
        assert (answer["day"], items(answer)) == (1, [9, 8, 7])


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


class Slowly(Registry):
    """A registry that loads when it is told to go."""

    def __init__(self, path: Path, model: Recommender) -> None:
        super().__init__(path)
        self.model = model
        self.begun, self.go = threading.Event(), threading.Event()

    def load(self, version: str) -> Any:
        if version == "new":
            self.begun.set()
            assert self.go.wait(60)
            return self.model, {}
        return super().load(version)


def test_nobody_waits_beyond_the_deadline_for_a_model_to_be_loaded(folder: Path) -> None:
    """Lower rungs answer meanwhile, what was being scored is handed over, and then the new one answers, warm."""
    slow, by = Slow(), list[str | None]()

    class Noting(Slow):
        def scores(self, requests: Requests) -> Floats:
            by.append(counter.service.traffic.champion)
            return np.tile(np.arange(10.0), (len(requests), 1))

    with FullInbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        service = Service(goods().launched_by(0), favouring(0), segment=KINDS)
        registry = Slowly(folder / "models", Noting())
        counter = Counter(service, registry, inbox, goods(), people())
        at_work(counter, old=favouring(5), slow=slow)
        arm = arms(np.arange(N_USERS), counter.service.traffic)
        canary, baseline = (int(np.flatnonzero(arm == ARMS.index(name))[0]) for name in ("canary", "baseline"))

        async def meanwhile() -> None:
            waiting = asyncio.create_task(asked(counter, canary))
            await asyncio.to_thread(slow.begun.wait)
            changed(folder, "promote", "new")
            late = await asked(counter, baseline, deadline_ms=300)
            assert registry.begun.is_set()
            assert late["rung"] == "segment"
            slow.go.set()
            assert (await waiting)["model_version"] == "slow"
            registry.go.set()
            assert (await asked(counter, 2))["rung"] in ("personal", "segment")

        told(meanwhile)
        counter.refresh()
        assert counter.service.traffic.champion == "new"
        assert by[0] == "old"
        counter.close()


def test_nothing_is_left_of_what_came_by_a_version_that_was_rolled_back(folder: Path) -> None:
    """What its shoppers bought counts no more, from the rollback on, in every process and on the days after."""
    online = OnlineConfig(suppress_days=5)
    with opened(folder, online) as one, opened(folder, online) as other:
        changed(folder, "promote", "new")
        by_new = ask(one, 3)
        assert tell(one, by_new, "purchase", position=1) == "accepted"
        assert [9 in items(ask(counter, 3)) for counter in (one, other)] == [False, False]
        changed(folder, "rollback", alias="champion")
        assert [items(ask(counter, 3)) for counter in (one, other)] == [[3, 9, 8]] * 2
        one.inbox.close_day(0)
        assert [items(ask(counter, 3)) for counter in (one, other)] == [[3, 9, 8]] * 2


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
