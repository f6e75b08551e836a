"""Laws of the named worlds: each opens, differs from the shop in what it is about, and has a lesson that is tested."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from simlab.errors import ConfigError
from simlab.world.birth import make_world
from simlab.world.config import WorldConfig
from simlab.world.presets import CALIBRATED, PRESETS, preset

MADE = sorted(set(PRESETS) - set(CALIBRATED))

LESSONS = Path(__file__).parents[1] / "lab" / "test_lessons.py"

ABOUT: dict[str, dict[str, Any]] = {
    "drifting": {"drift": 0.0},
    "shock": {"change": {"shift_share": 0.0}},
    "seasonal": {"change": {"season": 0.0}},
    "cold-start": {"loyalty": {"newcomers_per_week": 0}},
    "fatigue": {"change": {"boredom": 0.0, "item_boredom": 0.0}},
    "influence": {"change": {"influence": 0.0}},
    "position-heavy": {"patience": 1.0, "response": {"cascade_share": 0.0}},
    "niche": {"taste_scale": 0.0},
    "misspecified": {"fuss": 0.0, "budget": 0.0, "complements": 0.0},
}
"""The behaviour that a world is about, taken away."""


def idle(settings: dict[str, Any], usual: dict[str, Any]) -> list[str]:
    """The settings that are the usual ones."""
    found = []
    for name, value in settings.items():
        if isinstance(value, dict):
            found += [f"{name}.{part}" for part in idle(value, usual[name])]
        elif value == usual[name]:
            found.append(name)
    return found


def test_the_shop_is_what_worlds_are_by_default() -> None:
    """Histories in data/shop, golden runs and notebooks rest on these numbers."""
    assert preset("shop") == WorldConfig()


@pytest.mark.parametrize("name", MADE)
def test_every_world_opens_by_its_name(name: str) -> None:
    """It says its own name, and can be made."""
    config = preset(name, n_users=20, n_items=30, history_days=7)
    assert config.name == name
    assert len(make_world(config, 8).shoppers) >= 20


@pytest.mark.parametrize("name", sorted(set(MADE) - {"shop"}))
def test_a_world_differs_from_the_shop_in_every_setting_it_names(name: str) -> None:
    """No setting is there for nothing, and the one that the world is about is among them."""
    settings = dict(PRESETS[name].settings)
    assert settings
    assert idle(settings, asdict(preset("shop"))) == []
    assert preset(name, **ABOUT[name]) != preset(name)


def test_only_worlds_of_memory_remember() -> None:
    """What was shown before matters where shoppers tire, are moved, or want what goes with their last click."""
    assert {name for name in MADE if preset(name).remembers} == {"fatigue", "influence", "misspecified"}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_world_has_a_lesson_that_is_proved(name: str) -> None:
    """One sentence, one paragraph, and a test of its name."""
    assert PRESETS[name].lesson.count(". ") == 0
    assert PRESETS[name].lesson.endswith(".")
    assert PRESETS[name].teaches.count(". ") >= 1
    assert f"def test_{name.replace('-', '_')}(" in LESSONS.read_text()


def test_changes_of_a_part_leave_the_rest_of_it() -> None:
    """A world is taken apart by setting one number to 0."""
    change = preset("fatigue", change={"boredom": 0.0}).change
    assert change.boredom == 0
    assert change.item_boredom == preset("fatigue").change.item_boredom > 0


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("drifing", {}, "did you mean 'drifting'"),
        ("shop", {"drif": 0.1}, "did you mean 'drift'"),
        ("shop", {"change": {"saison": 1.0}}, "did you mean 'season'"),
        ("movielens", {}, "fitted to movielens-100k"),
    ],
)
def test_what_there_is_not_is_refused(name: str, changes: dict[str, Any], said: str) -> None:
    """With what was meant, or what to do instead."""
    with pytest.raises(ConfigError, match=said):
        preset(name, **changes)
