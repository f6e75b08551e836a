"""What a serving process has seen: counters for Prometheus, and the last answers for the control room.

With several workers each counts its own; where PROMETHEUS_MULTIPROC_DIR names a folder (simlab serve sees to it), what
/metrics tells is the exact sum of all, also of those that have been started anew.
"""

import collections
import os
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Sequence

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)

ANSWERS = Counter("simlab_slates", "Slates answered and kept", ["arm", "rung"])
RECEIPTS = Counter("simlab_events", "Events received, by what became of them", ["outcome"])
LATE = Counter("simlab_late", "Requests answered by a lower rung because the deadline came first")
FAILURES = Counter("simlab_model_failures", "Batches in which a model raised an error", ["version"])
ERRORS = Counter("simlab_http_errors", "Requests refused or failed, by status", ["status"])
WAITED = Histogram("simlab_latency_seconds", "From a request's coming to its slate being kept", buckets=_STEPS)
LAG = Gauge("simlab_event_lag_seconds", "From the last events' coming to being kept", multiprocess_mode="max")

for _outcome in ("accepted", "duplicate", "dead"):
    RECEIPTS.labels(_outcome)  # told from the start, as 0: a pipe that never worked looks like no pipe at all

WINDOW = 10.0
"""Seconds over which the control room's rate and latency are told."""


class Watch:
    """The last answers of this process."""

    def __init__(self) -> None:
        self.requests = self.events = 0
        """Since the start of this process."""
        self.lag = 0.0
        """Seconds."""
        self._failed = collections.Counter[str]()
        self._last: deque[tuple[float, float]] = deque(maxlen=20_000)

    def answered(self, slates: Sequence[tuple[str, str, float]]) -> None:
        """Slates were kept: of an arm, by a rung, so many seconds after they were asked for."""
        now = time.monotonic()
        self.requests += len(slates)
        for (arm, rung), n in Tally((arm, rung) for arm, rung, _ in slates).items():
            ANSWERS.labels(arm, rung).inc(n)
        for _, _, seconds in slates:
            self._last.append((now, seconds))
            WAITED.observe(seconds)

    def received(self, outcomes: Sequence[str], lag: float) -> None:
        """Events were kept, the first of them `lag` seconds after it came."""
        self.events += len(outcomes)
        self.lag = lag
        LAG.set(lag)
        for outcome in outcomes:
            RECEIPTS.labels(outcome).inc()

    def failed(self, failures: collections.Counter[str]) -> None:
        """Takes in how often each version has raised an error so far."""
        for version, n in failures.copy().items():
            FAILURES.labels(version).inc(max(0, n - self._failed[version]))
            self._failed[version] = n

    def rate(self) -> float:
        """Slates a second, over the last WINDOW."""
        return len(self._recent()) / WINDOW

    def latency_ms(self) -> dict[str, float | None]:
        """Median and 99th percentile over the last WINDOW; None without requests."""
        recent = self._recent()
        names = {"p50": 50, "p99": 99}
        return {name: 1000 * float(np.percentile(recent, q)) if recent else None for name, q in names.items()}

    def _recent(self) -> list[float]:
        first = time.monotonic() - WINDOW
        return [seconds for when, seconds in self._last.copy() if when >= first]


def metrics_text() -> bytes:
    """What /metrics answers, in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
