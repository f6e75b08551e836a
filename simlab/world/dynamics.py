"""How truth moves from one day to the next. Pure functions of (world, state); luck by the shopper's row.

Tastes drift as an Ornstein-Uhlenbeck process seen daily, so that the crowd looks the same on every day while each
shopper wanders:

    taste(t+1) = home + rho (taste(t) - home) + drift * spread * normal

with rho = sqrt(1 - drift^2), so that `drift` is the standard deviation of one day's step in units of `spread`.
Source: Uhlenbeck and Ornstein, Phys. Rev. 1930.
"""

from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from simlab.streams import uniforms
from simlab.world.truth import State, World


def start(world: World) -> State:
    """The state on the first day of history."""
    return State(day=-world.config.history_days, taste=world.people.taste)


def step(world: World, state: State) -> State:
    """The state on the next day."""
    day, drift = state.day + 1, world.config.drift
    if drift == 0:
        return replace(state, day=day)
    n_users, n_dims = state.taste.shape
    noise = ndtri(uniforms(world.config.seed, "drift", day, rows=np.arange(n_users), n=n_dims))
    home = world.people.home
    taste = home + np.sqrt(1 - drift**2) * (state.taste - home) + drift * world.people.spread * noise
    return State(day=day, taste=taste)


def state_on(world: World, day: int) -> State:
    """The state on `day`, stepped from the start; tastes do not depend on what was shown."""
    state = start(world)
    while state.day < day:
        state = step(world, state)
    return state
