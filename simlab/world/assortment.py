"""How the goods change from day to day: fashions, prices and stock. Luck comes by the row of the item or category.

    fashion_c(t+1) = m fashion_c(t) + fashion * sqrt(1 - m^2) * normal       m = fashion_memory, 0 at first
    log price_i    = log list price_i + price_sd * normal                    drawn anew with probability price_change
    stock_i        = stock every delivery_days, less what is paid; sold out means not shown from the next day on

Why paid and not ordered: what a shop has left tells everybody what was sold, so it must not run ahead of the log.
"""

from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from simlab.streams import uniforms
from simlab.world.catalogue import PRICE_SPREAD
from simlab.world.truth import Happened, State, World


def fashions(world: World, state: State, happened: Happened, /) -> State:
    """A step of every category's fashion."""
    config, change = world.config, world.config.change
    if change.fashion == 0:
        return state
    rows = np.arange(len(state.fashion))
    noise = ndtri(uniforms(config.seed, "fashion", config.luck, state.day, rows=rows, n=1)[:, 0])
    swing = change.fashion * np.sqrt(1 - change.fashion_memory**2)
    return replace(state, fashion=change.fashion_memory * state.fashion + swing * noise)


def prices(world: World, state: State, happened: Happened, /) -> State:
    """New prices for some items."""
    config, change = world.config, world.config.change
    if change.price_change == 0:
        return state
    luck = uniforms(config.seed, "prices", config.luck, state.day, rows=np.arange(len(state.price)), n=2)
    step = change.price_sd * ndtri(np.maximum(luck[:, 1], 1e-300))
    new = luck[:, 0] < change.price_change
    price = np.where(new, np.round(world.catalogue.price * np.exp(step), 2), state.price)
    index = np.where(new, world.items.price_index + step / PRICE_SPREAD, state.price_index)
    return replace(state, price=np.maximum(price, 0.01), price_index=index)


def stock(world: World, state: State, happened: Happened, /) -> State:
    """What is left after the day, and what was delivered in the morning."""
    change = world.config.change
    if change.stock == 0:
        return state
    due = state.due + happened.sold
    left = np.maximum(state.stock - due[:, 0], 0)  # more may be paid than is there: it is delivered late
    if state.day % change.delivery_days == 0:
        left = np.full(len(left), float(change.stock))
    return replace(state, stock=left, due=np.column_stack([due[:, 1:], np.zeros(len(left))]))
