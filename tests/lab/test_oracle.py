"""The oracle against simulation, and the best slate against every other."""

from dataclasses import fields, replace
from itertools import permutations

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.lab.oracle import GOALS, Oracle, Value
from simlab.schema import NO_ITEM, Ints, Labels, Requests, Slates
from simlab.streams import stream, uniforms
from simlab.testing import EVERYTHING, check_slates, check_value
from simlab.world.birth import make_world
from simlab.world.history import plackett_luce
from simlab.world.presets import preset
from simlab.world.response import WAYS
from simlab.world.truth import World, available
from simlab.world_laws import day_of, live

CONFIG = preset("shop", n_users=500, n_items=80, history_days=14)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(CONFIG, 1)


@pytest.fixture(scope="module")
def lived() -> World:
    """Everything on, eight days in; much is clicked, bought and given back, so that few slates tell much."""
    (world,), _ = live([make_world(EVERYTHING, 12)], 8)
    often = replace(EVERYTHING.response, base=-1.5, purchase_base=0.5, return_share=0.8)
    return replace(world, config=replace(EVERYTHING, response=often))


def all_by(world: World, way: str) -> World:
    return replace(world, people=replace(world.people, way=np.full(len(world.rows), WAYS.index(way))))


def slates_of(requests: Requests, item_id: Ints) -> Slates:
    return Slates(
        requests=replace(requests, n=item_id.shape[1]),
        item_id=item_id,
        propensity=np.ones(item_id.shape),
        source=np.zeros(item_id.shape, dtype=np.int64),
        model_version=Labels.constant("test", len(requests)),
        arm=Labels.constant("test", len(requests)),
    )


@pytest.mark.parametrize("way", [*WAYS, "all"])
def test_the_oracle_equals_the_simulated_mean(way: str, lived: World) -> None:
    """Clicks, purchases, revenue, refunds, margin: within 4 standard errors over 60,000 late slates with gaps."""
    world = lived if way == "all" else all_by(lived, way)
    users = np.resize(np.arange(150), 60_000)
    asked = Requests(day=world.state.day, user_id=users, visit=np.zeros_like(users), n=5)
    luck = uniforms(1, "test slates", rows=np.arange(len(users)), n=40)
    slates = plackett_luce(available(world, world.state)[:40].astype(np.float64), asked, luck=luck)
    gaps = uniforms(2, "gaps", rows=np.arange(len(users)), n=5) < 0.1
    slates = replace(slates, item_id=np.where(gaps, NO_ITEM, slates.item_id), latency_ms=1000 * luck[:, 0] * luck[:, 1])
    check_value(Oracle(world).value, world, slates)
    for field in fields(Value):
        assert getattr(Oracle(world).value(slates), field.name).mean() > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_equals_the_simulated_mean_in_many_worlds(seed: int) -> None:
    """Twenty worlds with everything on, 400,000 slates each, after two weeks."""
    (world,), _ = live([make_world(replace(EVERYTHING, seed=seed, history_days=7, n_users=300), 20)], 14)
    slates, _ = day_of(world)
    rows = np.resize(np.arange(len(slates.requests)), 400_000)
    asked = Requests(day=world.state.day, user_id=slates.requests.user_id[rows], visit=0 * rows, n=4)
    check_value(
        Oracle(world).value, world, replace(slates_of(asked, slates.item_id[rows]), latency_ms=slates.latency_ms[rows])
    )


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("way", WAYS)
def test_no_slate_is_better_than_the_best(goal: str, way: str) -> None:
    """Against every slate of up to 3 of 6 items in every order, of which one is sold out and others are excluded."""
    strong = replace(EVERYTHING.response, base=-1.0, purchase_scale=1.0, return_share=1.0, return_scale=2.0)
    config = replace(EVERYTHING, n_items=6, new_items_per_week=0, response=strong)
    config = replace(config, change=replace(config.change, lifetime_days=0))
    (small,), _ = live([all_by(make_world(config, 1), way)], 5)
    small = replace(small, state=replace(small.state, stock=np.array([9.0, 0, 9, 9, 9, 9])))
    users = np.arange(40)
    exclude = np.array([[row, item] for row, item in zip(users, users % 9, strict=True) if item < 6])
    asked = Requests(day=small.state.day, user_id=users, visit=np.zeros_like(users), n=3, exclude=exclude)
    oracle = Oracle(small)
    slates = oracle.best(asked, goal)
    check_slates(slates, small.catalogue)
    assert not (slates.item_id == 1).any()
    best = getattr(oracle.value(slates), goal)
    top = np.zeros(40)
    for order in (order for k in (1, 2, 3) for order in permutations([0, 2, 3, 4, 5], k)):
        item_id = np.tile([*order, *[NO_ITEM] * (3 - len(order))], (40, 1))
        allowed = ~np.isin(np.arange(40), exclude[np.isin(exclude[:, 1], order), 0])
        top = np.maximum(top, np.where(allowed, getattr(oracle.value(slates_of(asked, item_id)), goal), 0))
    np.testing.assert_allclose(best, top, rtol=1e-12)


def test_money_by_hand(lived: World) -> None:
    """Where every second purchase comes back: refunds are half of revenue, and the shop keeps its share of the rest."""
    response = replace(lived.config.response, another_unit=0.5, return_share=1.0, return_scale=0.0)
    world = replace(lived, config=replace(lived.config, response=response))
    asked = Requests(day=world.state.day, user_id=np.arange(150), visit=np.zeros(150, dtype=np.int64), n=1)
    item = np.flatnonzero(available(world, world.state))[3]
    value = Oracle(world).value(slates_of(asked, np.full((150, 1), item)))
    np.testing.assert_allclose(value.revenue, value.purchases * 1.9375 * world.state.price[item], rtol=1e-12)
    np.testing.assert_allclose(value.refunds, value.revenue / 2, rtol=1e-12)
    np.testing.assert_allclose(value.margin, value.refunds * world.catalogue.margin[item], rtol=1e-12)


def test_where_everything_is_sold_out_the_best_is_nothing(world: World) -> None:
    """No slate, no value, no regret, whatever is asked for."""
    empty = replace(world, state=replace(world.state, stock=np.zeros(len(world.catalogue))))
    for way in WAYS:
        oracle = Oracle(all_by(empty, way))
        asked = Requests(day=-14, user_id=np.arange(4), visit=np.zeros(4, dtype=np.int64), n=3)
        for goal in GOALS:
            assert oracle.best(asked, goal).item_id.shape == (4, 0)
        assert oracle.regret(slates_of(asked, np.full((4, 3), NO_ITEM))).tolist() == [0] * 4


def test_regret_is_what_is_left_to_the_best(world: World) -> None:
    """Zero for the best slate, more than that for its reverse."""
    oracle = Oracle(world)
    users = np.arange(500)
    best = oracle.best(Requests(day=0, user_id=users, visit=np.zeros_like(users), n=10))
    assert np.abs(oracle.regret(best)).max() < 1e-12
    assert (oracle.regret(slates_of(best.requests, best.item_id[:, ::-1])) > 0).all()


def test_nobody_s_regret_is_below_nothing(lived: World) -> None:
    """On all pages of a day of a world with everything: what was shown is never better than the best."""
    slates, _ = day_of(lived)
    oracle = Oracle(lived)
    assert slates.requests.page.max() > 0
    assert oracle.regret(slates).min() > -1e-12
    soon = replace(slates, latency_ms=0 * slates.latency_ms)
    assert (oracle.regret(soon) <= oracle.regret(slates)).all()


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


def test_pages_of_a_visit_count_as_one_visit(world: World) -> None:
    """The mean is a visit's: two pages are worth more than one. A day without visits has no mean."""
    oracle, users = Oracle(world), np.repeat(np.arange(50), 2)
    asked = Requests(day=0, user_id=users, visit=0 * users, page=np.tile([0, 1], 50), n=4)
    slates = oracle.best(asked)
    truth = oracle.truth_of_day(slates)["true_clicks_per_visit"]
    assert truth == pytest.approx(oracle.value(slates).clicks.sum() / 50)
    none = asked.take(np.empty(0, dtype=np.int64))
    assert np.isnan(oracle.truth_of_day(slates_of(none, np.empty((0, 4), dtype=np.int64)))["share_of_best"])


@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_the_size_of_prices_changes_no_best_slate(size: float, world: World) -> None:
    """Worths of a hundred-millionth of a cent are ranked as euros are, by every way to choose."""
    requests = Requests(day=-14, user_id=np.arange(50), visit=np.zeros(50, dtype=np.int64), n=10)
    for way in WAYS:
        plain = all_by(world, way)
        scaled = replace(plain, state=replace(plain.state, price=plain.state.price * size))
        found = Oracle(scaled).best(requests, "revenue").item_id
        np.testing.assert_array_equal(found, Oracle(plain).best(requests, "revenue").item_id)


def test_the_best_slate_obeys_exclusions_and_launches(world: World) -> None:
    """What is excluded or not on sale is no way out for the oracle either."""
    for way in WAYS:
        oracle = Oracle(all_by(world, way))
        requests = Requests(day=-10, user_id=np.array([0, 1]), visit=np.zeros(2, dtype=np.int64), n=90)  # all there are
        best = oracle.best(requests)
        again = oracle.best(replace(requests, exclude=np.array([[0, best.item_id[0, 0]]])))
        assert best.item_id[0, 0] not in again.item_id[0]
        assert best.item_id.shape[1] == world.catalogue.on_sale(-10).sum() == len(set(best.item_id[0].tolist()))
        assert (again.item_id[1] == best.item_id[1]).all()
        far = oracle.best(replace(requests, exclude=np.array([[0, NO_ITEM], [1, 79], [1, 99]])))  # not there, not yet
        assert (far.item_id == best.item_id).all()
        check_slates(best, world.catalogue)


def test_days_can_be_asked_for_in_any_order(world: World) -> None:
    """The state of a day is the same however it is reached."""
    oracle = Oracle(world)
    late = oracle.state(9).taste.copy()
    oracle.state(2)
    assert (oracle.state(9).taste == late).all()
    with pytest.raises(ConfigError, match="day: -15 .*begins on day -14"):
        oracle.state(-15)


def test_an_oracle_that_is_told_knows_what_shoppers_remember() -> None:
    """`move` by move it comes to the states that the world came to; it cannot go back, and says so."""
    world = make_world(EVERYTHING, 6)
    oracle, now = Oracle(world), world
    for _ in range(4):
        slates, outcomes = day_of(now)
        oracle.move(slates, outcomes)
        (now,), _ = live([now], 1)
    for field in fields(now.state):
        told, true = getattr(oracle.state(now.state.day), field.name), getattr(now.state, field.name)
        assert np.asarray(told).tobytes() == np.asarray(true).tobytes(), field.name
    with pytest.raises(ConfigError, match="keeps no journal"):
        oracle.state(now.state.day - 1)


def test_an_unknown_goal_is_refused(world: World) -> None:
    """The error lists the goals."""
    requests = Requests(day=0, user_id=np.array([0]), visit=np.array([0]), n=5)
    with pytest.raises(ConfigError, match="goal: 'profit'.*clicks"):
        Oracle(world).best(requests, "profit")


def test_random_slates_are_worse_than_the_best_by_every_goal(lived: World) -> None:
    """In the mean by a good deal, and never better, with ways side by side."""
    asked = Requests(day=lived.state.day, user_id=np.arange(150), visit=np.zeros(150, dtype=np.int64), n=4)
    here = np.flatnonzero(available(lived, lived.state))
    order = stream(3, "random slates").random((150, len(here))).argsort(axis=1)[:, :4]
    oracle = Oracle(lived)
    shown = oracle.value(slates_of(asked, here[order]))
    for goal in GOALS:
        best = getattr(oracle.value(oracle.best(asked, goal)), goal)
        assert (best >= getattr(shown, goal) * (1 - 1e-12)).all()
        assert best.mean() > 1.2 * getattr(shown, goal).mean()
