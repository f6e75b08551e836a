"""Laws of warm starts and of refusals: without a pass nothing changes, newcomers, the same bits, what WARP does."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lightfm import LightFM
from scipy.sparse import coo_matrix

from simlab.recsys.hybrid import resumable
from simlab.recsys.interactions import Interactions
from simlab.recsys.models import FactorModel, Model, PopularityModel
from simlab.recsys.recipe import TrainingConfig
from simlab.recsys.training import fit
from simlab.schema import NEVER, Bools, Catalogue, Floats, Labels, Requests, Shoppers, codes_of

WARM = TrainingConfig(warm_epochs=0)


def goods_of(n: int) -> Catalogue:
    """Toys and books by turns, of five prices."""
    return Catalogue(
        name=tuple(str(number) for number in range(n)),
        category=codes_of((["toys", "books"] * n)[:n]),
        brand=Labels.constant("Alder", n),
        price=1.0 + (np.arange(n) % 5).astype(np.float64),
        margin=np.full(n, 0.3),
        launch_day=np.zeros(n, dtype=np.int64),
        retire_day=np.full(n, NEVER),
    )


def people_of(n: int) -> Shoppers:
    """Shoppers of two kinds by turns."""
    return Shoppers(
        segment=codes_of((["a", "b"] * n)[:n]),
        region=Labels.constant("north", n),
        arrival_day=np.zeros(n, dtype=np.int64),
    )


def checkered(n_users: int, n_items: int) -> Bools:
    """Shoppers of each kind like the goods of one category."""
    return np.asarray((np.arange(n_users)[:, None] + np.arange(n_items)) % 2 == 0)


def rows_of(liked: Bools, refused: Bools | None = None) -> Interactions:
    """One row for each pair that is liked, and one below 0 for each that is refused."""
    signed = liked.astype(np.float64) - (0 if refused is None else refused)
    user_id, item_id = np.nonzero(signed)
    return Interactions(user_id=user_id, item_id=item_id, weight=signed[user_id, item_id])


def scores(model: Model, n_users: int) -> Floats:
    """What the model thinks of every pair."""
    return model.scores(Requests(day=0, user_id=np.arange(n_users), visit=np.zeros(n_users, dtype=np.int64), n=1))


def cold(n_users: int = 60, n_items: int = 40, config: TrainingConfig = WARM) -> FactorModel:
    """The first model, of all pairs but the last five users' and items'."""
    liked = checkered(n_users, n_items)
    liked[-5:], liked[:, -5:] = False, False
    model = fit(rows_of(liked), goods_of(n_items), people_of(n_users), config=config)
    assert isinstance(model, FactorModel)
    return model


@pytest.mark.parametrize("features", [True, False])
def test_with_no_further_pass_nothing_changes(features: bool) -> None:
    """A warm start with 0 passes is the old model, bit for bit, also of what it had not met; whatever the new data."""
    config = replace(WARM, features=features)
    old = cold(config=config)
    other = rows_of(~checkered(60, 40))
    new = fit(other, goods_of(40), people_of(60), config=config, previous=old)
    assert isinstance(new, FactorModel)
    for name in ("user_vector", "item_vector", "item_bias"):
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
    assert new.known.all()


_ELSEWHERE = """
import hashlib
from dataclasses import replace
from tests.recsys.test_hybrid import WARM, checkered, cold, goods_of, people_of, rows_of
from simlab.recsys.training import fit
config = replace(WARM, warm_epochs=3)
new = fit(rows_of(~checkered(60, 40)), goods_of(40), people_of(60), config=config, previous=cold())
print(hashlib.sha256(new.user_vector.tobytes() + new.item_vector.tobytes()).hexdigest())
"""


def test_another_processor_gives_the_same_bits() -> None:
    """Kernels and threads of BLAS differ in the last digits of the words' vectors; no digit of them goes on."""
    found = [
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            env={**os.environ, "OPENBLAS_CORETYPE": kernel, "OPENBLAS_NUM_THREADS": threads},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kernel, threads in (("Haswell", "1"), ("Nehalem", "2"))
    ]
    assert found[0].count("\n") == 1
    assert found[0] == found[1]


def test_who_and_what_is_new_begins_as_its_words_say() -> None:
    """After a warm start without a pass, new shoppers like new goods of the category that their kind likes."""
    old = cold()
    more = np.zeros((64, 44), dtype=np.bool_)
    more[0, 0] = True  # nothing is told of the new ones
    new = fit(rows_of(more), goods_of(44), people_of(64), config=WARM, previous=old)
    assert isinstance(new, FactorModel)
    np.testing.assert_array_equal(new.item_vector[:40], old.item_vector)
    np.testing.assert_array_equal(new.user_vector[:60], old.user_vector)
    found = scores(new, 64)[60:, 40:]
    assert found[checkered(4, 4)].min() > found[~checkered(4, 4)].max()


def test_a_warm_model_learns_on() -> None:
    """Tastes that turned round are learnt from rows of them alone, and the same start gives the same bits twice."""
    old, turned = cold(), ~checkered(60, 40)
    config = replace(WARM, warm_epochs=20)
    new, again = (fit(rows_of(turned), goods_of(40), people_of(60), config=config, previous=old) for _ in range(2))
    found = scores(new, 60)
    assert (found == scores(again, 60)).all()
    assert found[turned].mean() > found[~turned].mean()
    assert scores(old, 60)[turned].mean() < scores(old, 60)[~turned].mean()


def test_what_is_forgotten_from_the_data_is_still_known() -> None:
    """Shoppers and goods without a row in the new data keep what the old model knew of them, if no words are shared."""
    config = replace(WARM, features=False, warm_epochs=5)
    old = cold(config=config)
    few = ~checkered(60, 40)
    few[30:], few[:, 20:] = False, False
    new = fit(rows_of(few), goods_of(40), people_of(60), config=config, previous=old)
    assert isinstance(new, FactorModel)
    np.testing.assert_array_equal(new.user_vector[30:], old.user_vector[30:])
    np.testing.assert_array_equal(new.item_vector[20:], old.item_vector[20:])
    assert not (new.item_vector[:20] == old.item_vector[:20]).all()
    assert new.known.tolist() == old.known.tolist()


def test_what_cannot_go_on_starts_from_nothing() -> None:
    """Without a model of as many components the result is the plain one; a plain training asks for no model."""
    data, goods, people = rows_of(checkered(60, 40)), goods_of(40), people_of(60)
    plain = fit(data, goods, people, config=TrainingConfig())
    narrow = cold(config=replace(WARM, n_components=3))
    for previous in (None, PopularityModel(score=np.zeros(40)), narrow):
        assert not resumable(previous, WARM)
        assert (scores(fit(data, goods, people, config=WARM, previous=previous), 60) == scores(plain, 60)).all()
    ignored = fit(data, goods, people, config=TrainingConfig(), previous=cold())
    assert (scores(ignored, 60) == scores(plain, 60)).all()


def test_refusals_teach() -> None:
    """Goods that a shopper passed over sink below those that nobody has told of; liked ones are above all others."""
    liked, refused = checkered(60, 40), ~checkered(60, 40)
    refused[:, 20:] = False
    config = TrainingConfig(negatives="skipped", epochs=30)
    found = scores(fit(rows_of(liked, refused), goods_of(40), people_of(60), config=config), 60)
    assert found[liked].mean() > found[refused].mean() + 1
    assert (found[:, :20][liked[:, :20]].min()) > found[:, :20][refused[:, :20]].max()


def test_warp_does_the_opposite_with_refusals() -> None:
    """Why refusals need another loss: under WARP a row below 0 protects the item from ever being taken for a worse one.

    All like item 0. Items 1 .. 9 are refused by all, so WARP finds no worse item at all and learns nothing; without the
    refusals it learns that item 0 is the best.
    """
    user, item = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)
    signs = np.where(item == 0, 1.0, -1.0).astype(np.float32)

    def gap(rows: Bools) -> float:
        trainer = LightFM(no_components=2, loss="warp", random_state=1)
        trainer.fit(coo_matrix((signs[rows], (user[rows], item[rows])), shape=(20, 10)), epochs=5, num_threads=1)
        said = trainer.item_biases
        return float(said[0] - said[1:].mean())

    assert gap(np.ones(200, dtype=np.bool_)) == 0.0
    assert gap(item == 0) > 0.1
