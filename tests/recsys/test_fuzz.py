"""Requests that nobody in their right mind would send: each gets an answer, none is the server's fault, none stays."""

import contextlib
import http.client
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from simlab.lab.serving import Server, free_port
from simlab.recsys.wire import MAX_BODY
from tests.recsys.live import TOKEN, make_shop


class Sent(NamedTuple):
    """A request, as it is sent."""

    method: bytes
    path: bytes
    headers: list[bytes]
    body: bytes


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 1, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400]),
    st.floats(),
    st.text(st.characters(exclude_categories=[]), max_size=20),
    st.sampled_from(["", "1e999", "\x00", "\ud800", "０", "-0", "9" * 5000, "a" * 101, "true", "‮"]),
)
JSON = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def nearly(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A body that is right, or lacks something, or has some fields odd, and now and then one that does not belong."""
    odd = {name: right | JSON for name, right in fields.items()}
    right = st.fixed_dictionaries(fields)
    return st.one_of(right, right, st.fixed_dictionaries({}, optional={**odd, "more": JSON}))


WHOLE = st.integers(0, 3000)
CONTEXT = nearly(
    day=st.just(0),
    visit=st.integers(0, 15),
    page=st.integers(0, 15),
    second=WHOLE,
    latency_ms=st.floats(0, 1e6),
)
EVENT = nearly(
    event_id=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5),
    impression_id=st.integers(0, 2**64) | st.integers(0, 2**64).map(str),
    type=st.sampled_from(["click", "purchase", "rating", "return", "view"]),
    value=st.floats(0, 10),
    time=st.floats(0, 1e6),
)
BODIES = {
    "/recommend": nearly(
        user_id=WHOLE,
        n=st.integers(1, 60),
        exclude=st.lists(WHOLE, max_size=9),
        context=CONTEXT,
        deadline_ms=st.floats(1, 500),
    ),
    "/noop": nearly(user_id=WHOLE, n=st.integers(1, 100)),
    "/feedback": nearly(events=st.lists(EVENT, min_size=1, max_size=3)),
    "/admin/deploy": nearly(
        action=st.sampled_from(["promote", "challenger", "canary", "shadow", "pause", "resume", "end", "rollback"]),
        version=st.sampled_from(["v000", "v001", "popular", "../v000", "history"]),
        alias=st.sampled_from(["champion", "canary", "fallback"]),
        share=st.floats(0, 1),
        reason=st.text(min_size=1, max_size=9),
    ),
    "/admin/day": nearly(day=st.integers(0, 3), unavailable=st.lists(WHOLE, max_size=5)),
    "/admin/close-day": nearly(day=st.integers(1, 2**40)),  # a day ahead: nothing is moved
}
READ = ["/", "/ops", "/healthz", "/readyz", "/metrics", "/openapi.json", "/catalogue", "/shoppers", "/ops/state"]
QUERIES = st.sampled_from(["", "", "?n=5", "?n=0", "?n=1e9", "?n=\\x00", "?n=%ff&n=2", "?" + "q" * 3000])
PATHS = st.sampled_from([*BODIES, *READ]) | st.text(max_size=12).map(lambda text: "/" + text)
METHODS = st.sampled_from(
    [b"POST", b"POST", b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"BREW", b"post"]
)
KINDS = st.sampled_from(
    [b"application/json", b"application/json; charset=latin-9", b"text/plain", b"", b"\xff/;=", b"a/b"]
)
TOKENS = st.sampled_from([b"Bearer", b"Bearer \xff\xfe", b"Basic Og==", b"x" * 5000])
RAW = st.one_of(
    st.binary(max_size=60),
    st.integers(1, 50_000).map(lambda depth: b"[" * depth),
    st.integers(1, 50_000).map(lambda depth: b'{"a":' * depth),
    st.integers(1, 20_000).map(lambda digits: b'{"user_id": ' + b"9" * digits + b"}"),
)
LARGE = st.sampled_from([MAX_BODY - 40, MAX_BODY + 1]).map(lambda size: b'{"user_id": 1, "x": "' + b"x" * size + b'"}')


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Mostly a body that nearly fits its route; else something worse."""
    dice = draw(st.integers(0, 99))
    path = draw(st.sampled_from(list(BODIES))) if dice < 80 else draw(PATHS)
    method = b"POST" if dice < 75 else draw(METHODS)
    text = json.dumps(draw(BODIES.get(path, JSON) if dice < 70 else JSON)).encode()
    body = text if dice < 85 else text[: len(text) // 2] if dice < 88 else draw(LARGE) if dice == 99 else draw(RAW)
    headers = [b"Content-Type: " + (b"application/json" if dice < 80 else draw(KINDS))]
    if path.startswith("/admin") and dice % 4:
        headers.append(b"Authorization: Bearer " + TOKEN.encode())
    elif dice > 90:
        headers.append(b"Authorization: " + draw(TOKENS))
    if dice in (96, 97):
        headers.append(b"X-" + draw(st.binary(max_size=9)) + b": " + draw(st.binary(max_size=9)))
    query = draw(QUERIES) if dice > 80 else ""
    return Sent(method, (path + query).encode(), headers, body)


class Asker:
    """Sends what no client would, and reads what comes."""

    def __init__(self, server: Server) -> None:
        self.server, self.statuses = server, Counter[int]()
        self._socket: socket.socket | None = None

    def ask(self, sent: Sent) -> None:
        """One request and its answer, within 20 seconds; none of them a 5xx, but for a 503 that says why."""
        used = self._socket is not None
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
        length = b"Content-Length: %d" % len(sent.body)
        head = b"\r\n".join([sent.method + b" " + sent.path + b" HTTP/1.1", b"Host: shop", length, *sent.headers])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have heard enough, and say so
            self._socket.sendall(head + b"\r\n\r\n" + sent.body)
        answer = http.client.HTTPResponse(self._socket, method=sent.method.decode())
        try:
            answer.begin()
            told = answer.read()
        except (ConnectionResetError, http.client.BadStatusLine):
            self.close()
            if used:  # the server hangs up on who is silent for seconds
                self.ask(sent)
                return
            assert len(sent.body) > MAX_BODY  # refused before all was sent
            self.statuses[0] += 1
            return
        self.statuses[answer.status] += 1
        assert answer.status < 500 or (answer.status == 503 and json.loads(told)["error"]), (answer.status, told)
        if answer.will_close or answer.status in (400, 413):
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    config = make_shop(tmp_path_factory.mktemp("fuzz") / "run", 2)
    with Server(config, free_port()) as server:
        asker = Asker(server)
        yield asker
        asker.close()


def megabytes(process: int) -> float:
    """What the process holds in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize("n", [1500, pytest.param(100_000, marks=pytest.mark.soak)])
def test_whatever_is_asked_there_is_an_answer(n: int, asker: Asker) -> None:
    """No 5xx but for a 503 with its reason, no silence, and no memory that grows with what was asked."""

    def part(number: int, examples: int) -> None:
        @seed(number)
        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(requests())
        def ask(sent: Sent) -> None:
            asker.ask(sent)

        ask()

    assert asker.server.process is not None
    process = asker.server.process.pid
    part(1, n // 3)
    warm = megabytes(process)
    part(2, n - n // 3)
    grown = megabytes(process) - warm
    print(f"{n} requests: {sorted(asker.statuses.items())}; {warm:.0f} MB, {grown:+.0f} MB")
    assert grown < 40
    well = {"user_id": 5, "n": 3}
    asker.ask(Sent(b"POST", b"/recommend", [b"Content-Type: application/json"], json.dumps(well).encode()))
    assert not asker.server.died
