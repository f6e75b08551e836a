import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.training import TrainingConfig
from simlab.settings import check_types, choose, from_dict, merged
from simlab.testing import EVERYTHING
from simlab.world.calibrate import CalibrationConfig
from simlab.world.config import ChangeConfig, LoyaltyConfig, ResponseConfig, RhythmConfig, WorldConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    n: int
    live: bool = False
    cuts: tuple[float, ...] = (1.0,)
    inner: Inner = field(default_factory=Inner)
    pair: tuple[int, str] | None = None
    free: dict[str, Any] = field(default_factory=dict)


def test_what_went_to_a_dict_comes_back_the_same() -> None:
    """from_dict(asdict(x)) == x, nested parts and tuples included."""
    config = Outer(n=3, cuts=(1.0, 2.0), inner=Inner(share=0.1), pair=(1, "a"), free={"any": None})
    assert from_dict(Outer, asdict(config)) == config
    for world in (WorldConfig(n_users=7), EVERYTHING):
        assert from_dict(WorldConfig, asdict(world)) == world
        assert from_dict(WorldConfig, json.loads(json.dumps(asdict(world)))) == world


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "Outer.n"),
        ({"n": 1, "lives": True}, "'live'"),
        ({"n": 1.0}, "Outer.n"),
        ({"n": True}, "Outer.n"),
        ({"n": "1"}, "Outer.n"),
        ({"n": 1, "live": "false"}, "Outer.live"),
        ({"n": 1, "inner": {"shares": 1}}, "'share'"),
        ({"n": 1, "inner": {"share": "much"}}, "Inner.share"),
        ({"n": 1, "inner": {"share": float("nan")}}, "Inner.share"),
        ({"n": 1, "inner": {"share": 10**400}}, "Inner.share"),
        ({"n": 1, "inner": None}, "Outer.inner"),
        ({"n": 1, "inner": []}, "Outer.inner"),
        ({"n": 1, "inner": Outer(n=1)}, "Outer.inner"),
        ({"n": 1, "cuts": None}, "Outer.cuts"),
        ({"n": 1, "cuts": "abcd"}, "Outer.cuts"),
        ({"n": 1, "cuts": [1, "x"]}, "Outer.cuts"),
        ({"n": 1, "pair": [1]}, "Outer.pair"),
        ({"n": 1, "free": []}, "Outer.free"),
        ({"n": 1, "free": {1: 2}}, "Outer.free"),
        (None, "Outer settings"),
        ("n", "Outer settings"),
    ],
)
def test_unknown_missing_and_ill_typed_settings_are_named(values: Any, named: str) -> None:
    """Every error says which setting is meant; the truthy string "false" is not a bool."""
    with pytest.raises(ConfigError, match=named):
        from_dict(Outer, values)


def test_whole_numbers_do_for_real_ones() -> None:
    """1 is a number like 1.0."""
    assert from_dict(Inner, {"share": 1}).share == 1


def test_an_unknown_name_lists_the_known_ones() -> None:
    """The remedy is in the message."""
    with pytest.raises(ConfigError, match="did you mean 'shop'.*choose one of: drifting, shop"):
        choose("preset", "shopp", {"shop": 1, "drifting": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_users", 0),
        ("n_items", 0),
        ("history_days", 0),
        ("drift", 1.0),
        ("segment_share", 1.1),
        ("visits_per_day", 0),
    ],
)
def test_a_world_out_of_range_is_refused(name: str, value: float) -> None:
    """The error names the setting and the value."""
    with pytest.raises(ConfigError, match=f"{name}: {value}"):
        from_dict(WorldConfig, {name: value})


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers() | st.text()),
    st.just({1: 2}),
)


CONFIGS = [WorldConfig, ResponseConfig, RhythmConfig, LoyaltyConfig, ChangeConfig, TrainingConfig, CalibrationConfig]


def made(cls: type[Any], name: str, value: object, *, in_words: bool) -> Any:
    return from_dict(cls, {name: value}) if in_words else cls(**{name: value})


@given(
    cls=st.sampled_from(CONFIGS),
    value=ANYTHING,
    in_words=st.booleans(),
    data=st.data(),
)
def test_any_value_is_taken_or_refused_in_words(
    cls: type[Any], value: object, in_words: bool, data: st.DataObject
) -> None:
    """Whatever stands in a setting, given in words or at once: a config that goes to a dict and back, or a refusal."""
    name = data.draw(st.sampled_from([part.name for part in fields(cls)]))
    with suppress(ConfigError):
        config = made(cls, name, value, in_words=in_words)
        check_types(config)
        assert from_dict(cls, asdict(config)) == config


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (ResponseConfig, "base", float("nan")),
        (ResponseConfig, "purchase_scale", -0.1),
        (ResponseConfig, "rating_scale", -0.1),
        (WorldConfig, "quality_sd", float("inf")),
        (WorldConfig, "n_users", 2.5),
        (WorldConfig, "response", {}),
        (WorldConfig, "change", RhythmConfig()),
        (RhythmConfig, "next_page", 0.96),
        (RhythmConfig, "year_days", 1),
        (RhythmConfig, "campaign_lift", -0.1),
        (LoyaltyConfig, "learning", 0.0),
        (LoyaltyConfig, "newcomers_per_week", -1),
        (ChangeConfig, "influence", 0.2),
        (ChangeConfig, "recovery", 0.0),
        (ChangeConfig, "fashion_memory", 1.0),
        (ChangeConfig, "delivery_days", 0),
        (ChangeConfig, "stock", 2.5),
        (TrainingConfig, "half_life", "x"),
        (CalibrationConfig, "drift", 1.0),
        (CalibrationConfig, "visits_per_day", 0.0),
    ],
)
def test_a_config_made_at_once_is_checked_too(cls: type[Any], name: str, value: object) -> None:
    """Types and ranges are the dataclass's own; from_dict is not the only door."""
    with pytest.raises(ConfigError, match=name):
        cls(**{name: value})


def test_changes_reach_the_parts_of_a_config() -> None:
    """`merged` goes as deep as the settings do, leaves what it was given alone, and from_dict checks the rest."""
    before = asdict(WorldConfig())
    config = from_dict(WorldConfig, merged(before, {"n_users": 7, "change": {"stock": 3}, "loyalty": {"pull": 1}}))
    assert config == WorldConfig(n_users=7, change=ChangeConfig(stock=3), loyalty=LoyaltyConfig(pull=1))
    assert before == asdict(WorldConfig())
    with pytest.raises(ConfigError, match="did you mean 'stock'"):
        from_dict(WorldConfig, merged(before, {"change": {"stocks": 3}}))
