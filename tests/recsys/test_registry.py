"""The registry never forgets and never changes its mind about what a version is."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import ModelError
from simlab.recsys.models import PopularityModel, RandomModel
from simlab.recsys.registry import Registry
from simlab.recsys.traffic import Change, Traffic, next_row, traffic_of

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
        "fallback-segment",
        "fallback-popular",
        "fallback-static",
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
    """Whatever is done, old rows stay as they were, and the alias is the top of a plain stack.

    What a rollback has left is taken out of the stack, until it is promoted again.
    """
    registry = filled(tmp_path_factory.mktemp("models"), "a", "b", "c")
    stack: list[str] = []
    sick: set[str] = set()
    for day, step in enumerate(steps):
        before = files(registry.path)
        well = [version for version in stack if version not in sick | set(stack[-1:])]
        if step != "back":
            promote(registry, step, day)
            sick -= {step}
            stack += [step] if stack[-1:] != [step] else []
        elif well:
            sick.add(stack[-1])
            while stack[-1] != well[-1]:
                stack.pop()
            assert registry.rollback(day=day, actor="test", reason="bad") == stack[-1]
        else:
            with pytest.raises(ModelError, match="no earlier version"):
                registry.rollback(day=day, actor="test", reason="bad")
        assert registry.alias("champion") == (stack[-1] if stack else None)
        assert set(registry.quarantined()) == sick
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
    for text in ('{"alias": "cham', "[1]", "{}", '{"alias": "champion", "version": "a", "day": 0, "action": "guess"}'):
        (tmp_path / "history" / "00002.json").write_text(text)
        with pytest.raises(ModelError, match=r"00002\.json|'guess'"):
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


def together(code: str, path: Path, names: list[str]) -> list[str]:
    """What processes print that run `code` at the same time, each with a name of its own."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
    said = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(names)
    return said


def test_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Four processes at once register the same models and write 40 rows: none is lost, doubled, torn or out of turn."""
    names = ["w", "x", "y", "z"]
    together(WRITER, tmp_path, names)
    registry = Registry(tmp_path)
    assert len(registry.versions()) == 10
    for name in names:
        assert [row["day"] for row in registry.history(name)] == list(range(10))
    rows = sorted((tmp_path / "history").iterdir())
    assert [row.name for row in rows] == [f"{number:05d}.json" for number in range(1, 41)]
    assert all(json.loads(row.read_text())["action"] == "promote" for row in rows)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


CHANGER = """
import pathlib, sys
from simlab.errors import ModelError
from simlab.recsys.registry import Registry
from simlab.recsys.traffic import Change
registry, name = Registry(pathlib.Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
input()
for day in range(15):
    for action in ("canary", "rollback" if day % 2 else "end", "promote"):
        share = 0.1 if action == "canary" else None
        wish = Change(action=action, version=name, share=share, day=day, actor=name, reason="because")
        try:
            if registry.change(wish):
                print(action)
        except ModelError:
            pass
"""


def test_every_row_is_lawful_after_those_before_it(tmp_path: Path) -> None:
    """Four processes want the one rollout at once: what each row does was allowed by the rows that stand before it.

    A process that looked, and then lost the number to another, must look again: else two canaries would run.
    """
    names = ["w", "x", "y", "z"]
    registry = filled(tmp_path, "a", *names)
    promote(registry, "a", 0)
    said = together(CHANGER, tmp_path, names)
    rows = registry.history()
    for number, row in enumerate(rows):
        wish: dict[str, Any] = {
            name: row.get(name) for name in ("action", "day", "actor", "reason", "share", "version")
        }
        evidence = {} if number else row["evidence"]
        assert next_row(rows[:number], Change(**wish, alias=row["alias"], evidence=evidence)) == row
    done = [(row["actor"], row["action"]) for row in rows[1:]]
    for name, words in zip(names, said, strict=True):
        assert [action for actor, action in done if actor == name] == words.split()
    assert len({row["actor"] for row in rows}) == 5


def test_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    """As in a server that changes traffic at two requests at once."""
    registry = filled(tmp_path, "a")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: promote(registry, "a", day, alias=f"alias-{day}"), range(40)))
    assert sorted(row["day"] for row in registry.history()) == list(range(40))
    assert all(row["alias"] == f"alias-{row['day']}" for row in registry.history())


def test_traffic_is_read_from_the_rows(tmp_path: Path) -> None:
    """An empty registry has none; a rollout shows in traffic and aliases; one look tells that there is news."""
    registry = filled(tmp_path, "a", "b")
    assert registry.traffic() == Traffic()
    assert (registry.last_row(), registry.changed(0)) == (0, False)
    promote(registry, "a", 0)
    assert (registry.last_row(), registry.changed(0), registry.changed(1)) == (1, True, False)
    start = Change(action="canary", version="b", share=0.1, day=1, actor="test", reason="because")
    row = registry.change(start)
    assert row == registry.history()[-1]
    assert row is not None
    assert row["share"] == 0.1
    assert registry.change(start) is None
    assert registry.traffic() == traffic_of(registry.history())
    assert registry.traffic().versions == ("a", None, "b", "a")
    assert [registry.alias(name) for name in ("champion", "canary", "shadow", "challenger")] == ["a", "b", None, None]
    registry.rollback("canary", day=2, actor="test", reason="worse")
    assert (registry.alias("canary"), registry.quarantined()) == (None, ("b",))
    assert registry.history("canary")[-1]["quarantine"] == ["b"]


def test_what_is_missing_or_damaged_gets_no_traffic(tmp_path: Path) -> None:
    """Neither as a canary, a challenger nor a shadow; and no version at all is said in words."""
    registry = filled(tmp_path, "a", "b")
    promote(registry, "a", 0)
    (tmp_path / "b" / "arrays.npz").write_bytes(b"rubbish")
    for action in ("canary", "challenger", "shadow"):
        for version, message in (("b", "checksum"), ("c", "registry holds"), (None, "registry holds")):
            change = Change(action=action, version=version, share=0.1, day=1, actor="test", reason="because")
            with pytest.raises(ModelError, match=message):
                registry.change(change)
    assert registry.last_row() == 1


def test_rows_carry_the_time_where_there_is_a_clock(tmp_path: Path) -> None:
    """As it is given, for rows of every kind; the ring has none, so that two runs are alike."""
    filled(tmp_path, "a")
    registry = Registry(tmp_path, clock=lambda: "2026-11-24T16:00:00Z")
    promote(registry, "a", 0)
    promote(Registry(tmp_path), "a", 1)
    assert [row.get("time") for row in registry.history()] == ["2026-11-24T16:00:00Z", None]


def test_histories_of_older_releases_are_read(tmp_path: Path) -> None:
    """Rows as 0.2.0 wrote them: the champion and the way back are the same, and nothing is in quarantine."""
    registry = filled(tmp_path, "a", "b", "c")
    row: dict[str, Any] = {"alias": "champion", "actor": "simlab", "reason": "scheduled"}
    old = [
        {**row, "action": "promote", "version": "a", "day": 0, "evidence": {}},
        {**row, "action": "promote", "version": "b", "day": 7, "evidence": {}},
        {**row, "action": "rollback", "version": "a", "day": 8, "evidence": {"left": "b"}},
        {**row, "action": "promote", "version": "c", "day": 9, "evidence": {}},
    ]
    (tmp_path / "history").mkdir()
    for number, told in enumerate(old, start=1):
        (tmp_path / "history" / f"{number:05d}.json").write_text(json.dumps(told))
    assert (registry.alias("champion"), registry.quarantined()) == ("c", ())
    assert registry.rollback(day=10, actor="test", reason="bad") == "a"
    assert registry.quarantined() == ("c",)


def test_a_rollback_to_a_damaged_model_is_refused(tmp_path: Path) -> None:
    """It would be a row that no server can follow: the error says so while the present version goes on."""
    registry = filled(tmp_path, "a", "b")
    promote(registry, "a", 0)
    promote(registry, "b", 1)
    (tmp_path / "a" / "arrays.npz").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="checksum"):
        registry.rollback(day=2, actor="test", reason="because")
    assert registry.alias("champion") == "b"
    assert len(registry.history()) == 2
