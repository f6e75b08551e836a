"""A service that is killed again and again, and one whose disk is full: what was acknowledged is there, once."""

import resource
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simlab.lab.serving import Server, free_port
from simlab.recsys.http import ServeConfig
from simlab.recsys.letters import day_of
from simlab.recsys.log import EventLog
from simlab.streams import stream
from tests.recsys.live import N_USERS, Client, N, make_shop, together, wait_until

CLIENTS = 6


@dataclass
class Book:
    """What clients have said, and what they were told for sure."""

    asked: set[tuple[int, int, int]] = field(default_factory=set)
    """User, visit, page."""
    slates: dict[int, list[int]] = field(default_factory=dict)
    """The items of each request_id that was answered."""
    told: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The impression and the type of each event."""
    receipts: dict[str, str] = field(default_factory=dict)
    """What became of each event that was acknowledged."""
    clients: list[Client] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """How often clients were told to come again."""
        return sum(client.refused for client in self.clients)


def shop_and_tell(client: Client, number: int, book: Book, over: threading.Event) -> None:
    """Slates and events of one client, each sent again with the same ids until it is answered."""
    for turn in range(1 << 30):
        user_id, page = number + CLIENTS * (turn % (N_USERS // CLIENTS)), turn // (N_USERS // CLIENTS) % 256
        who = user_id, page >> 4, page & 15
        book.asked.add(who)
        body = {"user_id": user_id, "n": N, "context": {"visit": who[1], "page": who[2]}, "deadline_ms": 30_000}
        heard = client.until("/recommend", body, over)
        if heard is None:
            return
        status, answer = heard
        assert status == 200, answer
        request_id, items = int(answer["request_id"]), [item["item_id"] for item in answer["items"]]
        assert book.slates.setdefault(request_id, items) == items
        events = list[dict[str, str | float]]()
        for kind, place in (("click", 0), ("purchase", 0), ("rating", 1)):
            name, about = f"{request_id}-{kind}", request_id | place
            book.told[name] = about, kind
            events.append({"event_id": name, "impression_id": str(about), "type": kind, "value": 2.5})
        heard = client.until("/feedback", {"events": events}, over)
        if heard is None:
            return
        status, answer = heard
        assert status == 200, answer
        book.receipts |= {receipt["event_id"]: receipt["outcome"] for receipt in answer["receipts"]}


def close_days(server: Server, day: int, over: threading.Event) -> None:
    """Says that the day is over, and hangs on whatever happens."""
    client = Client(server.port)
    client.until("/admin/close-day", {"day": day}, over)
    client.close()


@contextmanager
def crowd(server: Server) -> Iterator[Book]:
    """Clients who shop and tell, to the end and a little longer; what they know."""
    book, over = Book(clients=[Client(server.port) for _ in range(CLIENTS)]), threading.Event()

    def work(number: int) -> None:
        shop_and_tell(book.clients[number], number, book, over)
        book.clients[number].close()

    threads, wrong = together(work, CLIENTS)
    try:
        yield book
        before = len(book.receipts)
        wait_until(lambda: bool(wrong) or len(book.receipts) > before + 20)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def shaken(config: ServeConfig, kills: int, *, closing: bool) -> tuple[Book, int]:
    """What clients know after so many kills, every other one in the midst of closing a day; and the days."""
    luck, pause = stream(0, "moments of death"), threading.Event()
    server, day = Server(config, free_port()), 0
    with server:
        with crowd(server) as book:
            for number in range(kills):
                pause.wait(float(luck.uniform(0.02, 0.7)))
                over = threading.Event()
                closer = threading.Thread(target=close_days, args=(server, day, over))
                if closing and number % 2:
                    closer.start()
                    pause.wait(float(luck.uniform(0.0, 0.3)))
                    day += 1
                server.kill()
                server.start()
                if closer.ident is not None:
                    closer.join()
        server.post("/admin/close-day", {"day": day})
    return book, day + 1


def check(book: Book, log: EventLog, days: int) -> None:
    """Every slate and event that was acknowledged is in the log exactly once, and nothing that nobody sent."""
    assert log.days == list(range(days))
    shown = log.sql("select request_id, position, item_id, clicked, impression_id from impressions where day >= 0")
    kept: dict[int, list[int]] = {}
    shown = shown.sort_values(["request_id", "position"])
    for number, item in zip(shown["request_id"].tolist(), shown["item_id"].tolist(), strict=True):
        kept.setdefault(number, []).append(item)
    assert {number: kept.get(number) for number in book.slates} == book.slates
    assert {(n >> 16 & 0x7FFFFFFF, n >> 12 & 15, n >> 8 & 15) for n in kept} <= book.asked
    found = Counter((int(one), "click") for one in shown["impression_id"][shown["clicked"]])
    for part in range(days):
        rows = log.day(part)[1]
        found.update(zip(rows["impression_id"].to_pylist(), rows["kind"].to_pylist(), strict=True))
    assert set(found.values()) <= {1}
    acknowledged = {book.told[name] for name, outcome in book.receipts.items() if outcome != "dead"}
    assert acknowledged <= set(found) <= set(book.told.values())
    late = [book.told[name] for name, outcome in book.receipts.items() if outcome == "dead"]
    assert all(kind == "click" and day_of(about) < days - 1 for about, kind in late)  # its day was closed in between
    assert not set(late) & set(found)


LONG = pytest.mark.soak


def kill(config: ServeConfig, kills: int, *, closing: bool) -> None:
    book, days = shaken(config, kills, closing=closing)
    check(book, EventLog(Path(config.run) / "log"), days)
    print(f"{kills} kills, {days} days: {len(book.slates)} slates, {len(book.receipts)} events acknowledged")


@pytest.mark.parametrize(
    ("kills", "closing"),
    [(2, True), pytest.param(50, False, marks=LONG), pytest.param(50, True, marks=LONG)],
)
def test_kills_in_sqlite(kills: int, closing: bool, tmp_path: Path) -> None:
    """kill -9 at random moments under load, also in the midst of closing a day."""
    kill(make_shop(tmp_path / "run"), kills, closing=closing)


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=LONG)])
def test_kills_in_postgresql(kills: int, new_schema: Callable[[], str], tmp_path: Path) -> None:
    """The same where events are kept by PostgreSQL."""
    kill(make_shop(tmp_path / "run", inbox=new_schema()), kills, closing=True)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=LONG)])
def test_a_disk_that_fills(times: int, tmp_path: Path) -> None:
    """Who asks is told 503 and to come again; nothing acknowledged is lost, and with room again all goes on.

    The disk is a limit to the length of a file, which is drawn and lifted while the server runs.
    """
    config = make_shop(tmp_path / "run")
    with Server(config, free_port()) as server:
        assert server.process is not None
        number, limit = server.process.pid, resource.RLIMIT_FSIZE
        with crowd(server) as book:
            for _ in range(times):
                told = len(book.receipts)
                wait_until(lambda told=told: len(book.receipts) > told + 20)  # type: ignore[misc]
                length = (tmp_path / "run" / "inbox.sqlite-wal").stat().st_size
                resource.prlimit(number, limit, (max(length // 2, 1), resource.RLIM_INFINITY))
                refused = book.refused
                wait_until(lambda refused=refused: book.refused > refused + 10)  # type: ignore[misc]
                resource.prlimit(number, limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        server.post("/admin/close-day", {"day": 0})
    check(book, EventLog(tmp_path / "run" / "log"), 1)
    print(f"full {times} times: {book.refused} refused, {len(book.receipts)} events acknowledged")
