"""Laws of debiasing: weights that undo what the shop showed, a planted curve found again, what the card says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.recsys.debias import ENOUGH, examination, examination_curve, inverse, told
from simlab.recsys.interactions import interactions, lesson
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel
from simlab.recsys.recipe import TrainingConfig
from simlab.recsys.training import train
from simlab.schema import Floats, Ints
from simlab.streams import stream
from tests.recsys.logs import PEOPLE, goods_of, log_of

ATTRACTION = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
CURVE = np.array([1.0, 0.7, 0.4, 0.2])


def test_weighted_popularity_is_that_of_a_shop_that_shows_all_alike() -> None:
    """E[sum of clicks / P] of an item = rows x its attraction, whatever P: the mean of 400 logs is within 4 errors.

    Unweighted, the item that was shown ten times as often looks better than one that people like twice as much.
    """
    shown = np.array([0.05, 0.1, 0.15, 0.2, 0.5])
    n, rng = 400, stream(0, "test", "ipw")
    sums, plain = np.zeros((400, 5)), np.zeros(5)
    for number in range(len(sums)):
        item = rng.choice(5, n, p=shown)
        clicked = rng.random(n) < ATTRACTION[item]
        sums[number] = np.bincount(item, weights=clicked * inverse(shown[item], 1000.0), minlength=5)
        plain += np.bincount(item, weights=clicked, minlength=5)
    error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert (np.abs(sums.mean(axis=0) - n * ATTRACTION) < 4 * error).all()
    assert plain.argmax() == 4
    assert sums.mean(axis=0).argmax() == 0


def test_clipped_weights_err_downwards() -> None:
    """No weight is above the limit, so what was hardly ever shown stays underrated; a limit of 1 weighs all alike."""
    p = np.array([0.001, 0.1, 1.0, np.nan])
    assert inverse(p, 100.0).round(9).tolist() == [100.0, 10.0, 1.0, 1.0]
    assert inverse(p, 1.0).tolist() == [1.0, 1.0, 1.0, 1.0]


def planted(n: int) -> tuple[Ints, Ints, np.ndarray]:
    """Items that stand higher the better they are, with noise; at which position; and clicks by the planted curve."""
    rng = stream(1, "test", "curve")
    order = np.argsort(-ATTRACTION + rng.normal(0, 0.3, (n, 5)), axis=1)[:, : len(CURVE)]
    chances = ATTRACTION[order] * CURVE
    position = np.tile(np.arange(len(CURVE)), n)
    return order.ravel(), position, rng.random(order.size) < chances.ravel()


def test_a_planted_curve_is_found_again(tmp_path: Path) -> None:
    """From 8,000 slates whose better items stand higher, the curve comes back to 0.03; raw click rates miss it by 0.1.

    With weights 1 / curve the clicks per row of an item are its attraction, wherever it stood.
    """
    item, position, clicked = planted(8000)
    log = log_of(tmp_path, item_id=item, position=position, clicked=clicked)
    found = examination(log, day=0)
    assert found.by_chance
    assert found.clicks == clicked.sum()
    assert np.abs(found.curve - CURVE).max() < 0.03
    rate = np.bincount(position, weights=clicked) / np.bincount(position)
    assert np.abs(rate / rate[0] - CURVE).max() > 0.1
    fair = np.bincount(item, weights=clicked * found.weight(position, 100.0)) / np.bincount(item)
    assert np.abs(fair - ATTRACTION).max() < 0.03


def test_exact_counts_give_the_exact_curve() -> None:
    """Where counts are what they are expected to be, the curve is the planted one, however items were placed."""
    shown = stream(2, "test").integers(1, 90, (5, 4)).astype(np.float64)
    found = examination_curve(shown, shown * ATTRACTION[:, None] * CURVE)
    np.testing.assert_allclose(found, CURVE, atol=1e-7)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 3)])
def test_without_clicks_all_places_are_alike(shape: tuple[int, int]) -> None:
    """Where nothing is known, nothing is divided out; what was never shown counts as looked at."""
    assert (examination_curve(np.ones(shape), np.zeros(shape)) == 1).all()
    assert examination_curve(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0]])).tolist() == [1.0, 1.0]


def test_counts_that_do_not_fit_are_refused() -> None:
    """Clicks of other items than those shown are a mistake."""
    with pytest.raises(ConfigError, match="shape of shown and clicked"):
        examination_curve(np.ones((2, 2)), np.ones((2, 3)))


def test_personal_slates_do_not_teach_the_curve(tmp_path: Path) -> None:
    """With enough clicks on what chance placed the rest is not looked at; with too few all rows are, and it is said."""
    item, position, clicked = planted(4000)
    n = len(item)
    personal = np.where(np.arange(n) // len(CURVE) % 2 == 0, "model", "exploration")
    crooked = np.where(personal == "model", position == 0, clicked)  # of slates for which people are hit at the top
    columns: dict[str, Any] = {"item_id": item, "position": position, "clicked": crooked, "source": personal}
    found = examination(log_of(tmp_path / "much", **columns), day=0)
    assert found.by_chance
    assert np.abs(found.curve - CURVE).max() < 0.1
    few = {name: column[: ENOUGH // 2] for name, column in columns.items()}
    assert not examination(log_of(tmp_path / "few", **few), day=0).by_chance


def test_the_window_and_the_future_are_kept_to(tmp_path: Path) -> None:
    """Only rows of the window before the day are learnt from."""
    log = log_of(tmp_path, item_id=[0, 0, 0, 0], position=[0, 1, 0, 1], day=[-9, -9, -2, -2], clicked=[True] * 4)
    assert examination(log, day=0, window_days=5).clicks == 2
    assert examination(log, day=-2, window_days=5).clicks == 0
    assert examination(log, day=0).clicks == 4


def weights(log: EventLog, config: TrainingConfig) -> Floats:
    """Of the likes learnt from."""
    return interactions(log, config=config, day=0).weight


def test_likes_are_weighed_by_propensity(tmp_path: Path) -> None:
    """Weights are in the ratio of 1 / P, 1 on average, unknown ones as if certain, and the card tells how few they are
    worth; two clicks of a day on an item add up.
    """
    log = log_of(
        tmp_path, item_id=[0, 1, 2, 2], user_id=[0, 0, 0, 0], propensity=[0.5, 0.01, np.nan, 1.0], clicked=[True] * 4
    )
    config = TrainingConfig(algorithm="popularity", debias="propensity", max_weight=20.0)
    np.testing.assert_allclose(weights(log, config), np.array([2, 20, 2]) / 6)
    _, card = lesson(log, config=config, day=0)
    assert card["debias"] == {
        "way": "propensity",
        "unknown_share": 0.25,
        "rows": 4,
        "clipped_share": 0.25,
        "effective_sample_size": round(24**2 / 406, 1),
    }
    assert weights(log, replace(config, max_weight=1.0)).tolist() == [1.0, 1.0, 2.0]
    assert "debias" not in lesson(log, config=replace(config, debias="none"), day=0)[1]


def test_likes_are_weighed_by_position(tmp_path: Path) -> None:
    """With the curve that was found, popularity ranks by attraction what raw clicks rank by place; the card has it."""
    rng = stream(3, "test", "place")
    n = 6000
    item = np.repeat([0, 1], n // 2)  # item 1 is liked more, and stands low
    position = np.where(rng.random(n) < 0.9, 3 * item, 3 * (1 - item))
    clicked = rng.random(n) < np.array([0.3, 0.45])[item] * CURVE[position]
    log = log_of(tmp_path, item_id=item, position=position, clicked=clicked, user_id=np.arange(n) % 50)
    config = TrainingConfig(algorithm="popularity", debias="position")
    model, card = train(log, goods_of(2), PEOPLE, config=config, day=0)
    raw, _ = train(log, goods_of(2), PEOPLE, config=replace(config, debias="none"), day=0)
    assert isinstance(model, PopularityModel)
    assert isinstance(raw, PopularityModel)
    assert raw.score[0] > raw.score[1]
    assert model.score[1] > model.score[0]
    assert card["debias"]["curve"][0] == 1.0
    assert abs(card["debias"]["curve"][3] - CURVE[3]) < 0.05
    assert card["debias"]["by_chance"]
    assert card["debias"]["effective_sample_size"] < card["debias"]["rows"] == clicked.sum()


def test_weights_of_nothing() -> None:
    """A log without likes has a card all the same."""
    assert told(np.empty(0), 10.0) == {"rows": 0, "clipped_share": 0.0, "effective_sample_size": 0.0}


def test_what_was_passed_over(tmp_path: Path) -> None:
    """Refused is what stands unclicked above a click of the same slate: not what stands below, nor in slates without.

    Only LightFM with negatives "skipped" is taught so, and evaluation does not take it for liked.
    """
    columns: dict[str, Any] = {
        "item_id": [0, 1, 2, 3, 4],
        "request_id": [7, 7, 7, 8, 8],
        "position": [0, 1, 2, 0, 1],
        "clicked": [False, True, False, False, False],
    }
    log = log_of(tmp_path, **columns)
    config = TrainingConfig(negatives="skipped")
    data, card = lesson(log, config=config, day=0)
    assert dict(zip(data.item_id.tolist(), data.weight.tolist(), strict=True)) == {1: 1.0, 0: -1.0}
    assert card["skipped"] == 1
    for other in (replace(config, negatives="unclicked"), replace(config, algorithm="als")):
        assert interactions(log, config=other, day=0).item_id.tolist() == [1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("debias", "positions"), ("negatives", "all"), ("max_weight", 0.5), ("warm_epochs", -1), ("window_days", 0)],
)
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    """Each is checked when it is made, and named."""
    wrong: dict[str, Any] = {setting: value}
    with pytest.raises(ConfigError, match=setting):
        TrainingConfig(**wrong)


def test_an_expanding_window_is_one_that_is_longer_than_the_log(tmp_path: Path) -> None:
    """None learns the same as 10,000 days, and the card says so."""
    rng = stream(4, "test", "window")
    log = log_of(tmp_path, item_id=rng.integers(0, 5, 300), day=-rng.integers(1, 200, 300), user_id=np.arange(300) % 50)
    config = TrainingConfig(algorithm="popularity", window_days=None)
    _, card = train(log, goods_of(5), PEOPLE, config=config, day=0)
    _, long = train(log, goods_of(5), PEOPLE, config=replace(config, window_days=10_000), day=0)
    _, short = train(log, goods_of(5), PEOPLE, config=replace(config, window_days=90), day=0)
    assert card["data_sha256"] == long["data_sha256"] != short["data_sha256"]
    assert (card["first_day"], card["last_day"]) == (None, -1)
