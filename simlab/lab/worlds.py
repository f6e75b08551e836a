"""A shop to run: the world that is asked for, and the history that the company starts from."""

from dataclasses import replace
from functools import lru_cache

import pyarrow as pa

from simlab import datasets
from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.schema import History
from simlab.world.birth import make_world
from simlab.world.calibrate import CalibrationConfig, calibrate
from simlab.world.history import make_history
from simlab.world.presets import preset
from simlab.world.truth import World


def open_world(config: RunConfig) -> tuple[World, History]:
    """The world of `config` as it stands on day 0, and its history with all that comes of it in the end.

    With data "shop" the history is the preset's own; it is read from data/shop where it is the built-in one, else
    simulated. With a real data set the world is calibrated to it, and the real ratings are the history.
    """
    if config.data == "shop":
        settings = config.world_config()
        world = make_world(settings, config.days)
        if settings != preset("shop"):
            return make_history(world)
        return replace(world, state=Oracle(world).state(0)), datasets.read_shop()["history"]
    fits = "n_dims" not in config.world
    return calibrated(config.data, config.world.get("n_users"), config.calibration_config(), fits=fits)


@lru_cache(maxsize=2)
def calibrated(data: str, n_users: int | None, config: CalibrationConfig, *, fits: bool) -> tuple[World, History]:
    """The world fitted to the ratings of `data`, of at most `n_users` users or all, and these ratings as its history.

    Where it `fits`, n_dims is lowered to what so few users and items allow. Why it remembers: fitting takes longer
    than a run, and a notebook runs the same world several times.
    """
    ratings = datasets.load(data)
    if n_users is not None:
        ratings = datasets.sample(ratings, n_users, seed=config.seed)
    if fits:
        most = min(ratings.n_users, ratings.n_items) - 1
        config = replace(config, n_dims=min(config.n_dims, most))
    return calibrate(datasets.observed(ratings, seed=config.seed), config=config), datasets.to_history(ratings)


def shop_tables() -> dict[str, pa.Table]:
    """The built-in shop as tables: its history, and what is public of its items and shoppers."""
    world, history = make_history(make_world(preset("shop"), 1))
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
            "retire_day": pa.array(goods.retire_day, pa.int32()),
        }
    )
    users = pa.table(
        {
            "user_id": pa.array(range(len(people)), pa.int32()),
            "segment": people.segment.words(),
            "region": people.region.words(),
            "arrival_day": pa.array(people.arrival_day, pa.int32()),
        }
    )
    return {"impressions": history.impressions, "feedback": history.feedback, "items": items, "users": users}
