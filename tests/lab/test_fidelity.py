"""Fidelity: real beside simulated, and able to say no."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.datasets import Ratings, observed, sample
from simlab.errors import ConfigError
from simlab.lab.fidelity import fidelity, first_share
from simlab.world.calibrate import CalibrationConfig, calibrate
from simlab.world.truth import World


@pytest.fixture(scope="module")
def few(movielens: Ratings) -> Ratings:
    """What 300 real users said of the 400 films that most of them rated."""
    return sample(movielens, 300, 400)


@pytest.fixture(scope="module")
def world(few: Ratings) -> World:
    return calibrate(observed(few, seed=0), config=CalibrationConfig(n_dims=16))


def test_the_world_of_movielens_is_true_to_it(movielens: Ratings) -> None:
    """Gini within 0.05, the same activity, rating shares within 1 %, the same order of four recommenders."""
    found = fidelity(calibrate(observed(movielens, seed=0), config=CalibrationConfig()), movielens, seed=0)
    assert found.simulated.gini == pytest.approx(found.real.gini, abs=0.05)
    assert found.simulated.activity.tolist() == found.real.activity.tolist()
    assert found.simulated.ratings == pytest.approx(found.real.ratings, abs=0.01)
    assert found.same_order
    assert found.real.order[:2] == ("random", "popularity")
    assert "order of recall@10: the same (random < popularity" in str(found)


def test_real_figures_are_those_of_the_ratings(few: Ratings, world: World) -> None:
    """The real column is counted from the ratings and does not depend on the world."""
    found = fidelity(world, few)
    count = np.bincount(few.user_id, minlength=300)
    assert found.table.loc["ratings a user, 50 %", "real"] == np.median(count)
    shares = [float((few.rating == star).mean()) for star in range(1, 6)]
    assert found.table.loc["share of 1 stars":"share of 5 stars", "real"].tolist() == pytest.approx(shares)
    doubled = replace(world, items=replace(world.items, quality=2 * world.items.quality))
    other = fidelity(doubled, few)
    assert other.table["real"].tolist() == found.table["real"].tolist()
    assert other.simulated.gini > found.simulated.gini + 0.05


def test_a_world_without_taste_is_found_out(few: Ratings, world: World) -> None:
    """Where everybody chooses by popularity alone, no recommender beats popularity, and the order is not kept."""
    tasteless = replace(world, items=replace(world.items, vector=0 * world.items.vector))
    found = fidelity(tasteless, few)
    assert not found.same_order
    assert "not the same" in str(found)
    assert found.simulated.recall["als"] < found.simulated.recall["popularity"]
    assert found.real.recall["als"] > found.real.recall["popularity"]


def test_another_worlds_ratings_are_refused(movielens: Ratings, world: World) -> None:
    """The world must have the users and items of the ratings."""
    with pytest.raises(ConfigError, match="calibrated to these ratings"):
        fidelity(world, movielens)


@settings(max_examples=50, deadline=None)
@given(count=st.lists(st.integers(0, 12), min_size=1, max_size=8), share=st.floats(0, 1))
def test_the_first_share_is_the_first(count: list[int], share: float) -> None:
    """Of each user's n choices the first ceil(share n) are chosen, and no others."""
    chosen = first_share(np.repeat(np.arange(len(count)), count), share)
    expected = [k < np.ceil(share * n) for n in count for k in range(n)]
    assert chosen.tolist() == expected
