"""Real time: what a shopper has just done changes the next slate, before any model is trained again.

    fold-in        clicks that the model has not learnt from move the shopper's vector, in closed form
    suppression    what a shopper bought a few days ago is not offered again
    exploration    some places of a slate are left to chance, with known probabilities, which the log keeps

Why in closed form: with the items' vectors fixed, a shopper's is the solution of a ridge regression. It costs
microseconds, depends on that shopper's events alone, and is the same in every process that has heard them.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simlab.compiled import compiled
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel
from simlab.schema import NO_ITEM, Bools, Floats, Ints, Requests
from simlab.settings import check_types, choose, require
from simlab.streams import uniforms

EXPLORATIONS = ("none", "epsilon", "thompson")

_POINTS = 64
"""Of the grid on which a place's probabilities are summed."""


@dataclass(frozen=True, kw_only=True)
class OnlineConfig:
    """What is decided between trainings."""

    fold_in: float = 0.0
    """How far a fresh click moves a shopper's vector, from 0 (not at all) up: the score that a clicked item gains where
    nothing holds the vector back."""
    ridge: float = 10.0
    """What holds the vector back to what the model learnt, above 0: more needs more clicks to move as far."""
    memory_days: int = 28
    """Clicks that the model has not learnt from are remembered for so many days, from 1 up."""
    suppress_days: int = 0
    """What was bought is not shown again for so many days, from 0 (shown at once) up."""
    exploration: str = "none"
    """none, epsilon (a place goes to any candidate by chance) or thompson (to one that may well be the best)."""
    epsilon: float = 0.05
    """Share of the places that epsilon leaves to chance, in [0, 1]."""
    candidates: int = 50
    """Best items of the model among which exploration chooses, from 1 to 1000."""
    width: float = 1.0
    """Thompson: how unsure the score of an item is that was never shown, in standard deviations of the candidates'
    scores, from 0.2 up. Being shown makes it surer."""

    def __post_init__(self) -> None:
        check_types(self)
        choose("exploration", self.exploration, dict.fromkeys(EXPLORATIONS))
        for name in ("fold_in", "suppress_days"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "give a number from 0 up")
        require("ridge", self.ridge, self.ridge > 0, "give a number above 0")
        require("width", self.width, self.width >= 0.2, "give a number from 0.2 up: the grid sees no finer")
        require("memory_days", self.memory_days, self.memory_days >= 1, "give a whole number from 1 up")
        require("epsilon", self.epsilon, 0 <= self.epsilon <= 1, "give a probability in [0, 1]")
        require("candidates", self.candidates, 1 <= self.candidates <= 1000, "give a whole number from 1 to 1000")

    @property
    def listens(self) -> bool:
        """Whether what shoppers do changes anything before the next training."""
        return self.fold_in > 0 or self.suppress_days > 0 or self.exploration == "thompson"


class Act(NamedTuple):
    """Something a shopper did."""

    user_id: int
    item_id: int
    kind: str
    """click, or a kind of FEEDBACK."""
    day: int


class Live:
    """What shoppers did lately, as far as it decides what they see next: a fold over the log and the day's events."""

    def __init__(self, config: OnlineConfig) -> None:
        self.config = config
        self.shown: Floats = np.zeros(0)
        self._clicks: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._bought: dict[int, dict[int, int]] = defaultdict(dict)

    def open_day(self, log: EventLog, day: int, without: Sequence[str] = ()) -> None:
        """Begins `day` with what the log says of the days before, less what the versions `without` have shown.

        So after a rollback, and in a process that starts again, nothing is left of what came by a bad model.
        """
        if not self.config.listens:
            return
        first = day - max(self.config.memory_days, self.config.suppress_days)
        bad = ", ".join(f"'{version}'" for version in without)
        good = f"and coalesce(model_version, '') not in ({bad})" if without else ""
        rows = log.sql(
            f"""select user_id, item_id, day, 'click' as kind, impression_id from impressions
                where clicked and day between {first} and {day - 1} {good}
                union all
                select user_id, item_id, purchase_day as day, 'purchase' as kind, impression_id from impressions
                where purchase_day between {first} and {day - 1} {good}
                order by day, kind, impression_id""",
            until=day - 1,
        )
        columns = (rows[name].tolist() for name in ("user_id", "item_id", "kind", "day"))
        fresh = Live(self.config)  # taken over at the end: others may be reading
        fresh.hear([Act(*parts) for parts in zip(*columns, strict=True)])
        counts = log.sql(
            f"""select item_id, count(*) as n from impressions
                where day between {day - self.config.memory_days} and {day - 1} {good} group by all order by all""",
            until=day - 1,
        )
        self.shown = np.bincount(counts["item_id"], weights=counts["n"]).astype(np.float64)
        self._clicks, self._bought = fresh._clicks, fresh._bought

    def hear(self, acts: Sequence[Act]) -> None:
        """Takes in what shoppers did."""
        for act in acts:
            if act.kind == "click":
                self._clicks[act.user_id].append((act.day, act.item_id))
            elif act.kind == "purchase":
                self._bought[act.user_id][act.item_id] = act.day

    def fold(self, model: FactorModel, user_id: Ints, day: int, since: int) -> tuple[Floats, Bools]:
        """The users' vectors after the clicks of the days `since` .. `day`, (R, d), and who has such clicks, (R,)."""
        vector = model.vectors(user_id)
        if self.config.fold_in == 0:
            return vector, np.zeros(len(user_id), dtype=np.bool_)
        first = max(since, day - self.config.memory_days)
        fresh = [
            [item for when, item in self._clicks.get(user, ()) if when >= first and item < model.n_items]
            for user in user_id.tolist()
        ]
        stop = np.cumsum([0, *map(len, fresh)])
        items = np.array([item for clicks in fresh for item in clicks], dtype=np.int64)
        centred = model.item_vector[items] - model.item_vector.mean(axis=0)
        _fold(vector, centred, stop, float(self.config.fold_in), float(self.config.ridge))
        return np.rint(vector * 2**16) / 2**16, np.diff(stop) > 0  # the grid of training: scores stay exact

    def bought(self, user_id: Ints, day: int) -> Ints:
        """Pairs (row, item_id) of what was bought in the last `suppress_days` days, `day` included; shape (E, 2)."""
        days = self.config.suppress_days
        pairs = [
            (row, item)
            for row, user in enumerate(user_id.tolist() if days else ())
            for item, when in list(self._bought.get(user, {}).items())
            if when > day - days
        ]
        return np.array(pairs, dtype=np.int64).reshape(len(pairs), 2)


@compiled
def _fold(vector: Floats, clicked: Floats, stop: Ints, step: float, ridge: float) -> None:
    """Moves each row of `vector` (R, d) by its rows V of `clicked` (E, d):  (V'V + ridge I)^-1 V' (step, ..., step).

    The ridge regression (Hoerl and Kennard, Technometrics 1970) of a gain of `step` in score on what a clicked item has
    more of than the average one; click by click, as recursive least squares: P is the inverse so far.
    """
    d = vector.shape[1]
    for r in range(len(vector)):
        p, moved = np.eye(d) / ridge, np.zeros(d)
        for e in range(stop[r], stop[r + 1]):
            v = clicked[e]
            pull = _times(p, v)
            gain = pull / (1 + (v * pull).sum())
            moved += gain * (step - (v * moved).sum())
            for i in range(d):
                p[i] -= gain[i] * pull
        vector[r] += moved


@compiled
def _times(matrix: Floats, v: Floats) -> Floats:
    """matrix . v, summed in order: the same on every processor."""
    product = np.zeros(len(v))
    for i in range(len(v)):
        for j in range(len(v)):
            product[i] += matrix[i, j] * v[j]
    return product


def explore(
    config: OnlineConfig, item_id: Ints, score: Floats, shown: Floats, requests: Requests, *, seed: int
) -> tuple[Ints, Floats, Bools]:
    """Slates of `requests.n` items drawn from candidates `item_id` (R, m), best first, which the model scores `score`.

    Returns the items, their propensities P(this item here | who asked, items above), and what is there by chance and
    not by rank; shapes (R, n). `shown` says how often each item was shown lately. The luck is that of the user's row
    for the visit and page, so it does not depend on who else asks.

        epsilon     P = (1 - epsilon) [best left] + epsilon / number left
        thompson    P(i is the best of those left), each score being N(score_i, s_i^2),
                    s_i = width * sd(scores) * max(1/4, (1 + shown_i / 50)^-1/2),
                    anew at each place, summed on a grid (Thompson, Biometrika 1933)
    """
    luck = np.empty((len(requests), requests.n))
    for visit, page in {*zip(requests.visit.tolist(), requests.page.tolist(), strict=True)}:
        rows = np.flatnonzero((requests.visit == visit) & (requests.page == page))
        name = ("exploration", requests.day, visit, page)
        luck[rows] = uniforms(seed, *name, rows=requests.user_id[rows], n=requests.n)
    times = np.append(shown, np.zeros(max(0, int(item_id.max(initial=0)) + 1 - len(shown))))[item_id]
    spread = config.width * np.maximum(0.25, 1 / np.sqrt(1 + times / 50))
    thompson = config.exploration == "thompson"
    return _explore(item_id, score, spread, luck, -1.0 if thompson else float(config.epsilon))


@compiled
def _explore(item_id: Ints, score: Floats, spread: Floats, luck: Floats, epsilon: float) -> tuple[Ints, Floats, Bools]:
    n_rows, n = luck.shape
    items = np.full((n_rows, n), NO_ITEM)
    propensity, chance = np.ones((n_rows, n)), np.zeros((n_rows, n), dtype=np.bool_)
    for r in range(n_rows):
        m = 0
        while m < item_id.shape[1] and item_id[r, m] != NO_ITEM:
            m += 1
        if m == 0:  # nothing is left for this one
            continue
        left = np.ones(m, dtype=np.bool_)
        density, below = _on_grid(score[r, :m], spread[r, :m]) if epsilon < 0 else (score[:0], score[:0])
        for place in range(min(n, m)):
            best = int(np.argmax(left))
            p = _of_best(density, below, left) if epsilon < 0 else left * (epsilon / (m - place))
            if epsilon >= 0:
                p[best] += 1 - epsilon
            u, drawn, sum_ = luck[r, place] * p.sum(), best, 0.0
            for i in range(m):
                sum_ += p[i]
                if left[i] and p[i] > 0:
                    drawn = i
                    if u < sum_:
                        break
            items[r, place], propensity[r, place] = item_id[r, drawn], p[drawn] / p.sum()
            chance[r, place] = drawn != best
            left[drawn] = False
    return items, propensity, chance


@compiled
def _on_grid(score: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Density of each score at the points of a common grid, and log P(the score lies below); shape (m, points)."""
    sd = spread * max(float(np.std(score)), 1e-9)
    x = np.linspace((score - 4 * sd).min(), (score + 4 * sd).max(), _POINTS)
    density, below = np.empty((len(score), _POINTS)), np.empty((len(score), _POINTS))
    for i in range(len(score)):
        for g in range(_POINTS):
            z = (x[g] - score[i]) / sd[i]
            density[i, g] = math.exp(-0.5 * z * z) / sd[i]
            below[i, g] = math.log(max(0.5 * math.erfc(-z / math.sqrt(2.0)), 1e-300))
    return density, below


@compiled
def _of_best(density: Floats, below: Floats, left: Bools) -> Floats:
    """P(item i is the best of those `left`), in proportion: summed over the grid, density_i x P(the others below)."""
    p, all_below = np.zeros(len(left)), np.zeros(_POINTS)
    for i in np.flatnonzero(left):
        all_below += below[i]
    for i in np.flatnonzero(left):
        for g in range(_POINTS):
            p[i] += density[i, g] * math.exp(all_below[g] - below[i, g])
    return p
