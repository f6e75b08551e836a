"""top_n against the plainest thing that could be right: a stable sort of every row."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.retrieval import top_n
from simlab.schema import NO_ITEM, Bools, Floats, Ints
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
    n_items = draw(st.sampled_from([1, 2, 7, 99, 100, 101, 199, 200, 201, 350]))
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
