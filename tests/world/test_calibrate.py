"""A calibrated world keeps what it was fitted to."""

from dataclasses import replace

import numpy as np
import pytest

from simlab.datasets import Ratings, observed
from simlab.errors import ConfigError
from simlab.schema import NEVER, Catalogue, Floats, Labels, Shoppers
from simlab.streams import stream
from simlab.world.aftermath import rating_chances
from simlab.world.calibrate import CalibrationConfig, calibrate
from simlab.world.dynamics import nothing, step
from simlab.world.factors import foretold, scale_of_taste
from simlab.world.organic import Observed, fit_margins, organic_choices, start_model
from simlab.world.snapshot import from_bytes, to_bytes
from simlab.world.tastes import influence
from simlab.world.truth import State, World, utility


def observed_of(user_id: list[int], item_id: list[int], n_users: int, n_items: int) -> Observed:
    """Choices among things of which nothing is known, rated 1 to 5 in turn."""
    return Observed(
        name="made up",
        user_id=np.array(user_id),
        item_id=np.array(item_id),
        rating=np.arange(len(user_id)) % 5 + 1,
        catalogue=Catalogue(
            name=tuple(f"Film {item}" for item in range(n_items)),
            category=Labels.constant("film", n_items),
            brand=Labels.constant("studio", n_items),
            price=np.full(n_items, 10.0),
            margin=np.full(n_items, 0.3),
            launch_day=np.full(n_items, -1),
            retire_day=np.full(n_items, NEVER),
        ),
        shoppers=Shoppers(
            segment=Labels.constant("all", n_users),
            region=Labels.constant("all", n_users),
            arrival_day=np.full(n_users, -1),
        ),
    )


def two_camps(seed: int, loyalty: float) -> Observed:
    """40 users of two camps choose 8 of 40 items; a share `loyalty` of the choices is in their camp's half."""
    rng = stream(seed, "camps")
    pairs = []
    for user in range(40):
        weight = np.where(np.arange(40) % 2 == user % 2, loyalty, 1 - loyalty)
        pairs += [(user, int(item)) for item in rng.choice(40, 8, replace=False, p=weight / weight.sum())]
    users, items = zip(*pairs, strict=True)
    return observed_of(list(users), list(items), 40, 40)


@pytest.fixture(scope="session")
def real(movielens: Ratings) -> Observed:
    return observed(movielens, seed=0)


@pytest.fixture(scope="session")
def world(real: Observed) -> World:
    return calibrate(real, config=CalibrationConfig())


def test_popularity_and_activity_are_kept(real: Observed, world: World) -> None:
    """Each item is chosen as often as in reality but for luck: squared errors are those of independent choices.

    A count is a sum of independent choices, with a variance below its mean; so the mean of (count - real)^2 / real
    over the items is about 1 or less where every expectation is right. Users choose exactly as many as they did.
    """
    chosen = [organic_choices(world, real.activity, seed=seed) for seed in range(3)]
    often = real.popularity >= 5
    for choices in chosen:
        assert (choices.activity == real.activity).all()
        error = (choices.popularity - real.popularity)[often] ** 2 / real.popularity[often]
        assert 0.5 < error.mean() < 1.15
    assert (chosen[0].popularity != chosen[1].popularity).any()


def test_nobody_chooses_twice(real: Observed, world: World) -> None:
    """Choices are without replacement."""
    choices = organic_choices(world, real.activity, seed=0)
    assert len(np.unique(choices.user_id * 10_000 + choices.item_id)) == len(real.user_id)


def test_the_rating_histogram_is_kept(real: Observed, world: World) -> None:
    """Expected shares of 1 to 5 stars over simulated choices are within half a percent of the real ones."""
    choices = organic_choices(world, real.activity, seed=0)
    value = utility(world, world.state, choices.user_id, choices.item_id[:, None])[:, 0]
    expected = rating_chances(value, world.config.response).mean(axis=0)
    shares = np.bincount(real.rating, minlength=6)[1:] / len(real.rating)
    assert expected == pytest.approx(shares, abs=0.005)
    drawn = np.bincount(choices.rating, minlength=6)[1:] / len(choices.rating)
    assert drawn == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(choices.rating)))


def test_live_activity_follows_the_number_of_ratings(real: Observed, world: World) -> None:
    """Visits a day are in proportion to ratings, with the mean that was asked for."""
    ratio = world.people.activity / real.activity
    assert ratio == pytest.approx(np.full(len(ratio), ratio[0]))
    assert world.people.activity.mean() == pytest.approx(CalibrationConfig().visits_per_day)


def test_the_same_ratings_make_the_same_world(real: Observed, world: World) -> None:
    """Bit for bit; and the world can be stored."""
    again = to_bytes(calibrate(real, config=CalibrationConfig()))
    assert again == to_bytes(world)
    assert to_bytes(from_bytes(again)) == again


def test_a_crowd_that_drifts_stays_the_same_crowd(world: World) -> None:
    """After 100 days each taste has moved and the crowd's mean and spread have not."""
    state = world.state
    for _ in range(100):
        state = step(world, state)
    before, after = world.state.taste, state.taste
    sd = before.std(axis=0)
    assert after.mean(axis=0) == pytest.approx(before.mean(axis=0), abs=5 * sd.max() / np.sqrt(len(before)))
    assert after.std(axis=0) / sd == pytest.approx(np.ones(len(sd)), abs=0.15)
    moved = (after - before).std(axis=0) / sd
    rho, settled = (1 - CalibrationConfig().drift ** 2) ** 50, CalibrationConfig().settled  # of 100 days
    variance = (1 - rho) ** 2 * (1 - settled) ** 2 + (1 - settled**2) * (1 - rho**2)
    assert moved == pytest.approx(np.full(len(sd), np.sqrt(variance)), abs=0.15)


def test_drift_keeps_what_the_best_slates_are_worth(world: World) -> None:
    """Long tails of taste outlast two months: the clicks of the best ten items change by less than 2 %; with one home
    for all they lose more than 5 %.
    """
    centre = np.tile(world.state.taste.mean(axis=0), (len(world.shoppers), 1))
    alike = replace(world.state, home=centre)
    spread = world.people.spread / np.sqrt(1 - CalibrationConfig().settled ** 2)
    restless = replace(world, state=alike, people=replace(world.people, spread=spread))
    kept, lost = (best_clicks(moved, 60) / best_clicks(moved, 0) for moved in (world, restless))
    assert kept == pytest.approx(1, abs=0.02)
    assert lost < 0.95


def best_clicks(world: World, days: int) -> float:
    """Mean clicks on the ten items liked best after some days of drift."""
    state = world.state
    for _ in range(days):
        state = step(world, state)
    value = -np.sort(-(state.taste @ world.items.vector.T + world.items.quality), axis=1)[:, :10]
    looks = world.people.patience[:, None] ** np.arange(10)
    return float((looks / (1 + np.exp(-world.config.response.base - value))).sum(axis=1).mean())


def match_of(world: World, state: State) -> Floats:
    return np.asarray(state.taste @ world.items.vector.T)


def test_looks_raise_the_match_with_what_is_looked_at(real: Observed, world: World) -> None:
    """After 100 looks at one item nearly every user likes it better, whichever of the items chosen 20 times it is: at
    least 95 % do (measured: 97 % for the worst). What tastes move towards is as long as tastes, within a tenth.
    """
    change = replace(world.config.change, influence=0.05)
    swayed, n = replace(world, config=replace(world.config, change=change)), len(world.shoppers)
    many = np.argsort(-real.popularity)[: np.count_nonzero(real.popularity >= 20)]
    before = match_of(world, world.state)
    for item in many[::40].tolist():
        looks = replace(
            nothing(world), user_id=np.arange(n), item_id=np.full((n, 100), item), examined=np.ones((n, 100), np.bool_)
        )
        after = influence(swayed, world.state, looks)
        assert (match_of(world, after)[:, item] > before[:, item]).mean() > 0.95
    home = np.sqrt((world.state.taste**2).sum(axis=1).mean())
    assert home == pytest.approx(np.sqrt(world.config.n_dims))
    towards = world.items.vector * np.sqrt(world.config.n_dims) / world.config.taste_scale
    assert np.sqrt((towards**2).sum(axis=1).mean()) == pytest.approx(home, rel=0.1)
    assert match_of(world, world.state).std() == pytest.approx(world.config.taste_scale, abs=1e-3)


def test_rates_that_are_set_do_what_they_say(world: World) -> None:
    """Budgets, seasons and companions have no strength in a fitted world, but are there for whoever gives them one:
    two thirds of budgets are above the median price, as in made worlds, seasons have times of their own, and each
    category goes with another.
    """
    above = (world.people.log_budget > np.log(np.median(world.catalogue.price))).mean()
    assert 0.6 < above < 0.77
    assert world.people.log_budget.std() == pytest.approx(0.7, abs=0.07)
    n = len(world.catalogue.category.names)
    assert len(np.unique(world.items.season_peak)) == n
    assert sorted(world.items.companion.tolist()) == list(range(n))
    assert (world.items.companion != np.arange(n)).all()
    users, items = np.arange(100), np.tile(np.arange(200), (100, 1))
    plain = utility(world, world.state, users, items)
    poor = replace(world, config=replace(world.config, budget=1.0))
    assert (utility(poor, world.state, users, items) < plain).mean() > 0.1
    festive = replace(world, config=replace(world.config, change=replace(world.config.change, season=1.0)))
    moved = utility(festive, world.state, users, items) - plain
    assert moved.std() > 0.3


def test_margins_are_fitted_whatever_the_tastes() -> None:
    """Expected choices equal those made, of each user and item, but for 1 in 10,000; the model given stays as it is."""
    real, rng = two_camps(0, 0.8), stream(0, "tastes")
    start = start_model(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), real.activity, real.popularity)
    kept = start.quality.copy()
    _, chance = fit_margins(start, real.activity, real.popularity).chances(slice(0, 40))
    assert chance.sum(axis=1) == pytest.approx(real.activity, rel=1e-3)
    assert chance.sum(axis=0) == pytest.approx(real.popularity, rel=1e-3)
    assert np.array_equal(start.quality, kept)


def test_tastes_of_no_strength_foretell_nothing() -> None:
    """At scale 0 no choice is a bit likelier than by popularity, at another scale they all change."""
    real, hidden = two_camps(0, 0.95), stream(0, "hidden").random(320) < 0.15
    none, some = (foretold(real, hidden, 2, scale) for scale in (0.0, 1.0))
    assert np.array_equal(none["tastes of users"], none["popularity of items"])
    assert np.array_equal(none["popularity of items"], some["popularity of items"])
    assert (some["tastes of users"] != some["popularity of items"]).all()


def test_taste_is_found_where_there_is_taste() -> None:
    """The scale is larger for camps that keep to themselves than for people who choose at random, where it is small."""
    hidden = [stream(seed, "hidden").random(320) < 0.15 for seed in range(5)]
    loyal, aimless = (
        np.mean([scale_of_taste(two_camps(seed, loyalty), hidden[seed], 2) for seed in range(5)])
        for loyalty in (0.95, 0.5)
    )
    assert aimless < 0.3 < 0.9 < loyal


def test_camps_stay_camps() -> None:
    """Users of the simulated world keep to the half of the catalogue that they kept to in reality."""
    real = two_camps(1, 0.95)
    choices = organic_choices(calibrate(real, config=CalibrationConfig(n_dims=2)), real.activity, seed=3)
    share = (choices.user_id % 2 == choices.item_id % 2).mean()
    assert share == pytest.approx((real.user_id % 2 == real.item_id % 2).mean(), abs=0.1)


def test_what_is_public_says_something_of_those_who_chose_nothing() -> None:
    """A newcomer of one camp's segment likes that camp's half of the catalogue, and a camp what is new in its half."""
    real = two_camps(1, 0.95)
    halves = Labels(codes=np.arange(40) % 2, names=("even", "odd"))
    before = (real.user_id >= 4) & (real.item_id >= 4)  # users and items 0 .. 3 are new
    labelled = replace(
        real,
        user_id=real.user_id[before],
        item_id=real.item_id[before],
        rating=real.rating[before],
        catalogue=replace(real.catalogue, category=halves),
        shoppers=replace(real.shoppers, segment=halves),
    )
    world = calibrate(labelled, config=CalibrationConfig(n_dims=2))
    match = world.state.taste @ world.items.vector.T
    own = (np.arange(40)[:, None] - np.arange(40)) % 2 == 0
    for new in (np.s_[:4, 4:], np.s_[4:, :4]):
        assert match[new][own[new]].mean() - match[new][~own[new]].mean() > 0.1 * match.std()


@pytest.mark.parametrize(
    ("user_id", "item_id"),
    [
        ([0, 1, 2, 3], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_tiny_and_lopsided_ratings_make_a_world(user_id: list[int], item_id: list[int]) -> None:
    """Items that nobody chose, users who chose nothing, no structure at all: every number stays finite."""
    real = observed_of(user_id, item_id, 4, 5)
    world = calibrate(real, config=CalibrationConfig(n_dims=1))
    for array in (world.state.taste, world.items.vector, world.items.quality, world.people.activity):
        assert np.isfinite(array).all()
    choices = organic_choices(world, real.activity, seed=0)
    assert (choices.activity == real.activity).all()


def test_settings_out_of_range_are_refused() -> None:
    """More dimensions than items or users, probabilities that are none, more choices than items; nothing to tell."""
    real = two_camps(0, 0.9)
    with pytest.raises(ConfigError, match="users: 1 will not do; a fit needs at least 2 users"):
        calibrate(observed_of([0, 0], [0, 1], 1, 3), config=CalibrationConfig(n_dims=1))
    with pytest.raises(ConfigError, match="every user chose every item"):
        calibrate(observed_of([0, 0, 1, 1], [0, 1, 0, 1], 2, 2), config=CalibrationConfig(n_dims=1))
    with pytest.raises(ConfigError, match="n_dims"):
        calibrate(real, config=CalibrationConfig(n_dims=40))
    with pytest.raises(ConfigError, match="click_rate"):
        CalibrationConfig(click_rate=1.0)
    with pytest.raises(ConfigError, match="hidden_share"):
        CalibrationConfig(hidden_share=0.0)
    world = calibrate(real, config=CalibrationConfig(n_dims=2))
    with pytest.raises(ConfigError, match="activity"):
        organic_choices(world, np.full(40, 41), seed=0)
