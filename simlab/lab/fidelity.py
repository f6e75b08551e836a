"""How true a calibrated world is to the ratings it was fitted to: real beside simulated.

Why recommenders are part of it: a world may have the right histograms and still be one in which everybody likes what is
popular, or in which tastes are easier to learn than real ones. So four recommenders learn from the first 80 % of each
user's choices, in reality and in the world left alone, and are asked for the rest.

LightFM learns here from choices alone, as ALS does. With public features it gains on real data (0.110 -> 0.119 on
MovieLens 100K, level with ALS) and not in the world (0.128 -> 0.124): the world's features tell less than real ones do.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from simlab.datasets import Ratings, observed
from simlab.recsys.metrics import gini, recall_at_k
from simlab.recsys.retrieval import top_n
from simlab.recsys.training import Interactions, TrainingConfig, fit
from simlab.schema import Bools, Floats, Ints, Requests
from simlab.settings import require
from simlab.world.organic import Observed, organic_choices
from simlab.world.truth import World

QUANTILES = (5, 25, 50, 75, 95)
"""Percentiles of activity that are shown."""

ALGORITHMS = ("random", "popularity", "lightfm", "als")

TRAIN_SHARE = 0.8
"""Share of each user's choices, the first ones, that recommenders learn from."""

TRAININGS = 3
"""Of each recommender, to average the luck of training away: of LightFM's recall it moves the third digit."""

K = 10
"""Places of the list in which a choice must be found again."""


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """What is measured, in reality and in the world alike."""

    gini: float
    """Of the popularity of items, 0 (all alike) to 1."""
    activity: Floats
    """Choices of a user at each of QUANTILES."""
    ratings: Floats
    """Shares of 1 to 5 stars; shape (5,)."""
    recall: dict[str, float]
    """recall@10 of each of ALGORITHMS, mean over users and trainings."""

    @property
    def order(self) -> tuple[str, ...]:
        """Algorithms from worst to best."""
        return tuple(sorted(self.recall, key=self.recall.__getitem__))


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Real beside simulated."""

    name: str
    real: Portrait
    simulated: Portrait

    @property
    def same_order(self) -> bool:
        """Whether the algorithms come out in the same order of recall."""
        return self.real.order == self.simulated.order

    @property
    def table(self) -> pd.DataFrame:
        """One row a quantity, columns real and simulated."""
        return pd.DataFrame({"real": _rows(self.real), "simulated": _rows(self.simulated)})

    def __str__(self) -> str:
        verdict = "the same" if self.same_order else "not the same"
        order = f"order of recall@{K}: {verdict} ({' < '.join(self.simulated.order)})"
        return f"{self.name}\n{self.table.round(3).to_string()}\n{order}"


def _rows(portrait: Portrait) -> dict[str, float]:
    return {
        "Gini of popularity": portrait.gini,
        **{f"ratings a user, {q} %": value for q, value in zip(QUANTILES, portrait.activity, strict=True)},
        **{f"share of {star} stars": value for star, value in zip(range(1, 6), portrait.ratings, strict=True)},
        **{f"recall@{K}, {name}": value for name, value in portrait.recall.items()},
    }


def first_share(user_id: Ints, share: float) -> Bools:
    """Which choices are among the first `share` of their user's, rounded up; `user_id` rises, shape (n_choices,).

    >>> first_share(np.array([0, 0, 0, 2, 2]), 0.5).tolist()
    [True, True, False, True, False]
    """
    count = np.bincount(user_id)
    place = np.arange(len(user_id)) - np.repeat(np.cumsum(count) - count, count)
    return np.asarray(place < np.ceil(share * count[user_id]))


def _table(choices: Observed, rows: Bools) -> csr_array:
    shape = (len(choices.shoppers), len(choices.catalogue))
    return csr_array((np.ones(rows.sum()), (choices.user_id[rows], choices.item_id[rows])), shape=shape)


def portrait(choices: Observed, *, seed: int) -> Portrait:
    """The measures of `choices`; `seed` is that of the recommenders' training."""
    n_users, n_items = len(choices.shoppers), len(choices.catalogue)
    early = first_share(choices.user_id, TRAIN_SHARE)
    learnt, asked = (_table(choices, rows) for rows in (early, ~early))
    data = Interactions(
        user_id=choices.user_id[early], item_id=choices.item_id[early], weight=np.ones(np.count_nonzero(early))
    )
    everybody = np.arange(n_users)
    requests = Requests(day=0, user_id=everybody, visit=np.zeros(n_users, dtype=np.int64), n=K)
    seen = np.column_stack(learnt.nonzero())
    recall = {}
    for algorithm in ALGORITHMS:
        found = []
        for k in range(TRAININGS):
            config = TrainingConfig(algorithm=algorithm, features=False, seed=TRAININGS * seed + k)
            model = fit(data, choices.catalogue, choices.shoppers, config=config)
            ranked = top_n(model.scores(requests), K, allowed=np.ones(n_items, dtype=bool), exclude=seen)
            found.append(np.nanmean(recall_at_k(ranked, asked, K)))
        recall[algorithm] = float(np.mean(found))
    count = choices.activity
    return Portrait(
        gini=gini(choices.popularity),
        activity=np.percentile(count, QUANTILES),
        ratings=np.bincount(choices.rating, minlength=6)[1:] / len(choices.rating),
        recall=recall,
    )


def fidelity(world: World, ratings: Ratings, *, seed: int = 0) -> Fidelity:
    """Real `ratings` beside as many choices of the shoppers of `world`, left alone; print it.

    Raises `ConfigError` where the world has other users or items than the ratings.
    """
    here, there = (len(world.shoppers), len(world.catalogue)), (ratings.n_users, ratings.n_items)
    require("world, users and items", here, here == there, f"give a world calibrated to these ratings: {there}")
    real = observed(ratings, seed=seed)
    simulated = organic_choices(world, real.activity, seed=seed)
    return Fidelity(name=ratings.name, real=portrait(real, seed=seed), simulated=portrait(simulated, seed=seed))
