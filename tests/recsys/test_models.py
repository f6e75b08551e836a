"""What is stored comes back the same, and what is damaged is named; the laws of scores are in tests/test_testing.py."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import ModelError
from simlab.recsys.models import (
    KINDS,
    FactorModel,
    Model,
    PopularityModel,
    RandomModel,
    SegmentModel,
    load_model,
    save_model,
)
from simlab.schema import Requests
from simlab.streams import stream
from simlab.testing import check_recommender


def some_factors() -> FactorModel:
    rng = stream(1, "factors")
    return FactorModel(
        user_vector=rng.normal(size=(6, 3)),
        item_vector=rng.normal(size=(5, 3)),
        item_bias=rng.normal(size=5),
        known=np.array([True, True, False, True, True, True]),
    )


MODELS: dict[str, Model] = {
    "random": RandomModel(seed=9, n_items=5),
    "popularity": PopularityModel(score=np.array([3.0, 1.0, 4.0, 1.0, 5.0])),
    "segment": SegmentModel(score=np.arange(10.0).reshape(2, 5), segment=np.array([1, 0, 0])),
    "factor": some_factors(),
}

CARD = {"trained_day": 14, "settings": {"epochs": 15}, "offline": {"recall@10": 0.25}}


def visits(*user_id: int, day: int = 0) -> Requests:
    return Requests(
        day=day, user_id=np.array(user_id, dtype=np.int64), visit=np.zeros(len(user_id), dtype=np.int64), n=2
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_and_its_card_come_back(kind: str, tmp_path: Path) -> None:
    """Every array, bit for bit and of the same type, and the card; nothing else is left in the folder around."""
    save_model(MODELS[kind], tmp_path / "m1", CARD)
    model, card = load_model(tmp_path / "m1")
    assert type(model) is type(MODELS[kind])
    assert card == CARD
    for field in fields(model):
        stored, made = np.asarray(getattr(model, field.name)), np.asarray(getattr(MODELS[kind], field.name))
        assert stored.dtype == made.dtype
        np.testing.assert_array_equal(stored, made)
    assert [path.name for path in tmp_path.iterdir()] == ["m1"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_model_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    """Saved twice, or loaded and saved again: so a version can be compared by its files."""
    save_model(MODELS[kind], tmp_path / "a", CARD)
    save_model(MODELS[kind], tmp_path / "b", dict(reversed(CARD.items())))
    save_model(load_model(tmp_path / "a")[0], tmp_path / "c", CARD)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def damaged_json(folder: Path) -> None:
    (folder / "model.json").write_text((folder / "model.json").read_text()[:-20])


def json_without(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        head = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({key: head[key] for key in head if key not in names}))

    return damage


def json_with(**values: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        head = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(head | values))

    return damage


def one_bit(folder: Path) -> None:
    data = bytearray((folder / "arrays.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "arrays.npz").write_bytes(data)


def another_day(folder: Path) -> None:
    """One figure of the card, by hand."""
    text = (folder / "model.json").read_text()
    assert '"trained_day": 14' in text
    (folder / "model.json").write_text(text.replace('"trained_day": 14', '"trained_day": 15'))


def sealed(folder: Path, data: bytes, **values: object) -> None:
    """Other contents with the right checksum: of the head in JSON, a zero byte and the arrays."""
    head = json.loads((folder / "model.json").read_text()) | values
    told = json.dumps({name: head[name] for name in ("card", "format", "kind")})
    (folder / "arrays.npz").write_bytes(data)
    json_with(**values, sha256=hashlib.sha256(told.encode() + b"\0" + data).hexdigest())(folder)


@pytest.mark.parametrize(
    ("damage", "thing"),
    [
        (lambda folder: (folder / "arrays.npz").unlink(), "arrays.npz.*missing"),
        (lambda folder: (folder / "model.json").unlink(), "model.json.*missing"),
        (lambda folder: (folder / "arrays.npz").write_bytes(b""), "m1.*checksum"),
        (one_bit, "m1.*checksum"),
        (another_day, "m1.*checksum"),
        (lambda folder: sealed(folder, b"nothing"), "m1.*does not fit its kind"),
        (lambda folder: sealed(folder, (folder / "arrays.npz").read_bytes(), kind="popularity"), "m1.*does not fit"),
        (damaged_json, "model.json.*damaged"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00"), "model.json.*damaged"),
        (lambda folder: (folder / "model.json").write_text("[1, 2]"), "model format.*reads format 1"),
        (json_without("sha256"), "m1.*checksum"),
        (json_without("card"), "m1.*checksum"),
        (json_without("kind"), "model format.*random, popularity, segment, factor"),
        (json_with(kind="neural"), "model format.*neural.*random, popularity, segment, factor"),
        (json_with(kind=["factor"]), "model format.*random, popularity, segment, factor"),
        (json_with(format=99), "model format.*99.*reads format 1"),
        (json_with(kind="popularity"), "m1.*checksum"),
    ],
)
def test_a_damaged_model_is_a_model_error(damage: Callable[[Path], Any], thing: str, tmp_path: Path) -> None:
    """Whatever is broken, missing or from another time is named, with the remedy; never a traceback of a library."""
    save_model(some_factors(), tmp_path / "m1", CARD)
    damage(tmp_path / "m1")
    with pytest.raises(ModelError, match=thing):
        load_model(tmp_path / "m1")


def test_a_missing_model_is_a_model_error(tmp_path: Path) -> None:
    """A folder that is not there, and a file where the folder should be."""
    (tmp_path / "file").write_text("not a folder")
    for name in ("nowhere", "file"):
        with pytest.raises(ModelError, match=f"{name}.*missing"):
            load_model(tmp_path / name)


def test_a_folder_is_written_once(tmp_path: Path) -> None:
    """What is there stays as it is, whether a model or anything else, and no draft is left behind."""
    save_model(MODELS["random"], tmp_path / "m1", CARD)
    before = contents(tmp_path / "m1")
    (tmp_path / "file").write_text("mine")
    for name in ("m1", "file"):
        with pytest.raises(ModelError, match=f"{name}.*exists already"):
            save_model(MODELS["popularity"], tmp_path / name, CARD)
    assert contents(tmp_path / "m1") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "m1"]


@dataclass(frozen=True, kw_only=True)
class Own(PopularityModel):
    """A kind that simlab does not know, though it knows its parent."""


def test_a_model_of_an_unknown_kind_is_not_stored(tmp_path: Path) -> None:
    """It would come back as something else."""
    with pytest.raises(ModelError, match="Own.*random, popularity, segment, factor"):
        save_model(Own(score=np.ones(3)), tmp_path / "m1", {})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_pickled(tmp_path: Path) -> None:
    """An array of objects could only be stored as code that runs when it is opened: it is refused."""
    with pytest.raises(ModelError, match="score"):
        save_model(PopularityModel(score=np.array([1.0, None], dtype=object)), tmp_path / "m1", {})
    assert list(tmp_path.iterdir()) == []


def test_a_card_is_plain_json(tmp_path: Path) -> None:
    """Names that are numbers come back as words, in any order; what JSON cannot hold is refused by name."""
    save_model(MODELS["random"], tmp_path / "m1", {"clicks": {10: 1, 9: (2, 3)}})
    assert load_model(tmp_path / "m1")[1] == {"clicks": {"10": 1, "9": [2, 3]}}
    with pytest.raises(ModelError, match="card of a model.*float32"):
        save_model(MODELS["random"], tmp_path / "m2", {"recall": np.float32(0.5)})
    assert [path.name for path in tmp_path.iterdir()] == ["m1"]


def test_factors_score_by_the_formula() -> None:
    """user_vector . item_vector + item_bias, worked by hand; a user beyond the table counts as an average one."""
    model = FactorModel(
        user_vector=np.array([[1.0, 2.0], [0.0, -1.0]]),
        item_vector=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        item_bias=np.array([0.5, 0.0, -1.0]),
        known=np.array([True, False]),
    )
    expected = [[1.5, 2.0, 2.0], [0.5, -1.0, -2.0], [0.5, 0.0, -1.0]]
    assert model.scores(visits(0, 1, 7)).tolist() == expected
    assert model.knows(np.array([0, 1, 2, 10**9])).tolist() == [True, False, False, False]


def test_factors_of_nobody_know_nobody() -> None:
    """A model that was learnt before the first shopper came scores all alike, and breaks on no user."""
    model = replace(some_factors(), user_vector=np.empty((0, 3)), known=np.empty(0, dtype=np.bool_))
    assert not model.knows(np.array([0, 7])).any()
    assert model.scores(visits(0, 7)).tolist() == [model.item_bias.tolist()] * 2


@pytest.mark.parametrize(
    ("name", "shape"),
    [("user_vector", (6, 4)), ("user_vector", (6,)), ("item_vector", (4, 3)), ("item_bias", (6,)), ("known", (5,))],
)
def test_factors_that_do_not_fit_together_are_refused(name: str, shape: tuple[int, ...]) -> None:
    """The error shows the four shapes and what they should be."""
    with pytest.raises(ModelError, match=r"shapes of a factor model.*give \(users, d\), \(items, d\)"):
        replace(some_factors(), **{name: np.ones(shape, dtype=bool if name == "known" else float)})


@pytest.mark.parametrize("n_segments", [0, 1, 3])
@given(seed=st.integers(0, 100), n_users=st.integers(0, 6), n_items=st.integers(0, 5))
@settings(deadline=None)
def test_segments_obey_the_laws_of_a_recommender(n_segments: int, seed: int, n_users: int, n_items: int) -> None:
    """Also without items, users or segments, and for users whose segment nobody has told."""
    rng = stream(seed, "segments")
    segment = rng.integers(0, n_segments, n_users) if n_segments else np.empty(0, dtype=np.int64)
    model = SegmentModel(score=rng.normal(size=(n_segments, n_items)), segment=segment)
    check_recommender(model, visits(*rng.integers(0, 9, 7).tolist()))


def test_a_segment_scores_as_it_was_told() -> None:
    """Each user the row of their segment, worked by hand; who is not known the mean of all, and a guest is not."""
    model = SegmentModel(score=np.array([[3.0, 1.0], [0.0, 5.0]]), segment=np.array([1, 0, 1]))
    users = (0, 1, 2, 3, 1 << 30)
    assert model.knows(np.array(users)).tolist() == [True, True, True, False, False]
    assert model.scores(visits(*users)).tolist() == [[0.0, 5.0], [3.0, 1.0], [0.0, 5.0], [1.5, 3.0], [1.5, 3.0]]


@pytest.mark.parametrize(
    ("shape", "segment"), [((2, 5), [0, 2]), ((2, 5), [-1]), ((0, 5), [0]), ((5,), [0]), ((2, 5), [[0]])]
)
def test_segments_that_do_not_fit_together_are_refused(shape: tuple[int, ...], segment: list[Any]) -> None:
    """A user of a segment without scores would be served somebody else's, or fail."""
    with pytest.raises(ModelError, match=r"segments of a model.*give scores \(segments, items\)"):
        SegmentModel(score=np.ones(shape), segment=np.array(segment, dtype=np.int64))


def test_popularity_and_random_know_everybody() -> None:
    """They have no table of users to be missing from."""
    for kind in ("random", "popularity"):
        assert MODELS[kind].knows(np.array([0, 10**9])).all()


@given(st.permutations(range(8)), st.integers(-100, 100))
@settings(deadline=None)
def test_random_scores_belong_to_day_user_and_visit(order: list[int], day: int) -> None:
    """In any order and company the same; on another day, for another user or visit, others."""
    model = RandomModel(seed=3, n_items=4)
    requests = Requests(day=day, user_id=np.array([0, 0, 5, 5, 90_000, 7, 8, 9]), visit=np.arange(8) % 2, n=2)
    whole = model.scores(requests)
    np.testing.assert_array_equal(model.scores(requests.take(np.array(order))), whole[order])
    assert len(np.unique(whole)) == whole.size
    tomorrow = Requests(day=day + 1, user_id=requests.user_id, visit=requests.visit, n=2)
    assert (model.scores(tomorrow) != whole).all()
    assert (RandomModel(seed=4, n_items=4).scores(requests) != whole).all()


def test_random_scores_are_uniform() -> None:
    """Every item is the best of six for a sixth of 30,000 users, within 4 standard errors."""
    scores = RandomModel(seed=3, n_items=6).scores(visits(*range(30_000)))
    best = np.bincount(scores.argmax(axis=1), minlength=6)
    assert (np.abs(best - 5_000) < 4 * np.sqrt(30_000 * 5 / 36)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_of_no_numbers_is_not_stored(value: float, tmp_path: Path) -> None:
    """A score that is no number ranks nothing, and its propensities would be no JSON."""
    with pytest.raises(ModelError, match="not all finite"):
        save_model(PopularityModel(score=np.array([1.0, value])), tmp_path / "m1", {})
    assert not (tmp_path / "m1").exists()
