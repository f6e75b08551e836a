"""What the routes share: answers that any word fits into, and a log of one JSON object a line."""

import json
import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.recsys.desk import LOG, as_json, say, wall_clock


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
@settings(deadline=None)
def test_every_word_can_be_told_back(value: dict[str, object]) -> None:
    """Also lone halves of characters, which are no UTF-8: the answer is ASCII, and reads as what was told."""
    for told in (value, {"odd": "\ud800", "\udfff": "\x00"}):
        answer = as_json(told)
        assert bytes(answer.body).isascii()
        assert json.loads(bytes(answer.body)) == told
        assert answer.media_type == "application/json"


def test_status_and_headers_are_passed_on() -> None:
    """Who is to come again is told when."""
    answer = as_json({}, 503, {"Retry-After": "1"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_log_has_one_json_object_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """With the event, the time in UTC, and the facts, whatever stands in them."""
    with caplog.at_level(logging.INFO, LOG.name):
        say("traffic", row={"reason": "two\nlines"}, n=3)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    told = json.loads(record.getMessage())
    assert datetime.fromisoformat(told.pop("time")).tzinfo == UTC
    assert told == {"event": "traffic", "row": {"reason": "two\nlines"}, "n": 3}


def test_the_clock_is_utc() -> None:
    """Servers in two places agree."""
    assert wall_clock().tzinfo == UTC
