"""The service over HTTP, as a whole: what is refused and how, what is never told, and how it begins and ends."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from simlab.errors import DataError, InboxError, ModelError, SimlabError
from simlab.lab.serving import free_port
from simlab.recsys import counter as counters
from simlab.recsys.control import ADMIN as ADMIN_ROUTES
from simlab.recsys.http import ServeConfig, app_from_environment, create_app, open_counter, registry_of
from simlab.recsys.routes import SHOP
from simlab.recsys.service import Served
from simlab.recsys.traffic import Traffic
from simlab.recsys.wire import MAX_BODY
from tests.recsys.counters import Raising, Slow
from tests.recsys.live import make_shop
from tests.recsys.shop import ADMIN, DAY, N_ITEMS, TOKEN, Shop, served


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Where nothing is changed for those who come after."""
    with served(tmp_path_factory) as shop:
        yield shop


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """For a test that turns it upside down."""
    with served(tmp_path_factory) as shop:
        yield shop


def put_to_work(shop: Shop, model: Slow) -> None:
    traffic = Traffic(champion="fake", row=shop.counter.registry.last_row())
    shop.counter.service.route(traffic, {"fake": Served(model, 0)})


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    told: dict[str, str] = answer.json()
    assert set(told) == {"error", "field"}
    return told


def routes(*, described: bool = False) -> set[tuple[str, str]]:
    """Every route, or those that are to be described, and how it is asked."""
    found = [route for route in (*SHOP.routes, *ADMIN_ROUTES.routes) if isinstance(route, APIRoute)]
    kept = [route for route in found if route.include_in_schema or not described]
    return {(route.path, method.lower()) for route in kept for method in route.methods or ()}


def references(part: Any) -> Iterator[str]:
    """Every $ref of a document."""
    if isinstance(part, dict):
        yield from ([part["$ref"]] if "$ref" in part else [])
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def test_the_description_is_valid_and_names_all_routes(shop: Shop) -> None:
    """OpenAPI 3.1: its schemas are JSON schemas, what they refer to is there, and they take what the server takes."""
    told = shop.client.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    named = {(path, method) for path, methods in told["paths"].items() for method in methods}
    assert named == routes(described=True)
    assert {path for path, _ in routes() - named} == {"/", "/ops", "/look.css"}
    for reference in references(told):
        place = told
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    asked = Draft202012Validator({"$ref": "#/components/schemas/Recommend", "components": told["components"]})
    assert asked.is_valid({"user_id": 3, "n": 10})
    assert not asked.is_valid({"user_id": 3, "n": 101})
    operations = [operation["operationId"] for methods in told["paths"].values() for operation in methods.values()]
    assert len(set(operations)) == len(operations)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/recommend", 405), ("DELETE", "/admin/deploy", 405), ("POST", "/healthz", 405)],
)
def test_unknown_addresses_are_told_in_our_words(method: str, path: str, status: int, shop: Shop) -> None:
    """JSON, like every refusal."""
    refused(shop.client.request(method, path), status)


BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"user_id"',
    b"\xff\xfe",
    b'{"user_id": NaN}',
    b'{"user_id": Infinity}',
    b'{"user_id": 3, "deadline_ms": NaN}',
    b'{"user_id": 3, "deadline_ms": 1e999}',
    b'{"user_id": 1' + b"0" * 400 + b"}",
    b'{"user_id": 1' + b"0" * 5000 + b"}",
    b'{"user_id": -0.0}',
    b'{"user_id": 3, "\\ud800": 1}',
    b'{"user_id": "\\ud800"}',
    b'{"user_id": 3, "exclude": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"user_id": 3, "context": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    b'{"user_id": 3, "exclude": [' + b"1," * 200_000 + b"1]}",
    b'{"events": [' + b'{"event_id":"a"},' * 5000 + b"{}]}",
]


@pytest.mark.parametrize("path", ["/recommend", "/feedback", "/noop"])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_no_body_is_too_odd_to_be_refused(path: str, body: bytes, shop: Shop) -> None:
    """Never a 5xx: 400 or 422 in our words, as short as one can wish."""
    answer = shop.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert set(answer.json()) == {"error", "field"}
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/xml", b"", b"application/x-www-form-urlencoded", b"\xff"]
)
def test_what_is_not_json_is_refused(kind: bytes, shop: Shop) -> None:
    """Whatever the body looks like."""
    answer = shop.client.post("/recommend", content=b"user_id=3", headers={b"content-type": kind})
    assert answer.status_code in (400, 415, 422), answer.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3),
    max_leaves=6,
)

NAMES = st.sampled_from(["user_id", "n", "exclude", "context", "deadline_ms", "events", "day", "unavailable", "visit"])

NEARLY = st.fixed_dictionaries(
    {"user_id": st.integers(-1, 2**31)},
    optional={
        "n": st.integers(0, 101),
        "exclude": st.lists(st.integers(-1, 2**31), max_size=5),
        "context": st.dictionaries(
            st.sampled_from(["visit", "page", "second", "day"]), st.integers(-1, 20), max_size=3
        ),
    },
)

EVENTS = st.fixed_dictionaries(
    {
        "events": st.lists(
            st.fixed_dictionaries(
                {
                    "event_id": st.text(max_size=4),
                    "impression_id": st.integers(0, 2**63) | st.text(max_size=4),
                    "type": st.sampled_from(["click", "purchase", "rating", "return"]),
                },
                optional={"value": st.floats() | st.none(), "time": st.floats() | st.integers(-(2**70), 2**70)},
            ),
            max_size=3,
        )
    }
)


@given(
    path=st.sampled_from(["/recommend", "/feedback", "/admin/day", "/admin/deploy", "/noop"]),
    body=JSON | st.dictionaries(NAMES, JSON, max_size=4) | NEARLY | EVENTS,
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_said_is_never_our_fault(path: str, body: Any, shop: Shop) -> None:
    """No 5xx and no hang; each refusal has its words."""
    content = json.dumps(body)
    answer = shop.client.post(path, content=content, headers={**ADMIN, "content-type": "application/json"})
    assert answer.status_code in (200, 400, 409, 422), (content, answer.text)
    if answer.status_code != 200:
        assert set(answer.json()) == {"error", "field"}
    assert shop.client.get("/healthz").status_code == 200


def test_a_long_body_is_refused_before_it_is_read(shop: Shop) -> None:
    """413 where its length is told, and where it comes in pieces without; up to the bound it is read."""
    heads = {"content-type": "application/json"}
    lawful = b'{"user_id": 3, "n": 1' + b" " * (MAX_BODY - 22) + b"}"
    assert len(lawful) == MAX_BODY
    assert shop.client.post("/recommend", content=lawful, headers=heads).status_code == 200
    for route in ("/recommend", "/feedback", "/admin/day"):
        told = refused(shop.client.post(route, content=lawful + b" ", headers={**heads, **ADMIN}), 413)
        assert str(MAX_BODY) in told["error"]
    pieces = (lawful[first : first + 65_536] for first in range(0, MAX_BODY, 65_536))
    assert shop.client.post("/recommend", content=pieces, headers=heads).status_code == 200
    pieces = (b" " * 65_536 for _ in range(17))
    assert str(MAX_BODY) in refused(shop.client.post("/recommend", content=pieces, headers=heads), 413)["error"]


def test_a_raising_model_is_answered_for_by_a_lower_rung(own: Shop) -> None:
    """200, at once, with the rung in the answer."""
    put_to_work(own, Raising(N_ITEMS))
    answer = own.ask(3, deadline_ms=60_000)
    assert (answer["rung"], answer["model_version"], answer["arm"]) == ("segment", "fallback-segment", "champion")
    assert own.counter.service.failures["fake"] == 1


def test_a_slow_model_is_answered_for_within_the_deadline(own: Shop) -> None:
    """While the model is still at work the shopper has a slate, kept like any other."""
    slow = Slow(N_ITEMS)
    put_to_work(own, slow)
    try:
        answer = own.ask(3, deadline_ms=50)
        assert slow.begun.is_set()
        assert (answer["rung"], len(answer["items"])) == ("segment", 3)
        assert own.tell(("a", answer["items"][0]["impression_id"], "click"))[0]["outcome"] == "accepted"
    finally:
        slow.go.set()


def test_who_would_wait_too_long_is_told_when_to_come_again(own: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, and nothing has happened; the same again is served when there is room."""
    event = {"event_id": "a", "impression_id": own.ask(3)["request_id"], "type": "click"}
    before = own.counter.inbox.counts()
    monkeypatch.setattr(counters, "QUEUE", -1)  # no room for anybody
    for route, body in (("/recommend", {"user_id": 3}), ("/feedback", {"events": [event]})):
        answer = own.client.post(route, json=body)
        assert "come again" in refused(answer, 503)["error"]
        assert answer.headers["retry-after"] == "1"
    assert own.counter.inbox.counts() == before
    monkeypatch.undo()
    assert own.client.post("/feedback", json={"events": [event]}).json()["receipts"][0]["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InboxError("inbox", "disk", "no room"), 503),
        (SimlabError("something", 1, "unheard of"), 500),
        (ValueError("a bug of ours"), 500),
    ],
)
def test_our_own_faults_are_told_without_details(
    error: Exception, status: int, own: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503 where the same request can be sent again; a bug is 500 in two words, with all of it in the log."""

    def broken(*_: object) -> Any:
        raise error

    answer_before = own.ask(3)
    monkeypatch.setattr(own.counter.inbox, "commit", broken)
    told = refused(own.client.post("/recommend", json={"user_id": 3}), status)
    event = {"event_id": "a", "impression_id": answer_before["request_id"], "type": "click"}
    refused(httpx.post(f"{own.client.base_url}/feedback", json={"events": [event]}), status)  # uvicorn has hung up
    if isinstance(error, ValueError):
        assert told["error"] == "this is our bug: see the server's log"
        assert "a bug of ours" in caplog.text
    monkeypatch.undo()
    assert own.ask(3)["user_id"] == 3


def test_the_token_is_in_no_log_and_no_answer(own: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is asked and whatever goes wrong: at the lowest level of all loggers, and in all that is public."""
    caplog.set_level(logging.DEBUG)
    own.register("m2", [1])
    told = [own.admin("deploy", action="promote", version="m2", reason="to see").text]
    told.append(own.admin("deploy", action="pause", reason="to see").text)
    told.append(own.admin("day", day="?").text)
    told.append(own.admin("close-day", day=DAY).text)
    told.append(own.client.post("/admin/day", json={}, headers={"Authorization": f"Bearer {TOKEN}x"}).text)
    told += [own.client.get(path).text for path, method in routes() if method == "get" and path != "/ops/events"]
    told.append(own.client.get("/openapi.json").text)
    assert "day closed" in caplog.text
    assert TOKEN not in caplog.text
    assert all(TOKEN not in text for text in told)


def test_opening_and_closing_are_in_the_log(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of JSON each, and what was answered is still there for who opens the shop again."""
    caplog.set_level(logging.INFO, "simlab.serve")
    with served(tmp_path_factory) as shop:
        first = shop.ask(3, context={"visit": 1, "page": 0})
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "simlab.serve"]
    assert [line["event"] for line in lines] == ["open", "closed"]
    assert lines[0]["day"] == DAY
    counter = open_counter(shop.config)
    assert counter.inbox.counts()[DAY]["slates"] == 1
    assert counter.inbox.next_number(3, DAY) == 0
    assert first["day"] == counter.day
    counter.close()
    counter.inbox.close()


def test_a_stream_ends_when_the_server_is_told_to_stop(tmp_path: Path) -> None:
    """It has no end of its own, and yet nothing has to be cancelled: the log has no word of it."""
    config, port = make_shop(tmp_path / "run"), free_port()
    environment = {**os.environ, "SIMLAB_SERVE": json.dumps(asdict(config))}
    command = [sys.executable, "-m", "simlab.lab.serving", str(port), "1"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        begun = next(line for line in process.stderr if '"event"' in line)
        assert json.loads(begun)["event"] == "open"
        transport = httpx.HTTPTransport(retries=10)
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=60) as client,
            client.stream("GET", "/ops/events") as answer,
        ):
            lines = answer.iter_lines()
            assert next(lines).startswith("data: ")
            process.terminate()
            assert [line for line in lines if line and not line.startswith("data: ")] == []  # it ends, as it should
        said = [line for line in process.stderr.read().splitlines() if "leak" not in line and "skipped" not in line]
        assert json.loads(said[0])["event"] == "closed"
        assert not {"Traceback", "Cancel"} & {word for line in said for word in line.split()}


@pytest.mark.parametrize("part", ["shop/public.npz", "models/segment-day00000", "models/history"])
def test_a_run_that_lacks_something_does_not_open(
    part: str, tmp_path_factory: pytest.TempPathFactory, own: Shop
) -> None:
    """The error names what is missing."""
    place = Path(own.config.run) / part
    place.rename(place.parent / "away")
    with pytest.raises((DataError, ModelError)):
        open_counter(own.config)


def test_a_fallback_of_another_kind_is_refused(own: Shop) -> None:
    """The lower rungs are what they are called, or nobody could rely on them."""
    registry = registry_of(Path(own.config.run))
    registry.promote("segment-day00000", alias="fallback", day=DAY, actor="test", reason="by mistake")
    with pytest.raises(ModelError, match="fallbacks.*SegmentModel"):
        open_counter(own.config)


def test_worker_processes_find_their_settings(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON in the environment, every one of them; unknown ones are refused."""
    monkeypatch.setenv("SIMLAB_SERVE", json.dumps(asdict(shop.config)))
    assert app_from_environment().state.config == shop.config
    assert create_app(replace(shop.config, judge=False)).state.config.judge is False
    monkeypatch.setenv("SIMLAB_SERVE", json.dumps({**asdict(shop.config), "tokn": "x"}))
    with pytest.raises(SimlabError, match="tokn"):
        app_from_environment()


def test_a_row_carries_the_time_of_the_servers_clock(tmp_path: Path, shop: Shop) -> None:
    """ISO 8601 with milliseconds."""
    shutil.copytree(Path(shop.config.run) / "models", tmp_path / "models")
    registry = registry_of(tmp_path, clock=lambda: datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC))
    registry.promote(shop.champion, alias="mine", day=DAY, actor="test", reason="to see")
    assert registry.history()[-1]["time"] == "2026-01-02T03:04:05.678+00:00"


def test_a_config_knows_what_it_needs() -> None:
    """Run and token; all else has a default, and the judge sits."""
    config = ServeConfig(run="runs/x", token="t")
    assert (config.inbox, config.judge, config.seed) == ("", True, 0)
