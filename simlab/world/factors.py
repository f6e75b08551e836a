"""Tastes found in what many people chose: leading singular vectors, and how strongly choices follow them.

A table of users and items, in which a choice made is (n_u c_i) ** -0.3, is taken apart into tastes x_u and vectors y_i.
Public features of users and items stand in it as more columns and rows, so that features mean something.

Why hidden choices: factors can always explain the choices that they were made from. How strongly choices follow them is
told by choices that they were not made from.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.sparse import bmat, csr_matrix, hstack
from scipy.sparse.linalg import svds

from simlab.schema import Bools, Catalogue, Floats, Ints, Labels, Shoppers
from simlab.world.organic import ChoiceModel, Observed, blocks, fit_margins, start_model

_TEMPER = 0.3
"""Of the busy users and the popular items before the factors are sought, from 0 (none) to 0.5 (all alike)."""

_FEATURES = 0.4
"""Weight of what is public beside one choice. Both are near where hidden choices of MovieLens 100K are likeliest."""

_NOTHING = 1e-6
"""Dimensions shorter than this share of the longest are rounding errors, and left empty."""

_STEP = 0.2


def _weighed(table: csr_matrix) -> csr_matrix:
    """Each entry over powers of the sums of its row and its column, so that the busy do not outweigh the rest."""
    size = abs(table)
    rows, columns = (np.maximum(np.asarray(size.sum(axis=axis)).ravel(), 1) ** -_TEMPER for axis in (1, 0))
    return table.multiply(rows[:, None]).multiply(columns).tocsr()


def _features(*labels: Labels) -> csr_matrix:
    """One row for each of those labelled, one column for each word that tells them apart."""
    n = len(labels[0])
    columns = [
        csr_matrix((np.ones(n), (np.arange(n), column.codes)), shape=(n, len(column.names)))
        for column in labels
        if len(column.names) > 1
    ]
    return hstack([csr_matrix((n, 0)), *columns]).tocsr()


def factors(made: csr_matrix, catalogue: Catalogue, shoppers: Shoppers, n_dims: int) -> tuple[Floats, Floats]:
    """x (n_users, n_dims) and y (n_items, n_dims) such that x . y has standard deviation 1 over all pairs.

    As in made worlds each dimension of x has mean square 1, and y tells how much it counts.
    `made` (n_users, n_items) says how much of each item each user took, or more than was to be expected.
    """
    people, things = _features(shoppers.segment, shoppers.region), _features(catalogue.category, catalogue.brand)
    table = bmat([[_weighed(made), _FEATURES * _weighed(people)], [_FEATURES * _weighed(things).T, None]]).tocsr()
    left, size, right = svds(table, k=n_dims, v0=np.ones(min(table.shape)))
    order = np.argsort(-size)
    x, y = (left[:, order] * size[order])[: made.shape[0]], right[order].T[: made.shape[1]]
    sign = np.where((y**3).sum(axis=0) < 0, -1.0, 1.0)
    strength = spread(x, y)
    length = np.sqrt((x**2).mean(axis=0))
    there = length > _NOTHING * length.max()
    x = np.where(there, x * sign / np.where(there, length, 1), 0.0)
    return x, y * sign * there * length / max(strength, 1e-6)


def spread(x: Floats, y: Floats) -> float:
    """Standard deviation of x . y over all pairs of a user and an item."""
    square = np.einsum("ud,ue->de", x, x) * np.einsum("id,ie->de", y, y)
    variance = square.sum() / (len(x) * len(y)) - (x.mean(axis=0) @ y.mean(axis=0)) ** 2
    return float(np.sqrt(max(variance, 0.0)))


def choices_of(observed: Observed, rows: Bools) -> csr_matrix:
    """The choices `rows` as a table of users and items."""
    shape = (len(observed.shoppers), len(observed.catalogue))
    return csr_matrix((np.ones(rows.sum()), (observed.user_id[rows], observed.item_id[rows])), shape=shape)


def best_scale(score: Callable[[float], float]) -> tuple[float, float]:
    """Where `score` is largest, by steps of 0.2 from 0 up and a parabola through the best three; and the most found."""
    found: list[float] = []
    for step in range(16):
        found.append(score(_STEP * step))
        if step and found[-1] < found[-2]:
            break
    best = int(np.argmax(found))
    if best in (0, len(found) - 1):
        return _STEP * best, found[best]
    before, top, after = found[best - 1 : best + 2]
    return round(_STEP * (best + 0.5 * (before - after) / (before - 2 * top + after)), 3), top


def scale_of_taste(observed: Observed, hidden: Bools, n_dims: int) -> float:
    """The scale under which the choices `hidden` are likeliest, when the others are known."""
    if not hidden.any():
        return 1.0
    x, fit = _start(observed, hidden, n_dims)

    def score(scale: float) -> float:
        return float(_foretold(observed, hidden, replace(fit, x=scale * x)).mean())

    return best_scale(score)[0]


def foretold(observed: Observed, hidden: Bools, n_dims: int, scale: float) -> dict[str, Floats]:
    """Log probability of each choice `hidden`, when the others are known, by what is taken into account."""
    x, fit = _start(observed, hidden, n_dims)
    seen, user_id = ~hidden, observed.user_id[hidden]
    n_users, n_items = len(observed.shoppers), len(observed.catalogue)
    activity = np.bincount(observed.user_id[seen], minlength=n_users)
    left = n_items - activity[user_id]
    alike = np.full(len(user_id), -np.log(n_users))
    popular = _foretold(observed, hidden, fit)
    tastes = _foretold(observed, hidden, replace(fit, x=scale * x))
    often = np.log((activity + 0.5) / (activity + 0.5).sum())[user_id]
    return {
        "everything alike": alike - np.log(left),
        "popularity of items": alike + popular,
        "tastes of users": alike + tastes,
        "activity of users": often + tastes,
    }


def _start(observed: Observed, hidden: Bools, n_dims: int) -> tuple[Floats, ChoiceModel]:
    """Tastes from the choices that are not hidden, and the model of these choices without tastes."""
    seen, margins = choices_of(observed, ~hidden), _margins(observed, hidden)
    x, y = factors(seen, observed.catalogue, observed.shoppers, n_dims)
    return x, fit_margins(start_model(0 * x, y, *margins), *margins)


def _margins(observed: Observed, hidden: Bools) -> tuple[Ints, Ints]:
    """Choices of each user and of each item, that are not hidden."""
    user_id, item_id = observed.user_id[~hidden], observed.item_id[~hidden]
    return np.bincount(user_id, minlength=len(observed.shoppers)), np.bincount(
        item_id, minlength=len(observed.catalogue)
    )


def _foretold(observed: Observed, hidden: Bools, fit: ChoiceModel) -> Floats:
    """Log probability of each choice hidden, as the next after those seen, with the tastes of `fit`."""
    fit = fit_margins(fit, *_margins(observed, hidden))
    seen, left = choices_of(observed, ~hidden), np.empty(len(fit.x))
    for rows in blocks(*seen.shape):
        utility, _ = fit.chances(rows)
        left[rows] = np.where(seen[rows].toarray() > 0, 0.0, np.exp(utility)).sum(axis=1)
    user_id, item_id = observed.user_id[hidden], observed.item_id[hidden]
    chosen: Floats = np.einsum("rd,rd->r", fit.x[user_id], fit.y[item_id]) + fit.quality[item_id]
    return chosen - np.log(left[user_id])
