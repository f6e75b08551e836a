"""Nothing is lost, nothing counts twice, nothing is invented; the same tests run on SQLite and on PostgreSQL."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simlab.errors import InboxError
from simlab.recsys.inbox import Event, Inbox, Receipt, ShadowRow, SlateRow
from simlab.recsys.log import EventLog
from simlab.streams import stream
from tests.recsys.conftest import Place
from tests.recsys.posts import event, request_id, slate

SLATES = [slate(user, number) for user in (1, 2) for number in (0, 17)]
SHOWN = [row.request_id | position for row in SLATES for position in range(3)]
EVENTS = [
    *(event(f"{one}-click", one, value=float("nan") if one % 2 else 3.5) for one in SHOWN[::2]),
    *(event(f"{one}-bought", one, "purchase", 7.25, 100.0) for one in SHOWN[:5]),
    *(event(f"{one}-stars", one, "rating", 4, 200.0) for one in SHOWN[2:4]),
    event("back", SHOWN[0], "return", 7.25),
]
JUNK = [
    event("junk", request_id(5), "purchase"),
    event("junk", SHOWN[0] | 200),
    event("far", 3, "return"),
    event("early", request_id(1, 0, 1)),
]
"""Never to be counted, whatever comes before."""


@pytest.fixture
def inbox(place: str | Path, tmp_path: Path) -> Iterator[Inbox]:
    with Inbox(place, EventLog(tmp_path / "log")) as inbox:
        yield inbox


def files_of(log: EventLog) -> dict[str, bytes]:
    """Every byte of the log."""
    return {str(file.relative_to(log.path)): file.read_bytes() for file in log.path.rglob("*.parquet")}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The log of all slates and events, each posted once, in order."""
    folder = tmp_path_factory.mktemp("truth")
    with Inbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
        assert {receipt.outcome for receipt in inbox.commit(SLATES, EVENTS)[1]} == {"accepted"}
        inbox.close_day(0)
        return files_of(inbox.log)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Event]]:
    """Every event at least once, in any order, in any parts, with junk between."""
    again = draw(st.lists(st.sampled_from(EVENTS + JUNK), max_size=15))
    posted = draw(st.permutations(EVENTS + JUNK + again))
    cuts = sorted(draw(st.lists(st.integers(0, len(posted)), max_size=4)))
    return [list(posted[first:last]) for first, last in zip([0, *cuts], [*cuts, len(posted)])]


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=deliveries())
def test_any_delivery_gives_the_same_log(
    new_place: Place, tmp_path_factory: pytest.TempPathFactory, truth: dict[str, bytes], parts: list[list[Event]]
) -> None:
    """Posted to a service that is restarted at any time, the log is that of each event once, and the counts are those
    of the receipts."""
    place, log = new_place(), EventLog(tmp_path_factory.mktemp("delivery") / "log")
    outcomes, dead = Counter[str](), set[Receipt]()
    for part in parts:
        with Inbox(place, log) as inbox:  # as after a restart
            bodies, receipts = inbox.commit(SLATES, part)
            assert bodies == [row.body for row in SLATES]
            outcomes.update(receipt.outcome for receipt in receipts)
            dead.update(receipt for receipt in receipts if receipt.outcome == "dead")
    with Inbox(place, log) as inbox:
        counts = inbox.counts()[0]
        assert counts["slates"] == len(SLATES)
        assert sum(counts["events"].values()) == outcomes["accepted"] == len(EVENTS)
        assert counts["duplicate"] == outcomes["duplicate"]
        assert sum(counts["dead"].values()) == len(inbox.dead_letters()) == len(JUNK)
        assert {receipt.event_id for receipt in dead} == {one.event_id for one in JUNK}
        assert inbox.close_day(0)
    assert files_of(log) == truth


def test_a_slate_is_answered_once(inbox: Inbox) -> None:
    """A retry with the same id hears what was answered first, after a restart, in one transaction, among others."""
    first, other = slate(7), SlateRow(request_id(7), 0, 7, 5, "another answer")
    assert inbox.commit([first, other], [])[0] == [first.body] * 2
    assert inbox.commit([slate(8), other], [])[0] == [slate(8).body, first.body]
    assert inbox.counts()[0]["slates"] == 2


def test_only_what_is_new_in_a_batch_is_counted(inbox: Inbox) -> None:
    """Among slates that were kept before, and the same one twice: each counts once, and the first to come stays."""
    rng = stream(3, "test", "batches")
    stored: dict[int, str] = {}
    counted = 0
    for _ in range(30):
        users = rng.integers(40, size=rng.integers(1, 20)).tolist()
        batch = [
            SlateRow(request_id(user), 0, user, 5, f"{turn}", (("answered x", 1),)) for turn, user in enumerate(users)
        ]
        counted += len({row.request_id for row in batch} - stored.keys())
        for row in batch:
            stored.setdefault(row.request_id, row.body)
        assert inbox.commit(batch, [])[0] == [stored[row.request_id] for row in batch]
        counts = inbox.counts()[0]
        assert (counts["slates"], counts["answered"]["x"]) == (counted, counted)


def test_a_slate_of_another_day_is_not_kept(inbox: Inbox) -> None:
    """Its body comes back empty, so that the caller computes it again for the day that is open now."""
    inbox.close_day(0)
    bodies, receipts = inbox.commit([slate(7), slate(7, day=1), slate(7, day=2)], [event("a", request_id(7))])
    assert bodies == ["", slate(7, day=1).body, ""]
    assert receipts == [Receipt("a", "dead", "late: its day is closed")]
    inbox.close_day(1)
    assert inbox.log.day(0)[0].num_rows == 0
    assert inbox.log.day(1)[0].num_rows == 3


def test_news_are_of_the_open_day_and_after_what_is_known(inbox: Inbox) -> None:
    """Each event once, in the order of its commit, and what cannot be delivered until the day is over."""
    assert inbox.news(0).unavailable == frozenset()
    inbox.open_day(0, [5, 3, 5])
    inbox.commit([slate(7)], [event("a", request_id(7)), event("dead", 0), event("b", request_id(7) | 1)])
    news = inbox.news(0)
    assert (news.day, news.unavailable, inbox.day) == (0, frozenset({3, 5}), 0)
    inbox.commit([], [event("c", request_id(7) | 2), event("a", request_id(7))])
    later = inbox.news(news.heard[-1].seq)
    assert [one.impression_id & 255 for one in news.heard + later.heard] == [0, 1, 2]
    assert inbox.news(later.seq).heard == []
    inbox.commit([], [event("dead again", 0), event("e", request_id(7) | 0, "purchase")])
    assert [one.type for one in inbox.news(later.seq).heard] == ["purchase"]
    with pytest.raises(InboxError, match=r"day: 1 .*the open day is 0"):
        inbox.open_day(1)
    inbox.close_day(0)
    news = inbox.news(0)
    assert (news.day, news.unavailable, news.heard, news.moving) == (1, frozenset(), [], None)
    inbox.commit([], [event("d", request_id(7) | 1, "purchase")])
    assert [one.seq > later.seq for one in inbox.news(0).heard] == [True]


def test_a_number_is_the_lowest_that_is_free(inbox: Inbox) -> None:
    """Of the user and day, whichever numbers callers have chosen; 256 where all are used."""
    inbox.commit([slate(7, 0), slate(7, 18), slate(8, 255), slate(6, 3)], [])
    inbox.commit([slate(5, number) for number in range(256)], [])
    assert [inbox.next_number(user, 0) for user in (5, 6, 7, 8, 9)] == [256, 0, 1, 0, 0]
    assert inbox.next_number(7, 1) == 0


def test_a_new_inbox_begins_where_the_log_ends(new_place: Place, tmp_path: Path) -> None:
    """It opens on its first day and refuses one that is logged; an inbox that is there keeps its own day."""
    log, place = EventLog(tmp_path / "log"), new_place()
    with Inbox(place, log, first_day=3) as inbox:
        assert (inbox.day, inbox.close_day(3), inbox.day) == (3, True, 4)
    with Inbox(place, log, first_day=0) as inbox:
        assert inbox.day == 4
    for day in (0, 3, -1):
        with pytest.raises(InboxError, match=f"first day: {day}"):
            Inbox(new_place(), log, first_day=day)
    with Inbox(new_place(), log, first_day=4) as inbox:
        assert inbox.day == 4


def test_shadow_slates_are_kept_once(inbox: Inbox) -> None:
    """By request and version, of the open day only, and counted apart."""
    shadow = ShadowRow(request_id(7), 0, "m1", [4, 5], [0.5, 0.25])
    other = ShadowRow(request_id(7), 0, "m2", [5], [1.0])
    late = ShadowRow(request_id(7, day=1), 1, "m1", [4], [1.0])
    inbox.commit([slate(7)], [], [shadow, other, late])
    inbox.commit([], [], [shadow])
    assert inbox.counts()[0] | {"shadows": 2, "slates": 1} == inbox.counts()[0]


def test_many_threads_share_an_inbox(inbox: Inbox) -> None:
    """Writers and readers at once: every event is heard once by who follows the news, in rising order."""
    n, heard, done = 25, list[int](), threading.Event()

    def write(user: int) -> None:
        for number in range(n):
            shown = slate(user, number)
            told: list[Event] = [event(f"{user}-{number}", shown.request_id)]
            assert inbox.commit([shown], told)[1][0].outcome == "accepted"

    def read() -> None:
        last, more = 0, True
        while more:
            more = not done.is_set()
            for one in inbox.news(last).heard:
                heard.append(one.impression_id)
                assert one.seq > last
                last = one.seq

    reader, writers = threading.Thread(target=read), [threading.Thread(target=write, args=[u]) for u in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert sorted(heard) == sorted(request_id(user, number) for user in range(3) for number in range(n))
