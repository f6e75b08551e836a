"""The benchmark of the watch runs in small, and what it tells is no nonsense."""

import re

import pytest

from benchmarks.monitoring import QUICK, main, policies


def test_the_benchmark_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    """Two faults that tables show are caught on their day; a quiet month has no alarm."""
    main(QUICK)
    said = capsys.readouterr().out
    assert re.search(r"price-unit: 100%, 100% / 0 d\s+price\b", said)
    assert re.search(r"pipeline-dead: 100%, 100% / 0 d\s+no_impressions\b", said)
    assert re.search(r"named in 90 % of seeds, of 2\s+2\b", said)
    assert re.search(r"false alarms a quarter\s+0\.00\b", said)


def test_policies_are_told_in_small() -> None:
    """A line each, `never` first with nothing gained and nothing trained, and the best slates last."""
    lines = policies("drifting", [1], 8)
    assert lines[0][:2] == ("    drifting, never, 0.0 trainings", "+0.0 k (0.0 to 0.0)")
    assert "100.0% of the best scheduled profit" in [line[2] for line in lines if "scheduled" in line[0]]
    assert "best" in lines[-1][0]
    assert all("nan" not in " ".join(line) for line in lines)
