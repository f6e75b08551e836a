"""Counters: what this process has seen, and the sum over all workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simlab.recsys.watch import WINDOW, Watch, metrics_text


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_before_the_first_request_there_is_nothing_to_tell() -> None:
    """No percentile of nothing, and no division by it."""
    watch = Watch()
    assert (watch.rate(), watch.latency_ms(), watch.requests) == (0.0, {"p50": None, "p99": None}, 0)


def test_rate_and_latency_are_of_the_last_answers() -> None:
    """101 answers of 0 to 100 ms, worked by hand: per second of the window; median 50 and 99th percentile 99 ms."""
    watch = Watch()
    watch.answered([("champion", "personal", milliseconds / 1000) for milliseconds in range(101)])
    assert watch.rate() == 101 / WINDOW
    assert watch.latency_ms() == {"p50": pytest.approx(50), "p99": pytest.approx(99)}
    assert watch.requests == 101


def test_metrics_are_in_prometheus_text_format_and_count_up() -> None:
    """Slates by arm and rung, events by outcome, latency as a histogram; each counts what was told, no more."""
    watch, before = Watch(), values(metrics_text().decode())
    watch.answered([("canary", "segment", 0.003), ("canary", "segment", 30.0)])
    watch.received(["accepted", "accepted", "dead"], 0.25)
    after = values(metrics_text().decode())
    gained = {name: value - before.get(name, 0) for name, value in after.items() if not name[0].endswith("_created")}
    assert gained["simlab_slates_total", (("arm", "canary"), ("rung", "segment"))] == 2
    assert gained["simlab_events_total", (("outcome", "accepted"),)] == 2
    assert gained["simlab_events_total", (("outcome", "dead"),)] == 1
    assert gained["simlab_latency_seconds_count", ()] == 2
    assert gained["simlab_latency_seconds_bucket", (("le", "0.005"),)] == 1
    assert gained["simlab_latency_seconds_bucket", (("le", "+Inf"),)] == 2
    assert after["simlab_event_lag_seconds", ()] == watch.lag == 0.25
    assert watch.events == 3


_WORKER = """
from simlab.recsys.watch import Watch
Watch().answered([("champion", "personal", 0.001)] * {n})
"""

_ASKED = "from simlab.recsys.watch import metrics_text; print(metrics_text().decode())"


def test_workers_are_told_as_one(tmp_path: Path) -> None:
    """The exact sum, also of a worker that is no more."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def python(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        ).stdout

    for n in (3, 4):
        python(_WORKER.format(n=n))
    told = values(python(_ASKED))
    assert told["simlab_slates_total", (("arm", "champion"), ("rung", "personal"))] == 7
