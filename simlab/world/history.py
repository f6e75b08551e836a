"""The log that the company starts from: an old policy met these shoppers on the days before day 0.

The old policy is noisy popularity. Each week it counts clicks, and it fills a slate from the top by drawing items
without replacement with chances in proportion to

    weight_i = (clicks_i + 1) ** 0.5                                     (Plackett-Luce)

so every item can be shown, and the probability of what was shown is known and logged.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlab.schema import (
    NO_ITEM,
    SOURCES,
    Bools,
    Floats,
    Labels,
    Outcomes,
    Requests,
    Slates,
    blocks,
    join_outcomes,
    join_slates,
)
from simlab.streams import uniforms
from simlab.tables import History, to_feedback, to_impressions
from simlab.world.dynamics import happened, step
from simlab.world.response import luck_of
from simlab.world.truth import State, World, available, preferences
from simlab.world.users import next_page, visits

Policy = Callable[[Requests], Slates]
"""Makes a slate for each request."""

Audience = Callable[[Slates, Outcomes], None]
"""Hears what came of slates."""

POLICY = "noisy-popularity"
POSITIONS = 10


def plackett_luce(weight: Floats, requests: Requests, *, luck: Floats) -> Slates:
    """Slates drawn from `weight` (n_items,) without replacement, with propensities; `luck` is uniform, (R, n_items).

    The n smallest of independent exponential times with rates `weight` come in Plackett-Luce order (Luce 1959), and

        propensity at p = weight of the item at p / (weight of all items - weight of the items above)

    Items of weight 0, and those excluded, are never drawn; where none is left the place is empty.
    """
    n_rows, n = len(requests), min(requests.n, len(weight))
    rates = np.broadcast_to(weight, luck.shape)
    if len(requests.exclude):
        row, item = requests.exclude.T
        there = (item >= 0) & (item < len(weight))
        rates = rates.copy()
        rates[row[there], item[there]] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(rates > 0, -np.log1p(-luck) / rates, np.inf)
    first = np.argpartition(times, n - 1, axis=1)[:, :n]
    order = np.argsort(np.take_along_axis(times, first, axis=1), axis=1, kind="stable")
    item_id = np.take_along_axis(first, order, axis=1)
    shown = np.take_along_axis(rates, item_id, axis=1)
    left = rates.sum(axis=1, keepdims=True) - np.cumsum(shown, axis=1) + shown
    return Slates(
        requests=requests,
        item_id=np.where(shown > 0, item_id, NO_ITEM),
        propensity=np.minimum(np.divide(shown, left, out=np.ones(shown.shape), where=shown > 0), 1),  # sums round
        source=np.full((n_rows, n), SOURCES.index("history"), dtype=np.int64),
        model_version=Labels.constant(POLICY, n_rows),
        arm=Labels.constant("history", n_rows),
    )


def answer(world: World, state: State, slates: Slates) -> Outcomes:
    """What the shoppers of `world` do with slates shown on the day of `state`."""
    asked, n = slates.requests, slates.item_id.shape[1]
    rows = world.rows[asked.user_id]
    luck = luck_of(world.config, asked, rows, n)
    return world.response.respond(preferences(world, state, slates), day=asked.day, luck=luck)


def serve(
    world: World, state: State, requests: Requests, show: Policy, tell: Audience | None = None
) -> tuple[Slates, Outcomes]:
    """A day's slates, as `show` makes them, and the answers; shoppers turn pages until they have seen enough.

    `tell` hears the answers to each page before the next one is asked for.
    """
    slates: list[Slates] = []
    outcomes: list[Outcomes] = []
    while not slates or len(requests):
        slates.append(show(requests))
        outcomes.append(answer(world, state, slates[-1]))
        if tell is not None:
            tell(slates[-1], outcomes[-1])
        requests = next_page(world, slates[-1])
    return join_slates(slates), join_outcomes(outcomes)


def _shown_by(world: World, weight: Floats, requests: Requests) -> Slates:
    pieces = [requests.take(rows) for rows in blocks(np.arange(len(requests)), len(weight))]
    return join_slates([_drawn(world, weight, piece) for piece in pieces or [requests]])


def _drawn(world: World, weight: Floats, requests: Requests) -> Slates:
    luck = np.empty((len(requests), len(weight)))
    for visit, page in {*zip(requests.visit.tolist(), requests.page.tolist(), strict=True)}:
        rows = np.flatnonzero((requests.visit == visit) & (requests.page == page))
        name = ("history", world.config.luck, requests.day, visit, page)
        luck[rows] = uniforms(world.config.seed, *name, rows=world.rows[requests.user_id[rows]], n=len(weight))
    return plackett_luce(weight, requests, luck=luck)


def make_history(world: World) -> tuple[World, History]:
    """`world` as it stands on day 0, and what was shown on the days before, with all that comes of it in the end."""
    catalogue, state = world.catalogue, world.state
    clicks = np.zeros(len(catalogue))
    weight = np.sqrt(clicks + 1)
    shown: list[pa.Table] = []
    told: list[pa.Table] = []
    while state.day < 0:
        if state.day % 7 == 0:
            weight = np.sqrt(clicks + 1)
        n_items = int(np.count_nonzero(catalogue.launch_day <= state.day))
        here: Bools = available(world, state)[:n_items]
        requests = visits(world, state.day, min(POSITIONS, n_items), state)
        slates, outcomes = serve(world, state, requests, partial(_shown_by, world, weight[:n_items] * here))
        clicks += np.bincount(slates.item_id[outcomes.clicked], minlength=len(clicks))
        shown.append(to_impressions(slates, outcomes))
        told.append(to_feedback(slates, outcomes, state.price))
        state = step(world, state, happened(world, slates, outcomes))
    impressions, feedback = (pa.concat_tables(parts).combine_chunks().unify_dictionaries() for parts in (shown, told))
    order = pc.sort_indices(feedback, [("day", "ascending"), ("impression_id", "ascending")])
    return replace(world, state=state), History(impressions=impressions, feedback=feedback.take(order))
