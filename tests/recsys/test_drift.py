"""Drift: each law against its closed form, scipy and simulation; every false-alarm rate within its budget."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2, ks_2samp

from simlab.errors import ConfigError
from simlab.recsys.detectors import Adwin, AdwinConfig, PageHinkley, PageHinkleyConfig, page_hinkley_threshold
from simlab.recsys.drift import (
    bin_counts,
    binned,
    category_counts,
    ks_statistic,
    ks_test,
    psi,
    psi_test,
    psi_threshold,
    quantile_edges,
    split_budget,
)
from simlab.schema import Floats
from simlab.streams import stream

FINITE = st.floats(-1e6, 1e6)
SAMPLES = st.lists(FINITE, min_size=1, max_size=60) | st.lists(st.integers(0, 4), min_size=1, max_size=60)
Detector = Adwin | PageHinkley


def likely(n: int, p: float) -> tuple[int, int]:
    """Between what counts 99 % of all binomial ones lie."""
    low, high = binom.interval(0.99, n, p)
    return int(low), int(high)


@cache
def psis(n_reference: int, n: int, n_bins: int) -> Floats:
    """PSI of 2,000 windows without a change, each against a reference of its own; rows as skewed as prices."""
    rng = stream(0, "psi", n_reference, n, n_bins)
    draws = ((rng.exponential(size=n_reference), rng.exponential(size=n)) for _ in range(2000))
    return np.array([psi(*binned(reference, values, n_bins)) for reference, values in draws])


def clicks(seed: int, n: int, rate: float) -> list[float]:
    return [float(x) for x in stream(seed, "clicks", n, str(rate)).random(n) < rate]


def alarms(detector: Detector, values: list[float]) -> list[int]:
    return [place for place, x in enumerate(values) if detector.update(x)]


def test_psi_has_the_published_law() -> None:
    """references.md: N = M = 1000, B = 10: mean 0.0180, 95 % point 0.0338, by the law and by 2,000 windows."""
    assert chi2.mean(9) * (1 / 1000 + 1 / 1000) == pytest.approx(0.0180)
    assert psi_threshold(1000, 1000, 10, 0.05) == pytest.approx(0.0338, abs=5e-5)
    simulated = psis(1000, 1000, 10)
    assert simulated.mean() == pytest.approx(0.0180, rel=0.03)
    assert np.quantile(simulated, 0.95) == pytest.approx(0.0338, rel=0.05)


@pytest.mark.parametrize(("n", "rate"), [(200, 0.35), (100, 0.83)])
def test_the_folklore_threshold_cries_wolf(n: int, rate: float) -> None:
    """PSI > 0.1 without any change: probability 0.35 at 200 rows and 0.83 at 100, by the law; simulated within 0.04."""
    assert chi2.sf(0.1 / (2 / n), 9) == pytest.approx(rate, abs=0.005)
    assert psi_threshold(n, n, 10, rate) == pytest.approx(0.1, rel=0.01)
    assert (psis(n, n, 10) > 0.1).mean() == pytest.approx(rate, abs=0.04)


@pytest.mark.parametrize(
    ("n_reference", "n", "n_bins"),
    [(1000, 1000, 10), (300, 300, 5), (1500, 500, 20), (200, 1000, 10), (200, 200, 10), (1000, 1000, 2)],
)
def test_psi_alarms_as_often_as_it_says(n_reference: int, n: int, n_bins: int) -> None:
    """The share of 2,000 unchanged windows above the 5 % and the 1 % threshold is in the 99 % band of its law."""
    simulated = psis(n_reference, n, n_bins)
    for false_alarm in (0.05, 0.01):
        low, high = likely(len(simulated), false_alarm)
        assert low <= (simulated > psi_threshold(n_reference, n, n_bins, false_alarm)).sum() <= high


def test_few_rows_a_bin_err_on_the_safe_side() -> None:
    """Four rows a bin: fewer alarms than 5 %, not more."""
    assert (psis(200, 200, 50) > psi_threshold(200, 200, 50, 0.05)).sum() <= likely(2000, 0.05)[1]


@pytest.mark.parametrize(("n_reference", "n", "n_categories"), [(500, 5000, 100), (1000, 400, 100), (300, 300, 8)])
def test_psi_of_categories_alarms_as_often_as_it_says(n_reference: int, n: int, n_categories: int) -> None:
    """Few frequent and many rare categories (1/rank): in the 99 % band of 5 %, whichever sample is the larger."""
    rng = stream(0, "categories", n_categories)
    p = 1 / np.arange(1, n_categories + 1)
    draws = [[rng.choice(n_categories, rows, p=p / p.sum()).tolist() for rows in (n_reference, n)] for _ in range(400)]
    low, high = likely(len(draws), 0.05)
    assert low <= sum(psi_test(*category_counts(*pair), 0.05).drifted for pair in draws) <= high


def test_a_new_category_is_drift() -> None:
    """One that the reference has not: an alarm, whether it is frequent enough for a place of its own or in the rest."""
    old = list("abc") * 300
    for new in (["d"] * 100, [f"d{i}" for i in range(100)], ["d"] * 20):
        assert psi_test(*category_counts(old, list("abc") * 270 + new), 0.001).drifted
    assert not psi_test(*category_counts(old, list("abc") * 270), 0.001).drifted


@given(SAMPLES, SAMPLES, st.integers(2, 12))
def test_every_value_has_one_bin(reference: list[float], values: list[float], n_bins: int) -> None:
    """Edges rise and are values of the reference; ties give fewer bins, never a lost value; no ties, equal shares."""
    if len(reference) < n_bins:
        with pytest.raises(ConfigError, match="fewer bins"):
            quantile_edges(reference, n_bins)
        return
    edges = quantile_edges(reference, n_bins)
    assert 1 <= len(edges) < n_bins
    assert (np.diff(edges) > 0).all()
    assert set(edges) <= set(reference)
    assert bin_counts(values, edges).sum() == len(values)
    if len(set(reference)) == len(reference):
        assert np.ptp(bin_counts(reference, edges)) <= 1


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12))
def test_psi_is_a_distance_of_counts(pairs: list[tuple[int, int]]) -> None:
    """0 or more, 0 of the same; the same both ways, in any order of bins, and with empty bins added."""
    a, b = np.array([(1, 1), *pairs]).T
    distance = psi(a, b)
    assert distance >= 0
    assert psi(a, a) == 0
    assert psi(b, a) == pytest.approx(distance)
    assert psi(a[::-1], b[::-1]) == pytest.approx(distance)
    assert psi(np.append(a, 0), np.append(b, 0)) == distance


@given(FINITE, st.integers(2, 50), st.integers(1, 50))
def test_a_constant_has_no_drift(value: float, n_reference: int, n: int) -> None:
    """The same value all the time: no alarm, at any number of rows, p = 1."""
    same, now = [value] * n_reference, [value] * n
    for test in (psi_test(*binned(same, now, 2), 0.5), psi_test([n_reference], [n], 0.5), ks_test(same, now, 0.5)):
        assert (test.statistic, test.p, test.drifted) == (0, 1, False)


@settings(max_examples=40, deadline=None)
@given(SAMPLES, SAMPLES)
def test_ks_is_scipy_s(reference: list[float], values: list[float]) -> None:
    """The statistic is that of `scipy.stats.ks_2samp`, ties or none; every value twice changes nothing."""
    theirs = ks_2samp(2 * reference, 2 * values, method="asymp").statistic
    assert ks_statistic(reference, values) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(100, 100), (150, 400), (1000, 37), (1000, 1000)])
def test_the_p_value_of_ks_is_near_the_exact_one(n: int, m: int) -> None:
    """Within 0.02 of scipy's exact p-value where p is small; and a statistic at the threshold has p = false_alarm."""
    rng = stream(0, "ks", n, m)
    for shift in (0.1, 0.2, 0.3):
        reference, values = rng.normal(size=n), rng.normal(shift, size=m)
        exact, test = ks_2samp(reference, values, method="exact").pvalue, ks_test(reference, values, 0.01)
        assert test.p == pytest.approx(exact, abs=0.02 if exact < 0.2 else 0.1)
        assert test.drifted == (test.p < 0.01)
        assert ks_test(reference, values, test.p).threshold == pytest.approx(test.statistic)


@pytest.mark.parametrize(("n", "m", "least"), [(100, 100, 0.025), (200, 1000, 0.035), (1000, 1003, 0.035)])
def test_ks_alarms_within_its_budget(n: int, m: int, least: float) -> None:
    """Of 2,000 unchanged windows at most 5 %, by the 99 % band, and not so few that the test is idle."""
    rng = stream(1, "ks", n, m)
    threshold = ks_test([0], [0], 0.05).threshold * np.sqrt((1 / n + 1 / m) / 2)
    found = sum(ks_statistic(rng.normal(size=n), rng.normal(size=m)) > threshold for _ in range(2000))
    assert 2000 * least < found <= likely(2000, 0.05)[1]
    discrete = [ks_test(rng.integers(0, 4, n), rng.integers(0, 4, m), 0.05).drifted for _ in range(200)]
    assert sum(discrete) <= likely(200, 0.05)[1]


@pytest.mark.parametrize("change", [0.5, 1.0])
def test_a_change_is_found(change: float) -> None:
    """A shift of half a standard deviation in 500 rows is found by both tests at one false alarm in 10,000."""
    rng = stream(2, "shift", int(10 * change))
    reference, values = rng.normal(size=2000), rng.normal(change, size=500)
    assert psi_test(*binned(reference, values), 1e-4).drifted
    assert ks_test(reference, values, 1e-4).drifted


def page(x: Floats, delta: float, min_n: int = 30) -> tuple[Floats, Floats]:
    """Page's own form for many series at once, shape (n_series, n): m - min m, m sums z - delta; rise and fall."""
    n = np.arange(1, x.shape[1])
    before = np.cumsum(x, axis=1)[:, :-1]
    squares = np.cumsum(x**2, axis=1)[:, :-1] - before**2 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (x[:, 1:] - before / n) / np.sqrt(squares / (n - 1) * (n + 1) / n)
    z = np.where((n >= min_n) & (squares > 1e-9), z, 0.0)
    sums = []
    for side in (1, -1):
        m = np.cumsum(np.where(n >= min_n, side * z - delta, 0.0), axis=1)
        sums.append(m - np.minimum(np.minimum.accumulate(m, axis=1), 0))
    return sums[0], sums[1]


def test_page_hinkley_is_page_s() -> None:
    """The recursion max(0, sum + z - delta) is m_t - min m of Page (1954), on either side and on both."""
    x = stream(0, "page").exponential(size=500)
    rise, fall = (side[0] for side in page(x[None], 0.1))
    told: dict[str, list[float]] = {}
    for direction in ("rise", "fall", "both"):
        detector = PageHinkley(PageHinkleyConfig(delta=0.1, threshold=1e9, direction=direction))
        told[direction] = []
        for value in x:
            detector.update(value)
            told[direction].append(detector.statistic)
        assert detector.mean == pytest.approx(x.mean())
    np.testing.assert_allclose(told["rise"][1:], rise, atol=1e-9)
    np.testing.assert_allclose(told["fall"][1:], fall, atol=1e-9)
    np.testing.assert_allclose(told["both"][1:], np.maximum(rise, fall), atol=1e-9)


Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
SERIES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(3.0, 2.0, size=shape),
    "clicks": lambda rng, shape: (rng.random(shape) < 0.05).astype(np.float64),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
}


@pytest.mark.parametrize(
    ("name", "delta", "n"),
    [
        ("normal", 0.05, 4000),
        ("normal", 0.2, 1000),
        ("normal", 0.5, 365),
        ("clicks", 0.05, 4000),
        ("clicks", 0.2, 1000),
        ("exponential", 0.2, 1000),
        ("exponential", 0.5, 365),
    ],
)
def test_page_hinkley_alarms_within_its_budget(name: str, delta: float, n: int) -> None:
    """Of 1,000 unchanged series of n values at most 5 % give an alarm, by the 99 % band; nor is the bound idle."""
    reference = None if name == "normal" else SERIES[name](stream(0, name), (1, 50_000))
    threshold = page_hinkley_threshold(0.05, n, delta, "both", reference)
    found = (np.maximum(*page(SERIES[name](stream(1, name, n), (1000, n)), delta)) > threshold).any(axis=1).sum()
    assert 4 < found <= likely(1000, 0.05)[1]


def test_the_detector_itself_alarms_within_its_budget() -> None:
    """As above, by `PageHinkley.update` on 300 series of daily numbers over a year, with an even tighter budget."""
    config = PageHinkleyConfig(delta=0.5, threshold=page_hinkley_threshold(0.02, 365, 0.5))
    series = SERIES["normal"](stream(2, "year"), (300, 365))
    assert sum(bool(alarms(PageHinkley(config), row.tolist())) for row in series) <= likely(300, 0.02)[1]


def test_the_threshold_follows_siegmund() -> None:
    """Mean time to a false alarm of a normal series: (e^b - 1 - b) / (2 delta²), b = 2 delta h; and the default's."""
    for delta, n, false_alarm in ((0.05, 30_000, 0.01), (0.5, 365, 0.05), (1.0, 90, 0.2)):
        b = 2 * delta * page_hinkley_threshold(false_alarm, n, delta, "rise")
        assert n / false_alarm == pytest.approx((np.expm1(b) - b) / (2 * delta**2))
    default = PageHinkleyConfig()
    n = 22_000
    assert page_hinkley_threshold(0.01, n, default.delta) == pytest.approx(default.threshold, abs=0.1)


def test_a_skewed_series_needs_a_higher_threshold_on_its_long_side() -> None:
    """Clicks rise by large steps: a higher threshold than normal for a rise, a lower for a fall; in any units."""
    series = np.repeat([1.0, 0.0], [50, 950])
    normal, rise, fall = (
        page_hinkley_threshold(0.01, 10_000, 0.05, direction, reference)
        for direction, reference in (("rise", None), ("rise", series), ("fall", series))
    )
    assert fall < normal < rise
    assert page_hinkley_threshold(0.01, 10_000, 0.05, "both", series) > rise
    assert page_hinkley_threshold(0.01, 10_000, 0.05, "rise", 7 - 3 * series) == pytest.approx(fall)


def test_page_hinkley_does_not_know_units() -> None:
    """a + b x has the alarms of x; -x has the falls of x for rises."""
    x = np.concatenate([stream(0, "units").normal(size=400), stream(1, "units").normal(1.0, size=200)])
    rise = PageHinkleyConfig(delta=0.25, threshold=15.0, direction="rise")
    fall = replace(rise, direction="fall")
    found = alarms(PageHinkley(rise), x.tolist())
    assert found
    assert found[0] >= 400
    assert alarms(PageHinkley(rise), (5 + 100 * x).tolist()) == found
    assert alarms(PageHinkley(fall), (-x).tolist()) == found
    assert not alarms(PageHinkley(fall), x.tolist())


@pytest.mark.parametrize(("rate", "delta", "n"), [(0.05, 0.05, 3000), (0.5, 0.05, 2000), (0.5, 0.3, 1000)])
def test_adwin_alarms_within_its_budget(rate: float, delta: float, n: int) -> None:
    """Of 120 unchanged click streams at most a share delta has any alarm at all, by the 99 % band."""
    detectors = [Adwin(AdwinConfig(delta=delta)) for _ in range(120)]
    found = sum(bool(alarms(detector, clicks(seed, n, rate))) for seed, detector in enumerate(detectors))
    assert found <= likely(len(detectors), delta)[1]


@pytest.mark.soak
def test_adwin_alarms_within_its_budget_over_ten_thousand_values() -> None:
    """The same for looks of 10,000 values, of which the setting speaks: 300 streams, delta 0.05."""
    found = sum(bool(alarms(Adwin(AdwinConfig(delta=0.05)), clicks(seed, 10_000, 0.5))) for seed in range(300))
    assert found <= likely(300, 0.05)[1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=400), st.integers(2, 5), st.integers(1, 40), st.floats(0.1, 0.99))
def test_adwin_s_window_is_the_latest_values(values: list[float], max_buckets: int, clock: int, delta: float) -> None:
    """Whatever was dropped, `mean` is that of the last `width` values; a detection is a window that got smaller."""
    detector = Adwin(AdwinConfig(delta=delta, clock=clock, max_buckets=max_buckets))
    half = [x / 2 for x in values] + [(1 + x) / 2 for x in values]
    for n, x in enumerate(half, start=1):
        before = detector.width
        assert detector.update(x) == detector.drifted == (detector.width <= before)
        assert detector.mean == pytest.approx(np.mean(half[n - detector.width : n]), abs=1e-9)
    assert (detector.n_detections == 0) == (detector.width == len(half))


def test_adwin_forgets_what_it_drops() -> None:
    """The tenth change of two rates is found as soon as the first: neither sum nor variance keep old values."""
    detector = Adwin()
    alarms(detector, clicks(0, 1000, 0.2))
    for phase in range(1, 11):
        found = alarms(detector, clicks(phase, 1000, 0.8 if phase % 2 else 0.2))
        assert found
        assert found[0] < 150


def test_adwin_does_not_know_units() -> None:
    """Values between other limits, with the limits told, have the same alarms."""
    values = clicks(0, 1500, 0.2) + clicks(1, 1500, 0.6)
    found = alarms(Adwin(), values)
    assert found
    assert alarms(Adwin(AdwinConfig(low=1000, high=1010)), [1000 + 10 * x for x in values]) == found


@settings(max_examples=30, deadline=None)
@given(FINITE)
def test_no_detector_alarms_on_a_constant(value: float) -> None:
    """The same value for ever is no change, 0.1 + 0.1 + .. or not; nor is the first other value, for Page-Hinkley."""
    adwin = Adwin(AdwinConfig(delta=0.99, low=-1e6, high=1e6, clock=1))
    page_hinkley = PageHinkley(PageHinkleyConfig(delta=1e-6, threshold=1e-6))
    for detector in (adwin, page_hinkley):
        assert alarms(detector, [value] * 150) == []
        assert (detector.drifted, detector.n_detections) == (False, 0)
        assert detector.mean == pytest.approx(value, abs=1e-8)
    assert not page_hinkley.update(value + 1)


def fresh() -> list[Detector]:
    return [
        Adwin(AdwinConfig(delta=0.01)),
        PageHinkley(PageHinkleyConfig(threshold=page_hinkley_threshold(0.01, 10_000, 0.05))),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_the_larger_the_change_the_sooner_it_is_found(which: int) -> None:
    """Median delay over nine streams falls as a rate of 0.3 becomes 0.45, 0.6 and 0.95."""
    delays = []
    for rate in (0.45, 0.6, 0.95):
        found = []
        for seed in range(9):
            detector = fresh()[which]
            assert not alarms(detector, clicks(seed, 1800, 0.3))
            found.append(alarms(detector, clicks(seed, 1500, rate))[0])
        delays.append(np.median(found))
    assert delays[0] > delays[1] > delays[2]


@pytest.mark.parametrize("which", [0, 1])
def test_a_fall_of_clicks_is_found(which: int) -> None:
    """references.md: 0.05 -> 0.03 takes some thousand events; none is a false alarm, and the new rate is learnt."""
    delays = []
    for seed in range(7):
        detector = fresh()[which]
        assert alarms(detector, clicks(seed, 15_000, 0.05)) == []
        delays.append(next(n for n, x in enumerate(clicks(seed, 10_000, 0.03)) if detector.update(x)))
        assert detector.n_detections == 1
        alarms(detector, clicks(50 + seed, 2000, 0.03))
    assert 500 < np.median(delays) < 5000
    assert detector.mean == pytest.approx(0.03, abs=0.01)


def test_after_an_alarm_page_hinkley_learns_anew() -> None:
    """The alarm's own numbers stay to be read until the next value; then everything begins again."""
    detector = PageHinkley(PageHinkleyConfig(delta=0.5, threshold=8.0))
    while not detector.update(detector.n % 2 + (1.0 if detector.n >= 60 else 0.0)):
        assert not detector.drifted
    assert detector.drifted
    assert detector.n == 66
    assert detector.statistic > 8
    assert not detector.update(1.0)
    assert (detector.n, detector.mean, detector.statistic, detector.n_detections) == (1, 1.0, 0, 1)


def test_the_budget_is_that_of_all_series_together() -> None:
    """alarms = probability * series * looks, exactly; 20 series looked at on 25 days of 4 months keep 5 a month."""
    assert split_budget(3, 20, 30) * 20 * 30 == pytest.approx(3)
    p = split_budget(5, 20, 25)
    low, high = likely(4 * 20 * 25, p)
    assert low <= (psis(1000, 1000, 10) > psi_threshold(1000, 1000, 10, p)).sum() <= high


NAN = float("nan")
BAD: list[tuple[str, Callable[[], Any]]] = [
    ("n_bins", lambda: quantile_edges([1, 2, 3], 1)),
    ("n_bins", lambda: psi_threshold(10, 10, 1, 0.1)),
    ("reference", lambda: quantile_edges([1, 2, NAN], 2)),
    ("reference", lambda: quantile_edges([], 2)),
    ("reference", lambda: quantile_edges(["red", "blue"], 2)),
    ("values", lambda: binned([1, 2, 3], [], 2)),
    ("values", lambda: binned([1, 2, 3], [np.inf], 2)),
    ("edges", lambda: bin_counts([1], np.array([2.0, 1.0]))),
    ("reference", lambda: category_counts([], ["a"])),
    ("values", lambda: category_counts(["a"], [])),
    ("counts", lambda: psi([1, 2], [1, -2])),
    ("counts", lambda: psi([1, 2], [0, 0])),
    ("counts", lambda: psi([1, 2], [1, NAN])),
    ("counts", lambda: psi([1, 2], [1, 2, 3])),
    ("reference_counts", lambda: psi([-1, 2], [1, 2])),
    ("n", lambda: psi_threshold(10, 0, 10, 0.1)),
    ("n_reference", lambda: psi_threshold(0, 10, 10, 0.1)),
    ("false_alarm", lambda: psi_test([1, 2], [1, 2], 0.0)),
    ("false_alarm", lambda: ks_test([1, 2], [1, 2], 1.0)),
    ("reference", lambda: ks_test([], [1, 2], 0.1)),
    ("values", lambda: ks_test([1, 2], [NAN], 0.1)),
    ("value", lambda: PageHinkley().update(NAN)),
    ("value", lambda: PageHinkley().update(np.inf)),
    ("delta", lambda: PageHinkleyConfig(delta=0.0)),
    ("threshold", lambda: PageHinkleyConfig(threshold=-1.0)),
    ("min_n", lambda: PageHinkleyConfig(min_n=1)),
    ("direction", lambda: PageHinkleyConfig(direction="down")),
    ("PageHinkleyConfig.delta", lambda: PageHinkleyConfig(delta=NAN)),
    ("false_alarm", lambda: page_hinkley_threshold(1.5, 10, 0.1)),
    ("n", lambda: page_hinkley_threshold(0.1, 0, 0.1)),
    ("delta", lambda: page_hinkley_threshold(0.1, 10, NAN)),
    ("direction", lambda: page_hinkley_threshold(0.1, 10, 0.1, "up")),
    ("reference", lambda: page_hinkley_threshold(0.1, 10, 0.1, reference=[2, 2, 2])),
    ("delta", lambda: page_hinkley_threshold(0.1, 10, 0.5, "fall", [0.0] * 95 + [1.0] * 5)),
    ("value", lambda: Adwin().update(NAN)),
    ("value", lambda: Adwin().update(1.5)),
    ("delta", lambda: AdwinConfig(delta=0.0)),
    ("delta", lambda: AdwinConfig(delta=1.0)),
    ("high", lambda: AdwinConfig(low=1.0)),
    ("clock", lambda: AdwinConfig(clock=0)),
    ("max_buckets", lambda: AdwinConfig(max_buckets=1)),
    ("alarms_per_month", lambda: split_budget(0, 1, 30)),
    ("alarms_per_month", lambda: split_budget(30, 1, 30)),
    ("alarms_per_month", lambda: split_budget(NAN, 1, 30)),
    ("n_series", lambda: split_budget(1, 0, 30)),
    ("looks_per_month", lambda: split_budget(1, 1, 0)),
]


@pytest.mark.parametrize(("thing", "call"), BAD, ids=[f"{number}-{thing}" for number, (thing, _) in enumerate(BAD)])
def test_what_is_wrong_is_told(thing: str, call: Callable[[], Any]) -> None:
    """A `ConfigError` that names the thing, the value and a remedy."""
    with pytest.raises(ConfigError) as told:
        call()
    assert told.value.thing == thing
    assert told.value.remedy


def test_what_was_refused_leaves_no_trace() -> None:
    """A detector that was given NaN goes on as if it had not been."""
    for one, other in zip(fresh(), fresh()):
        for x in clicks(0, 200, 0.5):
            with pytest.raises(ConfigError):
                one.update(NAN)
            assert one.update(x) == other.update(x)
        assert one.mean == other.mean


def test_any_array_will_do() -> None:
    """Lists, whole numbers, columns of a table and float32 are samples alike."""
    kinds: list[npt.ArrayLike] = [list(range(40)), np.arange(40), np.arange(40, dtype=np.float32)[:, None]]
    assert len({psi(*binned(kind, [3, 4, 5], 4)) for kind in kinds}) == 1
    assert len({ks_test(kind, [3, 4, 5], 0.1) for kind in kinds}) == 1
