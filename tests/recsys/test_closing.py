"""A day moves into the log exactly once, as it would have been logged in process, also when killed between any two
lines; the same tests run on SQLite and on PostgreSQL."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlab.errors import InboxError
from simlab.files import locked
from simlab.recsys.inbox import Inbox, ShadowRow, SlateRow
from simlab.recsys.letters import first_id
from simlab.recsys.log import EventLog
from simlab.schema import NO_ITEM, Outcomes, Requests, Slates
from simlab.streams import stream, uniforms
from simlab.tables import FEEDBACK, IMPRESSIONS, History, to_feedback, to_impressions
from simlab.testing import EVERYTHING
from simlab.world.birth import make_world
from simlab.world.history import make_history, plackett_luce, serve
from simlab.world.truth import World
from simlab.world.users import visits
from tests.recsys.conftest import Place
from tests.recsys.killed import Worker, helper
from tests.recsys.posts import answered, clicks_on, event, request_id, slate, told_on

PLAIN = FEEDBACK.set(2, pa.field("kind", pa.string()))
BY = [("impression_id", "ascending"), ("kind", "ascending")]


@pytest.fixture
def inbox(place: str | Path, tmp_path: Path) -> Iterator[Inbox]:
    with Inbox(place, EventLog(tmp_path / "log")) as inbox:
        yield inbox


@pytest.fixture(scope="module")
def shop() -> tuple[World, History]:
    return make_history(make_world(replace(EVERYTHING, n_users=60, history_days=10), 20))


def shown_on(world: World, day: int) -> tuple[Slates, Outcomes]:
    """A day in the shop: slates drawn by the weight of their items, the last of which often have no item."""

    def show(requests: Requests) -> Slates:
        n_items = len(world.catalogue)
        luck = uniforms(5, "show", day, rows=np.arange(len(requests)), n=n_items)
        slates = plackett_luce(np.arange(1.0, n_items + 1), requests, luck=luck)
        item_id = np.where(luck[:, : requests.n] < 0.1, NO_ITEM, slates.item_id)
        propensity = np.where(luck[:, : requests.n] > 0.9, np.nan, slates.propensity)
        return replace(slates, item_id=item_id, propensity=propensity, latency_ms=luck[:, 0] * 9)

    state = replace(world.state, day=day)
    return serve(world, state, visits(world, day, 4), show)


def test_a_day_is_logged_as_in_process(place: str | Path, tmp_path: Path, shop: tuple[World, History]) -> None:
    """Five days in the shop, posted one by one: both tables of each day are those that the ring itself would write,
    with what came late of history and of the days before."""
    world, history = shop
    log = EventLog(tmp_path / "log")
    log.import_history(history.known(-1))
    to_come, late = [history.feedback], 0
    with Inbox(place, log) as inbox:
        for day in range(5):
            slates, outcomes = shown_on(world, day)
            seen, told = to_impressions(slates, outcomes), to_feedback(slates, outcomes, world.catalogue.price)
            to_come.append(told)
            everything = History(impressions=seen, feedback=pa.concat_tables(to_come).unify_dictionaries())
            posted = clicks_on(slates, outcomes) + told_on(day, everything)
            late += sum(one.impression_id < first_id(day) for one in posted)
            stream(1, "post", day).shuffle(posted)
            inbox.commit(answered(slates), [])
            for first in range(0, len(posted), 50):
                assert {one.outcome for one in inbox.commit([], posted[first : first + 50])[1]} == {"accepted"}
            assert inbox.close_day(day)
            logged, feedback = log.day(day)
            assert logged.to_pylist() == seen.sort_by("impression_id").to_pylist()
            expected = everything.feedback.filter(pa.compute.equal(everything.feedback["day"], day))
            rows = [table.cast(PLAIN).sort_by(BY).to_pylist() for table in (feedback, expected)]
            assert rows[0] == rows[1] != []
    assert late > 10


def test_a_day_without_anything_is_a_day(inbox: Inbox) -> None:
    """It is logged, empty, and the next one is open."""
    assert inbox.close_day(0)
    assert inbox.day == 1
    for table, schema in zip(inbox.log.day(0), (IMPRESSIONS, FEEDBACK)):
        assert table.schema.equals(schema)
        assert table.num_rows == 0


def test_a_day_is_closed_once(inbox: Inbox) -> None:
    """Closed again it is False, and nothing changes; a day that is not open yet is refused."""
    inbox.commit([slate(7)], [event("a", request_id(7))])
    with pytest.raises(InboxError, match=r"day to close: 1 .*day 0 is"):
        inbox.close_day(1)
    assert inbox.close_day(0)
    before = files_of(inbox.log)
    assert not inbox.close_day(0)
    assert files_of(inbox.log) == before
    assert [row["clicked"] for row in inbox.log.day(0)[0].to_pylist()] == [True, False, False]


def test_a_day_that_is_logged_from_elsewhere_is_not_lost(inbox: Inbox) -> None:
    """The inbox does not take another's day for its own move: it keeps what it has, and the day stays open."""
    inbox.commit([slate(7)], [])
    inbox.log.append(0, IMPRESSIONS.empty_table(), FEEDBACK.empty_table())
    with pytest.raises(InboxError, match="from elsewhere"):
        inbox.close_day(0)
    assert (inbox.day, inbox.next_number(7, 0)) == (0, 1)


def test_who_closes_is_alone(inbox: Inbox) -> None:
    """While another process is closing, it is to be tried again."""
    with locked(inbox.log.path), pytest.raises(InboxError, match="another process"):
        inbox.close_day(0)
    assert inbox.close_day(0)


def test_a_body_that_is_no_answer_is_named(inbox: Inbox) -> None:
    """The slate is named, and nothing of the day is lost: mended, it is moved."""
    row = SlateRow(request_id(7), 0, 7, 3600, json.dumps({"items": []}))
    inbox.commit([slate(6), row], [])
    with pytest.raises(InboxError, match=f"slate: {request_id(7)}"):
        inbox.close_day(0)
    assert (inbox.log.days, inbox.next_number(6, 0)) == ([], 1)


def test_a_close_that_cannot_write_is_tried_again(inbox: Inbox) -> None:
    """A file in the way of the folder, or a full disk: the next day is open, and the closed one is moved later."""
    inbox.commit([slate(7)], [], [ShadowRow(request_id(7), 0, "m1", [4], [0.5])])
    in_the_way = inbox.log.path.parent / "shadow"
    in_the_way.write_text("")
    with pytest.raises(InboxError, match="try again"):
        inbox.close_day(0)
    assert (inbox.day, inbox.log.days) == (1, [])
    told = [event("a", request_id(7), "purchase"), event("b", request_id(7)), event("c", request_id(8), "purchase")]
    assert [one.outcome for one in inbox.commit([slate(7, day=1)], told)[1]] == ["accepted", "dead", "dead"]
    in_the_way.unlink()
    assert inbox.close_day(1)  # and the one before
    assert [inbox.log.day(day)[0].num_rows for day in (0, 1)] == [3, 3]
    assert [inbox.log.day(day)[1].num_rows for day in (0, 1)] == [0, 1]
    later = [event("d", request_id(7) | 1, "purchase")]  # what was not in the log before is found there now
    assert [one.outcome for one in inbox.commit([], later)[1]] == ["accepted"]
    assert not inbox.close_day(0)


def test_shadow_slates_are_logged_apart(inbox: Inbox) -> None:
    """Ranked rows beside the log, never in it; a day without them leaves no file."""
    one = ShadowRow(request_id(7), 0, "m2", [4, 5], [0.5, 0.25])
    other = ShadowRow(request_id(6), 0, "m1", [5], [-1.0])
    inbox.commit([slate(6), slate(7)], [], [one, other])
    inbox.close_day(0)
    folder = inbox.log.path.parent / "shadow"
    assert pq.read_table(folder / "day=00000.parquet").to_pylist() == [
        {"request_id": request_id(6), "model_version": "m1", "position": 0, "item_id": 5, "score": -1.0},
        {"request_id": request_id(7), "model_version": "m2", "position": 0, "item_id": 4, "score": 0.5},
        {"request_id": request_id(7), "model_version": "m2", "position": 1, "item_id": 5, "score": 0.25},
    ]
    assert set(inbox.log.day(0)[0]["model_version"].to_pylist()) == {"m0"}
    inbox.close_day(1)
    assert [file.name for file in folder.iterdir()] == ["day=00000.parquet"]


def files_of(log: EventLog) -> dict[str, bytes]:
    """Every byte of the log and of the shadow slates beside it."""
    return {str(file.relative_to(log.path.parent)): file.read_bytes() for file in log.path.parent.rglob("*.parquet")}


def filled(place: str | Path, folder: Path) -> Inbox:
    """Day 0 of a small shop, with a purchase, a dead letter and a shadow slate."""
    inbox = Inbox(place, EventLog(folder / "log"))
    told = [event("a", request_id(7)), event("b", request_id(7) | 1, "purchase", 5.0), event("c", 0)]
    inbox.commit([slate(6), slate(7)], told, [ShadowRow(request_id(7), 0, "m1", [4, 5], [0.5, 0.25])])
    return inbox


def killed_at(process: Worker, k: int, place: str | Path, folder: Path) -> int:
    """How a close of day 0 ended that was to be killed before line k."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(k, place, folder / "log", sep="\t", file=process.stdin, flush=True)
    return int(process.stdout.readline())


def check_kills(lines: Iterator[int] | range, new_place: Place, folder: Path) -> int:
    """Kills a close before each of `lines`, then closes again; returns how many of them were reached.

    Whatever the moment: the same files, no draft, the same event sent again is a duplicate, and the next day is open.
    """
    with filled(new_place(), folder / "truth") as inbox:
        inbox.close_day(0)
        truth = files_of(inbox.log)
    with helper("close") as process:
        for done, k in enumerate(lines):
            place, here = new_place(), folder / str(k)
            filled(place, here).close()
            if killed_at(process, k, place, here) == 0:
                return done
            with Inbox(place, EventLog(here / "log")) as inbox:
                assert inbox.day in (0, 1)
                inbox.close_day(0)
                assert files_of(inbox.log) == truth, k
                assert inbox.day == 1
                told = inbox.commit([], [event("a", request_id(7)), event("c", 0)])[1]
                assert [one.outcome for one in told] == ["duplicate", "dead"]
                assert inbox.next_number(7, 0) == 0
                assert not inbox.close_day(0)
            assert [path.name for path in here.rglob(".*") if path.name != ".lock"] == []
    return done + 1


def test_a_close_that_is_killed_is_finished(new_place: Place, tmp_path: Path) -> None:
    """Killed at some moments of a close, the day is moved exactly once when it is closed again."""
    assert check_kills(range(5, 10_000, 70), new_place, tmp_path) > 3


@pytest.mark.soak
def test_a_close_that_is_killed_before_any_line_is_finished(new_place: Place, tmp_path: Path) -> None:
    """Killed before each line of simlab's that a close runs, one after the other."""
    assert check_kills(count(1), new_place, tmp_path) > 100


@pytest.mark.soak
def test_a_close_that_is_killed_at_any_moment_is_finished(new_place: Place, tmp_path: Path) -> None:
    """Fifty kills at random moments, inside of a library's call too, of the close of 2000 slates."""
    rng, finished, seconds = stream(1, "kills"), 0, 0.5
    slates = [slate(user) for user in range(2000)]
    told = [event(str(row.user_id), row.request_id) for row in slates[::3]]
    with Inbox(new_place(), EventLog(tmp_path / "truth" / "log")) as inbox:
        inbox.commit(slates, told)
        inbox.close_day(0)
        truth = files_of(inbox.log)
    for number in range(50):
        place, log = new_place(), EventLog(tmp_path / str(number) / "log")
        with Inbox(place, log) as inbox:
            inbox.commit(slates, told)
        with helper("day", str(place), str(log.path)) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            print(file=process.stdin, flush=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds * rng.random())
                finished += 1
                seconds *= 0.7  # so that on every machine most are killed in the midst of it
            seconds *= 1.1
        with Inbox(place, log) as inbox:
            inbox.close_day(0)
            assert files_of(log) == truth
            assert {one.outcome for one in inbox.commit([], told)[1]} == {"duplicate"}
    assert finished < 25
