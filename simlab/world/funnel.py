"""Looks, clicks and purchases of real impressions, as laws with the numbers that fit them.

Position-based: an item that attracts with chance c_i and stands at position p (0 is the top) is clicked with

    P(click) = c_i patience^p

The chances c_i are many, so they are not estimated: given an item's clicks, each was at p with chance in proportion to
n_ip patience^p, where n_ip counts how often the item was shown there. That is the likelihood maximised here. Where
clicks are rare it is that of the law; elsewhere the estimate still aims at the right value (its score has mean 0 under
the law, whatever the c_i), and errors are counted from the scores, so they hold too (White, Econometrica 1982). For two
positions and one item it is the ratio of two rates, with its usual error (Katz, Baptista, Azen, Pike, Biometrics 1978).

Why by item: a shop puts what it thinks good on top, and its clicks must not be taken for those of the place. What it
puts on top for one shopper alone is still mixed up with the place; only positions drawn at random cure that.
Why by user: rows of one shopper are alike, and a thousand of them tell less than a thousand shoppers.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from simlab.schema import Bools, Floats, Ints

_SIGMAS = 1.959964
"""Half the width of a 95 % interval in standard errors."""

_FAR = float(np.log(1e4))
"""No decay is sought beyond this."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number found in data."""

    value: float
    error: float
    """Standard error of `value`."""
    low: float
    """Of the 95 % interval."""
    high: float
    n: int
    """Clicks, or whatever was counted, that it rests on."""

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def share(hits: Bools, user_id: Ints) -> Estimate:
    """How often `hits` is true, one row a trial of a user, both (n,); n > 0.

    The interval is Wilson's (1927) for the number of independent rows that would have the error found between users.
    """
    n = len(hits)
    value = float(hits.mean())
    per_user = np.bincount(user_id, weights=hits - value)
    error = float(np.sqrt((per_user**2).sum())) / n
    alone = value * (1 - value) / error**2 if error > 0 else float(n)
    worth = min(float(n), alone)
    middle = (value + _SIGMAS**2 / (2 * worth)) / (1 + _SIGMAS**2 / worth)
    half = _SIGMAS * np.sqrt(value * (1 - value) / worth + (_SIGMAS / (2 * worth)) ** 2) / (1 + _SIGMAS**2 / worth)
    return Estimate(value=value, error=error, low=max(0.0, middle - half), high=min(1.0, middle + half), n=n)


def fit_positions(clicks: Ints, shown: Ints) -> Estimate | None:
    """Patience, from how often items were clicked and shown at each position: both (n_positions,), or by item
    (n_items, n_positions). None where clicks stand at one end only and cannot tell.

    >>> print(fit_positions(np.array([100, 50]), np.array([1000, 1000])))
    0.5 (0.3602 to 0.6941)
    """
    fit = _PositionFit(np.atleast_2d(clicks).astype(np.float64), np.atleast_2d(shown).astype(np.float64))
    return fit.estimate(float((fit.clicks_due * (1 - fit.chance) * fit.off**2).sum()))


def fit_patience(clicked: Bools, position: Ints, item_id: Ints, user_id: Ints) -> Estimate | None:
    """The same from impressions, one a row, arrays of shape (n,); the error is that between users."""
    size = (int(item_id.max(initial=0)) + 1, int(position.max(initial=0)) + 1)
    cell = item_id * size[1] + position
    clicks = np.bincount(cell, clicked, size[0] * size[1]).reshape(size)
    shown = np.bincount(cell, np.ones(len(cell)), size[0] * size[1]).reshape(size)
    fit = _PositionFit(clicks.astype(np.float64), shown.astype(np.float64))
    score = (clicked - fit.chance.ravel()[cell]) * fit.off.ravel()[cell]
    return fit.estimate(float((np.bincount(user_id, score) ** 2).sum()))


class _PositionFit:
    """The law at its best; `clicks` and `shown` have shape (n_items, n_positions)."""

    def __init__(self, clicks: Floats, shown: Floats) -> None:
        self.clicks, self.shown, self.place = clicks, shown, np.arange(shown.shape[1])
        self.told = self._score(-_FAR) > 0.01 and self._score(_FAR) < -0.01
        self.best = brentq(self._score, -_FAR, _FAR, xtol=1e-12) if self.told else 0.0
        self.off = self.place - self._middle(self.best)
        """Of each position from where the item's clicks are to be expected on average."""
        self.clicks_due = clicks.sum(axis=1, keepdims=True) * self._weight(self.best)
        self.chance = np.minimum(self.clicks_due / np.maximum(shown, 1), 1)
        """P(click), by item and position."""

    def _weight(self, log_patience: float) -> Floats:
        """Share of an item's clicks that is to be expected at each position; rows sum to 1 where it was shown."""
        reach = np.where(self.shown > 0, log_patience * self.place, -1e9)
        weight = self.shown * np.exp(reach - reach.max(axis=1, keepdims=True))
        return np.asarray(weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300))

    def _middle(self, log_patience: float) -> Floats:
        return np.asarray(self._weight(log_patience) @ self.place[:, None])

    def _score(self, log_patience: float) -> float:
        return float((self.clicks * (self.place - self._middle(log_patience))).sum())

    def estimate(self, variance: float) -> Estimate | None:
        """The estimate, from the variance of the score; its slope is the variance of the clicks' positions."""
        if not self.told:
            return None
        error, value = np.sqrt(variance) / float((self.clicks_due * self.off**2).sum()), float(np.exp(self.best))
        wide = float(np.exp(_SIGMAS * error))
        return Estimate(value=value, error=value * error, low=value / wide, high=value * wide, n=int(self.clicks.sum()))
