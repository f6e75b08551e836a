"""How good, how varied and how fair a set of recommendations is: pure functions on arrays.

Why here and not from a library: these numbers are a subject of the course, each is a few lines, and libraries
disagree on their small print. Ours: lists of fewer than k items still count as k; an average over users is left to
the caller, so that nobody averages a "not defined" (NaN) away unseen.

The lists come as `ranked`, item ids of shape (R, n), best first, one row a user or request, `NO_ITEM` where nothing
was left to show. What is right comes as `relevance`, gains of shape (R, n_items), dense or sparse: 0 is irrelevant,
above 0 relevant. R counts rows throughout.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from simlab.errors import ConfigError
from simlab.schema import NO_ITEM, Bools, Floats, Ints

Relevance: TypeAlias = Floats | Ints | Bools | sparse.csr_array


def _judged(ranked: Ints, relevance: Relevance, k: int) -> tuple[Ints, sparse.csr_array]:
    """The first k columns and the gains in canonical form; raises `ConfigError` where they do not fit together."""
    gains = sparse.csr_array(relevance, dtype=np.float64, copy=True)
    gains.sum_duplicates()
    gains.eliminate_zeros()
    if k < 1:
        raise ConfigError("k", k, "give a whole number from 1 up")
    if ranked.ndim != 2 or gains.shape[0] != len(ranked):
        raise ConfigError("ranked", ranked.shape, f"give one row for each of the {gains.shape[0]} rows of relevance")
    if (gains.data < 0).any():
        raise ConfigError("relevance", float(gains.data.min()), "gains are 0 or more")
    top = ranked[:, :k]
    if top.size and (top.max() >= gains.shape[1] or top.min() < NO_ITEM):
        raise ConfigError("ranked", int(top.max()), f"item ids are below {gains.shape[1]}")
    ordered = np.sort(top, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NO_ITEM)).any():
        raise ConfigError("ranked", "a repeated item", "name each item at most once in a list")
    return top, gains


def _gains(top: Ints, relevance: sparse.csr_array) -> Floats:
    """The gain of each item of the lists; shape of `top`."""
    n_rows, n_items = relevance.shape
    judged = np.repeat(np.arange(n_rows), np.diff(relevance.indptr)) * n_items + relevance.indices
    wanted = np.where(top == NO_ITEM, -1, np.arange(n_rows)[:, None] * n_items + top)
    keys = np.append(judged, -2)  # so that there is always something to look up
    gains = np.append(relevance.data, 0.0)
    place = np.searchsorted(judged, wanted)
    return np.asarray(np.where(keys[place] == wanted, gains[place], 0.0))


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    share: Floats = np.full(part.shape, np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def precision_at_k(ranked: Ints, relevance: Relevance, k: int) -> Floats:
    """Share of the first k places that hold a relevant item; shape (R,), in [0, 1].

    precision@k = |relevant and in the top k| / k (Manning, Raghavan, Schütze 2008, section 8.4).

    >>> precision_at_k(np.array([[3, 0, 1]]), np.array([[True, False, True, True]]), k=2).tolist()
    [1.0]
    """
    top, gains = _judged(ranked, relevance, k)
    return np.asarray((_gains(top, gains) > 0).sum(axis=1) / k)


def recall_at_k(ranked: Ints, relevance: Relevance, k: int) -> Floats:
    """Share of the relevant items that are in the first k places; shape (R,), in [0, 1], NaN where none is relevant.

    recall@k = |relevant and in the top k| / |relevant| (Manning, Raghavan, Schütze 2008, section 8.4).

    >>> recall_at_k(np.array([[3, 1, 0]]), np.array([[True, False, True, True]]), k=2).round(3).tolist()
    [0.333]
    """
    top, gains = _judged(ranked, relevance, k)
    return _share((_gains(top, gains) > 0).sum(axis=1), np.diff(gains.indptr))


def hit_rate_at_k(ranked: Ints, relevance: Relevance, k: int) -> Floats:
    """1 where any of the first k places holds a relevant item, else 0; shape (R,).

    >>> hit_rate_at_k(np.array([[1, 3], [1, 0]]), np.array([[0, 0, 1, 1], [0, 0, 1, 1]]), k=2).tolist()
    [1.0, 0.0]
    """
    top, gains = _judged(ranked, relevance, k)
    return np.asarray((_gains(top, gains) > 0).any(axis=1).astype(np.float64))


def dcg_at_k(ranked: Ints, relevance: Relevance, k: int) -> Floats:
    """Discounted cumulative gain: what the list gathers if a place counts the less the lower it is; shape (R,).

    DCG@k = sum over p = 1..k of gain_p / log2(p + 1) (Järvelin, Kekäläinen, TOIS 2002; gains enter as given: for
    the exponential form pass 2 ** gain - 1).

    >>> dcg_at_k(np.array([[0, 1, 2, 3, 4, 5]]), np.array([[3, 2, 3, 0, 1, 2]]), k=6).round(6).tolist()
    [6.861127]
    """
    top, gains = _judged(ranked, relevance, k)
    return np.asarray(_gains(top, gains) @ (1 / np.log2(np.arange(top.shape[1]) + 2)))


def ndcg_at_k(ranked: Ints, relevance: Relevance, k: int) -> Floats:
    """DCG as a share of the best any list could gather; shape (R,), in [0, 1], NaN where nothing is relevant.

    nDCG@k = DCG@k / ideal DCG@k. The ideal list takes the k best of *all* judged items, not only of those retrieved:
    otherwise a list that misses every good item could still score 1.

    >>> judged = np.array([[3, 2, 3, 0, 1, 2, 3, 2]])  # the last two were judged, but not retrieved
    >>> ndcg_at_k(np.array([[0, 1, 2, 3, 4, 5]]), judged, k=6).round(6).tolist()
    [0.785002]
    """
    _, gains = _judged(ranked, relevance, k)
    row = np.repeat(np.arange(gains.shape[0]), np.diff(gains.indptr))
    best = gains.data[np.lexsort((-gains.data, row))]  # rows stay where they are, gains fall within each
    place = np.arange(len(best)) - gains.indptr[row]
    discounted = np.where(place < k, best / np.log2(place + 2), 0.0)
    ideal = np.bincount(row, weights=discounted, minlength=gains.shape[0])
    # The ideal is summed in another order than the list: a perfect list must not come out above 1 by a last digit.
    return np.minimum(_share(dcg_at_k(ranked, gains, k), ideal), 1.0)


def auc(scores: Floats, relevant: Bools, excluded: Bools | None = None) -> Floats:
    """Probability that a relevant item scores above an irrelevant one, ties counting half; shape (R,).

    AUC = (S - P (P + 1) / 2) / (P N): S the sum of the ranks of the P relevant ones among all P + N, ranked from
    below (Mann, Whitney 1947). NaN where nothing, or everything, is relevant. `scores`, `relevant` and `excluded`
    (items that count as neither, such as those of the training set) have shape (R, n_items).

    >>> auc(np.array([[0.9, 0.5, 0.5, 0.1]]), np.array([[True, False, True, False]])).tolist()
    [0.875]
    """
    out = np.zeros(scores.shape, dtype=np.bool_) if excluded is None else excluded
    if not np.isfinite(scores).all():
        raise ConfigError("scores", "not a finite number", "give finite scores")
    if (out & relevant).any():
        raise ConfigError("excluded", "a relevant item", "an item is relevant or excluded, not both")
    n_out = out.sum(axis=1)
    n_relevant = relevant.sum(axis=1)
    # The excluded take the lowest ranks, which are then taken off the others again.
    rank = stats.rankdata(np.where(out, -np.inf, scores), axis=1) - n_out[:, None]
    won = np.where(relevant, rank, 0.0).sum(axis=1) - n_relevant * (n_relevant + 1) / 2
    return _share(won, n_relevant * (scores.shape[1] - n_out - n_relevant))


def click_rate(clicked: Bools) -> float:
    """Share of the items shown that were clicked, in [0, 1]; NaN where nothing was shown.

    >>> click_rate(np.array([True, False, False, False]))
    0.25
    """
    return float(np.mean(clicked)) if np.size(clicked) else float("nan")


def coverage(item_id: Ints, n_items: int) -> float:
    """Share of the catalogue that is shown to anybody at all, in [0, 1]; `item_id` of any shape, repeats allowed.

    Catalogue coverage (Ge, Delgado-Battenfeld, Jannach, RecSys 2010).

    >>> coverage(np.array([[0, 1], [0, 2]]), n_items=4)
    0.75
    """
    if n_items < 1:
        raise ConfigError("n_items", n_items, "give the size of the catalogue, from 1 up")
    shown = np.unique(item_id[item_id != NO_ITEM])
    if len(shown) and (shown[-1] >= n_items or shown[0] < 0):
        raise ConfigError("item_id", int(shown[-1]), f"item ids are 0 .. {n_items - 1}")
    return len(shown) / n_items


def gini(counts: npt.ArrayLike) -> float:
    """How unequally something is spread over the *whole* catalogue: 0 all equal, (n - 1) / n one item takes all.

    G = sum over i = 1..n of (2 i - n - 1) c_i / (n sum of c), counts c in rising order (Gini 1912). `counts` has
    shape (n_items,): items never shown belong in it, as zeros. NaN where nothing was counted.

    >>> gini([5, 5, 5, 5]), gini([0, 0, 0, 20])
    (0.0, 0.75)
    """
    rising = np.sort(np.asarray(counts, dtype=np.float64).ravel())
    n, total = len(rising), rising.sum()
    if n and rising[0] < 0:
        raise ConfigError("counts", float(rising[0]), "counts are 0 or more")
    if total == 0:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ rising / (n * total))


def diversity(ranked: Ints, vectors: Floats) -> Floats:
    """How unlike each other the items of a list are: mean cosine distance over its pairs; shape (R,), in [0, 2].

    1 - intra-list similarity (Ziegler, McNee, Konstan, Lausen, WWW 2005). `vectors` describe the items, shape
    (n_items, d): with one 0/1 column a category it is the share of pairs from two categories. NaN below two items.

    >>> category = np.eye(2)[[0, 0, 1]]
    >>> diversity(np.array([[0, 1, 2]]), category).round(3).tolist()
    [0.667]
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape), where=length > 0)
    shown = ranked != NO_ITEM
    lists = np.where(shown[:, :, None], unit[ranked], 0.0)
    # Of all pairs at once: |v_1 + .. + v_m|^2 = the sum over i of |v_i|^2 + the sum over i != j of v_i . v_j
    pairs = (lists.sum(axis=1) ** 2).sum(axis=1) - (lists**2).sum(axis=(1, 2))
    n = shown.sum(axis=1)
    return 1 - _share(pairs, n * (n - 1))


def novelty(ranked: Ints, popularity: Floats) -> Floats:
    """How surprising the items of a list are, in bits: the mean of -log2 popularity; shape (R,), 0 or more.

    Mean self-information (Zhou et al., PNAS 2010). `popularity`, shape (n_items,), is the probability in [0, 1]
    that a random user knows the item; at 0 it is infinitely surprising, so smooth it first. NaN for an empty list.

    >>> novelty(np.array([[0, 1]]), np.array([0.5, 0.125])).tolist()
    [2.0]
    """
    if len(popularity) and not (popularity.min() >= 0 and popularity.max() <= 1):
        raise ConfigError("popularity", float(popularity.max()), "give probabilities in [0, 1]")
    with np.errstate(divide="ignore"):
        bits = -np.log2(popularity) + 0.0  # + 0.0 turns -0.0 into 0.0
    shown = ranked != NO_ITEM
    return _share(np.where(shown, bits[ranked], 0.0).sum(axis=1), shown.sum(axis=1))
