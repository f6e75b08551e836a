"""The log that the company starts from: an old policy met these shoppers on the days before day 0.

The old policy is noisy popularity. Each week it counts clicks, and it fills a slate from the top by drawing items
without replacement with chances in proportion to

    weight_i = (clicks_i + 1) ** 0.5                                     (Plackett-Luce)

so every item can be shown, and the probability of what was shown is known and logged.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from simlab.schema import SOURCES, Floats, Labels, Outcomes, Requests, Slates, to_impressions
from simlab.streams import uniforms
from simlab.world.dynamics import start, step
from simlab.world.response import luck_of, respond
from simlab.world.truth import State, World, preferences
from simlab.world.users import visits

POLICY = "noisy-popularity"
POSITIONS = 10


def plackett_luce(weight: Floats, requests: Requests, *, luck: Floats) -> Slates:
    """Slates drawn from `weight` (n_items,) without replacement, with propensities; `luck` is uniform, (R, n_items).

    The n smallest of independent exponential times with rates `weight` come in Plackett-Luce order (Luce 1959), and

        propensity at p = weight of the item at p / (weight of all items - weight of the items above)
    """
    n = min(requests.n, len(weight))
    times = -np.log1p(-luck) / weight
    first = np.argpartition(times, n - 1, axis=1)[:, :n]
    order = np.argsort(np.take_along_axis(times, first, axis=1), axis=1, kind="stable")
    item_id = np.take_along_axis(first, order, axis=1)
    shown = weight[item_id]
    left = weight.sum() - np.cumsum(shown, axis=1) + shown
    n_rows = len(requests)
    return Slates(
        requests=requests,
        item_id=item_id,
        propensity=shown / left,
        source=np.full((n_rows, n), SOURCES.index("history"), dtype=np.int64),
        model_version=Labels.constant(POLICY, n_rows),
        arm=Labels.constant("history", n_rows),
    )


def answer(world: World, state: State, slates: Slates) -> Outcomes:
    """What the shoppers of `world` do with slates shown on the day of `state`."""
    requests, n = slates.requests, slates.item_id.shape[1]
    luck = luck_of(world.config.seed, requests.day, requests.user_id, requests.visit, n)
    return respond(preferences(world, state, slates), world.config.response, day=requests.day, luck=luck)


def _days(world: World) -> Iterator[pa.Table]:
    seed, catalogue = world.config.seed, world.catalogue
    clicks = np.zeros(len(catalogue))
    weight = np.sqrt(clicks + 1)
    state = start(world)
    while state.day < 0:
        if state.day % 7 == 0:
            weight = np.sqrt(clicks + 1)
        n_items = int(catalogue.on_sale(state.day).sum())
        requests = visits(world, state.day, min(POSITIONS, n_items))
        luck = np.empty((len(requests), n_items))
        for number in np.unique(requests.visit):
            rows = np.flatnonzero(requests.visit == number)
            name = ("history", state.day, int(number))
            luck[rows] = uniforms(seed, *name, rows=requests.user_id[rows], n=n_items)
        slates = plackett_luce(weight[:n_items], requests, luck=luck)
        outcomes = answer(world, state, slates)
        clicks += np.bincount(slates.item_id[outcomes.clicked], minlength=len(clicks))
        yield to_impressions(slates, outcomes)
        state = step(world, state)


def make_history(world: World) -> pa.Table:
    """IMPRESSIONS of the days -history_days .. -1, with what came of them in the end, purchases after day -1 too."""
    return pa.concat_tables(_days(world)).combine_chunks().unify_dictionaries()
