"""Cases: what a learner gets, the seal, and the points."""

import json
from pathlib import Path

import pytest

from simlab.cli import main
from simlab.errors import ConfigError, DataError, RunError
from simlab.lab.case import NOTHING, POINTS, Answer, grade, look, new_case, points_of, secrets_of
from simlab.lab.drills import FIRST, LAST, incident_of
from simlab.lab.incidents import FAULTS, Incident


def told_of(seed: int) -> Incident | None:
    return incident_of(secrets_of(seed)[1])


SEED = next(seed for seed in range(1000) if (told := told_of(seed)) is not None and told.fault == "stock-out")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_case(SEED, tmp_path_factory.mktemp("cases") / "case")


def test_seeds_stand_for_all_that_can_happen() -> None:
    """Every fault, and nothing, within a few hundred seeds; on every day that there may be."""
    told = [incident_of(seed) for seed in range(400)]
    assert {None if one is None else one.fault for one in told} == {None, *FAULTS}
    assert {one.day for one in told if one is not None and not one.kind.slow} == set(range(FIRST, LAST + 1))


def test_a_case_holds_what_a_company_has(case: Path) -> None:
    """No settings of the world, no truth, no seed; the seal is a digest and says nothing else."""
    names = {file.relative_to(case).parts[0] for file in case.rglob("*") if file.is_file()}
    assert names == {"log", "models", "seen", "shop", "days.csv", "READ_ME.txt", "seal.json"}
    seal = json.loads((case / "seal.json").read_text())
    assert set(seal) == {"format", "sha256", "days"}
    assert not [file for file in case.rglob("*") if file.name in ("world.npz", "config.json", "metrics.parquet")]
    told = "".join(file.read_text() for file in case.rglob("*.json"))
    shop, luck = secrets_of(SEED)
    assert str(shop) in told  # of the trainings, which are the company's own
    assert str(luck) not in told
    assert incident_of(shop) != told_of(SEED)


def test_a_right_answer_gets_all_points(case: Path) -> None:
    """Detected, located, dated, cured at once: nearly all of the money is saved."""
    told = told_of(SEED)
    assert told is not None
    result = grade(case, SEED, Answer(fault=told.fault, day=told.day, cure=told.kind.cure))
    assert {name: result.points[name] for name in list(POINTS)[:4]} == {name: POINTS[name] for name in list(POINTS)[:4]}
    assert result.lost > 0
    assert result.points["saving"] == 10
    assert "sold_out" in result.alert
    assert result.truth["fault"] == told.fault


def test_an_answer_gets_what_is_right_of_it() -> None:
    """20 for seeing that something is wrong, 15 for the place, 12 and 6 for the date, nothing for a wrong cure; where
    nothing has happened, all for saying so."""
    told = Incident(fault="stock-out", day=24)
    off = points_of(told, Answer(fault="bots", day=28, cure="wait"), 0.0, 100.0)
    assert off == {"detecting": 20.0, "locating": 0.0, "dating": 6.0, "curing": 0.0, "saving": 0.0}
    late = Answer(fault="late-events", day=27, cure="block-bots")
    beside = points_of(Incident(fault="bots", day=24), late, 25.0, 50.0)
    assert beside == {"detecting": 20.0, "locating": 15.0, "dating": 12.0, "curing": 20.0, "saving": 5.0}
    assert sum(points_of(told, Answer(fault=NOTHING, day=24, cure="restock"), 0.0, 100.0).values()) == 0
    assert points_of(None, Answer(fault=NOTHING, day=None, cure="wait"), 0.0, 0.0) == POINTS
    slow = Incident(fault="season", day=1)
    assert points_of(slow, Answer(fault="season", day=None, cure="wait"), 0.0, 0.0) == POINTS
    shift = Incident(fault="taste-shift", day=24)
    assert points_of(shift, Answer(fault="taste-shift", day=24, cure="train-again"), -5.0, -5.0) == POINTS


@pytest.mark.parametrize(("day", "points"), [(21, 20), (22, 20), (28, 20), (29, 20), (32, 6), (19, 12), (10, 0)])
def test_what_is_wrong_in_training_shows_at_the_next_one(day: int, points: int) -> None:
    """The job stops on day 22, and trains on days that are multiples of 7: no day from 22 to 28 can be told apart."""
    told = points_of(Incident(fault="stale-model", day=22), Answer(fault="stale-model", day=day, cure="wait"), 0.0, 1.0)
    assert told["dating"] == points


def test_another_seed_does_not_open_the_seal(case: Path) -> None:
    """Whoever tries is told nothing."""
    with pytest.raises(DataError, match=f"seed: {SEED + 1}"):
        grade(case, SEED + 1, Answer(fault="bots", day=3, cure="wait"))


def test_a_case_can_be_looked_at(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A week by its report; days that are not there are refused."""
    told, found = look(case, until=20)
    assert told is not None
    assert (told.first_day, told.last_day, told.known_day) == (14, 20, 41)
    assert found == []
    with pytest.raises(ConfigError, match="until: 99"):
        look(case, until=99)
    assert main(["drill", "look", str(case), "--until", "20", "--by", "segment"]) == 0
    said = capsys.readouterr().out
    assert "click rate" in said
    assert "nothing is wrong with the data" in said
    with pytest.raises(ConfigError, match="there is none in it"):
        look(case / "models")


def test_the_command_refuses_what_it_cannot_do(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in use, a fault that there is not, a folder without a case."""
    assert main(["drill", "new", "--seed", "1", "--out", str(case)]) == 2
    grade_words = ["--seed", str(SEED), "--day", "3", "--cure", "wait"]
    assert main(["drill", "grade", str(case), "--fault", "fire", *grade_words]) == 2
    assert main(["drill", "grade", str(case / "log"), "--fault", "bots", *grade_words]) == 2
    said = capsys.readouterr().err
    for words in ("is not empty", "'fire'", "there is none to read"):
        assert words in said
    with pytest.raises(RunError, match="not empty"):
        new_case(2, case)
