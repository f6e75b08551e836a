"""The best slate for one shopper, against every slate there is."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.lab.best import best_choice, best_walk
from simlab.schema import NO_ITEM, Floats, Ints
from simlab.streams import stream

UNIT = st.floats(0, 1)
WORTH = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


def walk(slate: Ints, worth: Floats, on: Floats) -> float:
    """w_1 + c_1 (w_2 + c_2 (w_3 + ...)), empty places at the end left out."""
    value = 0.0
    for item in reversed([item for item in slate if item != NO_ITEM]):
        value = worth[item] + on[item] * value
    return value


def choice(slate: Ints, pull: Floats, gain: Floats) -> float:
    """sum(g e) / (1 + sum(e))."""
    there = slate[slate != NO_ITEM]
    return float((gain[there] * pull[there]).sum() / (1 + pull[there].sum()))


def slates(n_items: int, n: int) -> list[Ints]:
    """Every slate of at most `n` items, in every order."""
    return [np.array(order, dtype=np.int64) for k in range(n + 1) for order in permutations(range(n_items), k)]


@settings(deadline=None)  # compiling takes seconds
@given(st.lists(st.tuples(WORTH, UNIT), min_size=1, max_size=5), st.integers(0, 4))
def test_no_walk_is_worth_more(items: list[tuple[float, float]], n: int) -> None:
    """Of all slates of up to n of five items, in every order, with ties, zeros and shoppers who always look on."""
    worth, on = np.array(items).T.copy()
    n = min(n, len(items))
    found = best_walk(worth, on, n)
    assert found.shape == (n,)
    there = found[found != NO_ITEM]
    assert len(set(there.tolist())) == len(there)
    best = max(walk(slate, worth, on) for slate in slates(len(items), n))
    assert walk(found, worth, on) == pytest.approx(best, rel=1e-9)


@settings(deadline=None)  # compiling takes seconds
@given(st.lists(st.tuples(WORTH, WORTH), min_size=1, max_size=5), st.integers(0, 4))
def test_no_choice_is_worth_more(items: list[tuple[float, float]], n: int) -> None:
    """Of all sets of up to n of five items: an item of little gain may cost more than it brings."""
    pull, gain = np.array(items).T.copy()
    n = min(n, len(items))
    found = best_choice(pull, gain, n)
    assert found.shape == (n,)
    best = max(choice(slate, pull, gain) for slate in slates(len(items), n))
    assert choice(found, pull, gain) == pytest.approx(best, rel=1e-9)


def test_sometimes_less_is_more() -> None:
    """A second item of a tenth of the gain takes choices from the first: its place stays empty."""
    assert best_choice(np.array([1.0, 1.0]), np.array([10.0, 1.0]), 2).tolist() == [0, NO_ITEM]
    assert sorted(best_choice(np.array([1.0, 1.0]), np.array([10.0, 9.0]), 2).tolist()) == [0, 1]


def test_what_ends_the_walk_may_have_to_wait() -> None:
    """The item of more worth stands second where its click ends the looks; greedy order would lose a sixth."""
    worth, on = np.array([0.5, 0.45]), np.array([0.1, 1.0])
    assert best_walk(worth, on, 2).tolist() == [1, 0]
    assert walk(np.array([0, 1]), worth, on) == pytest.approx(0.545)
    assert walk(np.array([1, 0]), worth, on) == pytest.approx(0.95)


def test_holes_are_left_at_the_end() -> None:
    """Where fewer items are worth anything than there are places."""
    assert best_walk(np.array([0.0, 2.0, 0.0, 1.0]), np.full(4, 0.5), 4).tolist() == [1, 3, NO_ITEM, NO_ITEM]
    assert best_walk(np.zeros(3), np.ones(3), 2).tolist() == [NO_ITEM, NO_ITEM]


@pytest.mark.soak
def test_no_slate_of_many_is_worth_more() -> None:
    """4 of 7 items, 1,000 times, each way: all 1,100 slates."""
    rng = stream(1, "soak best")
    orders = slates(7, 4)
    for _ in range(1_000):
        worth, on = rng.random(7) ** 3, rng.random(7)
        best = max(walk(slate, worth, on) for slate in orders)
        assert walk(best_walk(worth, on, 4), worth, on) == pytest.approx(best, rel=1e-12)
        pull, gain = np.exp(rng.normal(0, 2, 7)), np.exp(rng.normal(0, 2, 7))
        best = max(choice(slate, pull, gain) for slate in orders)
        assert choice(best_choice(pull, gain, 4), pull, gain) == pytest.approx(best, rel=1e-12)
