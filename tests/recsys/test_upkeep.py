"""A counter is up with the registry and the inbox before each answer, whatever is wrong with either."""

import asyncio
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import InboxError
from simlab.recsys import upkeep
from simlab.recsys.counter import Counter
from simlab.recsys.log import EventLog
from simlab.recsys.models import Recommender
from simlab.recsys.online import OnlineConfig
from simlab.recsys.registry import Registry
from simlab.recsys.service import Service
from simlab.recsys.traffic import ARMS, arms
from simlab.schema import Floats, Requests
from tests.recsys.counters import (
    KINDS,
    N_USERS,
    FullInbox,
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


def test_a_model_too_slow_to_be_warmed_up_is_put_to_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It delays its own shoppers, and no later change."""
    monkeypatch.setattr(upkeep, "WARM_UP", 0.01)
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
