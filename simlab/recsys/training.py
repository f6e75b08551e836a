"""Training: from the log to a model; the only door to lightfm and implicit.

A trainer is a function (interactions, catalogue, shoppers, config) -> model. What the libraries learn is turned into
plain arrays at once, so that whoever serves needs neither of them.

Why one thread: LightFM's threads write to the same numbers without waiting, and no two runs would be alike.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack, identity

from simlab.errors import DataError
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel, Model, PopularityModel, RandomModel
from simlab.schema import Catalogue, Floats, Ints, Labels, Shoppers
from simlab.settings import choose, require

PACKAGES = ("numpy", "scipy", "lightfm-next", "implicit")

PRICE_BANDS = ("low", "middle", "high")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained."""

    algorithm: str = "lightfm"
    """lightfm, als, popularity or random."""
    n_components: int = 16
    """Dimensions of the factors, from 1 up. More can say more and need more data."""
    epochs: int = 15
    """Passes over the data, from 1 up."""
    learning_rate: float = 0.05
    """Step of LightFM's updates, above 0."""
    features: bool = True
    """Whether LightFM also learns from what is public of items and shoppers, which helps where there is no data."""
    signal: str = "clicked"
    """What counts as liking: clicked or purchased."""
    window_days: int = 90
    """Only the last so many days are learnt from, from 1 up."""
    seed: int = 0
    """Of everything random in training."""

    def __post_init__(self) -> None:
        choose("algorithm", self.algorithm, TRAINERS)
        choose("signal", self.signal, {"clicked": 1, "purchased": 1})
        for name in ("n_components", "epochs", "window_days"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "give a whole number from 1 up")
        require("learning_rate", self.learning_rate, self.learning_rate > 0, "give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Who liked what, and how often; one row a pair."""

    user_id: Ints
    item_id: Ints
    weight: Floats

    def __len__(self) -> int:
        return len(self.user_id)

    def digest(self) -> str:
        """SHA-256 of the rows."""
        parts = (self.user_id, self.item_id, self.weight)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def interactions(log: EventLog, *, config: TrainingConfig, day: int) -> Interactions:
    """What can be learnt from at the start of `day`: the rows of the window before it, as known then."""
    signal = "clicked" if config.signal == "clicked" else "purchased"
    rows = log.sql(
        f"""select user_id, item_id, count(*) as n from impressions
            where {signal} and day >= {int(day) - config.window_days} group by all order by all""",
        until=day - 1,
    )
    return Interactions(
        user_id=rows["user_id"].to_numpy(np.int64),
        item_id=rows["item_id"].to_numpy(np.int64),
        weight=rows["n"].to_numpy(np.float64),
    )


def train(
    log: EventLog, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig, day: int
) -> tuple[Model, dict[str, Any]]:
    """A model of what is known at the start of `day`, and its card: data window and hash, settings, versions."""
    data = interactions(log, config=config, day=day)
    model = fit(data, catalogue, shoppers, config=config)
    card = {
        "trained_day": day,
        "first_day": day - config.window_days,
        "last_day": day - 1,
        "rows": len(data),
        "data_sha256": data.digest(),
        "settings": asdict(config),
        "packages": {name: version(name) for name in PACKAGES},
    }
    return model, card


def fit(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig) -> Model:
    """The model that `config.algorithm` learns. Raises `DataError` where factors are to be learnt from nothing."""
    if len(data) == 0 and config.algorithm in ("lightfm", "als"):
        raise DataError("interactions", 0, f"{config.algorithm} needs data: use popularity, or a longer history")
    return TRAINERS[config.algorithm](data, catalogue, shoppers, config)


def _random(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig) -> Model:
    return RandomModel(seed=config.seed, n_items=len(catalogue))


def _popularity(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig) -> Model:
    score = np.bincount(data.item_id, weights=data.weight, minlength=len(catalogue))
    return PopularityModel(score=score.astype(np.float64))


def _one_hot(labels: Labels) -> csr_matrix:
    n = len(labels)
    return csr_matrix((np.ones(n), (np.arange(n), labels.codes)), shape=(n, len(labels.names)))


def _price_band(catalogue: Catalogue) -> Labels:
    codes = np.searchsorted(np.quantile(catalogue.price, [1 / 3, 2 / 3]), catalogue.price)
    return Labels(codes=codes, names=PRICE_BANDS)


def _features(n: int, labels: tuple[Labels, ...]) -> csr_matrix:
    """Each row its own feature, and beside it those it shares; shape (n, n + words)."""
    table: csr_matrix = hstack([identity(n, format="csr"), *(_one_hot(column) for column in labels)]).tocsr()
    return table


def _lightfm(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig) -> Model:
    from lightfm import LightFM

    n_users, n_items = len(shoppers), len(catalogue)
    liked = csr_matrix((np.ones(len(data)), (data.user_id, data.item_id)), shape=(n_users, n_items))
    of_users, of_items = None, None
    if config.features:
        of_users = _features(n_users, (shoppers.segment, shoppers.region))
        of_items = _features(n_items, (catalogue.category, catalogue.brand, _price_band(catalogue)))
    trainer = LightFM(
        no_components=config.n_components,
        loss="warp",
        learning_rate=config.learning_rate,
        random_state=config.seed % 2**32,
    )
    trainer.fit(liked, user_features=of_users, item_features=of_items, epochs=config.epochs, num_threads=1)
    item_bias, item_vector = trainer.get_item_representations(of_items)
    _, user_vector = trainer.get_user_representations(of_users)
    known = np.ones(n_users, dtype=bool)  # features say something of those without data too
    if not config.features:
        known[:] = False
        known[data.user_id] = True
    return FactorModel(
        user_vector=user_vector.astype(np.float64),
        item_vector=item_vector.astype(np.float64),
        item_bias=item_bias.astype(np.float64),
        known=known,
    )


def _als(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig) -> Model:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    n_users, n_items = len(shoppers), len(catalogue)
    liked = csr_matrix((data.weight, (data.user_id, data.item_id)), shape=(n_users, n_items), dtype=np.float32)
    with threadpool_limits(1, "blas"):
        trainer = AlternatingLeastSquares(
            factors=config.n_components, iterations=config.epochs, num_threads=1, random_state=config.seed % 2**32
        )
        trainer.fit(liked, show_progress=False)
    known = np.zeros(n_users, dtype=bool)
    known[data.user_id] = True
    return FactorModel(
        user_vector=np.asarray(trainer.user_factors, dtype=np.float64),
        item_vector=np.asarray(trainer.item_factors, dtype=np.float64),
        item_bias=np.zeros(n_items),
        known=known,
    )


Trainer = Callable[[Interactions, Catalogue, Shoppers, TrainingConfig], Model]

TRAINERS: dict[str, Trainer] = {"lightfm": _lightfm, "als": _als, "popularity": _popularity, "random": _random}
