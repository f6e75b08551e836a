"""The oracle against simulation, and the best slate against every other."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.lab.oracle import Oracle
from simlab.schema import Floats, Ints, Labels, Requests, Slates
from simlab.streams import stream, uniforms
from simlab.world.presets import make_world, preset
from simlab.world.response import draws, rating_chances, respond
from simlab.world.truth import World, preferences

CONFIG = preset("shop", n_users=500, n_items=80, history_days=14)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(CONFIG, 1)


def slates_of(requests: Requests, item_id: Ints) -> Slates:
    return Slates(
        requests=replace(requests, n=item_id.shape[1]),
        item_id=item_id,
        propensity=np.ones(item_id.shape),
        source=np.zeros(item_id.shape, dtype=np.int64),
        model_version=Labels.constant("test", len(requests)),
        arm=Labels.constant("test", len(requests)),
    )


def test_the_oracle_equals_the_simulated_mean(world: World) -> None:
    """Clicks, purchases, revenue, margin and stars: within 4 standard errors over a million impressions."""
    oracle, rng = Oracle(world), stream(1, "test slates")
    users = np.repeat(np.arange(500), 200)
    requests = Requests(day=0, user_id=users, visit=np.zeros_like(users), n=10)
    slates = slates_of(requests, rng.random((len(users), 80)).argsort(axis=1)[:, :10])
    state = oracle.state(0)
    luck = uniforms(2, "test luck", rows=np.arange(len(users)), n=draws(10))
    faced = preferences(world, state, slates)
    outcomes = respond(faced, world.config.response, day=0, luck=luck)
    price = world.catalogue.price[slates.item_id]
    value, config = oracle.value(slates), world.config.response
    stars = (rating_chances(faced.utility, config) * np.arange(1, 6)).sum(axis=-1)
    expected_stars = (oracle.chances(slates).purchased * config.rating_share * stars).sum(axis=1)
    seen: dict[str, tuple[Floats, Floats]] = {
        "clicks": (outcomes.clicked.sum(axis=1), value.clicks),
        "purchases": (outcomes.purchased.sum(axis=1), value.purchases),
        "revenue": ((outcomes.purchased * price).sum(axis=1), value.revenue),
        "margin": ((outcomes.purchased * price * world.catalogue.margin[slates.item_id]).sum(axis=1), value.margin),
        "stars": (outcomes.rating.sum(axis=1), expected_stars),
    }
    for name, (simulated, expected) in seen.items():
        surprise = simulated - expected
        assert abs(surprise.mean()) < 4 * surprise.std() / np.sqrt(len(surprise)), name
        assert expected.mean() > 0, name


@pytest.mark.parametrize("goal", ["clicks", "purchases", "revenue", "margin"])
def test_no_slate_is_better_than_the_best(goal: str, world: World) -> None:
    """Against every slate of 3 out of 6 items in every order: the best slate has the highest value."""
    small = make_world(replace(CONFIG, n_items=6, new_items_per_week=0), 1)
    oracle = Oracle(small)
    users = np.arange(40)
    requests = Requests(day=0, user_id=users, visit=np.zeros_like(users), n=3)
    best = getattr(oracle.value(oracle.best(requests, goal)), goal)
    others = [
        getattr(oracle.value(slates_of(requests, np.tile(order, (40, 1)))), goal) for order in permutations(range(6), 3)
    ]
    np.testing.assert_allclose(best, np.max(others, axis=0))


def test_regret_is_what_is_left_to_the_best(world: World) -> None:
    """Zero for the best slate, more than that for its reverse."""
    oracle = Oracle(world)
    users = np.arange(500)
    best = oracle.best(Requests(day=0, user_id=users, visit=np.zeros_like(users), n=10))
    assert np.abs(oracle.regret(best)).max() < 1e-12
    assert (oracle.regret(slates_of(best.requests, best.item_id[:, ::-1])) > 0).all()


def test_the_truth_of_a_day_is_value_by_visit(world: World) -> None:
    """Clicks, purchases, revenue and margin a visit; clicks as a share of the best; the best slates' share is 1."""
    oracle = Oracle(world)
    users = np.arange(500)
    best = oracle.best(Requests(day=3, user_id=users, visit=np.zeros_like(users), n=10))
    worse = slates_of(best.requests, best.item_id[:, ::-1])
    value, top = oracle.value(worse), float(oracle.value(best).clicks.sum())
    assert oracle.truth_of_day(worse) == {
        "true_clicks_per_visit": float(value.clicks.sum()) / 500,
        "best_clicks_per_visit": top / 500,
        "share_of_best": float(value.clicks.sum()) / top,
        "true_purchases_per_visit": float(value.purchases.sum()) / 500,
        "true_revenue_per_visit": float(value.revenue.sum()) / 500,
        "true_margin_per_visit": float(value.margin.sum()) / 500,
    }
    assert 0 < oracle.truth_of_day(worse)["share_of_best"] < 1
    assert oracle.truth_of_day(best)["share_of_best"] == 1


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_the_size_of_prices_changes_no_best_slate(size: float, world: World) -> None:
    """Worths of a hundred-millionth of a cent are ranked as euros are."""
    requests = Requests(day=0, user_id=np.arange(50), visit=np.zeros(50, dtype=np.int64), n=10)
    catalogue = replace(world.catalogue, price=world.catalogue.price * size)
    scaled = Oracle(replace(world, catalogue=catalogue)).best(requests, "revenue")
    np.testing.assert_array_equal(scaled.item_id, Oracle(world).best(requests, "revenue").item_id)


def test_the_best_slate_obeys_exclusions_and_launches(world: World) -> None:
    """What is excluded or not on sale is no way out for the oracle either."""
    oracle = Oracle(world)
    requests = Requests(day=-10, user_id=np.array([0, 1]), visit=np.zeros(2, dtype=np.int64), n=5)
    first = oracle.best(requests).item_id[0, 0]
    again = oracle.best(replace(requests, exclude=np.array([[0, first]])))
    assert first not in again.item_id[0]
    assert world.catalogue.on_sale(-10)[again.item_id].all()


def test_days_can_be_asked_for_in_any_order(world: World) -> None:
    """The state of a day is the same however it is reached."""
    oracle = Oracle(world)
    late = oracle.state(9).taste.copy()
    oracle.state(2)
    assert (oracle.state(9).taste == late).all()


def test_an_unknown_goal_is_refused(world: World) -> None:
    """The error lists the goals."""
    requests = Requests(day=0, user_id=np.array([0]), visit=np.array([0]), n=5)
    with pytest.raises(ConfigError, match="goal: 'profit'.*clicks"):
        Oracle(world).best(requests, "profit")
