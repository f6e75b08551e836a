"""Exact top-n of every row of a table of scores: the bottleneck of a recommender, so it is worth a trick.

Cut a row into groups and take the largest score of each. The n-th largest of those is reached by at least n items of
the row, so no item below it can be in the top n; what is left, a dozen items or so, is sorted. Nothing is approximate,
and the passes over the whole table are plain vector instructions.

Why a grid: the last digit of a matrix product differs between processors and thread counts, and in a closed loop one
flipped rank changes every day after it. So scores count in steps of 2**-30, and equal ones go by item_id, lowest first.
"""

import numpy as np

from simlab.errors import ConfigError
from simlab.schema import NO_ITEM, Bools, Floats, Ints

_GRID = 2.0**30
_ROUND = 1.5 * 2.0**52  # adding and subtracting this rounds a double to a whole number, at vector speed
_ROWS = 128  # scores of so many rows stay in the cache
_GROUPS = 100
_LOWEST, _HIGHEST = -(2.0**20), 2.0**20
"""Scores are cut to these, so that they have room on the grid."""


def top_n(scores: Floats, n: int, allowed: Bools, exclude: Ints) -> Ints:
    """The `n` highest-scored items of each row, best first; shape (R, n), `NO_ITEM` where too few are left.

    `scores` has shape (R, n_items), `allowed` (n_items,) says which items can be shown at all, and `exclude` (E, 2)
    names (row, item_id) pairs that cannot; pairs of an item that is not there change nothing. Scores are cut to +-2**20
    and rounded to 2**-30; a NaN counts as -2**20.
    Raises `ConfigError` where more items are asked for than are allowed.

    >>> allowed, nothing = np.array([True, True, True, False]), np.empty((0, 2), dtype=np.int64)
    >>> top_n(np.array([[0.1, 0.7, 0.7, 0.9]]), 2, allowed, nothing)
    array([[1, 2]])
    """
    n_rows, n_items = scores.shape
    if not 1 <= n <= allowed.sum():
        raise ConfigError("items in a slate", n, f"the catalogue offers {allowed.sum()}: give 1 to that many")
    top = np.empty((n_rows, n), dtype=np.int64)
    exclude = exclude[(exclude[:, 1] >= 0) & (exclude[:, 1] < n_items)]  # NO_ITEM would count from the end
    by_row = exclude[np.argsort(exclude[:, 0])]
    width = -(-n_items // _GROUPS) * _GROUPS  # a whole number of groups
    hidden = np.concatenate([~allowed, np.ones(width - n_items, dtype=bool)])
    whole = np.zeros((min(_ROWS, n_rows), width))
    for first in range(0, n_rows, _ROWS):
        last = min(first + _ROWS, n_rows)
        block = whole[: last - first]
        np.clip(scores[first:last], _LOWEST, _HIGHEST, out=block[:, :n_items])
        if (unknown := np.isnan(block)).any():
            block[unknown] = _LOWEST
        block *= _GRID
        block += _ROUND
        block -= _ROUND
        block[:, hidden] = -np.inf
        pairs = by_row[slice(*np.searchsorted(by_row[:, 0], [first, last]))]
        block[pairs[:, 0] - first, pairs[:, 1]] = -np.inf
        top[first:last] = _top_of_block(block, n)
    return top


def _top_of_block(block: Floats, n: int) -> Ints:
    """The top `n` of each row; -inf marks what cannot be shown. The width is a whole number of groups."""
    n_rows, width = block.shape
    if n < _GROUPS:
        largest = block.reshape(n_rows, -1, _GROUPS).max(axis=1)  # group g holds items g, g + 100, g + 200 ...
        bound = np.partition(largest, _GROUPS - n, axis=1)[:, _GROUPS - n]
    else:
        bound = np.full(n_rows, -np.inf)
    place = np.flatnonzero(block >= bound[:, None])  # by row, then by item
    row, score = place // width, block.ravel()[place]
    order = np.lexsort((-score, row))  # stable: equal scores stay in the order of items
    rank = np.arange(len(place)) - np.searchsorted(row, np.arange(n_rows))[row]
    best = order[rank < n]
    item_id = np.where(np.isneginf(score[best]), NO_ITEM, place[best] - row[best] * width)
    return item_id.reshape(n_rows, n)
