"""A shop to run: the world that is asked for, and the history that the company starts from."""

from dataclasses import asdict, fields

import pyarrow as pa

from simlab import datasets
from simlab.errors import ConfigError
from simlab.lab.config import RunConfig
from simlab.settings import from_dict
from simlab.world.calibrate import CalibrationConfig, calibrate
from simlab.world.history import make_history
from simlab.world.presets import make_world, preset
from simlab.world.truth import World


def open_world(config: RunConfig) -> tuple[World, pa.Table]:
    """The world of `config`, and its history: IMPRESSIONS with what came of them in the end.

    With data "shop" the history is the preset's own; it is read from data/shop where it is the built-in one, else
    simulated. With a real data set the world is calibrated to it, and the real ratings are the history.
    """
    if config.data == "shop":
        settings = config.world_config()
        world = make_world(settings, config.days)
        built_in = settings == preset("shop")
        return world, datasets.read_shop()["history"] if built_in else make_history(world)
    ratings = datasets.load(config.data)
    return calibrated(config, ratings), datasets.to_impressions(ratings)


def calibrated(config: RunConfig, ratings: datasets.Ratings) -> World:
    """The world fitted to `ratings`; what the run changes must be a setting of the calibration (e.g. drift)."""
    known = {field.name for field in fields(CalibrationConfig)} - {"seed"}
    changes = dict(config.world)
    n_users = changes.pop("n_users", None)
    for name in changes:
        if name not in known:
            remedy = f"a world calibrated to {config.data} takes: {', '.join(sorted(known | {'n_users'}))}"
            raise ConfigError("world setting", name, remedy)
    observed = datasets.observed(ratings if n_users is None else datasets.sample(ratings, n_users), seed=config.seed)
    return calibrate(observed, config=from_dict(CalibrationConfig, {**changes, "seed": config.seed}))


def shop_tables() -> dict[str, pa.Table]:
    """The built-in shop as tables: its history, and what is public of its items and shoppers."""
    world = make_world(preset("shop"), 1)
    goods, people = world.catalogue, world.shoppers
    items = pa.table(
        {
            "item_id": pa.array(range(len(goods)), pa.int32()),
            "name": goods.name,
            "category": goods.category.words(),
            "brand": goods.brand.words(),
            "price": goods.price,
            "margin": goods.margin,
            "launch_day": pa.array(goods.launch_day, pa.int32()),
        }
    )
    users = pa.table(
        {
            "user_id": pa.array(range(len(people)), pa.int32()),
            "segment": people.segment.words(),
            "region": people.region.words(),
        }
    )
    return {"history": make_history(world), "items": items, "users": users}
