"""The loops of retrieval, compiled: the best items of one row of scores after another.

The largest score of each of some hundred groups (`peak`) gives a bound that the top n reach; only the groups that reach
it are looked at. How and why: see `simlab.recsys.retrieval`.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from simlab.compiled import compiled
from simlab.schema import NO_ITEM, Bools, Floats, Ints

Scores = npt.NDArray[np.floating[Any]]
"""Scores in either precision."""
Score = float | np.floating[Any]

_LANES = 64
"""Items are dealt into a multiple of so many groups, for vector instructions."""
_ROOM = 40
"""The largest score of a row is put between 2**39 and 2**40 steps."""
_FAR = 2.0 ** (_ROOM + 1)
"""Steps that infinity counts as: farther than any number."""
_LONG = 64
"""A longer list is sorted; into a short one each item is put where it belongs."""
_SPARE = 64
"""So many candidates more than 4 n show that the screen tells too little about a row."""


@compiled
def screen(
    table: npt.NDArray[np.float32], factors: tuple[Floats, Floats, Floats], offered: Ints, reach: Floats, top: Ints
) -> Bools:
    """Fills in the rows of `top` that the single-precision `table` can tell, and says which; shape (R,).

    Its columns are those of `offered`. A row where too few or too many items are left, or where scores differ by
    less than a step of the grid, cannot be told.
    """
    user, item, bias = factors
    n_rows, n = top.shape
    told = np.zeros(n_rows, dtype=np.bool_)
    peak = np.empty(min(_LANES * max(2, math.ceil(n / 16)), table.shape[1]), dtype=np.float32)
    found = np.empty(4 * n + _SPARE + table.shape[1] // len(peak), dtype=np.int64)
    score = np.empty(len(found) + 3)
    for r in range(n_rows):
        _peaks(table[r], peak)
        bound = _reached(peak, n, np.float32(reach[r]))
        slack = (user.shape[1] + 8) * 2.0**-23 * reach[r]
        n_found = _at_least(np.float32(bound - 2 * slack), table[r], peak, found)
        if bound == -np.inf or n_found > len(found):
            continue
        left = found[:n_found]
        for j in range(n_found):
            left[j] = offered[left[j]]
        _dots(user[r], item, left, score)
        for j in range(n_found):
            score[j] += bias[left[j]]
        told[r] = _place(score[:n_found], left, 2.0 ** (2 - _ROOM) * reach[r], top[r])
    return told


@compiled
def top_of_rows(scores: Floats, n: int, allowed: Bools, banned: Ints, start: Ints, stop: Ints) -> Ints:
    """`top_n`; the items excluded from row r are banned[start[r] : stop[r]]."""
    n_rows, n_items = scores.shape
    top = np.full((n_rows, n), NO_ITEM)
    peak = np.empty(min(_LANES * max(2, math.ceil(n / 16)), n_items))
    size, steps = np.empty(len(peak)), np.empty(n_items)
    hidden, items, found = ~allowed, np.arange(n_items), np.empty(n_items + len(peak), dtype=np.int64)
    for r in range(n_rows):
        row, excluded = scores[r], banned[start[r] : stop[r]]
        for i in excluded:
            hidden[i] = True
        _survey(row, hidden, peak, size)
        largest = size.max()
        exponent = math.frexp(largest)[1]
        bound = _reached(peak, n, largest) - math.ldexp(2.0, exponent - _ROOM)
        n_left = 0
        for i in found[: _at_least(bound, row, peak, found)] if n <= _LONG else items:
            if not (hidden[i] or row[i] < bound):
                found[n_left], steps[n_left] = i, _steps(row[i], exponent)
                n_left += 1
        for i in excluded:
            hidden[i] = not allowed[i]
        _put(steps[:n_left], found[:n_left], top[r])
    return top


@compiled
def _survey(row: Floats, hidden: Bools, peak: Floats, size: Floats) -> None:
    """The largest score of each group among what can be shown, and the largest finite |score| among all."""
    peak[:] = -np.inf
    size[:] = 0.0
    for first in range(0, len(row), len(peak)):
        part, gone = row[first : first + len(peak)], hidden[first : first + len(peak)]
        for g in range(len(part)):
            x = part[g]
            size[g] = max(size[g], abs(x) if abs(x) < np.inf else 0.0)
            peak[g] = max(peak[g], -np.inf if gone[g] else x)  # a NaN is not larger than anything


@compiled
def _peaks(row: Scores, peak: Scores) -> None:
    """The largest score of each group; group g of G holds items g, g + G, g + 2 G ..."""
    peak[:] = row[: len(peak)]
    for first in range(len(peak), len(row), len(peak)):
        part = row[first : first + len(peak)]
        for g in range(len(part)):
            peak[g] = max(peak[g], part[g])


@compiled
def _reached(peak: Scores, n: int, reach: Score) -> Score:
    """A number from -reach to reach that at least `n` peaks reach, and few more if halving finds it; else -infinity."""
    low, high = -reach, reach
    if _count(peak, low) < n:
        return -np.inf
    half = peak.dtype.type(0.5)
    for _ in range(30):
        middle = half * low + half * high
        n_reached = _count(peak, middle)
        if n_reached < n:
            high = middle
        else:
            low = middle
        if n <= n_reached <= n + 3:
            break
    return low


@compiled
def _count(peak: Scores, bound: Score) -> int:
    """How many peaks reach `bound`."""
    n = 0
    for g in range(len(peak)):
        n += peak[g] >= bound
    return n


@compiled
def _at_least(bound: Score, row: Scores, peak: Scores, found: Ints) -> int:
    """Fills `found` with the items that reach `bound` and tells their number, more than its length if it is short."""
    n_found, n_groups, members = 0, 0, math.ceil(len(row) / len(peak))
    group = np.empty(len(peak), dtype=np.int64)
    for g in range(len(peak)):
        group[n_groups] = g  # to be written over by the next, unless it counts
        n_groups += peak[g] >= bound
    for g in group[:n_groups]:
        if n_found + members > len(found):
            return len(found) + 1
        for i in range(g, len(row), len(peak)):
            found[n_found] = i
            n_found += not row[i] < bound  # a NaN may be all that is left
    return n_found


@compiled
def _put(score: Floats, item_id: Ints, top: Ints) -> None:
    """The best into `top`, the highest score first, equal ones by item_id."""
    if len(top) > _LONG:  # its items are in order: a stable sort
        order = np.argsort(-score, kind="mergesort")
        for place in range(min(len(top), len(score))):
            top[place] = item_id[order[place]]
        return
    best = np.empty(len(top))
    n = 0
    for j in range(len(score)):
        x, i = score[j], item_id[j]
        if n < len(top):
            n += 1
        elif x < best[-1] or (x == best[-1] and i > top[-1]):
            continue
        place = n - 1
        while place > 0 and (x > best[place - 1] or (x == best[place - 1] and i < top[place - 1])):
            best[place], top[place] = best[place - 1], top[place - 1]
            place -= 1
        best[place], top[place] = x, i


@compiled
def _place(score: Floats, item_id: Ints, step: float, top: Ints) -> bool:
    """`_put` of a few, if all are either equal or a step apart: then no grid changes their order.

    An item's place is the number of those that are better, which a processor need not guess as it must in a sort.
    """
    near = 0
    for j in range(len(score)):
        x, i, place = score[j], item_id[j], 0
        for k in range(len(score)):
            more = score[k] - x
            place += (more > 0) | ((more == 0) & (item_id[k] < i))
            near += (abs(more) < step) & (more != 0)
        if place < len(top):
            top[place] = i
    return near == 0


@compiled
def _steps(score: float, exponent: int) -> float:
    """A score in whole steps of its row."""
    if abs(score) < np.inf:
        return float(np.rint(math.ldexp(score, _ROOM - exponent)))
    return _FAR if score > 0 else -_FAR


@compiled
def _dots(user: Floats, item: Floats, item_id: Ints, score: Floats) -> None:
    """user . item of some, each summed in the order of dimensions: the same everywhere. Four at a time, for speed."""
    last = len(item_id) - 1
    for first in range(0, last + 1, 4):
        a, b = item[item_id[first]], item[item_id[min(first + 1, last)]]
        c, d = item[item_id[min(first + 2, last)]], item[item_id[min(first + 3, last)]]
        of_a = of_b = of_c = of_d = 0.0
        for k in range(len(user)):
            of_a += user[k] * a[k]
            of_b += user[k] * b[k]
            of_c += user[k] * c[k]
            of_d += user[k] * d[k]
        score[first], score[first + 1], score[first + 2], score[first + 3] = of_a, of_b, of_c, of_d


@compiled
def exact(factors: tuple[Floats, Floats, Floats], rows: Ints) -> Floats:
    """All scores of some rows in double precision; shape (rows, n_items)."""
    user, item, bias = factors
    table, items, score = np.empty((len(rows), len(bias))), np.arange(len(bias)), np.empty(len(bias) + 3)
    for r in range(len(rows)):
        _dots(user[rows[r]], item, items, score)
        for i in range(len(bias)):
            table[r, i] = score[i] + bias[i]
    return table
