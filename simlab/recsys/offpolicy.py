"""Off-policy estimates: what another policy would have earned, from rows that this one left to chance.

    w_i = P(the other shows it) / P(this one shows it)        weight of row i, its outcome r_i

    IPS    = mean(w r)             unbiased where the logged probabilities are right; one heavy row rules it
    SNIPS  = sum(w r) / sum(w)     never leaves the range of r; its bias fades as 1/n
    n_eff  = sum(w)^2 / sum(w^2)   as many rows of equal weight would tell as much

Clipped weights, min(w, c), trade that variance for a bias downwards in what the clipped rows earn.
Sources: Horvitz, Thompson, JASA 1952; Swaminathan, Joachims, NeurIPS 2015; Kong, 1992, for n_eff; Ionides, 2008, for
clipping.
"""

from typing import NamedTuple

import numpy as np

from simlab.recsys.monitor import Z
from simlab.schema import Floats, Ints


class Estimate(NamedTuple):
    """A number that was estimated, with its 95 % interval by user; NaN where nothing can be told."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, error: float) -> "Estimate":
        """The interval of a normal law."""
        return cls(value, value - Z * error, value + Z * error)


def effective_size(weight: Floats) -> float:
    """Rows of equal weight that would tell as much as these: sum(w)^2 / sum(w^2); 0 without weight.

    >>> effective_size(np.array([1.0, 1.0, 1.0, 1.0])), effective_size(np.array([1.0, 0.0, 0.0, 0.0]))
    (4.0, 1.0)
    """
    square = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / square if square > 0 else 0.0


def ips(weight: Floats, outcome: Floats) -> float:
    """mean(w r), NaN without rows.

    >>> ips(np.array([2.0, 0.0]), np.array([1.0, 1.0]))
    1.0
    """
    return float(np.mean(weight * outcome)) if len(weight) else float("nan")


def snips(weight: Floats, outcome: Floats) -> float:
    """sum(w r) / sum(w), NaN without weight.

    >>> snips(np.array([3.0, 1.0]), np.array([1.0, 0.0]))
    0.75
    """
    total = float(weight.sum())
    return float((weight * outcome).sum()) / total if total > 0 else float("nan")


def difference(weights: tuple[Floats, Floats], outcome: Floats, user_id: Ints) -> Estimate:
    """SNIPS of the first weights less that of the second on the same rows, with its interval; all of shape (n,).

    d = sum over users of psi_u,   psi_u = sum over rows of u of  w (r - V) / sum(w)  less  w' (r - V') / sum(w')

    and its variance is n_users / (n_users - 1) * sum(psi_u^2): the rows of one user are alike, users are not (delta
    method; Deng, Knoblich, Lu, KDD 2018).

    >>> same = np.array([1.0, 2.0])
    >>> difference((same, same), np.array([1.0, 0.0]), np.array([0, 1]))
    Estimate(value=0.0, low=0.0, high=0.0)
    """
    first, second = (snips(weight, outcome) for weight in weights)
    if np.isnan(first - second):
        return Estimate(float("nan"), float("nan"), float("nan"))
    rows = sum(
        sign * weight * (outcome - value) / weight.sum()
        for sign, weight, value in zip((1, -1), weights, (first, second), strict=True)
    )
    users, place = np.unique(user_id, return_inverse=True)
    psi = np.bincount(place, weights=rows)
    n = len(users)
    error = float(np.sqrt(n / (n - 1) * np.square(psi).sum())) if n > 1 else float("nan")
    return Estimate.around(first - second, error)
