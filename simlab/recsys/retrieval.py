"""Exact top-n of every row of a table of scores: the bottleneck of a recommender, so it is worth a trick.

Cut a row into groups and take the largest score of each. The n-th largest of those is reached by at least n items of
the row, so no item below it can be in the top n; what is left, a dozen items or so, is sorted. Nothing is approximate,
and the passes over the whole table are plain vector instructions.

Why a grid: the last digit of a matrix product differs between processors and thread counts, and in a closed loop one
flipped rank changes every day after it. So the scores of a row count in steps of about 2**-40 of its largest, and equal
ones go by item_id, lowest first. The step is a power of two and the row's own: clicks in millions and worths in
millionths of a cent are ranked alike, whoever else asks.
"""

import numpy as np

from simlab.errors import ConfigError
from simlab.schema import NO_ITEM, Bools, Floats, Ints

_ROWS = 128  # scores of so many rows stay in the cache
_GROUPS = 100
_ROOM = 40
"""The largest score of a row is put between 2**39 and 2**40 steps."""
_FAR = 2.0 ** (_ROOM + 1)
"""Steps that infinity counts as: farther than any number."""
_ROUND = 1.5 * 2.0**52
"""Adding so many steps to a double rounds it to a whole number of them, at vector speed."""


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
        _to_grid(scores[first:last], out=block[:, :n_items])
        block[:, hidden] = -np.inf
        pairs = by_row[slice(*np.searchsorted(by_row[:, 0], [first, last]))]
        block[pairs[:, 0] - first, pairs[:, 1]] = -np.inf
        top[first:last] = _top_of_block(block, n)
    return top


def _to_grid(scores: Floats, out: Floats) -> None:
    """Each row rounded to steps of its own and moved up by `_ROUND` of them, which changes no order."""
    largest = np.maximum(scores.max(axis=1), -scores.min(axis=1))
    odd = np.flatnonzero(~(largest < 2.0**1000))  # NaN and infinity among them, or no room above
    largest[odd] = 1.0
    np.add(scores, np.ldexp(_ROUND, np.frexp(largest)[1] - _ROOM)[:, None], out=out)
    if len(odd):
        numbers = np.where(np.isfinite(scores[odd]), np.abs(scores[odd]), 0.0)
        steps = np.ldexp(scores[odd], _ROOM - np.frexp(numbers.max(axis=1, keepdims=True))[1])
        out[odd] = np.nan_to_num(steps, nan=-_FAR, posinf=_FAR, neginf=-_FAR) + _ROUND


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
