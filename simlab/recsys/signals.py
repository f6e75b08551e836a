"""Signals: whether shoppers answer a champion otherwise than they did; two questions to two windows of its days.

    common_fall    have the click rates of ALL categories fallen alike?         a stale model, not a season
    mix_drift      do the categories share the clicks otherwise than before?    any change that everybody makes

Why categories: a season lifts some categories and lowers others, for every model, and it comes back; a model that no
longer knows its shoppers loses in all of them. So the unit of evidence is the category, and what one season does to
twenty of them is noise of its own, which the interval knows.

Why by shopper: the clicks of one shopper are alike, and most shoppers are in both windows. Errors are sums over
shoppers of what each adds to the difference (the delta method of `monitor.ratio`, paired). For the same reason the law
of `drift.psi_threshold`, which takes clicks for independent draws, would alarm too often here.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, stdtrit

from simlab.recsys.facts import Window
from simlab.schema import Bools, Floats

MIN_CLICKS = 40
"""Clicks in both windows together from which on a category counts; by their sum, so that neither one chooses."""

MIN_CATEGORIES = 5
"""Categories that must count: of fewer nobody can tell what they have in common."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What a comparison came to."""

    size: float
    """The change: relative for a fall, below 0; the PSI for a drift."""
    limit: float
    """What `size` has to pass at the level that was asked for."""
    found: bool


SILENT = Signal(size=0.0, limit=float("inf"), found=False)
"""Nothing can be said: too few clicks."""


def common_fall(before: Window, after: Window, *, alpha: float) -> Signal:
    """Whether the click rates r of the categories c = 1 .. k have fallen together, at the one-sided level `alpha`.

    x_c = log(r_c after / r_c before),  mean x < -q se,  se^2 = max(spread of x over categories / k, error by shopper)

    q is the quantile of Student's t with k - 1 degrees of freedom. The spread over categories is what a season adds
    (random effects: DerSimonian, Laird, Controlled Clinical Trials 1986, here with equal weights).
    """
    x, counts = _changes(before, after)
    k = len(x)
    if k < MIN_CATEGORIES:
        return SILENT
    adds = _adds(after, counts).mean(axis=1), _adds(before, counts).mean(axis=1)
    by_shopper = np.square(_difference(*adds)).sum()
    error = np.sqrt(max(x.var(ddof=1) / k, by_shopper))
    limit = float(np.expm1(-stdtrit(k - 1, 1 - alpha) * error))
    size = float(np.expm1(x.mean()))
    return Signal(size=size, limit=limit, found=size < limit)


def mix_drift(before: Window, after: Window, *, alpha: float) -> Signal:
    """Whether the categories' shares in the clicks have moved, given what was shown, at the level `alpha`.

    p_c ~ shown_c before * r_c before,  q_c ~ shown_c before * r_c after,  PSI = sum((q - p) log(q / p))

    Without drift PSI is close to sum((q - p)^2 / p), and that to d / (k - 1) times a chi-square variable with k - 1
    degrees of freedom, where d = sum(var(q_c - p_c) / p_c) with variances by shopper (Rao, Scott, JASA 1981).
    """
    x, counts = _changes(before, after)
    k = len(x)
    if k < MIN_CATEGORIES:
        return SILENT
    p = before.clicked.sum(axis=0)[counts]
    p = p / p.sum()
    q = p * np.exp(x) / (p * np.exp(x)).sum()
    middle = (p + q) / 2
    adds = _difference(_adds(after, counts), _adds(before, counts))
    moved = middle * (adds - (adds * middle).sum(axis=1, keepdims=True))
    d = float((np.square(moved).sum(axis=0) / middle).sum())
    limit = d / (k - 1) * float(chdtri(k - 1, alpha))
    psi = float(((q - p) * np.log(q / p)).sum())
    return Signal(size=psi, limit=limit, found=psi > limit)


def _changes(before: Window, after: Window) -> tuple[Floats, Bools]:
    """The change x_c of each category that counts, shape (k,), and which do, shape (n_categories,)."""
    clicks, shown = before.clicked.sum(axis=0), before.shown.sum(axis=0)
    clicks_after, shown_after = after.clicked.sum(axis=0), after.shown.sum(axis=0)
    counts = (clicks + clicks_after >= MIN_CLICKS) & (np.minimum(clicks, clicks_after) > 0)
    rate, rate_after = clicks[counts] / shown[counts], clicks_after[counts] / shown_after[counts]
    return np.log(rate_after / rate), counts


def _adds(window: Window, counts: Bools) -> Floats:
    """What each shopper adds to the error of the log click rates: y / sum(y) - x / sum(x) for y clicks of x shown."""
    clicked, shown = window.clicked[:, counts], window.shown[:, counts]
    return np.asarray(clicked / clicked.sum(axis=0) - shown / shown.sum(axis=0))


def _difference(after: Floats, before: Floats) -> Floats:
    """`after` - `before` by shopper, whoever is in only one of them being 0 in the other."""
    n = max(len(after), len(before))
    total = np.zeros((n, *after.shape[1:]))
    total[: len(after)] += after
    total[: len(before)] -= before
    return total
