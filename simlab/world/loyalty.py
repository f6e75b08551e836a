"""Who stays: satisfaction decides when a shopper comes back, and whether they leave for good.

    satisfaction <- satisfaction + learning * ([a click] - satisfaction)      with each slate, 1/2 at first
    P(leaves for good after a day with a visit) = churn * (1 - satisfaction)

Why slates and not purchases: what a shopper feels about a visit is whether there was anything to look into.
"""

from dataclasses import replace

import numpy as np

from simlab.compiled import compiled
from simlab.schema import Bools, Floats, Ints
from simlab.streams import uniforms
from simlab.world.truth import Happened, State, World


def loyalty(world: World, state: State, happened: Happened, /) -> State:
    """How satisfied shoppers are after the day, and who has left."""
    config, rates = world.config, world.config.loyalty
    if rates.pull == 0 and rates.churn == 0:
        return state
    satisfaction = state.satisfaction.copy()
    _learn(satisfaction, float(rates.learning), happened.user_id, happened.clicked)
    came = np.unique(happened.user_id)
    luck = uniforms(config.seed, "churn", config.luck, state.day, rows=world.rows[came], n=1)[:, 0]
    present = state.present.copy()
    present[came[luck < rates.churn * (1 - satisfaction[came])]] = False
    return replace(state, satisfaction=satisfaction, present=present)


@compiled
def _learn(satisfaction: Floats, learning: float, user_id: Ints, clicked: Bools) -> None:
    for row in range(len(user_id)):
        hit = 1.0 if clicked[row].any() else 0.0
        satisfaction[user_id[row]] += learning * (hit - satisfaction[user_id[row]])
