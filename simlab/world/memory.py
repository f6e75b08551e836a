"""What shoppers remember: they tire of what they see, recover, and want what goes with what they clicked.

Boredom by category c and by item i, in utility, look by look and then night by night:

    b_uc <- b_uc + boredom,  b_ui <- b_ui + item_boredom      with each look at i, of category c
    b    <- b * (1 - recovery)                                each night, before the day's looks are added

A shopper remembers SEEN items; one more takes the place of the one remembered least.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from simlab.compiled import compiled
from simlab.schema import Bools, Ints
from simlab.world.truth import Happened, Small, State, World

SEEN = 16


def recover(world: World, state: State, happened: Happened, /) -> State:
    """A night's rest."""
    left = np.float32(1 - world.config.change.recovery)
    if state.boredom.shape[1] == 0 and state.seen_level.shape[1] == 0:
        return state
    return replace(state, boredom=state.boredom * left, seen_level=state.seen_level * left)


def bore(world: World, state: State, happened: Happened, /) -> State:
    """Each look tires of the item and of its category."""
    change = world.config.change
    looks = (happened.user_id, happened.item_id, happened.examined)
    if change.boredom > 0:
        boredom = state.boredom.copy()
        _bore_category(boredom, float(change.boredom), world.catalogue.category.codes, *looks)
        state = replace(state, boredom=boredom)
    if change.item_boredom > 0:
        item, level = state.seen_item.copy(), state.seen_level.copy()
        _bore_item(item, level, float(change.item_boredom), *looks)
        state = replace(state, seen_item=item, seen_level=level)
    return state


def want(world: World, state: State, happened: Happened, /) -> State:
    """The last click of a shopper makes the category wanted that goes with it."""
    if world.config.complements == 0:
        return state
    row, place = np.nonzero(happened.clicked)  # in order of time, so that the last one stays
    wanted = state.wanted.copy()
    clicked = world.catalogue.category.codes[happened.item_id[row, place]]
    wanted[happened.user_id[row], 0] = world.items.companion[clicked]
    return replace(state, wanted=wanted)


@compiled
def _bore_category(boredom: Small, rate: float, category: Ints, user_id: Ints, item_id: Ints, examined: Bools) -> None:
    for row in range(len(user_id)):
        for place in range(item_id.shape[1]):
            if examined[row, place]:
                boredom[user_id[row], category[item_id[row, place]]] += rate


@compiled
def _bore_item(
    seen: npt.NDArray[np.int32], level: Small, rate: float, user_id: Ints, item_id: Ints, examined: Bools
) -> None:
    for row in range(len(user_id)):
        user = user_id[row]
        for place in range(item_id.shape[1]):
            if not examined[row, place]:
                continue
            item, slot = item_id[row, place], 0
            for k in range(seen.shape[1]):
                if seen[user, k] == item:
                    slot = k
                    break
                if level[user, k] < level[user, slot]:
                    slot = k
            if seen[user, slot] != item:
                seen[user, slot], level[user, slot] = item, 0.0
            level[user, slot] += rate
