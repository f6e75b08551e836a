"""Retrieval against the plainest thing that could be right: a stable sort of every row of exact scores."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.models import FactorModel, PopularityModel, RandomModel, Recommender
from simlab.recsys.retrieval import best_items, best_of_factors, top_n
from simlab.schema import NO_ITEM, Bools, Floats, Ints, Requests
from simlab.streams import stream

NOTHING = np.empty((0, 2), dtype=np.int64)

ODD = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 2.0**20, 1e308, -1e308, 5e-324, 2.0**-40, 2.0**-41, 3e-10, 1 / 3]
"""Scores that are easily got wrong; most come up again and again, so that there are ties."""


def by_sorting(scores: Floats, n: int, allowed: Bools, exclude: Ints) -> Ints:
    """The same on the same grid, one row at a time: scale, round, sort stably, take what may be shown."""
    banned = {(row, item) for row, item in exclude.tolist()}
    whole = np.full((len(scores), n), NO_ITEM)
    for row, values in enumerate(scores):
        steps = np.where(np.isnan(values), -np.inf, values)
        if (finite := np.isfinite(steps)).any():
            exponent = np.frexp(np.abs(steps[finite]).max())[1]
            steps[finite] = np.rint(np.ldexp(steps[finite], 40 - exponent))
        order = np.argsort(-steps, kind="stable").tolist()
        items = [item for item in order if allowed[item] and (row, item) not in banned][:n]
        whole[row, : len(items)] = items
    return whole


@st.composite
def tables(draw: st.DrawFn) -> tuple[Floats, int, Bools, Ints]:
    """Any table, smaller or larger than the groups and blocks that top_n cuts it into."""
    rng = stream(draw(st.integers(0, 10_000)), "tables")
    n_rows = draw(st.sampled_from([0, 1, 2, 127, 128, 129, 260]))
    n_items = draw(st.sampled_from([1, 2, 7, 99, 127, 128, 129, 255, 256, 257, 350]))
    scores = rng.normal(size=(n_rows, n_items))
    odd = rng.random(scores.shape) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    scores[odd] = rng.choice(draw(st.lists(st.sampled_from(ODD), min_size=1, max_size=4)), odd.sum())
    allowed = rng.random(n_items) < draw(st.sampled_from([0.1, 0.6, 1.0]))
    allowed[rng.integers(n_items)] = True
    n = draw(st.integers(1, int(allowed.sum())))
    pairs = draw(st.sampled_from([0, 1, n_rows, n_rows * n_items // 2])) if n_rows else 0
    exclude = np.column_stack([rng.integers(0, max(n_rows, 1), pairs), rng.integers(0, n_items, pairs)])
    return scores, n, allowed, exclude


@given(tables())
@settings(max_examples=150, deadline=None)
def test_it_is_a_stable_sort_of_every_row(table: tuple[Floats, int, Bools, Ints]) -> None:
    """For any scores, n, items on sale and exclusions (in any order, repeated): the same items in the same order."""
    np.testing.assert_array_equal(top_n(*table), by_sorting(*table))


@given(st.integers(0, 2**32), st.floats(-1e-13, 1e-13))
@example(seed=0, noise=1e-13)
def test_the_last_digits_flip_no_rank(seed: int, noise: float) -> None:
    """Scores that differ by 1e-13 are equal and go by item_id: another processor, or thread count, shows the same."""
    rng = stream(seed, "digits")
    scores = rng.integers(-3, 4, (20, 150)) / 8.0  # many equal ones, none between two steps of the grid
    allowed = np.ones(150, dtype=bool)
    blurred = scores + noise * rng.choice([-1.0, 0.0, 1.0], scores.shape)
    np.testing.assert_array_equal(top_n(blurred, 30, allowed, NOTHING), top_n(scores, 30, allowed, NOTHING))
    assert (top_n(np.full((1, 150), 0.5) - np.arange(150) * 1e-14, 150, allowed, NOTHING) == np.arange(150)).all()


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1.0, 7.5, 2.0**20, 3e6, 1e300])
def test_real_differences_count(size: float) -> None:
    """A score that is higher by 2**-38 of the row's largest wins against a lower item_id, whatever the size of all.

    What is less than 2**-41 of it apart is equal, and infinity stays above every number, as NaN stays below.
    """
    shares = [0.5, 1.0, 0.5 + 2.0**-38, 0.5 + 2.0**-44, -1.0, 0.0, 0.0 + 2.0**-44]
    whole, nothing_hidden = np.array([shares, np.negative(shares)]) * size, np.ones(7, dtype=bool)
    assert top_n(whole, 7, nothing_hidden, NOTHING).tolist() == [[1, 2, 0, 3, 5, 6, 4], [4, 5, 6, 0, 3, 2, 1]]
    odd = np.array([[np.nan, -size, size, np.inf, size * (1 - 2.0**-38), -np.inf]])
    assert top_n(odd, 6, np.ones(6, dtype=bool), NOTHING).tolist() == [[3, 2, 4, 1, 0, 5]]


def test_a_row_is_ranked_by_itself() -> None:
    """Beside rows of any size, with NaN or without, a row is ranked as it is alone."""
    size = np.array([1.0, 1e-9, 1e9, 0.0, 1e305])
    scores = stream(1, "sizes").normal(size=(5, 150)) * size[:, None]
    scores[2, 7] = np.inf
    allowed = np.ones(150, dtype=bool)
    alone = [top_n(scores[[row]], 20, allowed, NOTHING)[0] for row in range(5)]
    np.testing.assert_array_equal(top_n(scores, 20, allowed, NOTHING), alone)


def test_no_item_stands_where_too_few_are_left() -> None:
    """Exclusions may use up a slate; what is left comes first, and other rows are whole."""
    exclude = np.array([[0, 0], [0, 2], [2, 0], [2, 1], [2, 2]])
    slates = top_n(np.tile([3.0, 1.0, 2.0], (3, 1)), 2, np.ones(3, dtype=bool), exclude)
    assert slates.tolist() == [[1, NO_ITEM], [0, 2], [NO_ITEM, NO_ITEM]]


def test_exclusions_of_what_is_not_there_change_nothing() -> None:
    """NO_ITEM out of an earlier slate, or an item that the model does not know, excludes nothing else."""
    scores = np.tile(np.arange(100.0), (2, 1))
    exclude = np.array([[0, NO_ITEM], [1, 100], [1, 5000], [0, -100]])
    assert top_n(scores, 1, np.ones(100, dtype=bool), exclude).tolist() == [[99], [99]]


@pytest.mark.parametrize("n", [0, -1, 3, 4, 101])
def test_more_than_is_on_sale_is_refused(n: int) -> None:
    """The error names what was asked for and what there is."""
    allowed = np.array([True, False, True, False])
    with pytest.raises(ConfigError, match=f"items in a slate: {n} .* offers 2"):
        top_n(np.zeros((1, 4)), n, allowed, NOTHING)


def test_scores_are_left_as_they_were() -> None:
    """A model may hand out its own table, or a view that cannot be written to."""
    scores = np.broadcast_to(np.array([np.nan, 2.0, 1.0]), (5, 3))
    top_n(scores, 2, np.ones(3, dtype=bool), np.array([[0, 1]]))
    np.testing.assert_array_equal(scores, np.broadcast_to([np.nan, 2.0, 1.0], (5, 3)))


Factors = tuple[Floats, Floats, Floats]

KINDS = [
    "plain",
    "grid",
    "few values",
    "all equal",
    "twins",
    "nearly twins",
    "bias alone",
    "one dear item",
    "not numbers",
]


def exact_scores(user: Floats, item: Floats, bias: Floats) -> Floats:
    """The sum by its definition: dimension by dimension in double precision, the bias last."""
    table = np.zeros((len(user), len(item)))
    with np.errstate(all="ignore"):
        for k in range(user.shape[1]):
            table += user[:, k, None] * item[:, k]
        return np.asarray(table + bias)


def some_factors(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> Factors:
    """Factors of R users, n_items items and d dimensions, such as are easily ranked wrong."""
    n_rows, n_items, d = shape
    user, item, bias = rng.normal(size=(n_rows, d)), rng.normal(size=(n_items, d)), rng.normal(size=n_items)
    twin = rng.integers(0, n_items, n_items) // 3
    if kind == "grid":
        user, item, bias = (np.rint(part * 2.0**16) / 2.0**16 for part in (user, item, bias))
    elif kind == "few values":
        user, item, bias = np.rint(user), np.rint(item), np.rint(bias)
    elif kind == "all equal":
        item[:], bias[:] = item[0], bias[0]
    elif kind == "twins":
        item, bias = item[twin], bias[twin]
    elif kind == "near":  # what single precision confuses and double does not
        item, bias = item[twin // 10] * (1 + 3e-8 * rng.normal(size=(n_items, 1))), bias[twin // 10]
    elif kind == "nearly twins":
        item, bias = item[twin], bias[twin] + rng.choice([0.0, 2.0**-36, 2.0**-40, -(2.0**-44)], n_items)
    elif kind == "bias alone":
        user[:], bias[:] = 0.0, bias * 1e-12
    elif kind == "one dear item":
        item[rng.integers(n_items)] *= 1e9
    elif kind == "not numbers":
        bias[rng.integers(n_items, size=3)] = rng.choice([np.nan, np.inf, -np.inf, 1e308], 3)
    return user, item, bias


@st.composite
def factors(draw: st.DrawFn, kind: str) -> tuple[Factors, int, Bools, Ints]:
    """Any factors of any size, few items on sale or all, and exclusions, which may leave too few."""
    rng = stream(draw(st.integers(0, 10_000)), "factors")
    n_rows = draw(st.sampled_from([0, 1, 3, 4, 5, 40, 255, 256, 257]))
    n_items = draw(st.sampled_from([1, 2, 30, 127, 128, 129, 256, 300, 1000]))
    d = draw(st.sampled_from([0, 1, 2, 8, 33]))
    user, item, bias = some_factors(kind, (n_rows, n_items, d), rng)
    size = 10.0 ** np.array(draw(st.lists(st.sampled_from([0, 0, 0, 3, -9, 30, -30, 200, -200]), min_size=1)))
    user *= rng.choice(size, (n_rows, 1))
    item *= draw(st.sampled_from([1.0, 1.0, 1e-30, 1e30, 1e-100]))
    allowed = rng.random(n_items) < draw(st.sampled_from([0.1, 0.6, 1.0]))
    allowed[rng.integers(n_items)] = True
    n = draw(st.integers(1, min(int(allowed.sum()), draw(st.sampled_from([10, 70, 1000])))))
    pairs = draw(st.sampled_from([0, 1, 3 * n_rows, n_rows * n_items // 2])) if n_rows else 0
    exclude = np.column_stack([rng.integers(0, max(n_rows, 1), pairs), rng.integers(NO_ITEM, n_items + 1, pairs)])
    return (user, item, bias), n, allowed, exclude


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_factors_are_ranked_by_their_exact_scores(kind: str, data: st.DataObject) -> None:
    """The screen loses nobody: the list is that of a stable sort of scores in double precision, on their grid."""
    parts, n, allowed, exclude = data.draw(factors(kind))
    expected = by_sorting(exact_scores(*parts), n, allowed, exclude)
    np.testing.assert_array_equal(best_of_factors(*parts, n, allowed, exclude), expected)


@given(st.sampled_from(KINDS).flatmap(factors), st.integers(0, 99), st.sampled_from([1, 3, 50, 300]))
@settings(max_examples=50, deadline=None)
def test_a_row_of_factors_is_ranked_by_itself(made: tuple[Factors, int, Bools, Ints], seed: int, company: int) -> None:
    """In any order and any company, one alone or hundreds, everybody's list is the same."""
    (user, item, bias), n, allowed, exclude = made
    rows: Ints = stream(seed, "rows").permutation(len(user)).astype(np.int64)[:company]
    place = np.full(len(user), -1)
    place[rows] = np.arange(len(rows))
    kept = exclude[np.isin(exclude[:, 0], rows)]
    pairs = NOTHING if len(kept) == 0 else np.column_stack([place[kept[:, 0]], kept[:, 1]])
    whole = best_of_factors(user, item, bias, n, allowed, exclude)
    np.testing.assert_array_equal(best_of_factors(user[rows], item, bias, n, allowed, pairs), whole[rows])


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1.0, 2.0**20, 1e150])
def test_real_differences_between_factors_count(size: float) -> None:
    """As in a table, 2**-38 of the row's largest score is a difference and 2**-44 none: both escape the screen."""
    bias = np.array([0.5, 1.0, 0.5 + 2.0**-38, 0.5 + 2.0**-44, -1.0]) * size
    nobody, whole = np.zeros((9, 2)), np.ones(5, dtype=bool)
    assert (best_of_factors(nobody, np.zeros((5, 2)), bias, 5, whole, NOTHING) == [1, 2, 0, 3, 4]).all()


def test_what_single_precision_confuses_is_told_apart() -> None:
    """Thirty items that differ in the eighth digit share the top, and single precision has seven."""
    parts, whole = some_factors("near", (256, 300, 8), stream(5, "near")), np.ones(300, dtype=bool)
    expected = by_sorting(exact_scores(*parts), 7, whole, NOTHING)
    np.testing.assert_array_equal(best_of_factors(*parts, 7, whole, NOTHING), expected)


def test_the_layout_of_factors_does_not_matter() -> None:
    """Read-only, by columns, in single precision or a view: the list is the same, and the factors stay as they were."""
    user, item, bias = some_factors("few values", (20, 90, 4), stream(3, "layout"))
    whole = best_of_factors(user, item, bias, 7, np.ones(90, dtype=bool), NOTHING)
    other = np.asfortranarray(user), item.astype(np.float32), bias[::-1].copy()[::-1]
    for part in other:
        part.flags.writeable = False
    ranked = best_of_factors(other[0], other[1].view(), other[2], 7, np.ones(90, dtype=bool), NOTHING)  # type: ignore[arg-type]
    np.testing.assert_array_equal(ranked, whole)


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 60, 2000]), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_every_kind_of_model_is_ranked_by_its_scores(seed: int, pairs: int, n: int) -> None:
    """However a model is ranked: the items are `top_n` of its scores."""
    rng = stream(seed, "models")
    n_rows, n_items = int(rng.integers(1, 40)), 60
    user, item, bias = some_factors("grid", (30, n_items, 3), rng)
    models: list[Recommender] = [
        FactorModel(user_vector=user, item_vector=item, item_bias=bias, known=np.ones(30, dtype=bool)),
        PopularityModel(score=rng.integers(0, 9, n_items).astype(np.float64)),
        RandomModel(seed=seed, n_items=n_items),
    ]
    asked = Requests(
        day=3,
        user_id=rng.integers(0, 33, n_rows),
        visit=rng.integers(0, 3, n_rows),
        n=n,
        exclude=np.column_stack([rng.integers(0, n_rows, pairs), rng.integers(NO_ITEM, n_items + 3, pairs)]),
    )
    allowed = (np.arange(n_items) < n) | (rng.random(n_items) < 0.5)
    for model in models:
        expected = top_n(model.scores(asked), n, allowed, asked.exclude)
        np.testing.assert_array_equal(best_items(model, asked, allowed), expected)


def test_nobody_asks() -> None:
    """No requests, no slates: nothing is refused."""
    asked = Requests(day=0, user_id=np.empty(0, dtype=np.int64), visit=np.empty(0, dtype=np.int64), n=5)
    assert best_items(PopularityModel(score=np.ones(3)), asked, np.ones(3, dtype=bool)).shape == (0, 5)
