"""What follows a click: each closed form against its own sampler, 200,000 clicks, 4 standard errors."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from simlab.errors import ConfigError
from simlab.schema import NEVER, Bools, Clicks, Floats, Ints
from simlab.streams import stream, uniforms
from simlab.world.aftermath import (
    MOST_UNITS,
    after_clicks,
    delay_chances,
    expected_units,
    purchase_chances,
    rating_chances,
    return_chances,
)
from simlab.world.config import ResponseConfig

N, DAY = 200_000, 11
CONFIG = ResponseConfig(
    purchase_share=0.9, purchase_base=0.5, purchase_scale=0.6, another_unit=0.4, same_day=0.3, max_delay=5,
    rating_share=0.7, rating_scale=0.6, rating_same_day=0.4, rating_max_delay=4,
    return_share=0.8, return_scale=0.5, return_same_day=0.2, return_max_delay=6,
)  # fmt: skip

CHANCE = 1e-4
"""A true law has a smaller p-value one time in 10,000."""


def tried(luck: Floats, config: ResponseConfig = CONFIG) -> Clicks:
    return after_clicks(np.arange(len(luck)), utility()[: len(luck)], config, day=DAY, luck=luck)


def utility() -> Floats:
    return stream(1, "test utility").normal(0, 1.5, N)


@pytest.fixture(scope="module")
def luck() -> Floats:
    return uniforms(2, "test luck", rows=np.arange(N), n=1)[:, 0]


@pytest.fixture(scope="module")
def clicks(luck: Floats) -> Clicks:
    return tried(luck)


def z(seen: Floats | Ints | Bools, expected: Floats) -> float:
    """Distance of a mean from its expectation in standard errors."""
    surprise = seen - expected
    return float(abs(surprise.mean()) / (surprise.std() / np.sqrt(len(surprise))))


def test_time_spent_is_log_normal(clicks: Clicks) -> None:
    """Its logarithm less that of dwell_seconds and dwell_scale * U is Gaussian with dwell_sd (Kolmogorov, Smirnov)."""
    noise = np.log(clicks.dwell / CONFIG.dwell_seconds) - CONFIG.dwell_scale * utility()
    assert kstest(noise / CONFIG.dwell_sd, "norm").pvalue > CHANCE
    assert kstest(noise / CONFIG.dwell_sd * 1.03, "norm").pvalue < CHANCE


def test_purchases_follow_utility(clicks: Clicks) -> None:
    """In five groups of utility, as the closed form says."""
    group = np.digitize(utility(), [-2, -0.7, 0.7, 2])
    for number in range(5):
        at = group == number
        assert z(clicks.units[at] > 0, purchase_chances(utility()[at], CONFIG)) < 4


def test_units_are_geometric_and_cut(clicks: Clicks) -> None:
    """1 .. 5, each as frequent as a ** (k-1) (1-a), the rest at 5; their mean is expected_units."""
    units = clicks.units[clicks.units > 0]
    a = CONFIG.another_unit
    p = np.append((1 - a) * a ** np.arange(MOST_UNITS - 1), a ** (MOST_UNITS - 1))
    assert chisquare(np.bincount(units, minlength=6)[1:], p * len(units)).pvalue > CHANCE
    assert z(units, np.full(len(units), expected_units(CONFIG))) < 4


@pytest.mark.parametrize(
    ("later", "earlier", "same_day", "max_delay"),
    [
        ("purchase_day", None, CONFIG.same_day, CONFIG.max_delay),
        ("rating_day", "purchase_day", CONFIG.rating_same_day, CONFIG.rating_max_delay),
        ("return_day", "purchase_day", CONFIG.return_same_day, CONFIG.return_max_delay),
    ],
)
def test_delays_are_geometric_and_cut(
    clicks: Clicks, later: str, earlier: str | None, same_day: float, max_delay: int
) -> None:
    """Each delay from 0 to the longest has its probability, counted from the click or from the purchase."""
    comes = getattr(clicks, later) != NEVER
    since = DAY if earlier is None else getattr(clicks, earlier)[comes]
    delay = getattr(clicks, later)[comes] - since
    p = delay_chances(same_day, max_delay)
    seen = np.bincount(delay, minlength=max_delay + 1)
    assert len(seen) == max_delay + 1
    assert chisquare(seen, p * len(delay)).pvalue > CHANCE


def test_ratings_follow_utility(clicks: Clicks) -> None:
    """Each of the five and none at all, in the lower and the upper half of utilities; only purchases are rated."""
    bought, u = clicks.units > 0, utility()
    assert (clicks.rating[~bought] == 0).all()
    for half in (bought & (u < 0), bought & (u >= 0)):
        p = CONFIG.rating_share * rating_chances(u[half], CONFIG)
        for stars in range(1, 6):
            assert z(clicks.rating[half] == stars, p[:, stars - 1]) < 4
        assert z(clicks.rating[half] == 0, np.full(half.sum(), 1 - CONFIG.rating_share)) < 4


def test_returns_follow_utility(clicks: Clicks) -> None:
    """In five groups of utility; at utility 0 half of return_share comes back, at the lowest all of it."""
    group, bought = np.digitize(utility(), [-2, -0.7, 0.7, 2]), clicks.units > 0
    assert (clicks.return_day[~bought] == NEVER).all()
    for number in range(5):
        at = bought & (group == number)
        assert z(clicks.return_day[at] != NEVER, return_chances(utility()[at], CONFIG)) < 4
    ends = return_chances(np.array([0.0, -1e9, 1e9]), CONFIG)
    assert ends.tolist() == [0.4, 0.8, 0]


def test_clicks_on_what_hardly_attracts_have_fair_luck_too() -> None:
    """A click at P = 0.005 has luck below that: all that follows is drawn as fairly from so small a part of it."""
    few = tried(0.005 * uniforms(3, "test luck", rows=np.arange(N), n=1)[:, 0])
    assert z(few.units > 0, purchase_chances(utility(), CONFIG)) < 4
    noise = np.log(few.dwell / CONFIG.dwell_seconds) - CONFIG.dwell_scale * utility()
    assert kstest(noise / CONFIG.dwell_sd, "norm").pvalue > CHANCE


def test_what_follows_a_click_is_decided_apart(clicks: Clicks) -> None:
    """At one utility, no two of time, purchase, units, delay, rating and return hang together: |r| < 4 / sqrt(n)."""
    config = replace(CONFIG, purchase_share=1, purchase_base=50, rating_share=0.5, return_share=1)
    told = after_clicks(
        np.arange(N), np.zeros(N), config, day=0, luck=uniforms(4, "test", rows=np.arange(N), n=1)[:, 0]
    )
    back = told.return_day != NEVER
    columns = [np.log(told.dwell), told.units, told.purchase_day, told.rating > 0, back]
    r = np.corrcoef(np.array(columns, dtype=np.float64))
    assert np.abs(r - np.eye(len(columns))).max() < 4.5 / np.sqrt(N)
    both = back & (told.rating > 0)
    waits = [(day - told.purchase_day)[both] for day in (told.rating_day, told.return_day)]
    r = np.corrcoef(np.array([*waits, told.rating[both]], dtype=np.float64))
    assert np.abs(r - np.eye(3)).max() < 4.5 / np.sqrt(both.sum())


@pytest.mark.parametrize(
    ("absent", "gone"),
    [
        ({"rating_share": 0}, {"rating", "rating_day"}),
        ({"return_share": 0}, {"return_day"}),
        ({"dwell_seconds": 0}, {"dwell"}),
        ({"another_unit": 0}, {"units"}),
        ({"purchase_share": 0}, {"units", "purchase_day", "rating", "rating_day", "return_day"}),
    ],
)
def test_taking_one_behaviour_out_leaves_the_others(
    luck: Floats, clicks: Clicks, absent: dict[str, float], gone: set[str]
) -> None:
    """The same bytes in all other columns."""
    other = tried(luck, replace(CONFIG, **absent))  # type: ignore[arg-type]
    changed = {f.name for f in fields(Clicks) if getattr(other, f.name).tobytes() != getattr(clicks, f.name).tobytes()}
    assert changed == gone


def test_the_ends_of_luck_are_lawful() -> None:
    """Luck 0 and the largest below 1: nothing is NaN or infinite, nothing comes before its cause."""
    ends = np.array([0.0, 2.0**-53, 0.5, 1 - 2.0**-53])
    told = tried(ends, replace(CONFIG, purchase_share=1.0, purchase_base=1e6, rating_share=1.0, return_share=1.0))
    assert np.isfinite(told.dwell).all()
    assert (told.units >= 1).all()
    assert ((told.rating >= 1) & (told.rating <= 5)).all()
    assert (told.rating_day >= told.purchase_day).all()
    nobody: Ints = np.empty(0, dtype=np.int64)
    assert len(after_clicks(nobody, np.empty(0), CONFIG, day=0, luck=np.empty(0)).units) == 0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), st.floats(0.01, 1.0), st.integers(0, 365))
def test_probabilities_are_probabilities(utility: list[float], same_day: float, max_delay: int) -> None:
    """Ratings and delays sum to one; every chance lies in [0, 1]."""
    u = np.array(utility)
    stars = rating_chances(u, CONFIG)
    assert stars.shape == (len(u), 5)
    assert (stars >= 0).all()
    np.testing.assert_allclose(stars.sum(axis=-1), 1)
    assert delay_chances(same_day, max_delay).shape == (max_delay + 1,)
    np.testing.assert_allclose(delay_chances(same_day, max_delay).sum(), 1)
    for p in (purchase_chances(u, CONFIG), return_chances(u, CONFIG)):
        assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize(
    "values",
    [
        {"same_day": 0.0}, {"rating_share": 1.5}, {"max_delay": -1}, {"rating_cuts": (1, 0, 2, 3)},
        {"return_share": -0.1}, {"another_unit": 1.0}, {"return_same_day": 0.0}, {"rating_max_delay": 366},
        {"dwell_sd": -1.0}, {"impatience": -1.0}, {"cascade_share": 0.6, "logit_share": 0.6},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(values: dict[str, object]) -> None:
    """The error names the setting."""
    named = next(iter(values)) if len(values) == 1 else "shares of ways to choose: 1.2"
    with pytest.raises(ConfigError, match=named):
        ResponseConfig(**values)  # type: ignore[arg-type]
