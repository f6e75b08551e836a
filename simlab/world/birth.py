"""A world at its first moment, and parts of it."""

from dataclasses import replace

import numpy as np

from simlab.schema import Catalogue, Floats, Ints, Labels, Shoppers
from simlab.world.catalogue import make_items
from simlab.world.config import WorldConfig
from simlab.world.memory import SEEN
from simlab.world.truth import ItemTruth, State, World
from simlab.world.users import luck_rows, make_people


def make_world(config: WorldConfig, horizon: int) -> World:
    """The world of `config` on the first day of its history, with all that comes before day `horizon`."""
    catalogue, items = make_items(config, horizon)
    shoppers, people, taste, home = make_people(config, horizon)
    state = first_state(config, catalogue, items, taste=taste, home=home)
    return World(
        config=config, catalogue=catalogue, shoppers=shoppers, items=items, people=people, state=state,
        rows=luck_rows(config, len(shoppers)),
    )  # fmt: skip


def first_state(config: WorldConfig, catalogue: Catalogue, items: ItemTruth, *, taste: Floats, home: Floats) -> State:
    """The first day of history: nobody is bored or has left, prices are those of the list, stores are full."""
    change, n_users, n_categories = config.change, len(taste), len(catalogue.category.names)
    seen = SEEN if change.item_boredom > 0 else 0
    return State(
        day=-config.history_days,
        taste=taste,
        home=home,
        present=np.ones(n_users, dtype=np.bool_),
        satisfaction=np.full(n_users, 0.5),
        boredom=np.zeros((n_users, n_categories if change.boredom > 0 else 0), dtype=np.float32),
        seen_item=np.full((n_users, seen), -1, dtype=np.int32),
        seen_level=np.zeros((n_users, seen), dtype=np.float32),
        wanted=np.full((n_users, 1 if config.complements > 0 else 0), -1, dtype=np.int64),
        fashion=np.zeros(n_categories),
        price=catalogue.price,
        price_index=items.price_index,
        stock=np.full(len(catalogue), float(change.stock) if change.stock > 0 else np.inf),
        due=np.zeros((len(catalogue), config.response.max_delay + 1 if change.stock > 0 else 0)),
    )


def part(world: World, rows: Ints) -> World:
    """The shoppers `rows` of `world` in a world of their own, numbered anew; goods are the same, luck too.

    What they do does not hang on the others, but for stock: give `Happened.sold` of all to `step`.
    """
    people, state, shoppers = world.people, world.state, world.shoppers
    own_people = {name: getattr(people, name)[rows] for name in OF_PEOPLE}
    own_state = {name: getattr(state, name)[rows] for name in OF_STATE}
    return replace(
        world,
        shoppers=Shoppers(
            segment=Labels(codes=shoppers.segment.codes[rows], names=shoppers.segment.names),
            region=Labels(codes=shoppers.region.codes[rows], names=shoppers.region.names),
            arrival_day=shoppers.arrival_day[rows],
        ),
        people=replace(people, **own_people),
        state=replace(state, **own_state),
        rows=world.rows[rows],
    )


OF_PEOPLE = ("activity", "price_sensitivity", "patience", "way", "log_budget")
OF_STATE = ("taste", "home", "present", "satisfaction", "boredom", "seen_item", "seen_level", "wanted")
