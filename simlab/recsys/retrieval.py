"""Exact top-n of every row: the bottleneck of a recommender, so it is worth two tricks.

Groups: deal the items of a row into some hundred groups and take the largest score of each. A number that n of those
reach is reached by at least n items, so no item below it can be in the top n; what is left, a dozen items or so, is
looked at one by one. Nothing is approximate, and the passes over the whole row are plain vector instructions. These
loops are in `simlab.recsys.selection`.

Screen: where scores are u . v + b, a product in single precision costs half of one in double. Its error is at most
(d + 8) 2**-23 (|u| |v| + |b|) (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1, doubled), so
what it puts lower than that below n others is not in the top n. The dozen left are scored again in double precision.

Why a grid: the last digit of a matrix product differs between processors and thread counts, and in a closed loop one
flipped rank changes every day after it. So the scores of a row count in steps of about 2**-40 of its largest, and equal
ones go by item_id, lowest first. The step is a power of two and the row's own: clicks in millions and worths in
millionths of a cent are ranked alike, whoever else asks.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from simlab.errors import ConfigError, ModelError
from simlab.recsys.models import FactorModel, PopularityModel, Recommender
from simlab.recsys.selection import exact, screen, top_of_rows
from simlab.schema import NO_ITEM, Bools, Floats, Ints, Requests

_ROWS = 256
_SCORES = 1 << 20
"""Scores made at once: a block of so many, or of `_ROWS` rows, is still in the cache when it is ranked."""
_FEW = 8
"""Rows for which a screen is not worth its preparation."""


def best_items(model: Recommender, requests: Requests, allowed: Bools) -> Ints:
    """The best of the `allowed` items (n_items,) for each request without its exclusions; shape (R, n), best first.

    The same as `top_n` of the model's scores, by the fastest way for its kind.
    """
    n, exclude = requests.n, requests.exclude
    top = np.empty((len(requests), n), dtype=np.int64)
    if len(top) == 0:
        return top
    if isinstance(model, FactorModel):
        vector = model.vectors(requests.user_id)
        return best_of_factors(vector, model.item_vector, model.item_bias, n, allowed, exclude)
    if isinstance(model, PopularityModel):
        return _best_of_one_row(model.score, len(requests), n, allowed, exclude)
    size = max(1, _SCORES // model.n_items)
    for first in range(0, len(requests), size):
        rows = np.arange(first, min(first + size, len(requests)))
        some = requests.take(rows)
        scores, shape = model.scores(some), (len(some), len(allowed))
        if scores.shape != shape:  # what is compiled would read beyond the table
            raise ModelError("shape of a model's scores", scores.shape, f"give a row a request: {shape}")
        top[rows] = top_n(scores, n, allowed, some.exclude)
    return top


def top_n(scores: Floats, n: int, allowed: Bools, exclude: Ints) -> Ints:
    """The `n` highest-scored items of each row, best first; shape (R, n), `NO_ITEM` where too few are left.

    `scores` has shape (R, n_items), `allowed` (n_items,) says which items can be shown at all, and `exclude` (E, 2)
    names (row, item_id) pairs that cannot; pairs of an item that is not there change nothing. Scores equal up to
    2**-40 of the row's largest finite |score| count as equal; infinity beats every number, a NaN counts as -infinity.
    Raises `ConfigError` where more items are asked for than are allowed.

    >>> allowed, nothing = np.array([True, True, True, False]), np.empty((0, 2), dtype=np.int64)
    >>> top_n(np.array([[0.1, 0.7, 0.7, 0.9]]), 2, allowed, nothing)
    array([[1, 2]])
    """
    _check(n, allowed)
    _, banned, start = _by_row(exclude, scores.shape)
    return top_of_rows(_plain(scores), n, _plain(allowed, np.bool_), banned, start[:-1], start[1:])


def best_of_factors(
    user_vector: Floats, item_vector: Floats, item_bias: Floats, n: int, allowed: Bools, exclude: Ints
) -> Ints:
    """`top_n` of user_vector . item_vector + item_bias, in double precision; shape (R, n).

    `user_vector` has shape (R, d), `item_vector` (n_items, d) and `item_bias` (n_items,); the rest is as there. The sum
    is taken dimension by dimension, the bias last, so that a row's is the same on every processor and in any company.

    >>> allowed, nothing = np.array([True, True, False]), np.empty((0, 2), dtype=np.int64)
    >>> best_of_factors(np.array([[2.0], [-2.0]]), np.array([[1.0], [3.0], [9.0]]), np.zeros(3), 2, allowed, nothing)
    array([[1, 0],
           [0, 1]])
    """
    _check(n, allowed)
    factors, allowed = (_plain(user_vector), _plain(item_vector), _plain(item_bias)), _plain(allowed, np.bool_)
    n_rows, n_items = len(user_vector), len(item_bias)
    row, banned, start = _by_row(exclude, (n_rows, n_items))
    top = np.full((n_rows, n), NO_ITEM)
    told = np.zeros(n_rows, dtype=np.bool_)
    if n_rows >= _FEW:
        with np.errstate(all="ignore"):  # numbers beyond single precision are ranked without a screen
            _rank_by_screen(factors, np.flatnonzero(allowed), (row, banned), top, told)
    left = np.flatnonzero(~told)
    size = max(1, _SCORES // n_items)
    for rows in (left[first : first + size] for first in range(0, len(left), size)):
        top[rows] = top_of_rows(exact(factors, rows), n, allowed, banned, start[rows], start[rows + 1])
    return top


def _rank_by_screen(
    factors: tuple[Floats, Floats, Floats], offered: Ints, exclude: tuple[Ints, Ints], top: Ints, told: Bools
) -> None:
    """Fills in the rows of `top` that single precision can tell and notes them in `told`; `exclude` is rows, items."""
    user, item, bias = factors
    n_offered, d = len(offered), item.shape[1]
    width = n_offered + 16 * (n_offered % 256 == 0)  # rows of some lengths are in each other's way in the cache
    column = np.zeros((d + 1, width), dtype=np.float32)  # the bias is one dimension more
    column[:d, :n_offered] = item.astype(np.float32)[offered].T
    column[d] = -np.inf
    column[d, :n_offered] = bias[offered]
    place = np.full(len(bias), -1)
    place[offered] = np.arange(n_offered)
    row, gone = exclude[0], place[exclude[1]]
    row, gone = row[gone >= 0], gone[gone >= 0]
    reach = _reach(factors)
    size = min(len(user), max(1, min(_ROWS, _SCORES // width)))
    part, table = np.ones((size, d + 1), dtype=np.float32), np.empty((size, width), dtype=np.float32)
    for first in range(0, len(user), size):
        block = slice(first, min(first + size, len(user)))
        n_rows = block.stop - first
        part[:n_rows, :d] = user[block]
        np.matmul(part[:n_rows], column, out=table[:n_rows])
        few = slice(*np.searchsorted(row, [first, block.stop]))
        table[row[few] - first, gone[few]] = -np.inf
        told[block] = screen(table[:n_rows], (user[block], item, bias), offered, reach[block], top[block])


def _check(n: int, allowed: Bools) -> None:
    if not 1 <= n <= allowed.sum():
        raise ConfigError("items in a slate", n, f"the catalogue offers {allowed.sum()}: give 1 to that many")


def _plain(array: npt.NDArray[Any], dtype: type = np.float64) -> npt.NDArray[Any]:
    """The array as the one kind that is compiled for; a copy where it is of another."""
    return np.require(array, dtype, ["C", "W"])


def _by_row(exclude: Ints, shape: tuple[int, int]) -> tuple[Ints, Ints, Ints]:
    """Rows and items of the pairs that are there, ordered by row, (E,) each, and where each row's begin, (R + 1,)."""
    row, item_id = exclude[:, 0], exclude[:, 1]
    there = (item_id >= 0) & (item_id < shape[1])  # NO_ITEM would count from the end
    row, item_id = row[there], item_id[there]
    order = np.argsort(row, kind="stable")
    row, item_id = row[order], item_id[order]
    return row, item_id, np.searchsorted(row, np.arange(shape[0] + 1))


def _best_of_one_row(score: Floats, n_rows: int, n: int, allowed: Bools, exclude: Ints) -> Ints:
    """`top_n` where all rows have the same scores: ranked once, as deep as exclusions reach, and those left out."""
    _check(n, allowed)
    row, banned, start = _by_row(exclude, (n_rows, len(score)))
    depth = min(n + int(np.diff(start).max(initial=0)), int(allowed.sum()))
    order = top_n(score[None], depth, allowed, np.empty((0, 2), dtype=np.int64))[0]
    top = np.broadcast_to(order[:n], (n_rows, n)).copy()
    rows = np.unique(row)
    place = np.full(len(score), depth)
    place[order] = np.arange(depth)
    gone = np.zeros((len(rows), depth + 1), dtype=np.bool_)
    gone[np.searchsorted(rows, row), place[banned]] = True
    kept = np.argsort(gone[:, :depth], axis=1, kind="stable")[:, :n]  # what is left, in order, before what is gone
    top[rows] = np.where(np.take_along_axis(gone, kept, axis=1), NO_ITEM, order[kept])
    return top


def _reach(factors: tuple[Floats, Floats, Floats]) -> Floats:
    """What no |score| of a row exceeds, with room for what single precision cannot hold; NaN where it is no help."""
    user, item, bias = factors
    length = np.sqrt(np.einsum("rk,rk->r", user, user))
    longest = np.sqrt(np.einsum("ik,ik->i", item, item).max())
    reach = length * longest + np.abs(bias).max() + 2.0**-90 * (length + longest + 1)
    return np.where(np.maximum(reach, np.maximum(length, longest)) < 2.0**100, reach, np.nan)
