from dataclasses import asdict, dataclass, field

import pytest

from simlab.errors import ConfigError
from simlab.settings import choose, from_dict
from simlab.world.truth import WorldConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    n: int
    live: bool = False
    cuts: tuple[float, ...] = (1.0,)
    inner: Inner = field(default_factory=Inner)


def test_what_went_to_a_dict_comes_back_the_same() -> None:
    """from_dict(asdict(x)) == x, nested parts and tuples included."""
    config = Outer(n=3, cuts=(1.0, 2.0), inner=Inner(share=0.1))
    assert from_dict(Outer, asdict(config)) == config
    assert from_dict(WorldConfig, asdict(WorldConfig(n_users=7))) == WorldConfig(n_users=7)


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
    ],
)
def test_unknown_missing_and_ill_typed_settings_are_named(values: dict[str, object], named: str) -> None:
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
