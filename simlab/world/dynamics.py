"""How truth moves from one day to the next: `step` applies small parts in turn, each a pure function.

    part(world, state, happened) -> state          `state` carries the number of the new day already

Luck comes by the shopper's or the item's row, so a part of a world moves as it does within the whole. `happened` is
what shoppers did on the day before. Where a part's rate is 0 it returns the state as it is. Parts of anyone's own can
be passed to `step`, beside these or in their place.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np

from simlab.schema import Outcomes, Slates
from simlab.world.assortment import fashions, prices, stock
from simlab.world.loyalty import loyalty
from simlab.world.memory import bore, recover, want
from simlab.world.tastes import drift, influence, shift
from simlab.world.truth import Happened, State, World


class Part(Protocol):
    """One way in which truth moves."""

    def __call__(self, world: World, state: State, happened: Happened, /) -> State:
        """The state after this part's change."""


PARTS: tuple[Part, ...] = (drift, shift, influence, recover, bore, want, loyalty, fashions, prices, stock)


def happened(world: World, slates: Slates, outcomes: Outcomes) -> Happened:
    """What a day's slates came to, in the order of request_id; empty slates leave no trace, here as in the log."""
    full = np.flatnonzero(slates.shown.any(axis=1))
    order = full[np.argsort(slates.requests.request_id[full], kind="stable")]
    clicks = outcomes.clicks
    paid = clicks.purchase_day - slates.requests.day
    sold = np.zeros_like(world.state.due)
    made = np.flatnonzero(clicks.units) if sold.shape[1] else np.empty(0, dtype=np.int64)
    np.add.at(sold, (slates.item_id.ravel()[clicks.place[made]], paid[made]), clicks.units[made])
    return Happened(
        user_id=slates.requests.user_id[order],
        item_id=slates.item_id[order],
        examined=outcomes.examined[order],
        clicked=outcomes.clicked[order],
        sold=sold,
    )


def nothing(world: World) -> Happened:
    """A day on which nobody came."""
    nobody, places = np.empty(0, dtype=np.int64), np.empty((0, 1), dtype=np.bool_)
    items, sold = np.empty((0, 1), dtype=np.int64), np.zeros_like(world.state.due)
    return Happened(user_id=nobody, item_id=items, examined=places, clicked=places, sold=sold)


def step(world: World, state: State, happened: Happened | None = None, parts: tuple[Part, ...] = PARTS) -> State:
    """The state on the next day; `happened` is what shoppers did on the day of `state`, by default nothing."""
    happened = nothing(world) if happened is None else happened
    state = replace(state, day=state.day + 1)
    for part in parts:
        state = part(world, state, happened)
    return state
