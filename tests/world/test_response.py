"""The response's closed forms against its own sampler: the oracle is only as true as these."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.schema import NEVER, Bools, Floats, Outcomes
from simlab.streams import stream, uniforms
from simlab.world.response import (
    Chances,
    Preferences,
    ResponseConfig,
    chances,
    delay_chances,
    draws,
    luck_of,
    rating_chances,
    respond,
)

N_ROWS, N = 100_000, 10
CONFIG = ResponseConfig(base=-0.5, purchase_base=-0.2, purchase_scale=0.6, rating_share=0.7, rating_scale=0.6)


@pytest.fixture(scope="module")
def preferences() -> Preferences:
    """A million places to show an item in, some of them empty."""
    rng = stream(1, "test preferences")
    return Preferences(
        utility=rng.normal(0, 1.5, (N_ROWS, N)),
        patience=rng.uniform(0.6, 1.0, N_ROWS),
        shown=rng.random((N_ROWS, N)) < 0.95,
    )


@pytest.fixture(scope="module")
def outcomes(preferences: Preferences) -> Outcomes:
    luck = uniforms(2, "test luck", rows=np.arange(N_ROWS), n=draws(N))
    return respond(preferences, CONFIG, day=3, luck=luck)


@pytest.fixture(scope="module")
def law(preferences: Preferences) -> Chances:
    return chances(preferences, CONFIG)


def z(seen: Bools, expected: Floats) -> Floats:
    """Distance of frequencies from probabilities in standard errors; rows are independent, places in a row not."""
    surprise = seen - expected
    if np.all(surprise == 0):
        return np.zeros(1)
    return np.asarray(np.abs(surprise.sum(axis=0)) / (surprise.std(axis=0) * np.sqrt(len(surprise))))


@pytest.mark.parametrize("what", ["examined", "clicked", "purchased"])
def test_frequencies_equal_the_closed_form_at_every_position(what: str, outcomes: Outcomes, law: Chances) -> None:
    """Looks, clicks and purchases: within 4 standard errors at each of 10 positions, and over a million impressions."""
    seen, expected = getattr(outcomes, what), getattr(law, what)
    for place in range(N):
        assert z(seen[:, place], expected[:, place]) < 4
    assert z(seen.sum(axis=1), expected.sum(axis=1)) < 4


def test_purchases_come_with_the_stated_delay(outcomes: Outcomes) -> None:
    """Each delay from 0 to max_delay days has its probability; without a purchase the day is NEVER."""
    assert ((outcomes.purchase_day == NEVER) == ~outcomes.purchased).all()
    delay = outcomes.purchase_day[outcomes.purchased] - 3
    p = delay_chances(CONFIG)
    count = np.bincount(delay, minlength=len(p))
    assert len(count) == len(p)
    assert (np.abs(count - count.sum() * p) < 4 * np.sqrt(count.sum() * p * (1 - p))).all()


def test_ratings_follow_utility_as_stated(preferences: Preferences, outcomes: Outcomes) -> None:
    """Each of the five ratings, within 4 standard errors, in the lower and the upper half of utilities apart."""
    bought, u = outcomes.purchased, preferences.utility
    assert (outcomes.rating[~bought] == 0).all()
    for half in (bought & (u < np.median(u)), bought & (u >= np.median(u))):
        p = CONFIG.rating_share * rating_chances(u[half], CONFIG)
        for stars in range(1, 6):
            assert z(outcomes.rating[half] == stars, p[:, stars - 1]) < 4
        assert z(outcomes.rating[half] == 0, np.full(half.sum(), 1 - CONFIG.rating_share)) < 4


def test_a_chain_of_conditions_holds(outcomes: Outcomes, preferences: Preferences) -> None:
    """Nothing is clicked unseen, bought unclicked or seen where nothing is; who looks at p has looked above p."""
    assert (outcomes.examined | ~outcomes.clicked).all()
    assert (outcomes.clicked | ~outcomes.purchased).all()
    assert (preferences.shown | ~outcomes.examined).all()
    full = preferences.shown.all(axis=1)
    looked = outcomes.examined[full]
    assert (looked[:, :-1] | ~looked[:, 1:]).all()


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=5), st.floats(0.01, 1.0), st.integers(0, 20))
def test_probabilities_are_probabilities(utility: list[float], same_day: float, max_delay: int) -> None:
    """Ratings and delays sum to one; every chance lies in [0, 1]; a chain only loses."""
    config = ResponseConfig(same_day=same_day, max_delay=max_delay)
    np.testing.assert_allclose(rating_chances(np.array(utility), config).sum(axis=-1), 1)
    np.testing.assert_allclose(delay_chances(config).sum(), 1)
    shown = np.ones((1, len(utility)), dtype=bool)
    p = chances(Preferences(utility=np.array([utility]), patience=np.array([0.9]), shown=shown), config)
    assert (p.purchased >= 0).all()
    assert (p.purchased <= p.clicked).all()
    assert (p.clicked <= p.examined).all()
    assert (p.examined <= 1).all()


def test_nobody_s_luck_depends_on_who_else_is_there() -> None:
    """The luck of (user, visit) is the same alone, in any order and beside any others."""
    user, visit = np.array([3, 900, 3, 41]), np.array([0, 0, 1, 0])
    whole = luck_of(7, 12, user, visit, n=4)
    order = np.array([2, 0, 3])
    assert (luck_of(7, 12, user[order], visit[order], n=4) == whole[order]).all()
    assert (whole[0] != whole[2]).all()


def test_no_ratings_where_nobody_rates() -> None:
    """rating_share 0 and 1 are exact."""
    sure = Preferences(utility=np.full((500, 1), 50.0), patience=np.ones(500), shown=np.ones((500, 1), dtype=bool))
    luck = uniforms(2, "test luck", rows=np.arange(500), n=draws(1))
    assert (respond(sure, ResponseConfig(rating_share=0), day=0, luck=luck).rating == 0).all()
    assert (respond(sure, ResponseConfig(rating_share=1), day=0, luck=luck).rating == 5).all()


@pytest.mark.parametrize(
    "values", [{"same_day": 0.0}, {"rating_share": 1.5}, {"max_delay": -1}, {"rating_cuts": (1, 0, 2, 3)}]
)
def test_settings_out_of_range_are_refused(values: dict[str, object]) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match=next(iter(values))):
        ResponseConfig(**values)  # type: ignore[arg-type]
