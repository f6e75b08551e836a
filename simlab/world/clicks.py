"""What makes shoppers click, found in real impressions: appeal of items and tastes, as far as clicks tell.

    P(click) = looks * sigmoid(base + quality_i + x_u . y_i),      looks = patience^position

1. Qualities are Gaussian around 0 with a variance that is found too (empirical Bayes; EM, Dempster, Laird, Rubin 1977),
   by Fisher scoring; so an item that was shown twice and clicked once is not taken for the best of all.
2. Tastes are leading singular vectors of clicks made less clicks to be expected, by user and item, as strong as makes
   clicks hidden from the fit likeliest; 0 where they are no help. How many is found in the same way.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import expit, logit

from simlab.schema import Bools, Catalogue, Floats, Ints, Shoppers
from simlab.world.factors import best_scale, factors

_DIGITS = 6
"""What is found is rounded, so that it does not hang on the last digits of a processor's products."""

_ROUNDS = 60
"""Of scoring, after which qualities and their variance stand still; `_FEW` are enough to compare tastes."""

_FEW = 15


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Impressions; arrays of shape (n,)."""

    user_id: Ints
    item_id: Ints
    looks: Floats
    """P(looked at), in (0, 1]."""
    clicked: Bools

    def __len__(self) -> int:
        return len(self.clicked)

    def take(self, rows: Bools) -> "Shown":
        """Some of them."""
        return Shown(
            user_id=self.user_id[rows], item_id=self.item_id[rows], looks=self.looks[rows], clicked=self.clicked[rows]
        )


@dataclass(frozen=True, kw_only=True)
class ClickModel:
    """What clicks follow."""

    base: float
    quality: Floats
    """Shape (n_items,)."""
    taste: Floats
    """Shape (n_users, n_dims)."""
    vector: Floats
    """Shape (n_items, n_dims)."""

    def utility(self, shown: Shown) -> Floats:
        """Utility of what was shown; shape (n,)."""
        match = np.einsum("rd,rd->r", self.taste[shown.user_id], self.vector[shown.item_id])
        return np.asarray(self.quality[shown.item_id] + match)

    def scores(self, shown: Shown) -> Floats:
        """Log probability of what came of each impression."""
        chance = np.clip(shown.looks * expit(self.base + self.utility(shown)), 1e-12, 1 - 1e-12)
        return np.asarray(np.where(shown.clicked, np.log(chance), np.log1p(-chance)))


def fit_appeal(shown: Shown, match: Floats, n_items: int, rounds: int = _ROUNDS) -> tuple[float, Floats]:
    """Base and qualities (n_items,), where `match` (n,) is what tastes add to the utility of each impression."""
    base, quality, variance = (
        float(logit((shown.clicked.sum() + 0.5) / (shown.looks.sum() + 1))),
        np.zeros(n_items),
        0.3,
    )
    base -= float(match.mean())
    for _ in range(rounds):
        attracts = expit(base + quality[shown.item_id] + match)
        click = shown.looks * attracts
        slope = (shown.clicked - click) * (1 - attracts) / np.maximum(1 - click, 1e-12)
        weight = click * (1 - attracts) ** 2 / np.maximum(1 - click, 1e-12)
        curve = np.bincount(shown.item_id, weight, n_items) + 1 / variance
        quality += np.clip((np.bincount(shown.item_id, slope, n_items) - quality / variance) / curve, -1, 1)
        base += float(np.clip(slope.sum() / max(weight.sum(), 1e-12), -1, 1))
        variance = max(float((quality**2 + 1 / curve).mean()), 1e-4)
    return base, quality


def with_tastes(shown: Shown, taste: Floats, vector: Floats, rounds: int = _ROUNDS) -> ClickModel:
    """The model of the impressions `shown` with these tastes (n_users, n_dims) and vectors (n_items, n_dims)."""
    match = np.einsum("rd,rd->r", taste[shown.user_id], vector[shown.item_id])
    base, quality = fit_appeal(shown, match, len(vector), rounds)
    return ClickModel(base=round(base, _DIGITS), quality=np.round(quality, _DIGITS), taste=taste, vector=vector)


def _tastes(shown: Shown, catalogue: Catalogue, shoppers: Shoppers, n_dims: int) -> tuple[Floats, Floats]:
    """Tastes and vectors, of which the strength is still to be found."""
    size = (len(shoppers), len(catalogue))
    plain = with_tastes(shown, np.zeros((size[0], 1)), np.zeros((size[1], 1)))
    surprise = shown.clicked - shown.looks * expit(plain.base + plain.utility(shown))
    table = csr_matrix((surprise, (shown.user_id, shown.item_id)), shape=size)
    return factors(table, catalogue, shoppers, n_dims)


def fit_clicks(shown: Shown, hidden: Bools, catalogue: Catalogue, shoppers: Shoppers, *, most: int) -> ClickModel:
    """The model of all impressions; of 1, 2, 4 .. `most` dimensions those that foretell the rows `hidden` (n,) best.

    Why few: clicks on what was shown say little about each shopper, and every dimension that is not there is noise.
    """
    seen, rest = shown.take(~hidden), shown.take(hidden)
    best, n_dims, scale = -np.inf, 1, 0.0
    for dims in sorted({2**k for k in range(10) if 2**k < most} | {most}):
        x, y = _tastes(seen, catalogue, shoppers, dims)

        def score(scale: float, x: Floats = x, y: Floats = y) -> float:
            return float(with_tastes(seen, x, scale * y, _FEW).scores(rest).sum())

        found, height = best_scale(score)
        if height > best:
            best, n_dims, scale = height, dims, found
    x, y = _tastes(shown, catalogue, shoppers, n_dims)
    return with_tastes(shown, np.round(x, _DIGITS), np.round(scale * y, _DIGITS))
