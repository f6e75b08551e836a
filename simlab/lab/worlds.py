"""A shop to run: the world that is asked for, and the history that the company starts from."""

from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from simlab import datasets
from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.schema import Ints
from simlab.settings import from_dict, merged, require
from simlab.tables import History
from simlab.world.birth import first_state, make_world
from simlab.world.calibrate import CalibrationConfig, calibrate
from simlab.world.config import WorldConfig
from simlab.world.history import make_history
from simlab.world.presets import preset
from simlab.world.snapshot import from_bytes
from simlab.world.truth import World

HISTORY = 28
"""Days of history before a world that is read from a file, unless `RunConfig.world` says more or less."""


MADE = (
    "name", "n_users", "n_items", "n_dims", "new_items_per_week", "taste_scale", "segment_share", "quality_sd", "tail",
    "price_sensitivity", "fuss", "patience", "visits_per_day", "loyalty.newcomers_per_week", "change.lifetime_days",
    "response.cascade_share", "response.dependent_share", "response.logit_share",
)  # fmt: skip
"""Settings that are in a world's tables once it is made."""


def open_world(config: RunConfig) -> tuple[World, History]:
    """The world of `config` as it stands on day 0, and its history with all that comes of it in the end.

    With data "shop" the history is the preset's own; it is read from data/shop where it is the built-in one, else
    simulated. With a real data set the world is calibrated to it, and the real ratings are the history. To the world
    in a file belongs a simulated history too. Raises `ConfigError` where there are less items than a slate has places.
    """
    world, history = _opened(config)
    n = len(world.catalogue.launched_by(0))
    require("n_positions", config.n_positions, config.n_positions <= n, f"there are {n} items: give at most as many")
    return world, history


def _opened(config: RunConfig) -> tuple[World, History]:
    if config.data != "shop":
        return _calibrated(config)
    world = beginning(config)
    if config.stored or config.world_config() != preset("shop"):
        return make_history(world)
    return replace(world, state=Oracle(world).state(0)), datasets.read_shop()["history"]


def beginning(config: RunConfig) -> World:
    """The world of `config` on the first day of its history. One fitted to real data has the same tastes on that day
    as on day 0: data do not say how they moved."""
    if config.data != "shop":
        world, _ = _calibrated(config)
        return replace(world, state=replace(world.state, day=int(world.catalogue.launch_day.min())))
    return stored_world(config) if config.stored else make_world(config.world_config(), config.days)


def _calibrated(config: RunConfig) -> tuple[World, History]:
    fits = "n_dims" not in config.world
    return calibrated(config.data, config.world.get("n_users"), config.calibration_config(), fits=fits)


def stored_world(config: RunConfig) -> World:
    """The world in the file `config.preset`, with the luck of the run's seed, `HISTORY` days before day 0.

    Raises `DataError` for a file that is no world, `ConfigError` for changes of what is made already.
    """
    file = Path(config.preset)
    require("preset", config.preset, file.is_file(), "there is no such file: simlab world fit makes it")
    world = from_bytes(file.read_bytes(), config.preset)
    changes = {"history_days": HISTORY, **config.world, "luck": config.seed}
    settings: WorldConfig = from_dict(WorldConfig, merged(asdict(world.config), changes))
    before, after = (pd.json_normalize(asdict(one)).iloc[0].to_dict() for one in (world.config, settings))
    for name in MADE:
        remedy = f"the world in {config.preset} is made with {before[name]}: leave this out"
        require(f"world, {name}", after[name], after[name] == before[name], remedy)
    first = -settings.history_days
    goods = replace(world.catalogue, launch_day=_since(world.catalogue.launch_day, first))
    people = replace(world.shoppers, arrival_day=_since(world.shoppers.arrival_day, first))
    state = first_state(settings, goods, world.items, taste=world.state.taste, home=world.state.home)
    return replace(world, config=settings, catalogue=goods, shoppers=people, state=state)


def _since(day: Ints, first: int) -> Ints:
    """Days before day 0 are put before the history, too, so that whoever was there is there in all of it."""
    return np.asarray(np.where(day < 0, np.minimum(day, first), day))


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
    seen = datasets.observed(ratings, seed=config.seed)
    return calibrate(seen, config=config), datasets.to_history(ratings, seen.catalogue.price)


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
