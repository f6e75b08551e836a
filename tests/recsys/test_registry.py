"""The registry never forgets and never changes its mind about what a version is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import ModelError
from simlab.recsys.models import PopularityModel, RandomModel
from simlab.recsys.registry import Registry

POPULAR = PopularityModel(score=np.array([3.0, 1.0, 2.0]))


def filled(path: Path, *versions: str) -> Registry:
    registry = Registry(path)
    for version in versions:
        registry.register(RandomModel(seed=len(version), n_items=3), version, {"trained_day": 0})
    return registry


def promote(registry: Registry, version: str, day: int, alias: str = "champion") -> None:
    registry.promote(version, alias=alias, day=day, actor="test", reason="because", evidence={"recall@10": 0.25})


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_model_and_its_card_come_back(tmp_path: Path) -> None:
    """By version; versions come in alphabetical order; an unknown one is refused with those there are."""
    registry = filled(tmp_path / "models", "b", "a")
    registry.register(POPULAR, "popular-day00000", {"rows": 12})
    model, card = registry.load("popular-day00000")
    assert isinstance(model, PopularityModel)
    assert (model.score == POPULAR.score).all()
    assert card == registry.card("popular-day00000") == {"rows": 12}
    assert registry.versions() == ["a", "b", "popular-day00000"]
    for unknown in ("c", "history", "..", "", "a/../b"):
        with pytest.raises(ModelError, match="registry holds: a, b, popular-day00000"):
            registry.load(unknown)


def test_an_empty_registry_has_no_champion(tmp_path: Path) -> None:
    """It answers every question, makes no folder, and says "none" where a version is asked for."""
    registry = Registry(tmp_path / "models")
    assert registry.versions() == []
    assert registry.alias("champion") is None
    assert registry.history() == []
    assert list(registry.table().columns) == ["day", "alias", "action", "version", "actor", "reason"]
    with pytest.raises(ModelError, match="registry holds: none"):
        promote(registry, "a", 0)
    with pytest.raises(ModelError, match="no earlier version"):
        registry.rollback(day=0, actor="test", reason="because")
    assert not registry.path.exists()


def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    """The same model under the same version, as after a killed run: not one byte, and no draft is left."""
    registry = filled(tmp_path, "a")
    before = files(tmp_path)
    filled(tmp_path, "a")
    assert files(tmp_path) == before
    assert registry.versions() == ["a"]


def test_a_version_never_changes(tmp_path: Path) -> None:
    """Another model, or another card, under the same version is refused, and what was there stays."""
    registry = filled(tmp_path, "a")
    before = files(tmp_path)
    for model, card in ((POPULAR, {"trained_day": 0}), (RandomModel(seed=1, n_items=3), {"trained_day": 7})):
        with pytest.raises(ModelError, match="'a'.*a version never changes"):
            registry.register(model, "a", card)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "../a",
        "a b",
        "a\n",
        "ä",
        "-a",
        "history",
        "none",
        "fallback",
        "a" * 300,
        "a\x00",
    ],
)
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    """A version is a plain folder name and no word of our own; nothing is written."""
    with pytest.raises(ModelError, match="model version"):
        Registry(tmp_path).register(POPULAR, name, {})
    assert list(tmp_path.iterdir()) == []


def test_promotion_says_who_when_and_why(tmp_path: Path) -> None:
    """Each alias has a version of its own; every row keeps actor, reason and evidence."""
    registry = filled(tmp_path, "a", "b")
    promote(registry, "a", 0)
    promote(registry, "b", 0, alias="fallback")
    promote(registry, "b", 14)
    assert registry.alias("champion") == registry.alias("fallback") == "b"
    assert [(row["day"], row["version"]) for row in registry.history("champion")] == [(0, "a"), (14, "b")]
    assert registry.table()["alias"].tolist() == ["champion", "fallback", "champion"]
    assert registry.history()[0] == {
        "alias": "champion",
        "version": "a",
        "day": 0,
        "action": "promote",
        "actor": "test",
        "reason": "because",
        "evidence": {"recall@10": 0.25},
    }


def test_promoting_again_changes_nothing(tmp_path: Path) -> None:
    """The same version on the same day is one row, as after a killed run; on another day it is another row."""
    registry = filled(tmp_path, "a")
    promote(registry, "a", 3)
    promote(registry, "a", 3)
    assert len(registry.history()) == 1
    promote(registry, "a", 4)
    assert len(registry.history()) == 2


def test_rolling_back_goes_back_one_version_at_a_time(tmp_path: Path) -> None:
    """Two rollbacks go back two versions; then there is nothing to go back to; each is one more row."""
    registry = filled(tmp_path, "a", "b", "c")
    for day, version in enumerate("abc"):
        promote(registry, version, day)
    assert registry.rollback(day=3, actor="test", reason="clicks fell") == "b"
    assert registry.alias("champion") == "b"
    assert registry.rollback(day=4, actor="test", reason="still") == "a"
    with pytest.raises(ModelError, match="no earlier version"):
        registry.rollback(day=5, actor="test", reason="still")
    assert registry.alias("champion") == "a"
    actions = [(row["action"], row["version"], row["evidence"].get("left")) for row in registry.history()[3:]]
    assert actions == [("rollback", "b", "c"), ("rollback", "a", "b")]


def test_a_version_left_by_a_rollback_is_passed_over(tmp_path: Path) -> None:
    """a, b, back to a, then c: back from c is a, not b."""
    registry = filled(tmp_path, "a", "b", "c")
    promote(registry, "a", 0)
    promote(registry, "b", 1)
    registry.rollback(day=2, actor="test", reason="bad")
    promote(registry, "c", 3)
    assert registry.rollback(day=4, actor="test", reason="bad too") == "a"


def test_promoting_the_champion_again_is_no_step(tmp_path: Path) -> None:
    """A version promoted on two days in a row is left in one rollback."""
    registry = filled(tmp_path, "a", "b")
    for day, version in enumerate("abb"):
        promote(registry, version, day)
    assert registry.rollback(day=3, actor="test", reason="bad") == "a"


STEPS = st.lists(st.sampled_from(["a", "b", "c", "back"]), max_size=12)


@given(steps=STEPS)
@settings(max_examples=40, deadline=None)
def test_the_history_only_grows(steps: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is done, old rows stay as they were, and the alias is the top of a plain stack."""
    registry = filled(tmp_path_factory.mktemp("models"), "a", "b", "c")
    stack: list[str] = []
    for day, step in enumerate(steps):
        before = files(registry.path)
        if step != "back":
            promote(registry, step, day)
            stack += [step] if stack[-1:] != [step] else []
        elif len(stack) > 1:
            stack.pop()
            assert registry.rollback(day=day, actor="test", reason="bad") == stack[-1]
        else:
            with pytest.raises(ModelError, match="no earlier version"):
                registry.rollback(day=day, actor="test", reason="bad")
        assert registry.alias("champion") == (stack[-1] if stack else None)
        assert files(registry.path).items() >= before.items()


def test_a_damaged_model_is_not_promoted(tmp_path: Path) -> None:
    """The old champion goes on."""
    registry = filled(tmp_path, "a", "b")
    promote(registry, "a", 0)
    (tmp_path / "b" / "arrays.npz").write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="checksum"):
        promote(registry, "b", 1)
    assert registry.alias("champion") == "a"


def test_a_damaged_row_of_history_is_named(tmp_path: Path) -> None:
    """Rather than guessed at, or passed over: torn, not a row at all, or missing between others."""
    registry = filled(tmp_path, "a")
    for day in range(3):
        promote(registry, "a", day)
    for text in ('{"alias": "cham', "[1]", "{}"):
        (tmp_path / "history" / "00002.json").write_text(text)
        with pytest.raises(ModelError, match=r"00002\.json"):
            registry.alias("champion")
    (tmp_path / "history" / "00002.json").unlink()
    for ask in (registry.history, lambda: registry.rollback(day=3, actor="test", reason="because")):
        with pytest.raises(ModelError, match=r"00002\.json.*missing"):
            ask()


def test_evidence_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """The error names what it is, and nothing was promoted."""
    registry = filled(tmp_path, "a")
    with pytest.raises(ModelError, match="promotion or rollback.*float32"):
        registry.promote("a", day=0, actor="test", reason="because", evidence={"x": np.float32(1)})
    assert registry.alias("champion") is None
    promote(registry, "a", 0)
    assert len(registry.history()) == 1


def test_a_note_beside_the_history_is_no_row(tmp_path: Path) -> None:
    """Neither read as one nor counted as one."""
    registry = filled(tmp_path, "a")
    promote(registry, "a", 0)
    (tmp_path / "history" / "notes.json").write_text("[]")
    promote(registry, "a", 1)
    assert [row["day"] for row in registry.history()] == [0, 1]


def test_a_version_that_lost_a_file_is_not_filled_up_again(tmp_path: Path) -> None:
    """A damaged version stays as it is, for somebody to look at."""
    registry = filled(tmp_path, "a")
    (tmp_path / "a" / "arrays.npz").unlink()
    with pytest.raises(ModelError, match="take a new one"):
        filled(tmp_path, "a")
    with pytest.raises(ModelError, match=r"arrays\.npz.*missing"):
        registry.load("a")


def test_what_a_killed_process_left_does_no_harm(tmp_path: Path) -> None:
    """Killed between giving a row its number and taking the draft away, a process leaves a second name of the row.

    The next process may have the same number (in a container it has): it must not write through that name into the row.
    """
    code = """
import os, pathlib, sys
from simlab.files import draft_of
from simlab.recsys.registry import Registry
registry = Registry(pathlib.Path(sys.argv[1]))
registry.promote("a", day=0, actor="first", reason="because")
os.link(registry.path / "history" / "00001.json", draft_of(registry.path / "history" / "row"))
draft_of(registry.path / "a").mkdir()
(draft_of(registry.path / "a") / "model.json").write_text("half")
registry.register(registry.load("a")[0], "a", registry.card("a"))
registry.promote("b", day=1, actor="second", reason="because")
"""
    registry = filled(tmp_path, "a", "b")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert [(row["version"], row["actor"]) for row in registry.history()] == [("a", "first"), ("b", "second")]
    assert registry.versions() == ["a", "b"]


WRITER = """
import pathlib, sys
import numpy as np
from simlab.recsys.models import PopularityModel
from simlab.recsys.registry import Registry
registry, name = Registry(pathlib.Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
input()
for day in range(10):
    registry.register(PopularityModel(score=np.arange(3.0)), f"shared-{day}", {})
    registry.promote(f"shared-{day}", alias=name, day=day, actor=name, reason="because")
"""


def test_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Four processes at once register the same models and write 40 rows: none is lost, doubled, torn or out of turn."""
    names = ["w", "x", "y", "z"]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    registry = Registry(tmp_path)
    assert len(registry.versions()) == 10
    for name in names:
        assert [row["day"] for row in registry.history(name)] == list(range(10))
    rows = sorted((tmp_path / "history").iterdir())
    assert [row.name for row in rows] == [f"{number:05d}.json" for number in range(1, 41)]
    assert all(json.loads(row.read_text())["action"] == "promote" for row in rows)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
