"""Laws of training: what is known when, the same bits twice, worlds with a known answer, cold start."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from simlab.errors import ConfigError, DataError
from simlab.recsys.log import EventLog
from simlab.recsys.metrics import auc
from simlab.recsys.models import FactorModel, Model, PopularityModel, SegmentModel
from simlab.recsys.training import TRAINERS, Interactions, TrainingConfig, fit, interactions, train
from simlab.schema import (
    GUESTS,
    NEVER,
    Bools,
    Catalogue,
    Floats,
    Labels,
    Requests,
    Shoppers,
    codes_of,
)
from simlab.settings import from_dict
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS, History

FACTORS = ("lightfm", "als")


def catalogue_of(categories: list[str]) -> Catalogue:
    """Items that differ in their category alone."""
    n = len(categories)
    return Catalogue(
        name=tuple(f"item {number}" for number in range(n)),
        category=codes_of(categories),
        brand=Labels.constant("Alder", n),
        price=np.full(n, 10.0),
        margin=np.full(n, 0.3),
        launch_day=np.zeros(n, dtype=np.int64),
        retire_day=np.full(n, NEVER),
    )


def shoppers_of(segments: list[str]) -> Shoppers:
    """Shoppers who differ in their segment alone."""
    n = len(segments)
    return Shoppers(
        segment=codes_of(segments), region=Labels.constant("north", n), arrival_day=np.zeros(n, dtype=np.int64)
    )


def rows_of(liked: Bools) -> Interactions:
    """One row for each pair in the table `liked`."""
    user_id, item_id = np.nonzero(liked)
    return Interactions(user_id=user_id, item_id=item_id, weight=np.ones(len(user_id)))


def scores(model: Model, n_users: int) -> Floats:
    """What the model thinks of every pair."""
    return model.scores(Requests(day=0, user_id=np.arange(n_users), visit=np.zeros(n_users, dtype=np.int64), n=1))


def digest(model: Model) -> str:
    """SHA-256 of all that the model is."""
    parts = [np.asarray(getattr(model, field.name)).tobytes() for field in fields(model)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def impressions(rows: list[dict[str, Any]]) -> pa.Table:
    """IMPRESSIONS with the given columns, the others filled in."""
    usual = {"second": 0, "position": 0, "model_version": "old", "arm": "history", "source": "history", "clicked": True}
    full = [
        {"request_id": 1000 * number, "impression_id": 1000 * number, **usual, **row} for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=IMPRESSIONS)


def history(rows: list[dict[str, Any]]) -> History:
    """Impressions as above of which nothing came but clicks."""
    return History(impressions=impressions(rows), feedback=FEEDBACK.empty_table())


@pytest.fixture(scope="module")
def checkerboard() -> tuple[Bools, Bools]:
    """60 users x 40 items: who likes what (the parities are equal), and which of it is held out."""
    liked = (np.arange(60)[:, None] + np.arange(40)) % 2 == 0
    return liked, liked & (stream(1, "checkerboard").random(liked.shape) < 0.25)


@pytest.mark.parametrize("algorithm", FACTORS)
def test_a_checkerboard_is_solved(algorithm: str, checkerboard: tuple[Bools, Bools]) -> None:
    """What is held out is told from what is not liked, though nothing public tells them apart."""
    liked, held_out = checkerboard
    config = TrainingConfig(algorithm=algorithm, n_components=8, epochs=30)
    seen = liked & ~held_out
    model = fit(rows_of(seen), catalogue_of(["toys"] * 40), shoppers_of(["a"] * 60), config=config)
    assert auc(scores(model, 60), held_out, seen).mean() > 0.99


@pytest.mark.parametrize(("algorithm", "least"), [("random", 0.42), ("popularity", 0.0)])
def test_a_checkerboard_is_not_solved_without_knowing_the_user(
    algorithm: str, least: float, checkerboard: tuple[Bools, Bools]
) -> None:
    """The control: a random ranking has AUC 1/2 within 4 standard errors (0.02), popularity no more.

    Popularity has less: what is held out of an item is missing from its count.
    """
    liked, held_out = checkerboard
    seen = liked & ~held_out
    config = TrainingConfig(algorithm=algorithm)
    model = fit(rows_of(seen), catalogue_of(["toys"] * 40), shoppers_of(["a"] * 60), config=config)
    assert least < auc(scores(model, 60), held_out, seen).mean() < 0.58


@pytest.mark.parametrize("algorithm", TRAINERS)
def test_training_again_gives_the_same_bits(algorithm: str, checkerboard: tuple[Bools, Bools]) -> None:
    """The same data and settings give the same model; another seed gives another where there is chance in it."""
    goods, people = catalogue_of(["toys", "books"] * 20), shoppers_of(["a", "b", "c"] * 20)
    config = TrainingConfig(algorithm=algorithm, epochs=3)
    first, again, other = (
        digest(fit(rows_of(checkerboard[0]), goods, people, config=replace(config, seed=seed))) for seed in (5, 5, 6)
    )
    assert first == again
    assert (first == other) == (algorithm in ("popularity", "segment"))


_ELSEWHERE = """
import hashlib, numpy as np
from simlab.recsys.training import Interactions, TrainingConfig, fit
from simlab.schema import Catalogue, Labels, Shoppers
from simlab.streams import stream
user_id, item_id = np.nonzero(stream(1, "elsewhere").random((300, 80)) < 0.1)
data = Interactions(user_id=user_id, item_id=item_id, weight=np.ones(len(user_id)))
same, n, day = Labels.constant("x", 80), np.ones(80), np.ones(80, dtype=int)
goods = Catalogue(name=("x",) * 80, category=same, brand=same, price=n, margin=n, launch_day=day, retire_day=2 * day)
same = Labels.constant("x", 300)
people = Shoppers(segment=same, region=same, arrival_day=np.arange(300))
for name in ("als", "lightfm"):
    model = fit(data, goods, people, config=TrainingConfig(algorithm=name))
    print(hashlib.sha256(model.user_vector.tobytes() + model.item_vector.tobytes()).hexdigest())
"""


def test_another_processor_gives_the_same_bits() -> None:
    """Kernels and threads of BLAS differ in the last digits; no digit of them is left in a model."""
    found = [
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            env={**os.environ, "OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kernel, threads in (("Haswell", "1"), ("Nehalem", "2"))
    ]
    assert found[0].count("\n") == 2
    assert found[0] == found[1]


def test_a_new_item_is_known_by_its_category() -> None:
    """With features, a new item of the liked category is above a new one of the other, for everybody; else it is not.

    Users of even number buy toys, the others books; nobody has met items 40 (a toy) and 41 (a book).
    """
    categories = ["toys", "books"] * 21
    liked = (np.arange(60)[:, None] + np.arange(42)) % 2 == 0
    liked[:, 40:] = False
    goods, people = catalogue_of(categories), shoppers_of(["a"] * 60)
    for algorithm, features, knows in (("lightfm", True, True), ("lightfm", False, False), ("als", True, False)):
        config = TrainingConfig(algorithm=algorithm, features=features)
        found = scores(fit(rows_of(liked), goods, people, config=config), 60)
        better = np.where(np.arange(60) % 2 == 0, found[:, 40] - found[:, 41], found[:, 41] - found[:, 40])
        assert (better > 0).all() if knows else (better == 0).all()


def test_a_new_item_of_the_liked_category_is_above_old_ones_of_the_other() -> None:
    """Nobody has refused a new item yet, so it does not start at the bottom."""
    liked = (np.arange(60)[:, None] + np.arange(42)) % 2 == 0
    liked[:, 40:] = False
    model = fit(rows_of(liked), catalogue_of(["toys", "books"] * 21), shoppers_of(["a"] * 60), config=TrainingConfig())
    found = scores(model, 60)
    assert (found[::2, 40] > found[::2, 1:40:2].max(axis=1)).all()
    assert (found[1::2, 41] > found[1::2, 0:40:2].max(axis=1)).all()


def test_a_new_shopper_is_known_by_the_segment() -> None:
    """With features, shoppers without a click like what their segment likes; else the model says it knows them not."""
    liked = (np.arange(62)[:, None] + np.arange(40)) % 2 == 0
    liked[60:] = False
    goods, people = catalogue_of(["toys"] * 40), shoppers_of(["a", "b"] * 31)
    model = fit(rows_of(liked), goods, people, config=TrainingConfig())
    found = scores(model, 62)
    assert found[60, ::2].min() > found[60, 1::2].max()
    assert found[61, 1::2].min() > found[61, ::2].max()
    newest = np.array([0, 60, 61, 62])
    assert model.knows(newest).tolist() == [True, True, True, False]
    for config in (TrainingConfig(features=False), TrainingConfig(algorithm="als")):
        model = fit(rows_of(liked), goods, people, config=config)
        assert model.knows(newest).tolist() == [True, False, False, False]


def test_popularity_is_the_sum_of_weights() -> None:
    """An item's score is its weight in the data, 0 where it has none."""
    data = Interactions(user_id=np.array([0, 1, 0]), item_id=np.array([2, 2, 0]), weight=np.array([1.0, 0.5, 2.0]))
    config = TrainingConfig(algorithm="popularity")
    model = fit(data, catalogue_of(["toys"] * 4), shoppers_of(["a", "a"]), config=config)
    assert isinstance(model, PopularityModel)
    assert model.score.tolist() == [2.0, 0.0, 1.5, 0.0]


@pytest.mark.parametrize("heavy", [0, 1])
@pytest.mark.parametrize("algorithm", FACTORS)
def test_weights_count(algorithm: str, heavy: int) -> None:
    """Of items 0 and 1, liked by the same people, the one with the greater weights is scored higher."""
    liked = np.zeros((40, 10), dtype=np.bool_)
    liked[:, :2] = True
    liked[np.arange(40), 2 + np.arange(40) % 8] = True  # somebody likes each of the others
    data = rows_of(liked)
    data = replace(data, weight=np.where(data.item_id == heavy, 3.0, np.where(data.item_id == 1 - heavy, 0.1, 1.0)))
    config = TrainingConfig(algorithm=algorithm)
    found = scores(fit(data, catalogue_of(["toys"] * 10), shoppers_of(["a"] * 40), config=config), 40).mean(axis=0)
    assert found[heavy] > found[1 - heavy]


def test_interactions_are_what_is_known_at_the_start_of_the_day(tmp_path: Path) -> None:
    """Rows of the window only, those of one day added up; a purchase counts from the day after it came, and stays."""
    log = EventLog(tmp_path / "log")
    log.import_history(
        history(
            [
                {"day": -3, "user_id": 0, "item_id": 0},
                {"day": -2, "user_id": 1, "item_id": 1},
                {"day": -1, "user_id": 1, "item_id": 2},
                {"day": -1, "user_id": 1, "item_id": 2},
                {"day": -1, "user_id": 2, "item_id": 3, "clicked": False},
            ]
        )
    )
    today = [{"day": 0, "user_id": 3, "item_id": 4, "impression_id": 77, "request_id": 77}]
    log.append(0, impressions(today), FEEDBACK.empty_table())
    bought = {"impression_id": 77, "item_id": 4, "kind": "purchase", "day": 1, "value": 10.0}
    log.append(1, impressions([]), pa.Table.from_pylist([bought], schema=FEEDBACK))

    config = TrainingConfig(window_days=2)
    found = interactions(log, config=config, day=0)
    assert (found.user_id.tolist(), found.item_id.tolist(), found.weight.tolist()) == ([1, 1], [1, 2], [1.0, 2.0])
    faded = interactions(log, config=replace(config, half_life=1.0), day=0)
    assert faded.weight.tolist() == [0.5, 2.0]
    log.append(2, impressions([]), pa.Table.from_pylist([bought | {"kind": "return", "day": 2}], schema=FEEDBACK))
    purchases = replace(config, signal="purchased")
    assert len(interactions(log, config=purchases, day=1)) == 0
    assert interactions(log, config=purchases, day=2).item_id.tolist() == [4]
    assert len(interactions(log, config=replace(purchases, window_days=3), day=3)) == 1


def test_what_is_in_quarantine_is_not_learnt_from(tmp_path: Path) -> None:
    """Rows of the versions named are left out, those of unknown origin stay; the card says so; any name will do."""
    log = EventLog(tmp_path / "log")
    shown = [("m1", 0), ("m2", 1), ("it's", 2), (None, 3)]
    log.import_history(
        history([{"day": -1, "user_id": 0, "item_id": item, "model_version": name} for name, item in shown])
    )
    config = TrainingConfig(algorithm="popularity")
    for without, left in (((), [0, 1, 2, 3]), (("m2",), [0, 2, 3]), (("m2", "it's", "m9"), [0, 3])):
        assert interactions(log, config=config, day=0, without=without).item_id.tolist() == left
        goods, people = catalogue_of(["toys"] * 4), shoppers_of(["a"])
        model, card = train(log, goods, people, config=config, day=0, without=without)
        assert isinstance(model, PopularityModel)
        assert np.flatnonzero(model.score).tolist() == left
        assert (card["quarantined"], card["rows"]) == (sorted(without), len(left))


def test_guests_are_not_learnt_from(tmp_path: Path) -> None:
    """They look in at the shop's page, and are no shoppers whom a model could have a vector for."""
    log = EventLog(tmp_path / "log")
    users = [0, GUESTS - 1, GUESTS, GUESTS + 7]
    log.import_history(history([{"day": -1, "user_id": user, "item_id": 0} for user in users]))
    assert interactions(log, config=TrainingConfig(), day=0).user_id.tolist() == users[:2]


def test_the_future_changes_nothing(tmp_path: Path) -> None:
    """A model of day 0 is the same whatever happened from day 0 on, and its card says from what it was learnt."""
    goods, people = catalogue_of(["toys", "books"] * 10), shoppers_of(["a"] * 30)
    pairs = stream(2, "log").integers(0, [30, 20], (300, 2))
    past = [
        {"day": -1 - number % 20, "user_id": user, "item_id": item}
        for number, (user, item) in enumerate(pairs.tolist())
    ]
    log = EventLog(tmp_path / "log")
    log.import_history(history(past))
    config = TrainingConfig(epochs=2, window_days=10, seed=3)
    model, card = train(log, goods, people, config=config, day=0)
    later = [{"day": 0, "user_id": user, "item_id": 0, "impression_id": user, "request_id": 1} for user in range(30)]
    log.append(0, impressions(later), FEEDBACK.empty_table())
    again, same_card = train(log, goods, people, config=config, day=0)
    assert digest(model) == digest(again)
    assert card == same_card == json.loads(json.dumps(card))
    assert (card["trained_day"], card["first_day"], card["last_day"]) == (0, -10, -1)
    assert card["rows"] == len({(row["day"], row["user_id"], row["item_id"]) for row in past if row["day"] >= -10})
    assert from_dict(TrainingConfig, card["settings"]) == config
    _, next_card = train(log, goods, people, config=config, day=1)
    assert next_card["data_sha256"] != card["data_sha256"]


@pytest.mark.parametrize("algorithm", TRAINERS)
def test_learning_from_nothing(algorithm: str) -> None:
    """Factors cannot be learnt from nothing, and that is said; the baselines need no data."""
    nothing = rows_of(np.zeros((3, 4), dtype=np.bool_))
    goods, people, config = catalogue_of(["toys"] * 4), shoppers_of(["a"] * 3), TrainingConfig(algorithm=algorithm)
    if algorithm in FACTORS:
        with pytest.raises(DataError, match=algorithm):
            fit(nothing, goods, people, config=config)
    else:
        assert np.isfinite(scores(fit(nothing, goods, people, config=config), 3)).all()


def test_a_small_segment_borrows_from_all() -> None:
    """score = clicks of the segment + 20 x share of all clicks: worked by hand, and ranked as it should be.

    A segment without clicks is ranked as all are, one click does not outdo what everybody likes, many do.
    """
    clicks = [(0, 0, 30.0), (1, 1, 9.0), (2, 2, 1.0)]  # user, item, weight; user 3 has none, and segment d is empty
    data = Interactions(
        user_id=np.array([user for user, _, _ in clicks]),
        item_id=np.array([item for _, item, _ in clicks]),
        weight=np.array([weight for _, _, weight in clicks]),
    )
    people = shoppers_of(["a", "b", "c", "d"])
    model = fit(data, catalogue_of(["toys"] * 4), people, config=TrainingConfig(algorithm="segment"))
    assert isinstance(model, SegmentModel)
    borrowed = 20 * np.array([30, 9, 1, 0]) / 40
    np.testing.assert_allclose(model.score, borrowed + np.diag([30.0, 9.0, 1.0, 0.0]), rtol=1e-15)
    assert model.segment.tolist() == [0, 1, 2, 3]
    best = scores(model, 4).argmax(axis=1)
    assert best.tolist() == [0, 0, 0, 0]
    more = replace(data, weight=np.array([30.0, 40.0, 1.0]))
    again = fit(more, catalogue_of(["toys"] * 4), people, config=TrainingConfig(algorithm="segment"))
    assert scores(again, 4).argmax(axis=1).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("algorithm", TRAINERS)
def test_one_row_is_enough(algorithm: str) -> None:
    """The smallest log gives a model with finite numbers for everybody and everything."""
    one = Interactions(user_id=np.array([1]), item_id=np.array([2]), weight=np.array([1.0]))
    config = TrainingConfig(algorithm=algorithm)
    model = fit(one, catalogue_of(["toys"] * 4), shoppers_of(["a"] * 3), config=config)
    assert np.isfinite(scores(model, 3)).all()
    assert scores(model, 3).shape == (3, 4)


@pytest.mark.parametrize(("column", "value"), [("user_id", 3), ("user_id", -1), ("item_id", 4)])
def test_unknown_users_and_items_are_refused(column: str, value: int) -> None:
    """A row that names somebody or something that is not there is named."""
    rows = {"user_id": np.array([0, 1]), "item_id": np.array([0, 1])}
    rows[column] = np.array([0, value])
    data = Interactions(**rows, weight=np.ones(2))
    with pytest.raises(DataError, match=f"{column}: {value} "):
        fit(data, catalogue_of(["toys"] * 4), shoppers_of(["a"] * 3), config=TrainingConfig())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("algorithm", "lightfn"),
        ("signal", "viewed"),
        ("n_components", 0),
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("confidence", -1.0),
        ("regularization", -1.0),
        ("window_days", 0),
        ("half_life", 0.0),
        ("seed", -1),
        ("seed", 10**30),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: object) -> None:
    """Each setting is checked when it is made, and named."""
    with pytest.raises(ConfigError) as caught:
        from_dict(TrainingConfig, {**asdict(TrainingConfig()), setting: value})
    assert caught.value.thing.removeprefix("TrainingConfig.") == setting


@pytest.mark.parametrize(
    ("algorithm", "settings", "named"),
    [
        ("lightfm", {"learning_rate": 1e38}, "learning_rate 1e[+]38"),
        ("als", {"confidence": 1e308}, "confidence 1e[+]308"),
        ("als", {"regularization": 1e200}, "regularization 1e[+]200"),
    ],
)
def test_settings_under_which_nothing_can_be_learnt_are_named(
    algorithm: str, settings: dict[str, Any], named: str, checkerboard: tuple[Bools, Bools]
) -> None:
    """Numbers that grow beyond bounds are the settings' fault, in our words and not the library's."""
    data = replace(rows_of(checkerboard[0]), weight=np.full(checkerboard[0].sum(), 3.0))
    config = TrainingConfig(algorithm=algorithm, **settings)
    with pytest.raises(ConfigError, match=f"training of {algorithm}.*{named}"):
        fit(data, catalogue_of(["toys"] * 40), shoppers_of(["a"] * 60), config=config)


def test_the_learnt_vectors_are_plain_doubles() -> None:
    """A model keeps nothing of its library: double arrays, one row a user or item, finite."""
    for algorithm in FACTORS:
        config = TrainingConfig(algorithm=algorithm, n_components=3)
        model = fit(rows_of(np.eye(5) > 0), catalogue_of(["toys"] * 5), shoppers_of(["a"] * 5), config=config)
        assert isinstance(model, FactorModel)
        assert (model.user_vector.shape, model.item_vector.shape, model.item_bias.shape) == ((5, 3), (5, 3), (5,))
        assert {part.dtype for part in (model.user_vector, model.item_vector, model.item_bias)} == {np.dtype(float)}


def test_users_whom_the_shop_does_not_know_are_not_learnt_from(tmp_path: Path) -> None:
    """Whoever sends a number that no shopper has is answered; one such request must not stop the next training."""
    goods, people = catalogue_of(["toys"] * 3), shoppers_of(["a"] * 2)
    log = EventLog(tmp_path / "log")
    log.import_history(
        history([{"day": -1, "user_id": user, "item_id": item} for user, item in ((0, 0), (2, 1), (5000, 2))])
    )
    model, card = train(log, goods, people, config=TrainingConfig(algorithm="popularity"), day=0)
    assert isinstance(model, PopularityModel)
    assert (model.score.tolist(), card["rows"]) == ([1, 0, 0], 1)
