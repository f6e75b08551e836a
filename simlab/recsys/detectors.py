"""Detectors: has a stream of values, clicks or ratings or sales, changed? They take it value by value.

    PageHinkley     the mean has moved from what it was so far
    Adwin           some cut of the latest values has two means

Both take values for independent draws, but the clicks of one shopper are alike: give one number a visit or a day.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from simlab.recsys.drift import numbers, probability
from simlab.settings import check_types, choose, require

_SIDES: dict[str, tuple[int, ...]] = {"rise": (1,), "fall": (-1,), "both": (1, -1)}


@dataclass(frozen=True, kw_only=True)
class PageHinkleyConfig:
    """What `PageHinkley` takes for a change."""

    delta: float = 0.05
    """Change of the mean that is no matter, in standard deviations of the series, above 0. Soonest found is a change
    of twice as much; the smaller, the later and the surer."""
    threshold: float = 100.0
    """Sum of what went beyond `delta` that is an alarm, in standard deviations, above 0; `page_hinkley_threshold` tells
    it. 100 with a delta of 0.05, both sides: one false alarm in two million values."""
    min_n: int = 30
    """Values that only teach what is usual, from 2 up, also after each alarm."""
    direction: str = "both"
    """Which changes count: rise, fall or both."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("delta", "threshold"):
            require(name, getattr(self, name), getattr(self, name) > 0, "give a number above 0")
        require("min_n", self.min_n, self.min_n >= 2, "give a whole number from 2 up")
        choose("direction", self.direction, _SIDES)


class PageHinkley:
    """Watches one number for a lasting change of its mean (Page 1954, Hinkley 1971).

    z = (x - mean) / sd * sqrt(n / (n + 1)),   mean and sd of the n values before x
    rise = max(0, rise + z - delta),   fall = max(0, fall - z - delta),   alarm where one is above the threshold

    Why the values before x: so z is a recursive residual (Brown, Durbin, Evans 1975); those of a normal series are
    independent, and the threshold's law holds though nobody told the mean. After an alarm it learns anew. A change
    not found becomes usual, so take a long past: clicks at 0.05 that fell to 0.03 after 3,000, 10,000, 30,000 of them
    were found within 5,000 in 48, 86 and 97 % of cases (threshold 103).

    >>> detector = PageHinkley(PageHinkleyConfig(delta=0.5, threshold=8.0))
    >>> [day for day in range(75) if detector.update(day % 2 + (1.0 if day >= 60 else 0.0))]
    [65]
    """

    def __init__(self, config: PageHinkleyConfig | None = None) -> None:
        self.config = config or PageHinkleyConfig()
        self.drifted = False
        """Whether the last value gave an alarm."""
        self.n_detections = 0
        self._learn_anew()

    def _learn_anew(self) -> None:
        self.n, self.mean, self._squares = 0, 0.0, 0.0
        self._sums = dict.fromkeys(_SIDES[self.config.direction], 0.0)

    @property
    def statistic(self) -> float:
        """The larger of rise and fall, or the one that counts; an alarm where above the threshold."""
        return max(self._sums.values())

    def update(self, x: float) -> bool:
        """Takes the next value; whether it gives an alarm. Raises `ConfigError` for NaN and infinity.

        The first other value of a series that was constant so far gives none: it only tells the scale.
        """
        require("value", x, math.isfinite(x), "give a finite number; leave out days without one")
        if self.drifted:
            self._learn_anew()
        gap = x - self.mean
        if self.n >= self.config.min_n and self._squares > 0:
            z = gap / math.sqrt(self._squares / (self.n - 1) * (self.n + 1) / self.n)
            for side, total in self._sums.items():
                self._sums[side] = max(0.0, total + side * z - self.config.delta)
        self.n += 1
        self.mean += gap / self.n
        self._squares += gap * (x - self.mean)
        self.drifted = self.statistic > self.config.threshold
        self.n_detections += self.drifted
        return self.drifted


def page_hinkley_threshold(
    false_alarm: float, n: int, delta: float, direction: str = "both", reference: npt.ArrayLike | None = None
) -> float:
    """The threshold with which `PageHinkley` alarms within `n` values with this probability at most, without a change.

    P(alarm within n) <= n / T,   T = (exp(b) - 1 - b) / (θ delta),   b = θ * threshold,   E exp(θ (z - delta)) = 1

    T is the mean time to an alarm on one side as Siegmund (1985) has it, without the 1.166 that he adds to the
    threshold, to be safe; each side has half of the probability. z is the standardised series, and θ = 2 delta where it
    is normal. Else give a `reference` of it: clicks rise by large steps, and need a higher threshold.

    Measured at 5 %: normal 1.3 to 4.5 %, clicks at a rate of 0.05 2.5 to 4.6 %, exponential 0.9 to 4.4 %. For a heavy
    tail 1,000 rows of reference are too few: lognormal, with a delta of 0.5, up to 9.9 %; with 200,000 rows 0.6 %.

    Raises `ConfigError` for values out of their range, and where no value is more than delta from the mean.

    >>> round(page_hinkley_threshold(0.01, 30_000, 0.05), 1)
    103.1
    >>> clicks = np.arange(10_000) % 20 == 0
    >>> round(page_hinkley_threshold(0.01, 30_000, 0.05, "rise", clicks), 1)
    107.4
    """
    probability("false_alarm", false_alarm)
    require("n", n, n >= 1, "give a number of values from 1 up")
    require("delta", delta, 0 < delta < math.inf, "give a number above 0")
    sides = choose("direction", direction, _SIDES)
    exponents = [2 * delta] * len(sides) if reference is None else [_exponent(reference, delta, s) for s in sides]
    thresholds = []
    for exponent in exponents:
        goal = n * exponent * delta * len(sides) / false_alarm
        b = brentq(lambda b, goal=goal: math.expm1(b) - b - goal, 0, math.log1p(goal) + 2)
        thresholds.append(float(b) / exponent)
    return max(thresholds)


def _exponent(reference: npt.ArrayLike, delta: float, side: int) -> float:
    """Lundberg's: θ > 0 with mean(exp(θ (z - delta))) = 1 over the reference, so that P(sum ever > h) <= exp(-θ h)."""
    sample = numbers("reference", reference)
    sd = float(sample.std())
    require("reference", "a constant", sd > 0, "give values that differ")
    steps = side * (sample - sample.mean()) / sd - delta
    top = float(steps.max())
    require("delta", delta, top > 0, f"no value is so far from the mean: give less than {top + delta:.3g}")
    most = math.log(len(steps)) / top  # there the largest step alone makes the mean 1
    return float(brentq(lambda t: np.expm1(t * steps).mean(), most * 1e-6, most))


@dataclass(frozen=True, kw_only=True)
class AdwinConfig:
    """What `Adwin` takes for a change."""

    delta: float = 0.002
    """Probability of a false alarm at each check, at most, in (0, 1). Checks are alike, so that even of runs of 10,000
    independent values a share below delta had any (measured: 0.13 % at 0.01, 1.5 % at 0.05), of 100,000 8 % at 0.05."""
    low: float = 0.0
    """Smallest possible value."""
    high: float = 1.0
    """Largest possible value, above `low`. The wider, the later small changes of a narrow series are found."""
    clock: int = 32
    """Values from one check to the next, from 1 up."""
    max_buckets: int = 5
    """Buckets of each size, from 2 up; more of them place a cut more exactly, and take longer."""

    def __post_init__(self) -> None:
        check_types(self)
        probability("delta", self.delta)
        require("high", self.high, self.high > self.low, f"give a number above low, {self.low}")
        require("clock", self.clock, self.clock >= 1, "give a whole number from 1 up")
        require("max_buckets", self.max_buckets, self.max_buckets >= 2, "give a whole number from 2 up")


class Adwin:
    """Keeps the longest window of latest values whose mean has not changed (Bifet, Gavaldà, SDM 2007).

    Whenever it can be cut in two, of n0 and n1 values, so that their means differ by more than

    ε = sqrt(2 v L / m) + 2 (high - low) L / (3 m),   1/m = 1/n0 + 1/n1,   L = log(2 k / delta),

    its oldest bucket is dropped, and that is an alarm. v is the window's variance, k the number of cuts tried
    (Bernstein's bound, once for each; for k the paper has n0 + n1, or its logarithm to be fast). Buckets of 1, 2, 4, ..
    values, at most `max_buckets` of each, keep a window of n in O(log n); an update takes O(1), a check O(log n).

    >>> detector = Adwin()
    >>> [t for t in range(2000) if detector.update(t % 2 * (0.5 if t >= 1000 else 1.0))][:1]
    [1183]
    >>> detector.width < 1000, round(detector.mean, 2)
    (True, 0.25)
    """

    def __init__(self, config: AdwinConfig | None = None) -> None:
        self.config = config or AdwinConfig()
        self.drifted = False
        """Whether the last value gave an alarm."""
        self.n_detections = 0
        self.width = 0
        """Values in the window."""
        self._rows: list[list[tuple[float, float]]] = [[]]  # buckets of 1, 2, 4, .. values, oldest first: sum x, sum x²
        self._sum = self._squares = 0.0  # of x - low, over the window
        self._until_check = self.config.clock

    @property
    def mean(self) -> float:
        """Mean of the window; NaN before the first value."""
        return self.config.low + self._sum / self.width if self.width else float("nan")

    def update(self, x: float) -> bool:
        """Takes the next value; whether it gives an alarm. Raises `ConfigError` for NaN and what is out of range."""
        low, high = self.config.low, self.config.high
        require("value", x, low <= x <= high, f"give numbers from low to high, {low} to {high}, or set these")
        self._add(x - low)
        self.drifted = False
        self._until_check -= 1
        if self._until_check == 0:
            self._until_check = self.config.clock
            while self._changed():
                self._drop_oldest()
                self.drifted = True
        self.n_detections += self.drifted
        return self.drifted

    def _add(self, x: float) -> None:
        self._rows[0].append((x, x * x))
        self.width, self._sum, self._squares = self.width + 1, self._sum + x, self._squares + x * x
        for size, row in enumerate(self._rows):
            if len(row) <= self.config.max_buckets:
                return
            if size + 1 == len(self._rows):
                self._rows.append([])
            (x0, squares0), (x1, squares1) = row.pop(0), row.pop(0)
            self._rows[size + 1].append((x0 + x1, squares0 + squares1))

    def _drop_oldest(self) -> None:
        x, squares = self._rows[-1].pop(0)
        self.width -= 2 ** (len(self._rows) - 1)
        self._sum, self._squares = self._sum - x, self._squares - squares
        if not self._rows[-1]:
            self._rows.pop()

    def _changed(self) -> bool:
        buckets = [(2**size, x) for size in reversed(range(len(self._rows))) for x, _ in self._rows[size]]
        if len(buckets) < 2:
            return False
        n0, sum0 = np.cumsum(np.array(buckets), axis=0)[:-1].T
        n1, sum1 = self.width - n0, self._sum - sum0
        variance = max(self._squares / self.width - (self._sum / self.width) ** 2, 0.0)
        log = math.log(2 * len(n0) / self.config.delta)
        per_m = 1 / n0 + 1 / n1
        epsilon = np.sqrt(2 * variance * log * per_m) + 2 / 3 * (self.config.high - self.config.low) * log * per_m
        return bool((np.abs(sum0 / n0 - sum1 / n1) > epsilon).any())
