"""How tastes move: slowly, all at once, and under the influence of what is shown.

Drift is an Ornstein-Uhlenbeck process seen daily (Phys. Rev. 1930), so that the crowd looks the same on every day while
each shopper wanders:

    taste(t+1) = home + rho (taste(t) - home) + drift * spread * normal,     rho = sqrt(1 - drift^2)

so that `drift` is the standard deviation of one day's step in units of `spread`.

Shift: on the morning of shift_day, each shopper with probability shift_share comes to like what was disliked: home and
taste change their sign in half of the dimensions, the same ones for all.

Influence: each look moves taste and home by the share `influence` of the way to the item,

    taste <- taste + influence * (towards - taste),      towards = vector * sqrt(n_dims) / taste_scale

the same for home, look by look in the order of requests and positions. As a vector has root mean square length
taste_scale and a taste sqrt(n_dims), what they move towards is as long as a taste, in made worlds and in fitted ones.
"""

from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from simlab.compiled import compiled
from simlab.schema import Bools, Floats, Ints
from simlab.streams import stream, uniforms
from simlab.world.truth import Happened, State, World


def drift(world: World, state: State, happened: Happened, /) -> State:
    """A small step of every shopper's taste around home."""
    rate = world.config.drift
    if rate == 0:
        return state
    luck = uniforms(world.config.seed, "drift", world.config.luck, state.day, rows=world.rows, n=world.config.n_dims)
    noise = ndtri(np.maximum(luck, 1e-300))
    taste = state.home + np.sqrt(1 - rate**2) * (state.taste - state.home) + rate * world.people.spread * noise
    return replace(state, taste=taste)


def shift(world: World, state: State, happened: Happened, /) -> State:
    """On one morning, some shoppers turn round."""
    change = world.config.change
    if change.shift_share == 0 or state.day != change.shift_day:
        return state
    config = world.config
    moved = uniforms(config.seed, "shift", config.luck, rows=world.rows, n=1) < change.shift_share
    sign = np.ones(config.n_dims)
    sign[stream(config.seed, "shift", "dimensions").permutation(config.n_dims)[: (config.n_dims + 1) // 2]] = -1
    turned = np.where(moved, sign, 1.0)
    return replace(state, taste=state.taste * turned, home=state.home * turned)


def influence(world: World, state: State, happened: Happened, /) -> State:
    """Tastes and homes after the looks of the day."""
    rate = world.config.change.influence
    if rate == 0 or world.config.taste_scale == 0:
        return state
    towards = world.items.vector * (np.sqrt(world.config.n_dims) / world.config.taste_scale)
    taste, home = state.taste.copy(), state.home.copy()
    for point in (taste, home):
        _pull(point, towards, rate, happened.user_id, happened.item_id, happened.examined)
    return replace(state, taste=taste, home=home)


@compiled
def _pull(point: Floats, towards: Floats, rate: float, user_id: Ints, item_id: Ints, examined: Bools) -> None:
    for row in range(len(user_id)):
        user = user_id[row]
        for place in range(item_id.shape[1]):
            if examined[row, place]:
                item = item_id[row, place]
                for d in range(point.shape[1]):
                    point[user, d] += rate * (towards[item, d] - point[user, d])
