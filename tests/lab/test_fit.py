"""A world fitted to files finds what they were made from, behaves like it, and says how sure it is."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simlab.datasets import OwnImpressions, Ratings, read_impressions, read_own, sample
from simlab.errors import ConfigError
from simlab.lab.fit import Fitted, fit_file, fit_world
from simlab.schema import SOURCES, Labels, Requests, Slates
from simlab.streams import stream
from simlab.world.calibrate import CalibrationConfig
from simlab.world.history import answer
from simlab.world.organic import organic_choices
from simlab.world.snapshot import from_bytes, to_bytes
from simlab.world.truth import World

COLUMNS = {"user": "who", "item": "what", "position": "place", "clicked": "click", "purchased": "buy"}
N_USERS, N_ITEMS, PATIENCE, BUYS = 300, 60, 0.8, 0.3


def write_impressions(
    path: Path, seed: int, n: int = 20_000, *, taste: float = 1.5, patience: float = PATIENCE
) -> None:
    """Impressions of a made-up shop that shows random items at ten places, as a CSV."""
    rng = stream(seed, "shop")
    user, item, place = (rng.integers(most, size=n) for most in (N_USERS, N_ITEMS, 10))
    x, y = rng.normal(size=(N_USERS, 2)), rng.normal(0, taste / np.sqrt(2), (N_ITEMS, 2))
    value = rng.normal(0, 0.6, N_ITEMS)[item] + (x[user] * y[item]).sum(axis=1) - 2
    clicked = rng.random(n) < patience**place / (1 + np.exp(-value))
    bought = clicked & (rng.random(n) < BUYS)
    rows = zip(user, item, 1 + place, 1 * clicked, 1 * bought, strict=True)
    lines = ["who,what,place,click,buy", *(f"u{a},i{b},{c},{d},{e}" for a, b, c, d, e in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_ratings(path: Path, seed: int = 0) -> None:
    """300 users of two camps rate 12 of 60 items, mostly their camp's, and rate these higher."""
    rng, lines = stream(seed, "camps"), ["who,what,stars"]
    for user in range(N_USERS):
        own = np.arange(N_ITEMS) % 2 == user % 2
        weight = np.where(own, 0.9, 0.1)
        for item in rng.choice(N_ITEMS, 12, replace=False, p=weight / weight.sum()):
            lines.append(f"u{user},i{item},{1 + int(own[item]) * 2 + int(rng.integers(3))}")
    path.write_text("\n".join(lines) + "\n")


def impressions_of(folder: Path, seed: int, **settings: float) -> OwnImpressions:
    write_impressions(folder / "shop.csv", seed, **settings)  # type: ignore[arg-type]
    return read_impressions(folder / "shop.csv", COLUMNS)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> OwnImpressions:
    return impressions_of(tmp_path_factory.mktemp("shop"), 1)


@pytest.fixture(scope="module")
def fitted(told: OwnImpressions) -> Fitted:
    return fit_world(impressions=told)


def again(world: World, told: OwnImpressions) -> OwnImpressions:
    """The impressions `told`, answered by the shoppers of `world`: each item at its place, nothing at the others."""
    n = len(told)
    assert told.position is not None
    item_id = np.full((n, 10), -1)
    item_id[np.arange(n), told.position] = told.item_id
    order = np.lexsort((np.arange(n), told.user_id))  # up to 256 slates of a user: by visit and page
    turn = np.empty(n, dtype=np.int64)
    turn[order] = np.arange(n) - np.searchsorted(told.user_id[order], told.user_id[order])
    asked = Requests(day=0, user_id=told.user_id, visit=turn // 16, page=turn % 16, n=10)
    slates = Slates(
        requests=asked, item_id=item_id, propensity=np.ones((n, 10)), model_version=Labels.constant("own", n),
        source=np.full((n, 10), SOURCES.index("history")), arm=Labels.constant("own", n),
    )  # fmt: skip
    outcomes = answer(world, world.state, slates)
    at = (np.arange(n), told.position)
    return replace(told, clicked=outcomes.clicked[at], purchased=outcomes.purchased[at])


def test_patience_and_purchases_are_found(told: OwnImpressions, fitted: Fitted) -> None:
    """Within 4 standard errors of what the file was made with; the click rate is that of the file."""
    for name, truth in (("patience", PATIENCE), ("purchases after a click", BUYS)):
        found = fitted.estimates[name]
        assert abs(found.value - truth) < 4 * found.error
        assert found.error < 0.05 * truth
    assert fitted.estimates["click rate"].value == told.clicked.mean()
    assert (fitted.world.people.patience == fitted.estimates["patience"].value).all()


def test_intervals_hold_the_truth(tmp_path: Path) -> None:
    """Of 40 intervals of 95 % (two in each of 20 files) at least 33 hold the truth: fewer come once in 10,000 times."""
    held = 0
    for seed in range(20):
        told = impressions_of(tmp_path, seed, n=4000)
        found = fit_world(impressions=told, config=CalibrationConfig(n_dims=1)).estimates
        held += sum(
            found[name].low <= truth <= found[name].high
            for name, truth in (("patience", PATIENCE), ("purchases after a click", BUYS))
        )
    assert held >= 33


def test_the_world_behaves_like_the_file(told: OwnImpressions, fitted: Fitted) -> None:
    """The same impressions shown to the world's shoppers are clicked and bought as often, top and bottom; popular items
    stay popular.
    """
    simulated = again(fitted.world, told)
    assert told.position is not None
    for rows in (told.position < 5, told.position >= 5):
        real, here = told.clicked[rows], simulated.clicked[rows]
        assert abs(here.mean() - real.mean()) < 4 * np.sqrt(2 * real.mean() / len(real))
    refitted = fit_world(impressions=simulated, config=CalibrationConfig(n_dims=2)).estimates
    for name, before in fitted.estimates.items():
        assert abs(refitted[name].value - before.value) < 4 * np.hypot(refitted[name].error, before.error)
    by_item = [np.bincount(one.item_id, one.clicked, N_ITEMS) for one in (told, simulated)]
    assert np.corrcoef(by_item[0], by_item[1])[0, 1] > 0.8


def test_parts_help_where_there_is_something_to_find(fitted: Fitted, tmp_path: Path) -> None:
    """Positions, popularity and tastes help where they are; without them no gain is more than 3 standard errors."""
    (fit,) = fitted.fits
    assert fit.table["helps"].tolist() == ["", "yes", "yes", "yes", "no"]  # users come alike often
    (flat,) = fit_world(impressions=impressions_of(tmp_path, 2, taste=0.0, patience=1.0)).fits
    gains = flat.table.loc[["+ positions", "+ tastes of users"]]
    assert (gains["gain"] <= 3 * gains["error"]).all()


def test_no_decay_is_not_made_up(tmp_path: Path) -> None:
    """Where all places are looked at, the interval holds 1, the report says so, and patience is at most 1."""
    found = fit_world(impressions=impressions_of(tmp_path, 3, patience=1.0))
    patience = found.estimates["patience"]
    assert patience.low <= 1 <= patience.high
    assert found.world.people.patience.max() <= 1
    assert "reaches 1" in str(found)


def test_ratings_and_impressions_make_one_world(tmp_path: Path, told: OwnImpressions) -> None:
    """Tastes are those of the ratings, looks and clicks those of the impressions."""
    write_ratings(tmp_path / "ratings.csv")
    ratings = read_own(tmp_path / "ratings.csv", {"user": "who", "item": "what", "rating": "stars"})
    alone, both = fit_world(ratings), fit_world(ratings, told)
    assert np.array_equal(alone.world.state.taste, both.world.state.taste)
    assert alone.fits[0].table["helps"].tolist()[1:3] == ["no", "yes"]  # all items are alike popular
    assert again(both.world, shared(told, ratings)).clicked.mean() == pytest.approx(told.clicked.mean(), rel=0.1)
    assert [fit.rows for fit in both.fits] == ["choices", "impressions"]
    with pytest.raises(ConfigError, match="call users and items the same"):
        fit_world(ratings, replace(told, user_key=np.arange(len(told.user_key))))


def test_tastes_of_real_people_are_told_from_chance(movielens: Ratings) -> None:
    """All parts foretell what 300 real users chose, tastes by 0.45 a choice; in worlds where the same users choose by
    popularity alone, tastes are said to be no help in 4 of 5 (measured: in 10 of 10, their strength being 0).
    """
    few = sample(movielens, 300, 400)
    real = fit_world(few)
    assert real.fits[0].table["helps"].tolist() == ["", "yes", "yes", "yes"]
    assert real.fits[0].parts[2].gain > 0.3
    items = replace(real.world.items, vector=0 * real.world.items.vector)
    told = list[str]()
    for seed in range(5):
        choices = organic_choices(replace(real.world, items=items), np.bincount(few.user_id), seed=seed)
        same = replace(few, user_id=choices.user_id, item_id=choices.item_id, rating=choices.rating.astype(np.float64))
        chance = fit_world(replace(same, timestamp=np.zeros(len(few), dtype=np.int64)))
        told.append(chance.fits[0].table["helps"].iloc[2])
        assert ("tastes are absent" in str(chance)) == (chance.world.config.taste_scale < 0.05)
    assert told.count("no") >= 4
    assert "tastes are absent" in str(chance)


def shared(told: OwnImpressions, ratings: Ratings) -> OwnImpressions:
    """The impressions with the numbers of the ratings."""
    users, items = ({key: k for k, key in enumerate(keys)} for keys in (ratings.user_key, ratings.item_key))
    return replace(
        told,
        user_id=np.array([users[key] for key in told.user_key])[told.user_id],
        item_id=np.array([items[key] for key in told.item_key])[told.item_id],
    )


def test_a_file_becomes_a_world_and_a_report(tmp_path: Path) -> None:
    """Broken rows are named by line, the world can be opened, and the same file makes the same bytes."""
    source, out = tmp_path / "shop.csv", tmp_path / "shop.world"
    write_impressions(source, 1, 3000)
    lines = source.read_text().splitlines()
    lines[10] = "u1,i1,1,perhaps,0"
    source.write_text("\n".join(lines) + "\n")
    report = fit_file(source, COLUMNS, out, 0)
    for words in ("3000 rows, 1 of them broken", "line 11: clicked 'perhaps'", "patience: 0.", "+ tastes of users"):
        assert words in report
    world, data = from_bytes(out.read_bytes()), out.read_bytes()
    assert to_bytes(world) == data
    assert (world.state.day, world.config.name) == (0, "shop")
    fit_file(source, COLUMNS, out, 0)
    assert out.read_bytes() == data


def test_ratings_alone_become_a_world_too(tmp_path: Path) -> None:
    write_ratings(tmp_path / "films.csv")
    report = fit_file(tmp_path / "films.csv", {"user": "who", "item": "what", "rating": "stars"}, tmp_path / "w", 0)
    assert "films: 300 shoppers, 60 items" in report
    for words in ("held-out choices, mean: nearer 0 is better", "stars only set how ratings are given"):
        assert words in report
    assert re.search(r"tastes: they give utility a standard deviation of \d\.\d\d", report)
    assert 'does not ("no") is still in the world, unless its strength is fitted as 0' in report
    assert from_bytes((tmp_path / "w").read_bytes()).config.response.rating_share > 0


def test_little_data_is_enough_or_refused_with_words(tmp_path: Path, told: OwnImpressions) -> None:
    """Two users and two items make a world, nearly everybody choosing nearly everything too; one user or item, few
    rows, no clicks, no columns and no data are errors that say what to do.
    """
    rows = (told.user_id < 2) & (told.item_id < 30)
    few = replace(
        told, user_id=told.user_id[rows], item_id=told.item_id[rows] % 2, clicked=np.arange(rows.sum()) % 3 == 0,
        user_key=told.user_key[:2], item_key=told.item_key[:2], position=None, purchased=None,
    )  # fmt: skip
    assert np.isfinite(fit_world(impressions=few).world.items.quality).all()
    rated, columns = tmp_path / "few.csv", {"user": "who", "item": "what", "rating": "stars"}
    for lines, wrong in (
        ([f"ann,i{k},3" for k in range(30)], "users: 1 .* at least 2 users and 2 items"),
        ([f"u{k},pot,3" for k in range(30)], "items: 1 .* at least 2 users and 2 items"),
        (["ann,pot,3", "ann,pan,4", "bob,pot,5"], "rows: 3 .* at least 20 ratings"),
        ([f"u{k // 6},i{k % 6},{1 + k % 5}" for k in range(36)], "every user chose every item"),
    ):
        rated.write_text("\n".join(["who,what,stars", *lines]) + "\n")
        with pytest.raises(ConfigError, match=wrong):
            fit_world(read_own(rated, columns))
    rated.write_text("\n".join(["who,what,stars", *lines[:-1]]) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(fit_world(read_own(rated, columns)).world.items.quality).all()
    with pytest.raises(ConfigError, match="clicks: 0"):
        fit_world(impressions=replace(few, clicked=np.zeros(len(few), dtype=bool)))
    with pytest.raises(ConfigError, match="ratings and impressions"):
        fit_world()
    with pytest.raises(ConfigError, match="rating, or clicked"):
        fit_file(tmp_path / "x.csv", {"user": "u", "item": "i"}, tmp_path / "w", 0)
