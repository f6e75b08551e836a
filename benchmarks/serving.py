"""Speed of the service over HTTP: `python -m benchmarks.serving` prints a table.

The load is open-loop: requests come when they come, by a Poisson process, and do not wait for the answers before them;
latency counts from the moment a request was due, so that a server that stands still is charged for all who came
meanwhile (Tene, How NOT to Measure Latency, 2013). The server has one core, what makes the load the other. Beside
/recommend, /noop: the same request read, as many bytes answered, nothing done. Ratios hold on any machine, figures on
the one that is named; each slate is on the disk before it is answered, so the disk is measured too.
"""

import json
import os
import platform
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.world import N_DIMS, N, processor, say, world_of
from simlab.lab.serving import Server, free_port
from simlab.recsys.http import ServeConfig
from simlab.recsys.models import FactorModel, PopularityModel, SegmentModel
from simlab.recsys.public import write_public
from simlab.recsys.registry import Registry
from simlab.schema import Floats
from simlab.streams import stream

N_USERS = 20_000
CONNECTIONS = 64
TOKEN = "benchmark"
OLD, NEW = "old", "new"


class Size(NamedTuple):
    """How long all is measured."""

    at_once: int
    """Requests for one measurement of capacity."""
    seconds: float
    """Of each stage."""
    times: int
    """Repetitions of what is told by its median."""


FULL, QUICK = Size(5000, 5.0, 3), Size(100, 0.1, 1)


class Told(NamedTuple):
    """What came of requests, in their order."""

    due: Floats
    """Seconds since the start; shape (R,)."""
    done: Floats
    """The same clock, when the answer was there."""
    answer: list[bytes]

    @property
    def latency_ms(self) -> Floats:
        return 1000 * (self.done - self.due)

    @property
    def failed(self) -> int:
        return sum(not answer.startswith(b"HTTP/1.1 200 ") for answer in self.answer)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (len(self.answer) - self.failed) / float(self.done.max())


def offer(port: int, requests: Sequence[bytes], due: Floats, connections: int = CONNECTIONS) -> Told:
    """Sends each request when it is due, or, where all connections wait, as soon as one is free."""
    with selectors.DefaultSelector() as poll:
        free = deque(socket.create_connection(("127.0.0.1", port)) for _ in range(connections))
        for one in free:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(one, selectors.EVENT_READ, one)
        everyone, asked, heard = tuple(free), dict[socket.socket, int](), dict[socket.socket, bytes]()
        told = Told(due, np.full(len(due), np.nan), [b""] * len(due))
        sent, left, begin = 0, len(due), time.perf_counter()
        while left:
            now = time.perf_counter() - begin
            while free and sent < len(due) and due[sent] <= now:
                one = free.popleft()  # the one that rested longest: the server closes who rests for seconds
                asked[one], heard[one] = sent, b""
                one.sendall(requests[sent])
                sent += 1
            gap = due[sent] - now - 0.002 if free and sent < len(due) else 0.0  # a select may sleep for a ms too long
            for key, _ in poll.select(max(0.0, float(gap))):
                one, part = key.data, key.data.recv(1 << 16)
                if not part:
                    raise ConnectionError("the server has closed a connection")
                heard[one] += part
                if _whole(heard[one]):
                    told.done[asked[one]], told.answer[asked[one]] = time.perf_counter() - begin, heard[one]
                    free.append(one)
                    left -= 1
            if now > due[-1] + 60:
                raise TimeoutError(f"{left} of {len(due)} requests have no answer")
        for one in everyone:
            one.close()
    return told


def _whole(answer: bytes) -> bool:
    """Whether an answer is there with all of its body."""
    head, end, body = answer.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def post(path: str, body: dict[str, Any]) -> bytes:
    """A request as it goes over the wire."""
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def shoppers(path: str, n: int) -> list[bytes]:
    """Requests of `n` shoppers, one after another."""
    users = stream(0, "benchmark", path).integers(N_USERS, size=n).tolist()
    return [post(path, {"user_id": user_id, "n": N, "deadline_ms": 1000}) for user_id in users]


def arrivals(rate: float, seconds: float) -> Floats:
    """When those of a Poisson process come; shape (R,)."""
    gaps = stream(0, "benchmark arrivals").exponential(1 / rate, size=max(1, int(rate * seconds)))
    return np.asarray(np.cumsum(gaps))


def open_shop(run: Path, n_items: int) -> ServeConfig:
    """A shop with two factor models of random vectors, the older at work."""
    world, rng = world_of(N_USERS, n_items), stream(0, "benchmark model")
    write_public(run / "shop" / "public.npz", world.catalogue, world.shoppers)
    registry, nobody = Registry(run / "models"), np.zeros(0, dtype=np.int64)
    registry.register(PopularityModel(score=rng.normal(size=n_items)), "popular", {})
    segments = rng.normal(size=(len(world.shoppers.segment.names), n_items))
    registry.register(SegmentModel(score=segments, segment=nobody), "segments", {})
    for version in (OLD, NEW):
        model = FactorModel(
            user_vector=rng.normal(size=(N_USERS, N_DIMS)),
            item_vector=rng.normal(size=(n_items, N_DIMS)),
            item_bias=rng.normal(size=n_items),
            known=np.ones(N_USERS, dtype=bool),
        )
        registry.register(model, version, {"trained_day": 0})
    for alias, version in (("fallback", "popular"), ("segment", "segments"), ("champion", OLD)):
        registry.promote(version, alias=alias, day=0, actor="benchmark", reason="to be measured")
    return ServeConfig(run=str(run), token=TOKEN)


@contextmanager
def served(n_items: int) -> Iterator[int]:
    """The port of a server of such a shop; it has the first core, this process the second."""
    mine = os.sched_getaffinity(0)
    with TemporaryDirectory() as folder:
        server = Server(open_shop(Path(folder) / "run", n_items), free_port())
        os.sched_setaffinity(0, {min(mine)})  # what is started inherits it
        try:
            with server:
                os.sched_setaffinity(0, {max(mine)})
                yield server.port
        finally:
            os.sched_setaffinity(0, mine)


def capacity(port: int, path: str, n: int) -> float:
    """Answers a second where a request always waits."""
    return offer(port, shoppers(path, n), np.zeros(n)).rate


def stage(port: int, path: str, rate: float, seconds: float) -> Told:
    """What comes of requests at a rate."""
    due = arrivals(rate, seconds)
    return offer(port, shoppers(path, len(due)), due)


def percentiles(latency_ms: Floats) -> str:
    return " / ".join(f"{x:.1f}" for x in np.percentile(latency_ms, [50, 99, 99.9]))


def cost_us(pid: int, port: int, path: str, n: int) -> float:
    """Microseconds of the server's processor a request: tells less of who else uses the machine than a rate does."""
    before = _ticks(pid)
    offer(port, shoppers(path, n), np.zeros(n))
    return 1e6 * (_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / n


def _ticks(pid: int) -> int:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def rising(port: int, size: Size) -> float:
    """Capacity, then latency at rising rates, of both routes on one server; p50 of /recommend at the lowest rate."""
    for path in ("/noop", "/recommend"):
        capacity(port, path, size.at_once // 2)  # warms up
    most = [[capacity(port, path, size.at_once) for path in ("/noop", "/recommend")] for _ in range(size.times)]
    noop, top = (median(column) for column in zip(*most))
    say("capacity of /noop", f"{noop:,.0f} /s")
    say("capacity of /recommend, 500 items", f"{top:,.0f} /s")
    say("    of that of /noop", f"{median(mine / other for other, mine in most):.2f}", "0.6")
    say("at rising rates: p50 / p99 / p99.9 ms of /recommend", "", "of /noop")
    half = 0.0
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        told, nothing = (stage(port, path, share * top, size.seconds) for path in ("/recommend", "/noop"))
        name = f"    {share:.2f} of capacity, {share * top:,.0f} /s ({told.rate:,.0f} answered, {told.failed} failed)"
        say(name, percentiles(told.latency_ms), percentiles(nothing.latency_ms))
        if share == 0.5:
            half = float(np.percentile(told.latency_ms, 99))
    say("p99 at half of capacity", f"{half:.1f} ms", "10 ms")
    return float(top)


def low(port: int, size: Size) -> Floats:
    """Latencies in ms at 50 requests a second."""
    capacity(port, "/recommend", size.at_once // 50)  # warms up
    return stage(port, "/recommend", 50, 2 * size.seconds).latency_ms


def swaps(port: int, rate: float, size: Size) -> None:
    """A promotion and a rollback of the new model under load, again and again."""
    due = arrivals(rate, 2 * size.times + 1)  # a second for each
    requests, turns = shoppers("/recommend", len(due)), np.searchsorted(due, np.arange(1, 2 * size.times + 1)).tolist()
    for turn, action in zip(turns, ["promote", "rollback"] * size.times):
        change = {"action": action, "version": NEW if action == "promote" else None, "reason": "measured"}
        requests[turn] = post("/admin/deploy", change)
    told = offer(port, requests, due)
    answers = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in told.answer]
    version = np.array([answer.get("model_version", "") for answer in answers])
    first: dict[str, list[float]] = {OLD: [], NEW: []}
    last: list[float] = []
    for number, (turn, until) in enumerate(pairwise([*turns, len(due)])):
        begin, end = due[turn], due[until - 1]
        done = {name: told.done[(version == name) & (told.done > begin) & (told.done < end)] for name in (OLD, NEW)}
        after = OLD if number % 2 else NEW
        first[after].append(1000 * float(done[after].min(initial=np.inf) - begin))
        if after == OLD:
            last.append(1000 * float(done[NEW].max(initial=begin) - begin))
    say(f"swaps at {rate:,.0f} /s ({told.failed} failed): longest wait", f"{told.latency_ms.max():.0f} ms")
    for name, spent in (
        ("    from asking for the new model to its first answer", first[NEW]),
        ("    from asking to roll back to the old model's first answer", first[OLD]),
        ("    from asking to roll back to the new model's last answer", last),
    ):
        say(name, f"{median(spent):.0f} ms", f"at most {max(spent):.0f} ms")


def sync_ms(folder: Path) -> float:
    """Median milliseconds in which the disk takes a page for sure."""
    spent = []
    with (folder / "page").open("wb") as file:
        for _ in range(50):
            begin = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            spent.append(time.perf_counter() - begin)
    return 1000 * median(spent)


def main(size: Size = FULL, n_items: int = 100_000) -> None:
    say(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}", "measured", "aim")
    with TemporaryDirectory() as folder:
        say("the disk takes a page", f"{sync_ms(Path(folder)):.2f} ms")
    with served(500) as port:
        few = low(port, size)
        top = rising(port, size)
        swaps(port, 0.5 * top, size)
    with served(n_items) as port:
        many = low(port, size)
    say("at 50 /s: p50 / p99 / p99.9 ms, 500 items", percentiles(few))
    say(f"    {n_items:,} items", percentiles(many))
    say("    times as long at p50", f"{np.median(many) / np.median(few):.1f}", "3")


if __name__ == "__main__":
    if "--quick" in sys.argv:
        main(QUICK, 1000)
    else:
        main()
