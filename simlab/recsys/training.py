"""Training: from the log to a model; the only door to lightfm and implicit.

A trainer is a function (interactions, catalogue, shoppers, config) -> model. What the libraries learn is turned into
plain arrays at once, so that whoever serves needs neither of them. They are imported when they are needed: settings of
a training must be readable at once and everywhere.

Why one thread: LightFM's threads write to the same numbers without waiting, and no two runs would be alike.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, hstack

from simlab.errors import ConfigError, DataError
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel, Model, PopularityModel, RandomModel, SegmentModel
from simlab.schema import GUESTS, Bools, Catalogue, Floats, Ints, Labels, Shoppers
from simlab.settings import check_types, choose, require
from simlab.streams import stream

PACKAGES = ("numpy", "scipy", "lightfm-next", "implicit")

SIGNALS = ("clicked", "purchased")

PRICE_BANDS = ("lowest", "low", "middle", "high", "highest")
"""Fifths of the catalogue by price."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained."""

    algorithm: str = "lightfm"
    """lightfm, als, popularity, segment (popularity by kind of household) or random."""
    n_components: int = 16
    """Dimensions of the factors, from 1 up. More can say more and need more data."""
    epochs: int = 10
    """Passes over the data, from 1 up."""
    learning_rate: float = 0.07
    """LightFM: how far one click moves the vector of an item, above 0."""
    features: bool = True
    """LightFM: whether to learn also from what is public of items and shoppers, which helps where there is no data."""
    confidence: float = 3.0
    """ALS: how much surer one click makes us that an item is liked, 0 being no surer than its absence; above 0."""
    regularization: float = 10.0
    """ALS: how strongly factors are pulled to 0, from 0 up. More helps where there is little data."""
    signal: str = "clicked"
    """What counts as liking: clicked or purchased."""
    window_days: int = 90
    """Only the last so many days are learnt from, from 1 up."""
    half_life: float | None = None
    """Days after which a click counts half, above 0; None lets all days of the window count alike."""
    seed: int = 0
    """Of everything random in training, from 0 to 2**63 - 1, which is what a model file can hold."""

    def __post_init__(self) -> None:
        check_types(self)
        choose("algorithm", self.algorithm, TRAINERS)
        choose("signal", self.signal, dict.fromkeys(SIGNALS, 1))
        for name in ("n_components", "epochs", "window_days"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "give a whole number from 1 up")
        for name in ("learning_rate", "confidence"):
            require(name, getattr(self, name), getattr(self, name) > 0, "give a number above 0")
        require("regularization", self.regularization, self.regularization >= 0, "give a number from 0 up")
        require("half_life", self.half_life, self.half_life is None or self.half_life > 0, "give days above 0, or None")
        require("seed", self.seed, 0 <= self.seed < 2**63, "give a whole number from 0 to 2**63 - 1")


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Who liked what, and how much; one row a user, an item and a day. Repeated rows count repeatedly."""

    user_id: Ints
    item_id: Ints
    weight: Floats
    """How often, less where it is long ago; above 0."""

    def __len__(self) -> int:
        return len(self.user_id)

    def check(self, n_users: int, n_items: int) -> None:
        """Raises `DataError` where a row names a user or an item that there is not."""
        for name, ids, n in (("user_id", self.user_id, n_users), ("item_id", self.item_id, n_items)):
            wrong = ids[(ids < 0) | (ids >= n)]
            if len(wrong):
                raise DataError(f"interactions, {name}", int(wrong[0]), f"only 0 .. {n - 1} are known")

    def of_shoppers(self, n_users: int) -> "Interactions":
        """The rows of users 0 .. n_users - 1: whoever else came in is answered, and not learnt from."""
        rows = self.user_id < n_users
        return Interactions(user_id=self.user_id[rows], item_id=self.item_id[rows], weight=self.weight[rows])

    def digest(self) -> str:
        """SHA-256 of the rows."""
        kinds = (("<i8", self.user_id), ("<i8", self.item_id), ("<f8", self.weight))
        return hashlib.sha256(b"".join(part.astype(kind).tobytes() for kind, part in kinds)).hexdigest()


class Trainer(Protocol):
    """Learns a model of all items of `catalogue` from interactions that name only users and items there are."""

    def __call__(
        self, data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, /
    ) -> Model:
        """The model, which depends on the arguments alone."""


def interactions(log: EventLog, *, config: TrainingConfig, day: int, without: Sequence[str] = ()) -> Interactions:
    """What can be learnt from at the start of `day`: the rows of the window before it, as known then.

    Rows that the versions `without` showed are left out, for a version that was rolled back would go on teaching its
    mistakes; so are those of guests, who are no shoppers.

    A purchase that arrives on `day` or later is not there yet, though its impression is; it stays one where the goods
    come back. A row that is a days older than the last of the window weighs 0.5 ** (a / half_life).
    """
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in without)
    rows = log.sql(
        f"""select user_id, item_id, day, count(*) as n from impressions
            where {config.signal} and day between {day - config.window_days} and {day - 1} and user_id < {GUESTS}
            {f"and coalesce(model_version, '') not in ({names})" if names else ""}
            group by all order by day, user_id, item_id""",
        until=day - 1,
    )
    age = day - 1 - rows["day"].to_numpy(np.float64)
    fade = 1.0 if config.half_life is None else 0.5 ** (age / config.half_life)
    return Interactions(
        user_id=rows["user_id"].to_numpy(np.int64),
        item_id=rows["item_id"].to_numpy(np.int64),
        weight=rows["n"].to_numpy(np.float64) * fade,
    )


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
    `shoppers` does not have.
    """
    data = interactions(log, config=config, day=day, without=without).of_shoppers(len(shoppers))
    model = fit(data, catalogue, shoppers, config=config)
    card = {
        "trained_day": day,
        "first_day": day - config.window_days,
        "last_day": day - 1,
        "rows": len(data),
        "data_sha256": data.digest(),
        "quarantined": sorted(without),
        "settings": asdict(config),
        "packages": {name: version(name) for name in PACKAGES},
    }
    return model, card


def fit(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig) -> Model:
    """The model that `config.algorithm` learns: the same data and settings give the same bits.

    Raises `DataError` where factors are to be learnt from nothing, and where users or items are named that there are
    not; `ConfigError` where the settings are so extreme that numbers grow beyond bounds.
    """
    if len(data) == 0 and config.algorithm in ("lightfm", "als"):
        remedy = f"{config.algorithm} needs rows where {config.signal}: take popularity, or a longer window"
        raise DataError("interactions to learn from", 0, remedy)
    data.check(len(shoppers), len(catalogue))
    return TRAINERS[config.algorithm](data, catalogue, shoppers, config)


def _random(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, /) -> Model:
    return RandomModel(seed=config.seed, n_items=len(catalogue))


def _popularity(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, /) -> Model:
    score = np.bincount(data.item_id, weights=data.weight, minlength=len(catalogue))
    return PopularityModel(score=score.astype(np.float64))


_BORROWED = 20.0
"""Clicks that a segment borrows from all shoppers, so that a small one is not ranked by chance."""


def _segment(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, /) -> Model:
    """Clicks of each segment, and `_BORROWED` more dealt out as all shoppers' clicks are."""
    kinds, n_items = len(shoppers.segment.names), len(catalogue)
    place = shoppers.segment.codes[data.user_id] * n_items + data.item_id
    clicks = np.bincount(place, weights=data.weight, minlength=kinds * n_items).reshape(kinds, n_items)
    everybody = clicks.sum(axis=0)
    score = clicks + _BORROWED * everybody / max(float(everybody.sum()), 1.0)
    return SegmentModel(score=score.astype(np.float64), segment=shoppers.segment.codes.astype(np.int64))


def price_bands(price: Floats) -> Labels:
    """Which fifth of the catalogue an item is in by its price.

    >>> price_bands(np.array([9.0, 2.0, 30.0, 4.0, 15.0])).words()
    ['middle', 'lowest', 'highest', 'low', 'high']
    """
    bounds = np.quantile(price, np.linspace(0, 1, len(PRICE_BANDS) + 1)[1:-1])
    return Labels(codes=np.searchsorted(bounds, price, side="right"), names=PRICE_BANDS)


def _met(ids: Ints, n: int) -> Bools:
    """Which of 0 .. n - 1 occur in `ids`."""
    return np.bincount(ids, minlength=n) > 0


def _described(met: Bools, labels: tuple[Labels, ...]) -> csr_matrix:
    """Each row as the mean of what describes it: itself, where it has been met, and its words; (n, n + words)."""
    n = len(met)
    words = [csr_matrix((np.ones(n), (np.arange(n), column.codes)), (n, len(column.names))) for column in labels]
    table = hstack([diags(met.astype(np.float64)), *words])
    parts = met + len(labels)
    return csr_matrix(diags(1 / np.maximum(parts, 1)) @ table, dtype=np.float32)


def on_grid(factors: Floats) -> Floats:
    """Factors as multiples of 2**-16, so that scores are exact.

    Products of such numbers are multiples of 2**-32, and their sums below 2**20 need no rounding in double precision:
    a score is the same on every processor, with any number of threads, alone and in a batch.

    >>> on_grid(np.array([0.1])).tolist()
    [0.100006103515625]
    """
    return np.asarray(np.rint(factors.astype(np.float64) * 2**16) / 2**16 + 0.0)


def _lightfm(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, /) -> Model:
    """LightFM with the WARP loss (Weston, Bengio, Usunier, IJCAI 2011; Kula 2015).

    WARP takes an item that was not clicked for a worse one than an item that was. So items that nobody has clicked yet
    stand aside while it learns: else new ones would learn, from refusals that never happened, that nobody wants them.
    Their vectors are then the mean of their words' alone, and likewise those of shoppers without a click.
    """
    from lightfm import LightFM

    of_items = (catalogue.category, catalogue.brand, price_bands(catalogue.price)) if config.features else ()
    of_users = (shoppers.segment, shoppers.region) if config.features else ()
    met_items, met_users = _met(data.item_id, len(catalogue)), _met(data.user_id, len(shoppers))
    items, users = _described(met_items, of_items), _described(met_users, of_users)
    place = np.cumsum(met_items) - 1  # among the items met
    pairs = (data.user_id.astype(np.int32), place[data.item_id].astype(np.int32))
    liked = coo_matrix((data.weight.astype(np.float32), pairs), shape=(len(shoppers), int(met_items.sum())))
    trainer = LightFM(
        no_components=config.n_components,
        loss="warp",
        # A vector is the mean of several learnt ones: each must go further for the mean to move as far.
        learning_rate=config.learning_rate * (1 + len(of_items)),
        random_state=_seed(config),
    )
    with _diverging(config, ValueError, "learning_rate", "epochs"):
        trainer.fit(
            liked,
            user_features=users,
            item_features=items[met_items],
            sample_weight=liked,
            epochs=config.epochs,
            num_threads=1,
        )
    item_bias, item_vector = trainer.get_item_representations(items)
    _, user_vector = trainer.get_user_representations(users)  # a user's bias moves all items alike: it ranks nothing
    return FactorModel(
        user_vector=on_grid(user_vector),
        item_vector=on_grid(item_vector),
        item_bias=on_grid(item_bias),
        # With features a shopper's segment says something before the first click; without, nothing is known.
        known=np.ones(len(shoppers), dtype=np.bool_) if config.features else met_users,
    )


def _als(data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, /) -> Model:
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
            random_state=_seed(config),
        )
        with _diverging(config, ModelFitError, "confidence", "regularization"):
            trainer.fit(liked, show_progress=False)
    return FactorModel(
        user_vector=on_grid(trainer.user_factors),
        item_vector=on_grid(trainer.item_factors),
        item_bias=np.zeros(len(catalogue)),
        known=_met(data.user_id, len(shoppers)),
    )


@contextmanager
def _diverging(config: TrainingConfig, kind: type[Exception], *names: str) -> Iterator[None]:
    """Turns a library's word for numbers that grew beyond bounds into a `ConfigError` that names the settings."""
    try:
        with np.errstate(all="ignore"):
            yield
    except kind as error:
        values = ", ".join(f"{name} {getattr(config, name)}" for name in names)
        raise ConfigError(f"training of {config.algorithm}", values, f"give less extreme ones ({error})") from error


def _seed(config: TrainingConfig) -> int:
    return int(stream(config.seed, "training", config.algorithm).integers(2**32))


TRAINERS: dict[str, Trainer] = {
    "lightfm": _lightfm,
    "als": _als,
    "popularity": _popularity,
    "segment": _segment,
    "random": _random,
}
