"""What no inbox can keep is refused when it is made; ids say what they say everywhere."""

from typing import Any

import numpy as np
import pytest

from simlab.errors import InboxError
from simlab.recsys.inbox import Event, SlateRow
from simlab.recsys.letters import day_of, first_id, request_of, user_of
from simlab.schema import GUESTS, Requests
from tests.recsys.posts import event, request_id

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("day", [-400, 0, 12])
def test_ids_are_those_of_requests(day: int) -> None:
    """Day, user and slate can be read from the id of any impression, of guests too."""
    users = np.array([0, 7, GUESTS, (1 << 31) - 1])
    requests = Requests(day=day, user_id=users, visit=np.array([0, 3, 15, 15]), page=np.array([0, 2, 15, 15]), n=3)
    for one, user in zip(requests.request_id.tolist(), users.tolist()):
        shown = one | 255
        assert (day_of(shown), user_of(shown), request_of(shown)) == (day, user, one)
        assert first_id(day) <= shown < first_id(day + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""),
        ("event_id", "x" * 101),
        ("event_id", "a\0b"),
        ("event_id", "\ud800"),
        ("impression_id", -1),
        ("impression_id", 1 << 63),
        ("type", "look"),
        ("value", -0.01),
        ("value", INF),
        ("value", 10**400),
        ("time", INF),
        ("time", -(10**400)),
    ],
)
def test_an_event_that_no_inbox_can_keep_is_refused(field: str, value: object) -> None:
    """The field is named; so one sender's mistake never spoils what others post in the same transaction."""
    parts: dict[str, Any] = {"event_id": "e", "impression_id": 1, "type": "click", "value": 1.0, "time": 0.0}
    with pytest.raises(InboxError, match=field):
        Event(**parts | {field: value})


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("click", NAN, True),
        ("click", 0, True),
        ("rating", 1, True),
        ("rating", 5, True),
        ("rating", 0, False),
        ("rating", 5.1, False),
        ("rating", NAN, False),
        ("purchase", 0, True),
        ("purchase", NAN, False),
        ("return", NAN, False),
    ],
)
def test_values_have_a_range(kind: str, value: float, fits: bool) -> None:
    """Stars from 1 to 5, euros from 0; only a click may leave its seconds out."""
    if fits:
        event("e", 1, kind, value)
    else:
        with pytest.raises(InboxError, match=f"value of a {kind}"):
            event("e", 1, kind, value)


def test_the_same_is_the_same_whatever_type_its_numbers_have() -> None:
    """2 is 2.0, and what is not told equals itself."""
    assert event("a", 1, "click", NAN, NAN).content == event("b", 1, "click", float("nan"), -NAN).content
    assert event("a", 1, "click", 2, 3).content == event("a", 1, "click", 2.0, 3.0).content
    assert event("a", 1, "click", 2, 3).content != event("a", 1, "click", 2, NAN).content


@pytest.mark.parametrize("wrong", [{"day": 1}, {"user_id": 8}, {"request_id": request_id(7) | 1}])
def test_a_slate_says_its_day_and_user(wrong: dict[str, int]) -> None:
    """A request_id that says another day or user, or a position, is refused."""
    parts: dict[str, Any] = {"request_id": request_id(7), "day": 0, "user_id": 7, "second": 0, "body": "{}"}
    SlateRow(**parts)
    with pytest.raises(InboxError, match="request_id"):
        SlateRow(**parts | wrong)
