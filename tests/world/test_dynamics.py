"""How truth moves: each part against a known answer, by hand or in the long run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simlab.schema import NEVER, Bools, Clicks, Ints, Labels, Outcomes, Requests, Slates
from simlab.world.assortment import fashions, prices, stock
from simlab.world.birth import make_world
from simlab.world.catalogue import GOODS, retire_days
from simlab.world.config import WorldConfig
from simlab.world.dynamics import happened, nothing, step
from simlab.world.memory import SEEN
from simlab.world.presets import preset
from simlab.world.tastes import shift
from simlab.world.truth import Happened, State, World, available, season, utility


def small(**settings: Any) -> World:
    return make_world(preset("shop", **{"n_users": 3, "n_items": 40, "history_days": 7, **settings}), 1)


def looks(world: World, user_id: list[int], item_id: list[list[int]], clicked: Bools | None = None) -> Happened:
    """Shoppers who looked at all of their slates, one each, and clicked as told."""
    items = np.array(item_id)
    seen = np.ones(items.shape, dtype=bool)
    return Happened(
        user_id=np.array(user_id), item_id=items, examined=seen, clicked=~seen if clicked is None else clicked,
        sold=np.zeros_like(world.state.due),
    )  # fmt: skip


def after(world: World, days: int) -> State:
    state = world.state
    for _ in range(days):
        state = step(world, state)
    return state


def test_drift_keeps_the_crowd_and_moves_each_shopper() -> None:
    """Ornstein-Uhlenbeck: after k days the own taste correlates with itself at rho**k; variance and homes have stayed.

    32,000 numbers: within 5 standard errors; rho of a drift a tenth larger would be 15 away.
    """
    world = small(n_users=4000, drift=0.2)
    old, now = world.state, after(world, 10)
    a, b = old.taste - old.home, now.taste - now.home
    n, rho = a.size, (1 - 0.2**2) ** 5
    seen = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert abs(seen - rho) < 5 * (1 - rho**2) / np.sqrt(n)
    assert abs(seen - (1 - 0.22**2) ** 5) > 10 * (1 - rho**2) / np.sqrt(n)
    assert abs(b.var() / world.people.spread[0] ** 2 - 1) < 5 * np.sqrt(2 / n)
    assert (now.home == old.home).all()


def test_one_day_s_step_of_drift_is_as_long_as_stated() -> None:
    """Far from stationary too: who stands at home moves by drift * spread in each dimension."""
    world = small(n_users=4000, drift=0.3)
    state = replace(world.state, taste=world.state.home)
    moved = step(world, state).taste - state.home
    assert abs(moved.std() / (0.3 * world.people.spread[0]) - 1) < 4 / np.sqrt(2 * moved.size)


@pytest.mark.parametrize("n_dims", [1, 5, 8])
def test_a_shift_turns_half_of_the_dimensions_of_a_share_of_shoppers(n_dims: int) -> None:
    """On one morning only, the same dimensions for all, taste and home alike."""
    world = small(n_users=4000, n_dims=n_dims, drift=0, change={"shift_day": -5, "shift_share": 0.3})
    days = [after(world, k) for k in range(4)]
    assert (days[1].taste == days[0].taste).all()
    turned = (days[2].taste == -days[1].taste).any(axis=1)
    assert abs(turned.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)
    kept = (days[2].taste[turned] == days[1].taste[turned]).all(axis=0)
    assert kept.sum() == n_dims // 2
    assert (days[2].taste[turned][:, ~kept] == -days[1].taste[turned][:, ~kept]).all()
    assert (days[2].home[turned][:, ~kept] == -days[1].home[turned][:, ~kept]).all()
    assert (days[3].taste == days[2].taste).all()
    assert (shift(world, days[2], nothing(world)).taste == days[1].taste).all()  # turned twice is not turned


def test_influence_goes_a_share_of_the_way_with_each_look() -> None:
    """Look by look: after k looks at one item, 1 - (1 - rate)**k of the way; unseen places and others move nobody."""
    world = small(drift=0, change={"influence": 0.1})
    towards = world.items.vector[5] * np.sqrt(8) / world.config.taste_scale
    past = looks(world, [1, 1], [[5, 5], [5, -1]])
    past.examined[1, 1] = False
    now = step(world, world.state, past)
    for before, moved in ((world.state.taste, now.taste), (world.state.home, now.home)):
        np.testing.assert_allclose(moved[1] - before[1], (1 - 0.9**3) * (towards - before[1]), rtol=1e-12)
        assert (moved[[0, 2]] == before[[0, 2]]).all()


def test_boredom_by_hand() -> None:
    """Two looks today cost 0.2; a night's rest leaves 3/4 before tomorrow's looks; utility falls by as much."""
    world = small(drift=0, price_sensitivity=0, change={"boredom": 0.1, "recovery": 0.25})
    category = world.catalogue.category.codes
    first = step(world, world.state, looks(world, [2], [[7, 7]]))
    assert first.boredom[2, category[7]] == pytest.approx(0.2)
    second = step(world, first, looks(world, [2], [[7]]))
    assert second.boredom[2, category[7]] == pytest.approx(0.75 * 0.2 + 0.1)
    assert np.count_nonzero(second.boredom) == 1
    user, item = np.array([2, 0]), np.array([[7, 8], [7, 8]])
    lost = utility(world, world.state, user, item) - utility(world, second, user, item)
    np.testing.assert_allclose(lost[0], 0.25 * (category[[7, 8]] == category[7]), atol=1e-7)
    assert (lost[1] == 0).all()
    assert after(replace(world, state=second), 60).boredom.max() < 1e-7


def test_sixteen_items_are_remembered_the_least_seen_is_forgotten() -> None:
    """A seventeenth takes the place of that which bores least, and only what is remembered costs utility."""
    world = small(drift=0, change={"item_boredom": 0.5, "recovery": 0.2})
    often = [i for i in range(SEEN) for _ in range(2 if i != 6 else 1)]
    state = step(world, world.state, looks(world, [0], [often]))
    assert sorted(state.seen_item[0].tolist()) == list(range(SEEN))
    now = step(world, state, looks(world, [0], [[20, 20, 20]]))
    assert sorted(now.seen_item[0].tolist()) == sorted({*range(SEEN), 20} - {6})
    levels = dict(zip(now.seen_item[0].tolist(), now.seen_level[0].tolist(), strict=True))
    assert levels[20] == pytest.approx(1.5)
    assert levels[0] == pytest.approx(0.8 * 1.0)
    lost = utility(world, world.state, np.zeros(1, int), np.array([[20, 0, 6]])) - utility(
        world, now, np.zeros(1, int), np.array([[20, 0, 6]])
    )
    np.testing.assert_allclose(lost, [[1.5, 0.8, 0.0]], atol=1e-6)
    assert (now.seen_item[1:] == -1).all()


def test_the_last_click_says_what_is_wanted() -> None:
    """In order of visits and places; the companion's category gains `complements`, for this shopper, until another."""
    world = small(drift=0, complements=0.7)
    category, companion = world.catalogue.category.codes, world.items.companion
    clicked = np.array([[True, False], [True, True]])
    state = step(world, world.state, looks(world, [1, 1], [[3, 9], [4, 8]], clicked))
    assert state.wanted[:, 0].tolist() == [-1, companion[category[8]], -1]
    assert step(world, state).wanted[1, 0] == state.wanted[1, 0]
    everything = np.arange(40)[None].repeat(3, axis=0)
    gained = utility(world, state, np.arange(3), everything) - utility(world, world.state, np.arange(3), everything)
    np.testing.assert_allclose(gained[1], 0.7 * (category == companion[category[8]]), atol=1e-12)
    assert (gained[[0, 2]] == 0).all()
    assert sorted(companion.tolist()) == list(range(len(GOODS)))
    assert (companion != np.arange(len(GOODS))).all()


def test_satisfaction_by_hand() -> None:
    """A slate with a click and one without, at learning 0.2: 0.5 -> 0.6 -> 0.48; who did not come has not changed."""
    world = small(loyalty={"pull": 1.0})
    clicked = np.array([[True, True], [False, False]])
    state = step(world, world.state, looks(world, [1, 1], [[3, 9], [4, 8]], clicked))
    np.testing.assert_allclose(state.satisfaction, [0.5, 0.48, 0.5], rtol=1e-15)
    assert state.present.all()


def test_dissatisfied_shoppers_leave_after_a_visit_for_good() -> None:
    """churn * (1 - satisfaction) of those who came, once a day however often they came, and nobody else."""
    world = small(n_users=8000, loyalty={"churn": 0.4, "learning": 0.5})
    came = np.repeat(np.arange(4000), 2)
    past = looks(world, came.tolist(), [[0]] * 8000)
    state = step(world, world.state, past)
    assert state.satisfaction[0] == 0.125
    left = ~state.present
    p = 0.4 * 0.875
    assert abs(left[:4000].mean() - p) < 4 * np.sqrt(p * (1 - p) / 4000)
    assert not left[4000:].any()
    assert (step(world, state).present == state.present).all()


def test_fashions_come_and_go_within_their_spread() -> None:
    """Stationary: over 580 days of 20 categories their sd is `fashion`; neighbours correlate at fashion_memory."""
    world = small(change={"fashion": 0.5, "fashion_memory": 0.6})
    state, seen = world.state, []
    for _ in range(600):
        state = fashions(world, replace(state, day=state.day + 1), nothing(world))
        seen.append(state.fashion)
    table = np.array(seen[20:])
    free = table.size * (1 - 0.6**2) / (1 + 0.6**2)  # numbers that tell as much, were they apart
    assert abs(table.std() / 0.5 - 1) < 4 / np.sqrt(2 * free)
    assert abs(np.corrcoef(table[1:].ravel(), table[:-1].ravel())[0, 1] - 0.6) < 4 * 0.8 / np.sqrt(table.size)
    item = world.catalogue.category.codes[7]
    gained = utility(world, state, np.zeros(1, int), np.array([[7]])) - utility(
        world, world.state, np.zeros(1, int), np.array([[7]])
    )
    assert gained[0, 0] == pytest.approx(state.fashion[item] + season(world, 0)[item])


def test_prices_change_for_a_share_of_items_around_the_list() -> None:
    """A tenth of 3,000 items a day; the logarithm has sd price_sd around the list's, at any time; the index follows."""
    world = small(n_items=3000, new_items_per_week=0, change={"price_change": 0.1, "price_sd": 0.2})
    state = replace(world.state, day=0)
    first = prices(world, state, nothing(world))
    changed = first.price_index != state.price_index
    assert abs(changed.mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 3000)
    assert (first.price[~changed] == state.price[~changed]).all()
    for day in range(1, 60):
        state = prices(world, replace(state, day=day), nothing(world))
    ratio = np.log(state.price / world.catalogue.price)
    moved = state.price_index != world.state.price_index
    assert moved.mean() > 0.99
    assert abs(ratio[moved].std() - 0.2) < 4 * 0.2 / np.sqrt(2 * moved.sum())
    assert abs(ratio[moved].mean()) < 4 * 0.2 / np.sqrt(moved.sum())
    np.testing.assert_allclose((state.price_index - world.items.price_index) * 0.35, ratio, atol=3e-3)
    assert (np.round(state.price, 2) == state.price).all()
    assert state.price.min() >= 0.01


def sold(world: World, later: int = 0, **units: int) -> Happened:
    """So many units of item i are bought, to be paid some days later."""
    table = np.zeros_like(world.state.due)
    for name, n in units.items():
        table[int(name[1:]), later] = n
    return replace(nothing(world), sold=table)


def test_stock_falls_by_what_is_sold_and_is_refilled() -> None:
    """Never below nothing; sold out means not available; on every delivery day all is there again.

    What is paid later is taken later, so that stock says nothing that the log does not.
    """
    world = small(change={"stock": 5, "delivery_days": 3})
    state = replace(world.state, day=0)
    state = stock(world, replace(state, day=1), sold(world, i2=3, i4=9))
    assert state.stock[[2, 4, 5]].tolist() == [2, 0, 5]
    on_sale = world.catalogue.on_sale(1)
    assert available(world, state)[[2, 4]].tolist() == [on_sale[2], False]
    state = stock(world, replace(state, day=2), sold(world, i2=2))
    assert state.stock[2] == 0
    state = stock(world, replace(state, day=3), sold(world, i5=4))
    assert (state.stock == 5).all()
    state = stock(world, replace(state, day=4), sold(world, later=1, i6=2))
    assert state.stock[6] == 5
    assert stock(world, replace(state, day=5), nothing(world)).stock[6] == 3
    assert np.isinf(small().state.stock).all()


def test_units_count_against_stock_and_empty_slates_leave_no_trace() -> None:
    """What happened is told in the order of request_id, with units of each item by day of payment."""
    world = small(change={"stock": 5})
    asked = Requests(
        day=0, n=2, user_id=np.array([2, 0, 1]), visit=np.zeros(3, dtype=np.int64), page=np.array([0, 0, 0])
    )
    item_id = np.array([[3, 4], [4, 5], [-1, -1]])
    clicks = Clicks(
        place=np.array([0, 1, 2]), dwell=np.ones(3), units=np.array([2, 1, 3]), purchase_day=np.array([0, 0, 2]),
        rating=np.zeros(3, np.int64), rating_day=np.full(3, NEVER), return_day=np.full(3, NEVER),
    )  # fmt: skip
    clicked = np.array([[True, True], [True, False], [False, False]])
    slates = Slates(
        requests=asked, item_id=item_id, propensity=np.ones((3, 2)), source=np.zeros((3, 2), np.int64),
        model_version=Labels.constant("m", 3), arm=Labels.constant("a", 3),
    )  # fmt: skip
    past = happened(world, slates, Outcomes(examined=clicked, clicked=clicked, clicks=clicks))
    assert past.user_id.tolist() == [0, 2]
    assert past.item_id.tolist() == [[4, 5], [3, 4]]
    assert past.clicked.tolist() == [[True, False], [True, True]]
    assert past.sold[[3, 4, 5], :3].tolist() == [[2, 0, 0], [1, 0, 3], [0, 0, 0]]


def test_items_live_as_long_as_stated() -> None:
    """A week at least, lifetime_days in the mean (geometric); 0 is for ever."""
    config = preset("shop", change={"lifetime_days": 30})
    life = retire_days(config, np.full(100_000, 5)) - 5
    assert life.min() == 7
    assert abs(life.mean() - 30) < 4 * life.std() / np.sqrt(len(life))
    assert life.std() == pytest.approx(np.sqrt(23 * 24), rel=0.02)
    assert (small().catalogue.retire_day == NEVER).all()
    shortest = small(change={"lifetime_days": 1}).catalogue
    assert set((shortest.retire_day - shortest.launch_day).tolist()) == {7}


def test_seasons_swing_with_the_year() -> None:
    """Each category once a year, from -season to +season, at its own time; the same a year later."""
    world = small(change={"season": 0.8}, rhythm={"year_days": 50})
    table = np.array([season(world, day) for day in range(100)])
    np.testing.assert_allclose(table[:50], table[50:], atol=1e-12)
    np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-12)
    assert (np.abs(table).max(axis=0) > 0.79).all()
    peak: Ints = table[:50].argmax(axis=0)
    np.testing.assert_allclose((peak / 50 - world.items.season_peak + 0.5) % 1 - 0.5, 0, atol=0.011)
    assert len(set(peak.tolist())) > 10


def test_parts_of_one_s_own_go_beside_or_in_place() -> None:
    """`step` takes any parts; without any, only the day moves."""
    world = small(drift=0.2)
    still = step(world, world.state, parts=())
    assert still.day == world.state.day + 1
    assert (still.taste == world.state.taste).all()

    def louder(world: World, state: State, past: Happened, /) -> State:
        return replace(state, taste=2 * state.taste)

    assert (step(world, world.state, parts=(louder,)).taste == 2 * world.state.taste).all()


def test_a_world_says_whether_it_remembers() -> None:
    """Every rate by which doings move the truth counts, and no other."""
    assert not WorldConfig().remembers
    for settings in (
        {"change": {"boredom": 0.1}}, {"change": {"item_boredom": 0.1}}, {"change": {"influence": 0.01}},
        {"change": {"stock": 1}}, {"loyalty": {"pull": 1}}, {"loyalty": {"churn": 0.1}}, {"complements": 0.1},
    ):  # fmt: skip
        assert preset("shop", **settings).remembers
    assert not preset("shop", fuss=1, budget=1, change={"fashion": 1, "price_change": 1, "shift_share": 1}).remembers
