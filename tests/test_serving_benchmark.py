"""The benchmark of the service runs, and what it tells is no nonsense; how fast anything is, no test says."""

import os
import re

import numpy as np
import pytest

from benchmarks.serving import QUICK, arrivals, capacity, rising, served, stage, swaps


def test_the_benchmark_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    """Every request is answered, after it was due; each stage is told; the processors are given back."""
    mine = os.sched_getaffinity(0)
    with served(60) as port:
        for path in ("/noop", "/recommend"):
            assert capacity(port, path, 100) > 0
            told = stage(port, path, 100, 0.3)
            assert told.failed == 0
            assert len(told.answer) == len(told.due) == 30
            assert (told.latency_ms > 0).all()
        top = rising(port, QUICK)
        swaps(port, 50, QUICK)
    assert top > 0
    assert os.sched_getaffinity(0) == mine
    said = capsys.readouterr().out
    assert len(re.findall(r"\b0 failed\)", said)) == 6
    assert "roll back" in said
    assert "inf" not in said
    assert "nan" not in said


def test_arrivals_come_at_their_rate() -> None:
    """Ten thousand gaps of a Poisson process: mean and standard deviation are 1/rate, to 5 standard errors."""
    gaps = np.diff(arrivals(1000, 10), prepend=0)
    assert len(gaps) == 10_000
    assert gaps.mean() == pytest.approx(0.001, rel=0.05)
    assert gaps.std() == pytest.approx(0.001, rel=0.1)
