"""Bodies are checked and bounded, and answers say all that an impression needs."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from simlab.recsys.service import FALLBACKS
from simlab.recsys.traffic import ARMS
from simlab.recsys.wire import (
    MAX_EVENTS,
    MAX_EXCLUDED,
    Body,
    CloseDay,
    Deploy,
    EventBody,
    Feedback,
    OpenDay,
    Recommend,
    answers,
)
from simlab.schema import GUESTS, NO_ITEM, SOURCES, Labels, Requests, Slates

EVENT = {"event_id": "a", "impression_id": "123", "type": "click"}
DEPLOY = {"action": "promote", "version": "m1", "reason": "it is better"}

LAWFUL: list[tuple[type[Body], dict[str, Any]]] = [
    (Recommend, {"user_id": 0}),
    (Recommend, {"user_id": 2**31 - 1, "n": 100, "exclude": [0] * MAX_EXCLUDED, "deadline_ms": 1}),
    (Recommend, {"user_id": GUESTS, "context": {"day": 0, "visit": 15, "page": 0, "second": 86_399, "latency_ms": 0}}),
    (EventBody, EVENT),
    (EventBody, {**EVENT, "impression_id": 2**63 - 1, "value": -1.5, "time": 0}),
    (EventBody, {**EVENT, "impression_id": "0000000000000000123", "event_id": "x" * 100}),
    (Feedback, {"events": [EVENT] * MAX_EVENTS}),
    (Deploy, DEPLOY),
    (Deploy, {"action": "end", "alias": "canary", "reason": "enough", "actor": "Ada"}),
    (Deploy, {**DEPLOY, "action": "canary", "share": 0.1}),
    (Deploy, {**DEPLOY, "action": "canary", "steps": [0.1, 0.5]}),
    (OpenDay, {"day": 0}),
    (OpenDay, {"day": 7, "unavailable": [0, 5]}),
    (CloseDay, {"day": 0}),
]

WRONG: list[tuple[type[Body], dict[str, Any], str]] = [
    (Recommend, {}, "user_id"),
    (Recommend, {"user_id": -1}, "user_id"),
    (Recommend, {"user_id": 2**31}, "user_id"),
    (Recommend, {"user_id": "3"}, "user_id"),
    (Recommend, {"user_id": True}, "user_id"),
    (Recommend, {"user_id": 3.5}, "user_id"),
    (Recommend, {"user_id": None}, "user_id"),
    (Recommend, {"user_id": 3, "n": 0}, "n"),
    (Recommend, {"user_id": 3, "n": 101}, "n"),
    (Recommend, {"user_id": 3, "N": 10}, "N"),
    (Recommend, {"user_id": 3, "exclude": [0] * (MAX_EXCLUDED + 1)}, "exclude"),
    (Recommend, {"user_id": 3, "exclude": [-1]}, "exclude.0"),
    (Recommend, {"user_id": 3, "exclude": "5"}, "exclude"),
    (Recommend, {"user_id": 3, "deadline_ms": 0.5}, "deadline_ms"),
    (Recommend, {"user_id": 3, "deadline_ms": 60_001}, "deadline_ms"),
    (Recommend, {"user_id": 3, "deadline_ms": float("nan")}, "deadline_ms"),
    (Recommend, {"user_id": 3, "context": None}, "context"),
    (Recommend, {"user_id": 3, "context": {"visit": 16}}, "context.visit"),
    (Recommend, {"user_id": 3, "context": {"page": -1}}, "context.page"),
    (Recommend, {"user_id": 3, "context": {"day": -1}}, "context.day"),
    (Recommend, {"user_id": 3, "context": {"day": 10**30}}, "context.day"),
    (Recommend, {"user_id": 3, "context": {"second": 86_400}}, "context.second"),
    (Recommend, {"user_id": 3, "context": {"latency_ms": float("inf")}}, "context.latency_ms"),
    (Recommend, {"user_id": 3, "context": {"weather": "fine"}}, "context.weather"),
    (EventBody, {**EVENT, "event_id": ""}, "event_id"),
    (EventBody, {**EVENT, "event_id": "x" * 101}, "event_id"),
    (EventBody, {**EVENT, "event_id": 5}, "event_id"),
    (EventBody, {**EVENT, "impression_id": -1}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": 2**63}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": "9" * 19}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": "0" * 20}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": "-1"}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": "１２"}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": ""}, "impression_id"),
    (EventBody, {**EVENT, "impression_id": 1.0}, "impression_id"),
    (EventBody, {**EVENT, "type": "view"}, "type"),
    (EventBody, {**EVENT, "value": float("nan")}, "value"),
    (EventBody, {**EVENT, "time": float("-inf")}, "time"),
    (Feedback, {"events": []}, "events"),
    (Feedback, {"events": [EVENT] * (MAX_EVENTS + 1)}, "events"),
    (Feedback, {"events": [EVENT, {**EVENT, "type": "?"}]}, "events.1.type"),
    (Feedback, {"events": {"0": EVENT}}, "events"),
    (Deploy, {**DEPLOY, "action": "destroy"}, "action"),
    (Deploy, {**DEPLOY, "reason": ""}, "reason"),
    (Deploy, {"action": "pause"}, "reason"),
    (Deploy, {**DEPLOY, "reason": "x" * 1001}, "reason"),
    (Deploy, {**DEPLOY, "share": float("nan")}, "share"),
    (Deploy, {**DEPLOY, "alias": "segment"}, "alias"),
    (Deploy, {**DEPLOY, "steps": [0.1] * 21}, "steps"),
    (Deploy, {**DEPLOY, "version": "x" * 101}, "version"),
    (Deploy, {**DEPLOY, "day": 3}, "day"),
    (OpenDay, {"unavailable": []}, "day"),
    (OpenDay, {"day": 0, "unavailable": [-1]}, "unavailable.0"),
    (CloseDay, {"day": -1}, "day"),
    (CloseDay, {"day": "0"}, "day"),
]


@pytest.mark.parametrize(("kind", "content"), LAWFUL)
def test_what_is_lawful_is_taken(kind: type[Body], content: dict[str, Any]) -> None:
    """Up to the bounds, also as JSON."""
    assert kind.model_validate_json(json.dumps(content)) == kind.model_validate(content)


@pytest.mark.parametrize(("kind", "content", "field"), WRONG)
def test_what_is_not_is_refused_by_the_name_of_its_field(kind: type[Body], content: dict[str, Any], field: str) -> None:
    """Beyond the bounds, of another type, unknown, missing or not finite."""
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(content)
    assert field in {".".join(map(str, error["loc"])) for error in caught.value.errors()}


@given(st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_an_impression_is_a_number_or_a_word(impression_id: int) -> None:
    """Both mean the same; 63 bits survive."""
    for told in (impression_id, str(impression_id)):
        assert EventBody.model_validate({**EVENT, "impression_id": told}).impression_id == impression_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([Recommend, Feedback, Deploy, OpenDay, CloseDay]),
    st.dictionaries(
        st.sampled_from(["user_id", "n", "exclude", "context", "events", "action", "reason", "day", "unavailable"]),
        JSON,
    ),
)
@settings(deadline=None)
def test_whatever_is_said_is_taken_or_refused(kind: type[Body], content: dict[str, Any]) -> None:
    """There is no third way."""
    with contextlib.suppress(ValidationError):
        assert isinstance(kind.model_validate(content), kind)


def test_an_answer_says_all_that_its_impressions_are() -> None:
    """The log's columns by name, ids as decimal words; empty places are left out, and the rung is told."""
    slates = Slates(
        requests=Requests(
            day=12,
            user_id=np.array([7, GUESTS]),
            visit=np.array([1, 0]),
            page=np.array([2, 0]),
            second=np.array([3600, 0]),
            n=2,
        ),
        item_id=np.array([[5, 9], [3, NO_ITEM]]),
        propensity=np.array([[1.0, 0.25], [1.0, 1.0]]),
        source=np.array([[0, SOURCES.index("exploration")], [SOURCES.index("fallback")] * 2]),
        model_version=Labels(codes=np.array([0, 1]), names=("m1", *FALLBACKS)),
        arm=Labels(codes=np.array([2, 0]), names=ARMS),
        latency_ms=np.array([1.5, 0.0]),
    )
    first, second = (json.loads(text) for text in answers(slates))
    request_id = int(slates.requests.request_id[0])
    assert first == {
        "request_id": str(request_id),
        "day": 12,
        "second": 3600,
        "user_id": 7,
        "arm": "canary",
        "model_version": "m1",
        "rung": "personal",
        "source": "model",
        "latency_ms": 1.5,
        "items": [
            {
                "item_id": 5,
                "position": 0,
                "impression_id": str(request_id),
                "propensity": 1.0,
                "source": "model",
            },
            {
                "item_id": 9,
                "position": 1,
                "impression_id": str(request_id | 1),
                "propensity": 0.25,
                "source": "exploration",
            },
        ],
    }
    told = {name: second[name] for name in ("arm", "model_version", "rung", "source", "user_id")}
    expected = {"arm": "champion", "model_version": "fallback-segment", "rung": "segment", "source": "fallback"}
    assert told == {**expected, "user_id": GUESTS}
    assert [item["item_id"] for item in second["items"]] == [3]


def test_nobody_is_answered_nothing() -> None:
    """No slates, no answers."""
    nobody = np.empty(0, dtype=np.int64)
    empty = Slates(
        requests=Requests(day=0, user_id=nobody, visit=nobody, n=2),
        item_id=np.empty((0, 2), dtype=np.int64),
        propensity=np.empty((0, 2)),
        source=np.empty((0, 2), dtype=np.int64),
        model_version=Labels(codes=nobody, names=FALLBACKS),
        arm=Labels(codes=nobody, names=ARMS),
    )
    assert answers(empty) == []
