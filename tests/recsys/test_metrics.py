"""Laws and published numbers of the metrics."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from simlab.errors import ConfigError
from simlab.recsys import metrics
from simlab.recsys.metrics import Relevance
from simlab.schema import NO_ITEM, Floats, Ints
from simlab.streams import stream

AtK = Callable[[Ints, Relevance, int], Floats]

AT_K: list[AtK] = [metrics.precision_at_k, metrics.recall_at_k, metrics.hit_rate_at_k, metrics.ndcg_at_k]
"""Each is between 0 and 1 and rises when a better item moves up."""


@st.composite
def lists(draw: st.DrawFn) -> tuple[Ints, Floats, int]:
    """Some users' lists, of any length up to the catalogue's, their gains 0 .. 3, and a k."""
    rng = stream(draw(st.integers(0, 10_000)), "lists")
    n_rows, n_items = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    ranked = rng.permuted(np.tile(np.arange(n_items), (n_rows, 1)), axis=1)[:, : draw(st.integers(1, n_items))]
    gains = rng.integers(0, 4, (n_rows, n_items)) * (rng.random((n_rows, n_items)) < draw(st.floats(0.1, 1.0)))
    return ranked, gains.astype(np.float64), draw(st.integers(1, n_items))


def by_hand(ranked: Ints, gains: Floats, k: int) -> dict[str, float]:
    """One list, with the textbook's definitions in plain Python."""
    top = [float(gains[item]) for item in ranked.tolist()[:k] if item != NO_ITEM]
    hits = sum(gain > 0 for gain in top)
    n_relevant = int((gains > 0).sum())
    ideal = sorted(gains.tolist(), reverse=True)[:k]
    best = sum(gain / math.log2(place + 2) for place, gain in enumerate(ideal))
    dcg = sum(gain / math.log2(place + 2) for place, gain in enumerate(top))
    return {
        "precision_at_k": hits / k,
        "recall_at_k": hits / n_relevant if n_relevant else math.nan,
        "hit_rate_at_k": float(hits > 0),
        "ndcg_at_k": dcg / best if best else math.nan,
    }


@pytest.mark.parametrize("metric", AT_K)
@given(case=lists())
def test_all_rows_at_once_equal_the_textbook_row_by_row(metric: AtK, case: tuple[Ints, Floats, int]) -> None:
    """The vectorised metric is the definition, applied to each row; dense and sparse gains mean the same."""
    ranked, gains, k = case
    expected = [by_hand(ranked[row], gains[row], k)[metric.__name__] for row in range(len(ranked))]
    np.testing.assert_allclose(metric(ranked, gains, k), expected, rtol=1e-12)
    np.testing.assert_array_equal(metric(ranked, sparse.csr_array(gains), k), metric(ranked, gains, k))


@pytest.mark.parametrize("metric", AT_K)
@given(case=lists())
def test_bounds(metric: AtK, case: tuple[Ints, Floats, int]) -> None:
    """A metric at k is in [0, 1], or not defined just where nothing is relevant and it divides by that."""
    value = metric(*case)
    divides = metric in (metrics.recall_at_k, metrics.ndcg_at_k)
    np.testing.assert_array_equal(np.isnan(value), divides & ~(case[1] > 0).any(axis=1))
    assert ((value >= 0) & (value <= 1))[~np.isnan(value)].all()


@pytest.mark.parametrize("metric", AT_K)
@given(case=lists(), seed=st.integers(0, 100))
def test_names_do_not_matter(metric: AtK, case: tuple[Ints, Floats, int], seed: int) -> None:
    """Renumbering the items changes nothing; reordering the rows reorders the result."""
    ranked, gains, k = case
    new_name = stream(seed, "names").permutation(gains.shape[1])
    renamed = np.empty_like(gains)
    renamed[:, new_name] = gains
    np.testing.assert_allclose(metric(new_name[ranked], renamed, k), metric(ranked, gains, k), rtol=1e-12)
    order = stream(seed, "rows").permutation(len(ranked))
    np.testing.assert_array_equal(metric(ranked[order], gains[order], k), metric(ranked, gains, k)[order])


@pytest.mark.parametrize("metric", AT_K)
@given(case=lists(), data=st.data())
def test_moving_a_better_item_up_never_hurts(metric: AtK, case: tuple[Ints, Floats, int], data: st.DataObject) -> None:
    """Exchanging two neighbours so that the better one comes first lowers no metric, and raises nDCG within k."""
    ranked, gains, k = case
    if ranked.shape[1] < 2:
        return
    place = data.draw(st.integers(0, ranked.shape[1] - 2))
    better = ranked.copy()
    better[:, [place, place + 1]] = ranked[:, [place + 1, place]]
    rows = np.arange(len(ranked))
    gain = gains[rows, better[:, place]] - gains[rows, ranked[:, place]]
    before, after = metric(ranked, gains, k), metric(better, gains, k)
    assert (after >= before - 1e-12)[(gain > 0) & ~np.isnan(before)].all()
    if metric is metrics.ndcg_at_k and place < k:
        assert (after > before)[gain > 0].all()


def test_ndcg_takes_the_ideal_over_all_judged_items() -> None:
    """references.md, Ranking and catalogue: DCG 6.861127, ideal 8.740262, nDCG 0.785002, not 0.960808."""
    judged = np.array([[3, 2, 3, 0, 1, 2, 3, 2]])
    retrieved = np.arange(6)[None]
    ideal = np.array([[0, 2, 6, 1, 5, 7]])
    assert metrics.dcg_at_k(retrieved, judged, 6)[0] == pytest.approx(6.861127, abs=5e-7)
    assert metrics.dcg_at_k(ideal, judged, 6)[0] == pytest.approx(8.740262, abs=5e-7)
    assert metrics.ndcg_at_k(retrieved, judged, 6)[0] == pytest.approx(0.785002, abs=5e-7)
    assert metrics.ndcg_at_k(retrieved, judged[:, :6], 6)[0] == pytest.approx(0.960808, abs=5e-7)


def test_a_short_list_counts_as_k_places() -> None:
    """Padding with `NO_ITEM`, or ending early, is a miss in every place left empty."""
    relevant = np.array([[True, True, False]])
    padded = np.array([[0, NO_ITEM, NO_ITEM]])
    for ranked in (padded, padded[:, :1]):
        assert metrics.precision_at_k(ranked, relevant, 3).tolist() == [1 / 3]
        assert metrics.recall_at_k(ranked, relevant, 3).tolist() == [1 / 2]


@pytest.mark.parametrize(
    ("ranked", "relevance", "k", "message"),
    [
        ([[0, 0]], [[1, 0]], 2, "ranked: 'a repeated item'"),
        ([[0, 2]], [[1, 0]], 2, "ranked: 2"),
        ([[0, 1]], [[1, -1]], 2, "relevance: -1.0"),
        ([[0, 1]], [[1, 0], [0, 1]], 2, "ranked: (1, 2)"),
        ([[0, 1]], [[1, 0]], 0, "k: 0"),
    ],
)
def test_lists_that_make_no_sense_are_refused(
    ranked: list[list[int]], relevance: list[list[int]], k: int, message: str
) -> None:
    """A repeated or unknown item, a negative gain, rows that do not match and k below 1 are the caller's mistakes."""
    with pytest.raises(ConfigError) as caught:
        metrics.ndcg_at_k(np.array(ranked), np.array(relevance), k)
    assert str(caught.value).startswith(message)


@given(seed=st.integers(0, 10_000), levels=st.integers(1, 20))
def test_auc_is_the_share_of_pairs_put_in_the_right_order(seed: int, levels: int) -> None:
    """Against the definition, pair by pair, with ties (few levels of score) and excluded items."""
    rng = stream(seed, "auc")
    scores = rng.integers(0, levels, (4, 15)).astype(np.float64)
    kind = rng.integers(0, 3, (4, 15))
    found = metrics.auc(scores, kind == 0, kind == 2)
    for row in range(4):
        above, below = scores[row][kind[row] == 0], scores[row][kind[row] == 1]
        pairs = np.subtract.outer(above, below)
        expected = ((pairs > 0) + (pairs == 0) / 2).mean() if pairs.size else math.nan
        np.testing.assert_allclose(found[row], expected, rtol=1e-12)


def test_auc_turned_round() -> None:
    """Scores turned upside down give 1 - AUC; all scores equal give 1/2; nothing relevant gives NaN."""
    rng = stream(1, "auc")
    scores, relevant = rng.random((50, 20)), rng.random((50, 20)) < 0.3
    relevant[:, :2] = [True, False]
    np.testing.assert_allclose(metrics.auc(-scores, relevant), 1 - metrics.auc(scores, relevant), atol=1e-12)
    assert (metrics.auc(np.zeros((50, 20)), relevant) == 0.5).all()
    assert np.isnan(metrics.auc(scores, np.zeros((50, 20), dtype=bool))).all()


def test_auc_refuses_what_it_cannot_rank() -> None:
    """A score that is no number, or an item both relevant and excluded, is an error and not a silent zero."""
    with pytest.raises(ConfigError, match="scores"):
        metrics.auc(np.array([[np.nan, 1.0]]), np.array([[True, False]]))
    with pytest.raises(ConfigError, match="excluded"):
        metrics.auc(np.array([[0.0, 1.0]]), np.array([[True, False]]), np.array([[True, False]]))


@given(counts=st.lists(st.integers(0, 1000), min_size=1, max_size=40), data=st.data())
def test_gini_is_the_mean_difference_over_twice_the_mean(counts: list[int], data: st.DataObject) -> None:
    """G = sum |c_i - c_j| / (2 n^2 mean), whatever the order and the unit, and lies in [0, (n - 1) / n]."""
    n, found = len(counts), metrics.gini(counts)
    if sum(counts) == 0:
        assert math.isnan(found)
        return
    assert found == pytest.approx(np.abs(np.subtract.outer(counts, counts)).sum() / (2 * n * sum(counts)), abs=1e-12)
    assert -1e-12 <= found <= (n - 1) / n + 1e-12
    shuffled = data.draw(st.permutations(counts))
    assert metrics.gini(shuffled) == found
    assert metrics.gini([7 * count for count in counts]) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 10, 500])
def test_gini_at_its_ends(n: int) -> None:
    """references.md, Ranking and catalogue: all equal gives 0; one of n items takes all gives (n - 1) / n."""
    assert metrics.gini(np.full(n, 3)) == pytest.approx(0, abs=1e-12)
    assert metrics.gini(np.eye(n)[0]) == pytest.approx((n - 1) / n, abs=1e-12)


def test_items_never_shown_count_as_unequal() -> None:
    """Gini is over the whole catalogue: adding items that nobody is shown raises it."""
    assert metrics.gini([5, 5, 0, 0]) > metrics.gini([5, 5])


def test_coverage_counts_each_item_once() -> None:
    """Repeats and empty places add nothing, every item shown once gives 1, an unknown item is refused."""
    assert metrics.coverage(np.array([[0, 0, NO_ITEM], [0, 3, NO_ITEM]]), 10) == 0.2
    assert metrics.coverage(np.arange(10), 10) == 1
    assert metrics.coverage(np.empty(0, dtype=np.int64), 10) == 0
    with pytest.raises(ConfigError, match="item_id: 10"):
        metrics.coverage(np.array([10]), 10)
    with pytest.raises(ConfigError, match="n_items: 0"):
        metrics.coverage(np.empty(0, dtype=np.int64), 0)


def test_click_rate() -> None:
    """Clicks over impressions; without impressions it is not defined, rather than 0."""
    assert metrics.click_rate(np.array([[True, False], [False, False]])) == 0.25
    assert math.isnan(metrics.click_rate(np.empty(0, dtype=bool)))


def test_diversity_is_the_mean_distance_of_all_pairs() -> None:
    """The formula over sums equals the mean over the pairs, written out; empty places are no items."""
    rng = stream(3, "diversity")
    vectors = rng.normal(size=(30, 5))
    ranked = rng.permuted(np.tile(np.arange(30), (8, 1)), axis=1)[:, :6]
    ranked[0, 4:] = NO_ITEM
    ranked[1, 1:] = NO_ITEM
    found = metrics.diversity(ranked, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in range(8):
        items = ranked[row][ranked[row] != NO_ITEM]
        pairs = [1 - unit[a] @ unit[b] for place, a in enumerate(items) for b in items[place + 1 :]]
        np.testing.assert_allclose(found[row], np.mean(pairs) if pairs else np.nan, rtol=1e-12)


def test_diversity_at_its_ends() -> None:
    """One category throughout gives 0, all of different categories 1."""
    category = np.eye(4)[[0, 0, 0, 1, 2, 3]]
    assert metrics.diversity(np.array([[0, 1, 2], [2, 3, 4]]), category) == pytest.approx([0, 1])


def test_novelty_in_bits() -> None:
    """Known to all is 0 bits, known to 1 in 8 is 3 bits, known to nobody is infinite; empty places are left out."""
    popularity = np.array([1.0, 0.125, 0.0])
    ranked = np.array([[0, NO_ITEM], [0, 1], [1, 2], [NO_ITEM, NO_ITEM]])
    np.testing.assert_array_equal(metrics.novelty(ranked, popularity), [0.0, 1.5, np.inf, np.nan])
    with pytest.raises(ConfigError, match="popularity"):
        metrics.novelty(ranked, np.array([1.0, 17.0, 3.0]))
