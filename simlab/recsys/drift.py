"""Drift: is today's data still like the data of old?

    psi_test, ks_test      a window of rows against a reference: prices, ages, categories

Streams, value by value, have detectors of their own: see simlab.recsys.detectors.

Why laws: "alarm where PSI > 0.1", the folklore, cries wolf at 35 % of equal windows of 200 rows, at 83 % of 100. Here a
threshold follows from how many false alarms a month one will bear (`split_budget`), and the rates were measured.
Why independent rows: all of it takes rows for independent draws, but the clicks of one shopper are alike. So give one
number a shopper, a visit or a day. And windows held against one reference share its luck: take a long one.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.stats import chi2

from simlab.errors import ConfigError
from simlab.schema import Floats, Ints
from simlab.settings import require


def split_budget(alarms_per_month: float, n_series: int, looks_per_month: int) -> float:
    """Probability of a false alarm that each look at each series may have, so that all together keep the budget.

    p = alarms_per_month / (n_series * looks_per_month)                                     (Bonferroni)

    Expected numbers add up however the series hang together, so the expected false alarms a month are exactly the
    budget. (Šidák's 1 - (1 - q)^(1/k) holds the probability q of any alarm, and needs independent looks.)

    Raises `ConfigError` where there is nothing to watch, or the budget is not above 0 and below one alarm a look.

    >>> split_budget(alarms_per_month=1, n_series=20, looks_per_month=30)
    0.0016666666666666668
    """
    require("n_series", n_series, n_series >= 1, "give a whole number from 1 up")
    require("looks_per_month", looks_per_month, looks_per_month >= 1, "give a whole number from 1 up")
    looks = n_series * looks_per_month
    fits = 0 < alarms_per_month < looks
    require("alarms_per_month", alarms_per_month, fits, f"give a number above 0 and below the {looks} looks a month")
    return alarms_per_month / looks


@dataclass(frozen=True, kw_only=True)
class Test:
    """What a comparison of a sample with a reference says."""

    __test__ = False  # no test of pytest's

    statistic: float
    """0 where the two are the same."""
    threshold: float
    """What the statistic exceeds with the given probability of a false alarm, if nothing has changed."""
    p: float
    """Probability of a statistic of this size or more, if nothing has changed."""

    @property
    def drifted(self) -> bool:
        """Whether the statistic is above the threshold."""
        return self.statistic > self.threshold


def quantile_edges(reference: npt.ArrayLike, n_bins: int = 10) -> Floats:
    """The inner edges of bins that each hold an equal share of `reference`; shape (n_bins - 1,) or less.

    Bin i holds edge[i-1] < x <= edge[i]; the first and the last are open to infinity. Edges are values of the
    reference; one so frequent that it would be several edges is one, and there are fewer bins.

    Raises `ConfigError` below two bins, with fewer values than bins, and for NaN or infinite values.

    >>> quantile_edges(np.arange(1, 101), 4).tolist(), quantile_edges([0, 0, 0, 0, 0, 0, 1, 2], 4).tolist()
    ([25.0, 50.0, 75.0], [0.0])
    """
    require("n_bins", n_bins, n_bins >= 2, "give a whole number from 2 up")
    sample = numbers("reference", reference)
    require("reference", f"{len(sample)} values", len(sample) >= n_bins, f"give {n_bins} values or more, or fewer bins")
    return np.unique(np.quantile(sample, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))


def bin_counts(values: npt.ArrayLike, edges: Floats) -> Ints:
    """How many of `values` are in each bin of `quantile_edges`; shape (len(edges) + 1,).

    Raises `ConfigError` without values, for NaN or infinite ones, and for edges that do not rise.

    >>> bin_counts([-1e9, 25, 26, 1e9], np.array([25.0, 50.0])).tolist()
    [2, 1, 1]
    """
    require("edges", edges, bool((np.diff(edges) > 0).all()), "give rising edges")
    bins = np.searchsorted(edges, numbers("values", values), side="left")
    return np.bincount(bins, minlength=len(edges) + 1)


def binned(reference: npt.ArrayLike, values: npt.ArrayLike, n_bins: int = 10) -> tuple[Ints, Ints]:
    """Counts of both samples in bins of equal shares of the reference, for `psi` and `psi_test`.

    >>> [counts.tolist() for counts in binned(np.arange(100), np.arange(50, 100), 4)]
    [[25, 25, 25, 25], [0, 0, 25, 25]]
    """
    edges = quantile_edges(reference, n_bins)
    return bin_counts(reference, edges), bin_counts(values, edges)


def category_counts(reference: Iterable[Hashable], values: Iterable[Hashable], least: float = 5) -> tuple[Ints, Ints]:
    """Counts of both samples by category, for `psi` and `psi_test`; the last place is the rest.

    A category unseen in one of them counts 0 there. Into the rest goes what is rare in both together:
    where the smaller sample is to have fewer than `least` of it, n_c * min(N, M) / (N + M) (Cochran 1954). Why in both:
    who merges what is rare in the reference keeps what was frequent there by luck, and then sees it fall: of windows of
    5,000 rows against 500, in 100 categories, 36 % gave a false alarm at 5 %. Name missing values, so that they count.

    Raises `ConfigError` without values.

    >>> [counts.tolist() for counts in category_counts("a" * 20 + "b" * 20 + "c", "a" * 20 + "d" * 20 + "ef")]
    [[20, 20, 0, 1], [20, 0, 20, 2]]
    """
    before, now = Counter(reference), Counter(values)
    require("reference", "no values", bool(before), "give at least one value")
    require("values", "no values", bool(now), "give at least one value")
    names = before | now
    return pooled([before[name] for name in names], [now[name] for name in names], least)


def pooled(reference_counts: npt.ArrayLike, counts: npt.ArrayLike, least: float = 5) -> tuple[Ints, Ints]:
    """Counts of both samples, what is rare in both together put into the last place; see `category_counts`.

    >>> [row.tolist() for row in pooled([20, 20, 0, 1], [20, 0, 20, 1])]
    [[20, 20, 0, 1], [20, 0, 20, 1]]
    """
    both = np.column_stack([np.asarray(reference_counts), np.asarray(counts)])
    size = both.sum(axis=0)
    rare = both.sum(axis=1) * size.min() < least * size.sum()
    kept = np.vstack([both[~rare], both[rare].sum(axis=0)])
    return kept[:, 0], kept[:, 1]


def psi(reference_counts: npt.ArrayLike, counts: npt.ArrayLike) -> float:
    """Population stability index of two rows of counts, shape (n_bins,) each: 0 where shares are equal, else above.

    PSI = sum over bins of (p - q) * log(p / q),   p, q the shares of (count + 1/2) in the reference and now

    Why 1/2: an empty bin would make PSI infinite, and with 1/2 more the logarithm of a count has nearly no bias
    (Haldane 1956), so that the law of `psi_threshold` holds from some ten rows a bin up; with fewer it alarms too
    seldom. At 5 %, twice 100 rows, 10 bins: 4.3 %; without the 1/2 7.7 %, with 1 for it 2.2 %. Bins empty on both sides
    are left out.

    Raises `ConfigError` for counts that are negative, not finite, all 0 or of other shapes than each other.

    >>> round(psi([50, 30, 20], [30, 30, 40]), 6)
    0.233522
    """
    a, b = _counts(reference_counts, counts) + 0.5
    p, q = a / a.sum(), b / b.sum()
    return float((p - q) @ np.log(p / q))


def psi_threshold(n_reference: int, n: int, n_bins: int, false_alarm: float) -> float:
    """What PSI exceeds with probability `false_alarm`, if nothing has changed, for so many rows then and now.

    PSI / (1 / n_reference + 1 / n) ~ chi2(n_bins - 1)                                     (Yurdakul 2018)

    Raises `ConfigError` without rows, below two bins, and for a probability outside (0, 1).

    >>> round(psi_threshold(1000, 1000, 10, 0.05), 4), round(psi_threshold(100, 100, 10, 0.05), 4)
    (0.0338, 0.3384)
    """
    require("n_reference", n_reference, n_reference >= 1, "give a number of rows from 1 up")
    require("n", n, n >= 1, "give a number of rows from 1 up")
    require("n_bins", n_bins, n_bins >= 2, "give a whole number from 2 up")
    probability("false_alarm", false_alarm)
    return float((1 / n_reference + 1 / n) * chi2.isf(false_alarm, n_bins - 1))


def psi_test(reference_counts: npt.ArrayLike, counts: npt.ArrayLike, false_alarm: float) -> Test:
    """Whether the counts of now differ from the reference's by more than chance, by PSI and its law.

    Bins empty on both sides do not count as bins; where one is left, nothing differs.

    Raises `ConfigError` as `psi` and `psi_threshold` do.

    >>> psi_test(*binned(np.arange(1000), np.arange(200, 1000), 10), false_alarm=0.001).drifted
    True
    """
    used = _counts(reference_counts, counts)
    n_reference, n = used.sum(axis=1)
    n_bins = max(used.shape[1], 2)
    statistic = psi(*used)
    return Test(
        statistic=statistic,
        threshold=psi_threshold(n_reference, n, n_bins, false_alarm),
        p=float(chi2.sf(statistic / (1 / n_reference + 1 / n), n_bins - 1)),
    )


def ks_statistic(reference: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """The largest gap between the two distribution functions, in [0, 1].

    D = max over x of |F(x) - G(x)|                                               (Kolmogorov 1933, Smirnov 1939)

    Raises `ConfigError` without values and for NaN or infinite ones.

    >>> ks_statistic([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    a, b = np.sort(numbers("reference", reference)), np.sort(numbers("values", values))
    x = np.concatenate([a, b])
    f, g = (np.searchsorted(sample, x, side="right") / len(sample) for sample in (a, b))
    return float(np.abs(f - g).max())


def ks_test(reference: npt.ArrayLike, values: npt.ArrayLike, false_alarm: float) -> Test:
    """Whether two samples of a continuous number differ by more than chance, wherever they do.

    P(sqrt(N M / (N + M)) * D > k) -> 2 * sum over j = 1, 2, .. of (-1)^(j-1) exp(-2 j² k²)       (Smirnov 1948)

    The limit errs on the safe side: at 5 %, twice 100 rows give 3.6 %, and where values are often equal far less.

    Raises `ConfigError` without values, for NaN or infinite ones, and for a probability outside (0, 1).

    >>> test = ks_test(np.arange(100), np.arange(20, 120), false_alarm=0.05)
    >>> round(test.statistic, 4), round(test.threshold, 4), round(test.p, 4)
    (0.2, 0.1921, 0.0366)
    """
    probability("false_alarm", false_alarm)
    statistic, n, m = ks_statistic(reference, values), np.size(reference), np.size(values)
    scale = math.sqrt(n * m / (n + m))
    return Test(
        statistic=statistic,
        threshold=float(special.kolmogi(false_alarm)) / scale,
        p=float(special.kolmogorov(scale * statistic)),
    )


def probability(name: str, value: float) -> None:
    """Raises `ConfigError` where `value` is none."""
    require(name, value, 0 < value < 1, "give a probability in (0, 1)")


def numbers(name: str, values: npt.ArrayLike) -> Floats:
    """The values as one row of floats; raises `ConfigError` where there is none, or one that is no finite number."""
    try:
        sample = np.asarray(values, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise ConfigError(name, values, "give numbers; for words use category_counts") from error
    require(name, "no values", len(sample) > 0, "give at least one value")
    bad = sample[~np.isfinite(sample)]
    require(name, bad[:1].tolist(), len(bad) == 0, "give finite values; leave out what is missing, and watch its share")
    return sample


def _counts(reference_counts: npt.ArrayLike, counts: npt.ArrayLike) -> Floats:
    """Both rows, shape (2, n_bins), without the bins empty in both; raises `ConfigError` for what is no count."""
    pair = {"reference_counts": numbers("reference_counts", reference_counts), "counts": numbers("counts", counts)}
    for name, row in pair.items():
        require(name, float(row.min()), row.min() >= 0, "counts are 0 or more")
        require(name, "all 0", row.sum() > 0, "give at least one row of data")
    a, b = pair.values()
    require("counts", f"{len(b)} bins", len(a) == len(b), f"give the reference's {len(a)} bins")
    both = np.stack([a, b])
    return both[:, both.sum(axis=0) > 0]
