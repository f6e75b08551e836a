"""Laws of a whole world: what it is made of, how it moves, who visits, and what the old policy logged."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from simlab.errors import ConfigError, DataError
from simlab.schema import IMPRESSIONS, Requests
from simlab.streams import uniforms
from simlab.world.dynamics import start, state_on, step
from simlab.world.history import make_history, plackett_luce
from simlab.world.presets import make_world, preset
from simlab.world.truth import WEEK, State, World, from_bytes, to_bytes, utility, utility_of_all
from simlab.world.users import visits

SMALL = preset("shop", n_users=300, n_items=120, history_days=21)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SMALL, 30)


def test_a_larger_world_begins_with_the_smaller_one() -> None:
    """More shoppers and a longer horizon change nothing of those already there, nor their luck."""
    small, large = make_world(SMALL, 30), make_world(replace(SMALL, n_users=500), 90)
    n = len(small.catalogue)
    assert large.catalogue.name[:n] == small.catalogue.name
    assert (large.items.vector[:n] == small.items.vector).all()
    assert (large.people.taste[:300] == small.people.taste).all()
    few, many = visits(small, 4, 10), visits(large, 4, 10)
    inside = many.user_id < 300
    assert (many.request_id[inside] == few.request_id).all()
    assert (state_on(large, 5).taste[:300] == state_on(small, 5).taste).all()


def test_names_are_unique_and_the_giraffe_is_there() -> None:
    """A learner can tell every item from every other."""
    names = make_world(preset("shop"), 365).catalogue.name
    assert len(set(names)) == len(names)
    assert "Giraffe chew toy" in names


def test_items_are_launched_every_week() -> None:
    """n_items are on sale on day 0, five of them new, and five more come on every seventh day."""
    catalogue = make_world(SMALL, 30).catalogue
    assert catalogue.on_sale(0).sum() == SMALL.n_items
    assert {day: int((catalogue.launch_day == day).sum()) for day in (-14, -7, 0, 7, 28)} == dict.fromkeys(
        (-14, -7, 0, 7, 28), 5
    )
    assert catalogue.launch_day.max() == 28


@pytest.mark.parametrize(("n_items", "weekly"), [(1, 5), (3, 1), (500, 0), (40, 100)])
def test_small_catalogues_are_whole_too(n_items: int, weekly: int) -> None:
    """Whatever the numbers, n_items are on sale on day 0 and something was on sale on every day of history."""
    config = preset("shop", n_items=n_items, new_items_per_week=weekly)
    catalogue = make_world(config, 10).catalogue
    assert catalogue.on_sale(0).sum() == n_items
    assert catalogue.on_sale(-config.history_days).sum() >= 1


def test_drift_keeps_the_crowd_and_moves_each_shopper() -> None:
    """Ornstein-Uhlenbeck: after k days the own taste correlates with itself at rho**k, and its variance has stayed."""
    config = preset("shop", n_users=4000, drift=0.2)
    world = make_world(config, 1)
    before = start(world)
    after = before
    for _ in range(10):
        after = step(world, after)
    old, new = before.taste - world.people.home, after.taste - world.people.home
    n = old.size
    assert abs(np.corrcoef(old.ravel(), new.ravel())[0, 1] - (1 - 0.2**2) ** 5) < 5 / np.sqrt(n)
    assert abs(new.var() / world.people.spread[0] ** 2 - 1) < 5 * np.sqrt(2 / n)


def test_no_drift_is_no_change() -> None:
    """Drift 0 equals the part being absent."""
    world = make_world(replace(SMALL, drift=0.0), 1)
    assert (state_on(world, 10).taste == world.people.taste).all()


def test_visits_are_poisson_by_activity_and_weekday() -> None:
    """Over 140 days, visits by weekday are within 4 standard errors of sum of activity x weekday factor."""
    world = make_world(preset("shop", n_users=1000), 1)
    for weekday in range(7):
        counts = [len(visits(world, 7 * week + weekday, 10)) for week in range(20)]
        mean = world.people.activity.sum() * WEEK[weekday]
        # the cut at MAX_VISITS takes less than a hundredth of a standard error here
        assert abs(np.mean(counts) - mean) < 4 * np.sqrt(mean / 20)
    assert sum(WEEK) == pytest.approx(7)


def test_both_forms_of_utility_agree(world: World) -> None:
    """The utility of the items of a slate is that of the same items among all."""
    state = State(day=0, taste=world.people.taste)
    users = np.array([5, 0, 299])
    items = np.array([[3, 1], [119, 0], [7, 7]])
    whole = utility_of_all(world, state, users, 120)
    np.testing.assert_allclose(
        utility(world, state, users, items), np.take_along_axis(whole, items, axis=1), atol=1e-12
    )


def test_a_world_comes_back_from_its_file(world: World) -> None:
    """to_bytes and from_bytes are inverse, and a damaged file is refused."""
    data = to_bytes(world)
    again = from_bytes(data)
    assert to_bytes(again) == data
    assert again.config == world.config
    assert (again.items.vector == world.items.vector).all()
    with pytest.raises(DataError, match="world file"):
        from_bytes(data[: len(data) // 2])


def test_the_old_policy_logs_true_propensities() -> None:
    """Over 40,000 slates the first item, and the second given the first, are as frequent as their propensities say."""
    weight = np.array([5.0, 3.0, 1.0, 1.0])
    rows = np.arange(40_000)
    requests = Requests(day=0, user_id=rows, visit=np.zeros_like(rows), n=2)
    slates = plackett_luce(weight, requests, luck=uniforms(3, "test", rows=rows, n=4))
    share = np.bincount(slates.item_id[:, 0]) / len(rows)
    p = weight / weight.sum()
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / len(rows))).all()
    assert (slates.propensity[:, 0] == p[slates.item_id[:, 0]]).all()
    first = slates.item_id[:, 0]
    second = slates.item_id[first == 0, 1]
    q = weight[1:] / weight[1:].sum()
    np.testing.assert_allclose(slates.propensity[first == 0, 1], q[second - 1])
    seen = np.bincount(second, minlength=4)[1:] / len(second)
    assert (np.abs(seen - q) < 4 * np.sqrt(q * (1 - q) / len(second))).all()
    assert (slates.item_id[:, 0] != slates.item_id[:, 1]).all()


def test_history_is_a_whole_log_of_the_days_before(world: World) -> None:
    """Every day of history is there, in the one schema, with propensities, and purchases may come after day -1."""
    history = make_history(world)
    assert history.schema.equals(IMPRESSIONS)
    assert sorted(pc.unique(history["day"]).to_pylist()) == list(range(-21, 0))
    assert len(pc.unique(history["impression_id"])) == history.num_rows
    assert history["propensity"].null_count == 0
    assert pc.min_max(history["propensity"]).as_py()["min"] > 0
    assert pc.max(history["purchase_day"]).as_py() >= 0
    shown = world.catalogue.launch_day[history["item_id"].to_numpy()]
    assert (shown <= history["day"].to_numpy()).all()


def test_an_unknown_preset_or_setting_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigError, match="choose one of: .*shop"):
        preset("shopping")
    with pytest.raises(ConfigError, match="did you mean 'n_users'"):
        preset("shop", n_user=3)
