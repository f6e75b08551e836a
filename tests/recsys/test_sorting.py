"""Every event has a stated outcome, and hears the same again; the same tests run on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from simlab.recsys.inbox import ATTRIBUTION_DAYS, Event, Inbox
from simlab.recsys.letters import SECONDS
from simlab.recsys.log import EventLog
from simlab.tables import FEEDBACK, IMPRESSIONS, History
from tests.recsys.posts import event, request_id, slate

ID = request_id(7)
LATE_CLICK, LATE = "late: its day is closed", "late: beyond the attribution window"


@pytest.fixture
def inbox(place: str | Path, tmp_path: Path) -> Iterator[Inbox]:
    """Day 0 is open, and user 7 has seen three items."""
    with Inbox(place, EventLog(tmp_path / "log")) as inbox:
        inbox.commit([slate(7)], [])
        yield inbox


def outcomes(inbox: Inbox, *events: Event) -> list[str]:
    """What becomes of each event: its outcome, or the reason of its death. Asked twice, it is the same."""
    receipts = inbox.commit([], events)[1]
    assert [receipt.event_id for receipt in receipts] == [event.event_id for event in events]
    again = inbox.commit([], events)[1]
    assert [one for one in receipts if one.outcome == "dead"] == [one for one in again if one.outcome == "dead"]
    assert all(one.outcome != "accepted" for one in again)
    return [receipt.reason or receipt.outcome for receipt in receipts]


def kept(inbox: Inbox) -> list[tuple[str, int, float]]:
    return [(heard.type, heard.impression_id, heard.value) for heard in inbox.news(0).heard]


def test_the_same_again_is_a_duplicate(inbox: Inbox) -> None:
    """At once or later, with NaN and without, it counts once."""
    told = [event("a", ID), event("b", ID | 1, value=float("nan")), event("c", ID | 1, "purchase", 3.5, 9.0)]
    assert outcomes(inbox, *told, *told) == ["accepted"] * 3 + ["duplicate"] * 3
    assert inbox.counts()[0]["duplicate"] == 3 + 6
    assert len(kept(inbox)) == 3


@pytest.mark.parametrize(
    "other",
    [
        event("a", ID, value=3.0),
        event("a", ID, time=5.0),
        event("a", ID, "purchase"),
        event("a", ID | 1),
        event("a", ID | 200),
        event("a", ID, value=float("nan")),
    ],
)
def test_the_same_name_with_other_content_is_a_conflict(inbox: Inbox, other: Event) -> None:
    """The first one stays, in the same batch and later."""
    assert outcomes(inbox, event("a", ID), other) == ["accepted", "conflict"]
    assert kept(inbox) == [("click", ID, 2.0)]


def test_the_second_of_a_kind_is_repeated(inbox: Inbox) -> None:
    """Two names tell one thing: the first counts; other kinds about the same impression do too."""
    told = [event("a", ID), event("b", ID), event("c", ID, "purchase"), event("d", ID, "purchase", 9.0)]
    assert outcomes(inbox, *told) == ["accepted", "repeated", "accepted", "repeated"]
    assert outcomes(inbox, event("e", ID)) == ["repeated"]
    assert len(kept(inbox)) == 2


@pytest.mark.parametrize("about", [ID | 3, ID | 255, request_id(8), request_id(7, 1), request_id(7, 0, 1), 0, 77])
def test_what_was_never_shown_is_unknown(inbox: Inbox, about: int) -> None:
    """No such position, user, slate or day; it stays dead when the slate comes after all."""
    wanted = LATE if about < 100 else "unknown impression"
    assert outcomes(inbox, event("a", about, "purchase"), event("b", ID)) == [wanted, "accepted"]
    inbox.commit([slate(7, 1), slate(8)], [])
    assert outcomes(inbox, event("a", about, "purchase")) == [wanted]
    assert kept(inbox) == [("click", ID, 2.0)]


def test_events_see_the_slates_of_their_transaction(inbox: Inbox) -> None:
    """A slate and what came of it may be posted together."""
    assert inbox.commit([slate(9)], [event("a", request_id(9) | 2)])[1][0].outcome == "accepted"


def test_order_does_not_matter(inbox: Inbox) -> None:
    """A return before its purchase before its click: all are welcome, with what they are about."""
    told = [event("a", ID, "return"), event("b", ID, "rating"), event("c", ID, "purchase"), event("d", ID)]
    assert outcomes(inbox, *told) == ["accepted"] * 4
    heard = inbox.news(0).heard
    assert [(one.type, one.user_id, one.item_id, one.model_version, one.day) for one in heard] == [
        (kind, 7, 10, "m0", 0) for kind in ("return", "rating", "purchase", "click")
    ]


def test_on_a_closed_day_clicks_are_late_and_the_rest_counts_today(inbox: Inbox) -> None:
    """What comes after a click may come on later days; it is found in the log, with its click or without."""
    outcomes(inbox, event("a", ID))
    inbox.close_day(0)
    told = [
        event("b", ID | 1),
        event("c", ID, "purchase"),
        event("d", ID | 2, "purchase"),
        event("e", ID | 9, "rating"),
    ]
    assert outcomes(inbox, *told) == [LATE_CLICK, "accepted", "accepted", "unknown impression"]
    assert outcomes(inbox, event("a", ID)) == ["duplicate"]
    assert [(one.item_id, one.model_version, one.day) for one in inbox.news(0).heard] == [(10, "m0", 1), (12, "m0", 1)]
    inbox.close_day(1)
    assert [row["item_id"] for row in inbox.log.day(1)[1].to_pylist()] == [10, 12]


def test_the_attribution_window_has_an_end(inbox: Inbox) -> None:
    """On its last day all but clicks count, on the next nothing does; what was heard in time stays heard until then."""
    outcomes(inbox, event("a", ID, "purchase"))
    for day in range(ATTRIBUTION_DAYS):
        inbox.close_day(day)
    assert outcomes(inbox, event("a", ID, "purchase")) == ["duplicate"]
    assert outcomes(inbox, event("b", ID, "purchase"), event("c", ID, "rating")) == ["repeated", "accepted"]
    assert inbox.counts()[0]["events"] == {"purchase": 1}
    inbox.close_day(ATTRIBUTION_DAYS)
    assert outcomes(inbox, event("d", ID, "return"), event("a", ID, "purchase")) == [LATE] * 2
    assert list(inbox.counts()) == [ATTRIBUTION_DAYS, ATTRIBUTION_DAYS + 1]
    assert kept(inbox) == []


def test_history_counts_too(place: str | Path, tmp_path: Path) -> None:
    """What was shown before day 0 is found in the imported history."""
    log, shown = EventLog(tmp_path / "log"), request_id(3, 0, -2) | 1
    row = {
        **{"request_id": request_id(3, 0, -2), "impression_id": shown, "day": -2, "second": 5, "user_id": 3},
        **{"item_id": 4, "position": 1, "propensity": 0.5, "model_version": "old", "arm": "champion"},
        **{"source": "history", "latency_ms": 0.0, "clicked": True, "dwell": None},
    }
    history = pa.Table.from_pylist([row], schema=IMPRESSIONS)
    log.import_history(History(impressions=history, feedback=FEEDBACK.empty_table()))
    with Inbox(place, log) as inbox:
        told = [event("a", shown, "purchase"), event("b", shown + 1, "purchase"), event("c", shown)]
        assert outcomes(inbox, *told) == ["accepted", "unknown impression", LATE_CLICK]
        assert [(one.user_id, one.item_id, one.model_version) for one in inbox.news(0).heard] == [(3, 4, "old")]


@pytest.mark.parametrize(
    ("time", "skewed"),
    [(np.nan, 0), (3600, 0), (0, 0), (-1, 1), (SECONDS + 3600, 0), (SECONDS + 3601, 1), (1e300, 1), (-1e300, 1)],
)
def test_a_wrong_clock_is_counted_and_decides_nothing(inbox: Inbox, time: float, skewed: int) -> None:
    """More than an hour before the showing (at 3600 s), or after the end of the open day."""
    assert outcomes(inbox, event("a", ID, time=time)) == ["accepted"]
    assert inbox.counts()[0]["skewed"] == skewed


def test_dead_letters_say_why(inbox: Inbox) -> None:
    """Newest first, each once, with its content; as many as are asked for."""
    outcomes(inbox, event("a", ID), event("b", ID), event("a", ID | 1, time=4.0), event("c", 0, "purchase"))
    letters = inbox.dead_letters()
    assert [(letter["event_id"], letter["reason"]) for letter in letters] == [
        ("c", LATE),
        ("a", "conflict"),
        ("b", "repeated"),
    ]
    assert letters[1]["content"] == {"impression_id": ID | 1, "type": "click", "value": 2.0, "time": 4.0}
    assert inbox.dead_letters(1) == letters[:1]
    assert inbox.counts()[0]["dead"] == {LATE: 1, "conflict": 1, "repeated": 1}
