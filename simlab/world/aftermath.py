"""What follows a click, also what the company learns only days later. Each law in closed form beside its sampler.

    dwell time            log-normal, median dwell_seconds * exp(dwell_scale * U)
    P(buys | clicked)     purchase_share * sigmoid(purchase_base + purchase_scale * U)
    P(k units or more)    another_unit ** (k - 1), at most 5
    P(delay = k days)     q (1-q)^k for k < max_delay, the rest at max_delay      of purchases from the click, of
                                                                                  ratings and returns from the purchase
    P(rates | bought)     rating_share
    P(rating <= r)        Phi(cut_r - rating_scale * U)                           ordered probit
    P(returns | bought)   return_share * sigmoid(-return_scale * U)

Why each draw has a number: a click has one uniform of its own, and draw k is a hash of it and of k, so that taking one
behaviour out of a world leaves the luck of the others as it was.
"""

import numpy as np
from scipy.special import expit, ndtr, ndtri

from simlab.schema import NEVER, Clicks, Floats, Ints
from simlab.world.config import ResponseConfig

MOST_UNITS = 5

_DRAWS = ("dwell", "buys", "units", "delay", "rates", "rating", "rating delay", "returns", "return delay")


def purchase_chances(utility: Floats, config: ResponseConfig) -> Floats:
    """P(buys | clicked), any shape."""
    return np.asarray(config.purchase_share * expit(config.purchase_base + config.purchase_scale * utility))


def return_chances(utility: Floats, config: ResponseConfig) -> Floats:
    """P(returns | bought), any shape."""
    return np.asarray(config.return_share * expit(-config.return_scale * utility))


def expected_units(config: ResponseConfig) -> float:
    """Mean units of a purchase.

    >>> expected_units(ResponseConfig(another_unit=0.5))
    1.9375
    """
    return float(np.sum(config.another_unit ** np.arange(MOST_UNITS)))


def delay_chances(same_day: float, max_delay: int) -> Floats:
    """P(delay = k days) for k = 0 .. max_delay; shape (max_delay + 1,).

    >>> delay_chances(0.5, 2).tolist()
    [0.5, 0.25, 0.25]
    """
    mass = same_day * (1 - same_day) ** np.arange(max_delay + 1)
    mass[-1] = (1 - same_day) ** max_delay
    return np.asarray(mass)


def rating_chances(utility: Floats, config: ResponseConfig) -> Floats:
    """P(rating = 1 .. 5 | rated) for utilities of any shape (...); shape (..., 5)."""
    below = ndtr(np.asarray(config.rating_cuts) - config.rating_scale * utility[..., None])
    edges = np.concatenate([np.zeros((*utility.shape, 1)), below, np.ones((*utility.shape, 1))], axis=-1)
    return np.asarray(np.diff(edges, axis=-1))


def _draw(luck: Floats, what: str) -> Floats:
    """Another uniform in (0, 1) from each: splitmix64 of its 53 bits (Steele, Lea, Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        z = (luck * 2.0**53).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(_DRAWS.index(what) + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray(((z >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def _delay(luck: Floats, what: str, same_day: float, max_delay: int) -> Ints:
    steps = np.cumsum(delay_chances(same_day, max_delay))[:-1]
    return np.searchsorted(steps, _draw(luck, what), side="right")


def after_clicks(place: Ints, utility: Floats, config: ResponseConfig, *, day: int, luck: Floats) -> Clicks:
    """What comes of the clicks of `day`; `place`, `utility` and `luck` (uniform, one a click) have shape (C,)."""
    n = len(place)
    dwell = np.full(n, np.nan)
    if config.dwell_seconds > 0:
        noise = config.dwell_sd * ndtri(_draw(luck, "dwell"))
        dwell = config.dwell_seconds * np.exp(config.dwell_scale * utility + noise)
    units, rating = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    purchase_day, rating_day, return_day = (np.full(n, NEVER, dtype=np.int64) for _ in range(3))

    buys = np.flatnonzero(_draw(luck, "buys") < purchase_chances(utility, config))
    luck, utility = luck[buys], utility[buys]
    more = config.another_unit ** np.arange(1, MOST_UNITS)
    units[buys] = 1 + (_draw(luck, "units")[:, None] < more).sum(axis=1)
    bought = day + _delay(luck, "delay", config.same_day, config.max_delay)
    purchase_day[buys] = bought

    rates = np.flatnonzero(_draw(luck, "rates") < config.rating_share)
    felt = config.rating_scale * utility[rates] + ndtri(_draw(luck[rates], "rating"))
    rating[buys[rates]] = 1 + np.searchsorted(np.asarray(config.rating_cuts), felt, side="right")
    later = _delay(luck[rates], "rating delay", config.rating_same_day, config.rating_max_delay)
    rating_day[buys[rates]] = bought[rates] + later

    back = np.flatnonzero(_draw(luck, "returns") < return_chances(utility, config))
    later = _delay(luck[back], "return delay", config.return_same_day, config.return_max_delay)
    return_day[buys[back]] = bought[back] + later
    return Clicks(
        place=place, dwell=dwell, units=units, purchase_day=purchase_day,
        rating=rating, rating_day=rating_day, return_day=return_day,
    )  # fmt: skip
