"""A run is its settings: they are checked when they are made, and do not change."""

import copy
import json
from dataclasses import asdict
from typing import Any

import pytest

from simlab.errors import ConfigError
from simlab.lab.config import RunConfig
from simlab.settings import from_dict

WORLD = {"n_users": 50, "response": {"base": -4.0, "rating_cuts": [1, 2, 3, 4]}}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"training": None}, "RunConfig.training"),
        ({"training": []}, "RunConfig.training"),
        ({"world": None}, "RunConfig.world"),
        ({"world": "x"}, "RunConfig.world"),
        ({"world": {"response": None}}, "WorldConfig.response"),
        ({"world": {"response": {"base": float("inf")}}}, "ResponseConfig.base"),
        ({"world": {"seed": 3}}, "seed of the run"),
        ({"days": 2.5}, "RunConfig.days"),
        ({"days": "3"}, "RunConfig.days"),
        ({"retrain": 5}, "RunConfig.retrain"),
        ({"seed": 10**30}, "seed"),
        ({"data": "netflix"}, "data set: 'netflix'"),
        ({"n_positions": 9, "world": {"n_items": 8}}, "n_positions: 9"),
        ({"data": "movielens-100k", "preset": "shopp"}, "did you mean 'shop'"),
        ({"data": "movielens-100k", "world": {"n_items": 50}}, "'n_items'.*choose one of: click_rate, .*n_users"),
        ({"data": "movielens-100k", "world": {"response": {}}}, "'response'.*click_rate"),
        ({"data": "movielens-100k", "world": {"drift": {}}}, "CalibrationConfig.drift"),
        ({"data": "movielens-100k", "world": {"n_users": True}}, "n_users"),
        ({"data": "movielens-100k", "world": {"n_users": 1}}, "n_users: 1"),
    ],
)
def test_what_will_not_do_is_refused_whichever_way_it_comes(settings: dict[str, Any], named: str) -> None:
    """In words or at once; with real data the names are those of the calibration."""
    with pytest.raises(ConfigError, match=named):
        from_dict(RunConfig, settings)
    with pytest.raises(ConfigError, match=named):
        RunConfig(**settings)


def test_real_data_take_the_settings_of_the_calibration() -> None:
    """The rates can be set, and the catalogue of the preset bounds nothing."""
    world = {"click_rate": 0.3, "n_users": 100}
    config = RunConfig(data="movielens-100k", seed=4, n_positions=100, world=world)
    assert (config.calibration_config().click_rate, config.calibration_config().seed) == (0.3, 4)


def test_a_config_does_not_change() -> None:
    """Neither through the dict that it was made from nor through its own, in depth."""
    given: dict[str, Any] = copy.deepcopy(WORLD)
    config = RunConfig(world=given)
    given["n_users"] = given["response"]["base"] = 7
    for change in (
        lambda: config.world.update(n_users=7),
        lambda: config.world.pop("n_users"),
        lambda: config.world["response"].update(base=7.0),
    ):
        with pytest.raises(ConfigError, match="fixed"):
            change()
    assert config.world == WORLD


def test_a_config_is_copied_and_stored() -> None:
    """Copied, to JSON and back: the same settings; the JSON is that of a plain dict."""
    config = RunConfig(world=WORLD)
    assert json.dumps(asdict(config)["world"]) == json.dumps(WORLD)
    stored = json.loads(json.dumps(asdict(config)))
    for same in (copy.deepcopy(config), from_dict(RunConfig, stored)):
        assert same == config
