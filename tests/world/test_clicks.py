"""The click model finds what clicks were made from."""

import numpy as np
import pytest

from simlab.schema import NEVER, Catalogue, Floats, Labels, Shoppers
from simlab.streams import stream
from simlab.world.clicks import Shown, fit_appeal, fit_clicks, with_tastes

N_USERS, N_ITEMS = 300, 60


def public() -> tuple[Catalogue, Shoppers]:
    """Items and users of whom nothing is known."""
    catalogue = Catalogue(
        name=tuple(f"Thing {item}" for item in range(N_ITEMS)),
        category=Labels.constant("thing", N_ITEMS),
        brand=Labels.constant("brand", N_ITEMS),
        price=np.full(N_ITEMS, 10.0),
        margin=np.full(N_ITEMS, 0.3),
        launch_day=np.full(N_ITEMS, -1),
        retire_day=np.full(N_ITEMS, NEVER),
    )
    everybody = Labels.constant("all", N_USERS)
    return catalogue, Shoppers(segment=everybody, region=everybody, arrival_day=np.full(N_USERS, -1))


def shown(seed: int, n: int, taste: float, patience: float = 0.8) -> tuple[Shown, Floats, Floats]:
    """Impressions drawn from the law with two dimensions; the qualities, and the log probability of what came."""
    rng = stream(seed, "impressions")
    user_id, item_id, position = rng.integers(N_USERS, size=n), rng.integers(N_ITEMS, size=n), rng.integers(10, size=n)
    quality, looks = rng.normal(0, 0.6, N_ITEMS), np.power(patience, position, dtype=np.float64)
    x, y = rng.normal(0, 1, (N_USERS, 2)), rng.normal(0, taste / np.sqrt(2), (N_ITEMS, 2))
    chance = looks / (1 + np.exp(2 - quality[item_id] - (x[user_id] * y[item_id]).sum(axis=1)))
    clicked = rng.random(n) < chance
    told = Shown(user_id=user_id, item_id=item_id, looks=looks, clicked=clicked)
    return told, quality, np.where(clicked, np.log(chance), np.log1p(-chance))


def test_qualities_are_found_and_shrunk() -> None:
    """100,000 impressions find qualities and base; with 1,000 they are drawn to 0, and nearer the truth than click
    rates are, by half in squares.
    """
    many, quality, _ = shown(0, 100_000, 0.0)
    base, found = fit_appeal(many, np.zeros(len(many)), N_ITEMS)
    assert np.corrcoef(found, quality)[0, 1] > 0.97
    assert base + found.mean() == pytest.approx(-2 + quality.mean(), abs=0.1)
    few, quality, _ = shown(0, 1_000, 0.0)
    _, found = fit_appeal(few, np.zeros(len(few)), N_ITEMS)
    clicks = np.bincount(few.item_id, few.clicked, N_ITEMS) + 0.5
    crude = np.log(clicks / (np.bincount(few.item_id, few.looks, N_ITEMS) + 1 - clicks))
    assert found.std() < 0.8 * quality.std()
    assert np.var(found - quality) < 0.5 * np.var(crude - quality)


def test_tastes_are_found_where_there_are_tastes() -> None:
    """Fresh impressions are foretold better by more than a third of what the truth would add; without tastes there is
    nothing to find, and nothing is made up.
    """
    for taste in (1.5, 0.0):
        told, _, best = shown(1, 30_000, taste)
        fresh, past = np.arange(30_000) >= 20_000, np.arange(30_000) < 20_000
        hidden = stream(1, "hidden").random(20_000) < 0.15
        model = fit_clicks(told.take(past), hidden, *public(), most=24)
        plain = with_tastes(told.take(past), np.zeros((N_USERS, 1)), np.zeros((N_ITEMS, 1)))
        gain = (model.scores(told.take(fresh)) - plain.scores(told.take(fresh))).mean()
        most = (best[fresh] - plain.scores(told.take(fresh))).mean()
        if taste:
            assert gain > most / 3
        else:
            assert abs(gain) < 0.001
