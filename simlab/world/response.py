"""How shoppers answer a slate: they look down it, click, buy (perhaps days later) and sometimes rate.

Every probability stands in closed form beside its sampler, and the oracle uses the same closed form.

    P(examined at p)         = patience ** p                              position-based (Richardson et al., WWW 2007)
    P(clicked | examined)    = sigmoid(base + utility)
    P(purchased | clicked)   = sigmoid(purchase_base + purchase_scale * utility)
    P(delay = k days)        = q (1-q)^k for k < max_delay, the rest at max_delay
    P(rated | purchased)     = rating_share
    P(rating <= r | rated)   = Phi(cut_r - rating_scale * utility)        ordered probit

Why: examination and attraction are separate causes, so that a learner can see position bias and then undo it.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import expit, ndtr, ndtri

from simlab.schema import NEVER, Bools, Floats, Ints, Outcomes
from simlab.settings import check_types, require
from simlab.streams import uniforms


@dataclass(frozen=True, kw_only=True)
class ResponseConfig:
    """How shoppers look, click, buy and rate."""

    base: float = -5.0
    """Log-odds of a click on an item of utility 0 that is looked at. Lower means fewer clicks."""
    purchase_base: float = -1.5
    """Log-odds of a purchase after a click on an item of utility 0."""
    purchase_scale: float = 0.25
    """How much more likely a purchase becomes with utility, from 0 up."""
    same_day: float = 0.5
    """q: probability that a purchase that has not come yet comes today, in (0, 1]."""
    max_delay: int = 14
    """Days after which a purchase comes at the latest."""
    rating_share: float = 0.3
    """Probability that a purchase is rated, in [0, 1]."""
    rating_scale: float = 0.25
    """How much ratings follow utility, from 0 up."""
    rating_cuts: tuple[float, float, float, float] = (-1.0, -0.4, 0.3, 1.3)
    """Where the rating changes from 1 to 2, 2 to 3, 3 to 4 and 4 to 5; rising."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("purchase_scale", "rating_scale"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "give a number from 0 up")
        require("same_day", self.same_day, 0 < self.same_day <= 1, "give a probability in (0, 1]")
        require("rating_share", self.rating_share, 0 <= self.rating_share <= 1, "give a probability in [0, 1]")
        require("max_delay", self.max_delay, 0 <= self.max_delay <= 365, "give days from 0 to 365")
        rising = all(low < high for low, high in pairwise(self.rating_cuts))
        require("rating_cuts", self.rating_cuts, rising, "give four rising numbers")


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What decides the answer to slates: utilities (R, n), patience (R,), and where there is an item at all (R, n)."""

    utility: Floats
    patience: Floats
    shown: Bools


@dataclass(frozen=True, kw_only=True)
class Chances:
    """Probabilities, each of shape (R, n), unconditional: `clicked` is P(examined and clicked)."""

    examined: Floats
    clicked: Floats
    purchased: Floats


def examination(patience: Floats, n: int) -> Floats:
    """P(examined) at each of `n` positions, top first; shape (R, n).

    >>> examination(np.array([0.5]), 3).tolist()
    [[1.0, 0.5, 0.25]]
    """
    return np.asarray(patience[:, None] ** np.arange(n))


def chances(preferences: Preferences, config: ResponseConfig) -> Chances:
    """The closed form of looks, clicks and purchases."""
    utility, shown = preferences.utility, preferences.shown
    examined = examination(preferences.patience, utility.shape[1]) * shown
    clicked = examined * expit(config.base + utility)
    purchased = clicked * expit(config.purchase_base + config.purchase_scale * utility)
    return Chances(examined=examined, clicked=clicked, purchased=purchased)


def delay_chances(config: ResponseConfig) -> Floats:
    """P(delay = k days) for k = 0 .. max_delay, given a purchase; shape (max_delay + 1,).

    >>> delay_chances(ResponseConfig(same_day=0.5, max_delay=2)).tolist()
    [0.5, 0.25, 0.25]
    """
    k = np.arange(config.max_delay + 1)
    mass = config.same_day * (1 - config.same_day) ** k
    mass[-1] = (1 - config.same_day) ** config.max_delay
    return np.asarray(mass)


def rating_chances(utility: Floats, config: ResponseConfig) -> Floats:
    """P(rating = 1 .. 5 | rated) for utilities of any shape (...); shape (..., 5)."""
    below = ndtr(np.asarray(config.rating_cuts) - config.rating_scale * utility[..., None])
    edges = np.concatenate([np.zeros((*utility.shape, 1)), below, np.ones((*utility.shape, 1))], axis=-1)
    return np.asarray(np.diff(edges, axis=-1))


def draws(n: int) -> int:
    """Uniforms that the answer to one slate of `n` positions uses."""
    return 1 + 4 * n


def respond(preferences: Preferences, config: ResponseConfig, *, day: int, luck: Floats) -> Outcomes:
    """The answer to slates shown on `day`, decided by `luck`: uniforms of shape (R, draws(n)), one row a request."""
    n_rows, n = preferences.utility.shape
    look, click, buy, delay, rate = np.split(luck, [1, 1 + n, 1 + 2 * n, 1 + 3 * n], axis=1)
    examined = (look < examination(preferences.patience, n)) & preferences.shown
    clicked = examined & (click < expit(config.base + preferences.utility))
    purchased = np.zeros_like(clicked)
    purchase_day = np.full((n_rows, n), NEVER, dtype=np.int64)
    rating = np.zeros((n_rows, n), dtype=np.int64)

    at = np.nonzero(clicked)  # few places are clicked: what follows is decided for those alone
    utility = preferences.utility[at]
    buys = buy[at] < expit(config.purchase_base + config.purchase_scale * utility)
    at, utility = (at[0][buys], at[1][buys]), utility[buys]
    purchased[at] = True
    later = np.searchsorted(np.cumsum(delay_chances(config))[:-1], delay[at], side="right")
    purchase_day[at] = day + later
    share = config.rating_share
    rates = rate[at] < share
    noise = ndtri(
        np.clip(rate[at][rates] / max(share, 1e-300), 1e-300, 1 - 1e-16)
    )  # uniform again, given that it rates
    rating[at[0][rates], at[1][rates]] = 1 + np.searchsorted(
        np.asarray(config.rating_cuts), config.rating_scale * utility[rates] + noise, side="right"
    )
    return Outcomes(examined=examined, clicked=clicked, purchased=purchased, purchase_day=purchase_day, rating=rating)


def luck_of(seed: int, day: int, user_id: Ints, visit: Ints, n: int) -> Floats:
    """The luck of requests, by the row of the user and the number of the visit; shape (R, draws(n))."""
    luck = np.empty((len(user_id), draws(n)))
    for number in np.unique(visit):
        rows = np.flatnonzero(visit == number)
        luck[rows] = uniforms(seed, "response", day, int(number), rows=user_id[rows], n=draws(n))
    return luck
