"""Training: from the log to a model; with simlab.recsys.hybrid the only door to lightfm and implicit.

A trainer is a function (interactions, catalogue, shoppers, config, previous model) -> model. What the libraries learn
is turned into plain arrays at once, so that whoever serves needs neither of them. They are imported when they are
needed: settings of a training must be readable at once and everywhere.

Why one thread: LightFM's threads write to the same numbers without waiting, and no two runs would be alike.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix

from simlab.errors import DataError
from simlab.recsys.hybrid import PRICE_BANDS, learn_hybrid, met, on_grid, price_bands, resumable
from simlab.recsys.interactions import Interactions, interactions, lesson
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel, Model, PopularityModel, RandomModel, SegmentModel
from simlab.recsys.recipe import SIGNALS, TrainingConfig, diverging, seed_of
from simlab.recsys.registry import Registry
from simlab.schema import Catalogue, Shoppers

__all__ = [
    "PACKAGES",
    "PRICE_BANDS",
    "SIGNALS",
    "TRAINERS",
    "Interactions",
    "Trainer",
    "TrainingConfig",
    "fit",
    "interactions",
    "on_grid",
    "price_bands",
    "train",
    "train_next",
]

PACKAGES = ("numpy", "scipy", "lightfm-next", "implicit")


class Trainer(Protocol):
    """Learns a model of all items of `catalogue` from interactions that name only users and items there are."""

    def __call__(
        self,
        data: Interactions,
        catalogue: Catalogue,
        shoppers: Shoppers,
        config: TrainingConfig,
        previous: Model | None,
        /,
    ) -> Model:
        """The model, which depends on the arguments alone."""


def train(
    log: EventLog,
    catalogue: Catalogue,
    shoppers: Shoppers,
    *,
    config: TrainingConfig,
    day: int,
    without: Sequence[str] = (),
) -> tuple[Model, dict[str, Any]]:
    """A model of what is known at the start of `day`, and its card: data window and hash, settings, versions.

    What the versions `without` showed is not learnt from; the card calls them quarantined. Nor are users whom
    `shoppers` does not have. It starts from nothing; `train_next` can go on.
    """
    data, made = lesson(log, config=config, day=day, without=without)
    model = fit(data.of_shoppers(len(shoppers)), catalogue, shoppers, config=config)
    return model, _card(data.of_shoppers(len(shoppers)), config, day, {**made, "quarantined": sorted(without)})


def train_next(
    log: EventLog, registry: Registry, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig, day: int
) -> tuple[Model, dict[str, Any]]:
    """The model that may follow the champion of `registry` on `day`, and its card; see `train`.

    A warm start goes on from the champion, and the card says whether it could.
    """
    champion, without = registry.alias("champion"), registry.quarantined()
    if config.warm_epochs is None or champion is None:
        return train(log, catalogue, shoppers, config=config, day=day, without=without)
    previous = registry.load(champion)[0]
    data, made = lesson(log, config=config, day=day, without=without)
    data = data.of_shoppers(len(shoppers))
    model = fit(data, catalogue, shoppers, config=config, previous=previous)
    made["warm_start"] = champion if resumable(previous, config) else None
    return model, _card(data, config, day, {**made, "quarantined": sorted(without)})


def _card(data: Interactions, config: TrainingConfig, day: int, made: dict[str, Any]) -> dict[str, Any]:
    return {
        "trained_day": day,
        "first_day": None if config.window_days is None else day - config.window_days,
        "last_day": day - 1,
        "rows": len(data),
        "data_sha256": data.digest(),
        "settings": asdict(config),
        "packages": {name: version(name) for name in PACKAGES},
        **made,
    }


def fit(
    data: Interactions,
    catalogue: Catalogue,
    shoppers: Shoppers,
    *,
    config: TrainingConfig,
    previous: Model | None = None,
) -> Model:
    """The model that `config.algorithm` learns: the same data, settings and `previous` model give the same bits.

    Raises `DataError` where factors are to be learnt from nothing, and where users or items are named that there are
    not; `ConfigError` where the settings are so extreme that numbers grow beyond bounds.
    """
    if len(data) == 0 and config.algorithm in ("lightfm", "als"):
        remedy = f"{config.algorithm} needs rows where {config.signal}: take popularity, or a longer window"
        raise DataError("interactions to learn from", 0, remedy)
    data.check(len(shoppers), len(catalogue))
    return TRAINERS[config.algorithm](data, catalogue, shoppers, config, previous)


def _random(
    data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, previous: Model | None, /
) -> Model:
    return RandomModel(seed=config.seed, n_items=len(catalogue))


def _popularity(
    data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, previous: Model | None, /
) -> Model:
    score = np.bincount(data.item_id, weights=data.weight, minlength=len(catalogue))
    return PopularityModel(score=score.astype(np.float64))


_BORROWED = 20.0
"""Clicks that a segment borrows from all shoppers, so that a small one is not ranked by chance."""


def _segment(
    data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, previous: Model | None, /
) -> Model:
    """Clicks of each segment, and `_BORROWED` more dealt out as all shoppers' clicks are."""
    kinds, n_items = len(shoppers.segment.names), len(catalogue)
    place = shoppers.segment.codes[data.user_id] * n_items + data.item_id
    clicks = np.bincount(place, weights=data.weight, minlength=kinds * n_items).reshape(kinds, n_items)
    everybody = clicks.sum(axis=0)
    score = clicks + _BORROWED * everybody / max(float(everybody.sum()), 1.0)
    return SegmentModel(score=score.astype(np.float64), segment=shoppers.segment.codes.astype(np.int64))


def _als(
    data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, previous: Model | None, /
) -> Model:
    """Alternating least squares for implicit feedback (Hu, Koren, Volinsky, ICDM 2008), in double precision."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.recommender_base import ModelFitError
    from threadpoolctl import threadpool_limits

    shape = (len(shoppers), len(catalogue))
    with np.errstate(over="ignore"):  # the trainer says what is too much
        liked = csr_matrix((data.weight * config.confidence, (data.user_id, data.item_id)), shape=shape)
    with threadpool_limits(1, "blas"):  # implicit warns of more: BLAS's threads and its own get in each other's way
        trainer = AlternatingLeastSquares(
            factors=config.n_components,
            regularization=config.regularization,
            iterations=config.epochs,
            dtype=np.float64,
            num_threads=1,
            random_state=seed_of(config),
        )
        with diverging(config, ModelFitError, "confidence", "regularization"):
            trainer.fit(liked, show_progress=False)
    return FactorModel(
        user_vector=on_grid(trainer.user_factors),
        item_vector=on_grid(trainer.item_factors),
        item_bias=np.zeros(len(catalogue)),
        known=met(data.user_id, len(shoppers)),
    )


TRAINERS: dict[str, Trainer] = {
    "lightfm": learn_hybrid,
    "als": _als,
    "popularity": _popularity,
    "segment": _segment,
    "random": _random,
}
"""Of each algorithm of recipe.ALGORITHMS."""
