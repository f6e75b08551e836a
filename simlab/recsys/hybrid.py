"""LightFM: factors learnt from clicks and from what is public of items and shoppers; from nothing, or going on.

    vector of an item = mean of the vectors of itself and its words (category, brand, price band); shoppers likewise

Why a warm start is rebuilt, and not stored: LightFM's own state (a vector and the sum of squared gradients for each
item, shopper and word) would double every model, would have to be stretched over a catalogue that has grown, and brings
along Adagrad's memory, under which what is old hardly moves any more. What a model has is enough: each word's vector is
the ridge regression of the items' vectors on their words, each item's own is what is left, so that their mean is the
vector that the model had. With no further pass the new model says the same of all that the old one knew; who and what
is new begins as the mean of its words. Adagrad starts afresh, with full steps.
"""

from typing import Any, TypeGuard

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, hstack

from simlab.recsys.interactions import Interactions
from simlab.recsys.models import FactorModel, Model
from simlab.recsys.recipe import TrainingConfig, diverging, seed_of
from simlab.schema import Bools, Catalogue, Floats, Ints, Labels, Shoppers

PRICE_BANDS = ("lowest", "low", "middle", "high", "highest")
"""Fifths of the catalogue by price."""


def price_bands(price: Floats) -> Labels:
    """Which fifth of the catalogue an item is in by its price.

    >>> price_bands(np.array([9.0, 2.0, 30.0, 4.0, 15.0])).words()
    ['middle', 'lowest', 'highest', 'low', 'high']
    """
    bounds = np.quantile(price, np.linspace(0, 1, len(PRICE_BANDS) + 1)[1:-1])
    return Labels(codes=np.searchsorted(bounds, price, side="right"), names=PRICE_BANDS)


def met(ids: Ints, n: int) -> Bools:
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


def learn_hybrid(
    data: Interactions, catalogue: Catalogue, shoppers: Shoppers, config: TrainingConfig, previous: Model | None, /
) -> Model:
    """LightFM with the WARP loss (Weston, Bengio, Usunier, IJCAI 2011; Kula 2015), or the logistic one.

    WARP takes an item that was not clicked for a worse one than an item that was. So items that nobody has clicked yet
    stand aside while it learns: else new ones would learn, from refusals that never happened, that nobody wants them.
    Their vectors are then the mean of their words' alone, and likewise those of shoppers without a click.

    Of refusals that did happen WARP would make the opposite of what they say: it passes over rows below 0, and never
    draws as a worse item one that the shopper has any row of. So where items were passed over the loss is the logistic
    one, log(1 + exp(-y score)), y = 1 or -1.
    """
    from lightfm import LightFM

    of_items = (catalogue.category, catalogue.brand, price_bands(catalogue.price)) if config.features else ()
    of_users = (shoppers.segment, shoppers.region) if config.features else ()
    old = previous if resumable(previous, config) else None
    in_data = met(data.item_id, len(catalogue))
    met_items, met_users = in_data.copy(), met(data.user_id, len(shoppers))
    if old is not None:
        met_items[: old.n_items] = met_users[: len(old.known)] = True
    items, users = _described(met_items, of_items), _described(met_users, of_users)
    place = np.cumsum(in_data) - 1  # among the items that stand for trial
    pairs = (data.user_id.astype(np.int32), place[data.item_id].astype(np.int32))
    shape = (len(shoppers), int(in_data.sum()))
    trainer = LightFM(
        no_components=config.n_components,
        loss="logistic" if config.negatives == "skipped" else "warp",
        # A vector is the mean of several learnt ones: each must go further for the mean to move as far.
        learning_rate=config.learning_rate * (1 + len(of_items)),
        random_state=seed_of(config),
    )
    known: dict[str, Any] = {
        "interactions": coo_matrix((np.sign(data.weight).astype(np.float32), pairs), shape),
        "sample_weight": coo_matrix((np.abs(data.weight).astype(np.float32), pairs), shape),
        "user_features": users,
        "item_features": items[in_data],
        "num_threads": 1,
    }
    epochs = config.epochs
    with diverging(config, ValueError, "learning_rate", "epochs"):
        trainer.fit_partial(**known, epochs=0)  # its first, random vectors
        if old is not None:
            assert config.warm_epochs is not None
            epochs = config.warm_epochs
            _resume(trainer, old, of_items, of_users)
        trainer.fit_partial(**known, epochs=epochs)
    item_bias, item_vector = trainer.get_item_representations(items)
    _, user_vector = trainer.get_user_representations(users)  # a user's bias moves all items alike: it ranks nothing
    knows = np.ones(len(shoppers), dtype=np.bool_) if config.features else met(data.user_id, len(shoppers))
    if old is not None:
        knows[: len(old.known)] |= old.known[: len(knows)]
    return FactorModel(
        user_vector=on_grid(user_vector),
        item_vector=on_grid(item_vector),
        item_bias=on_grid(item_bias),
        # With features a shopper's segment says something before the first click; without, nothing is known.
        known=knows,
    )


def resumable(previous: Model | None, config: TrainingConfig) -> TypeGuard[FactorModel]:
    """Whether a training with `config` goes on from `previous`."""
    return (
        config.algorithm == "lightfm"
        and config.warm_epochs is not None
        and isinstance(previous, FactorModel)
        and previous.user_vector.shape[1] == config.n_components
    )


def _resume(trainer: Any, old: FactorModel, of_items: tuple[Labels, ...], of_users: tuple[Labels, ...]) -> None:
    """Puts what LightFM would have to know to say what `old` says in the place of its first, random numbers."""
    vectors, n_words = np.column_stack([old.item_vector, old.item_bias]), trainer.item_embeddings.shape[0]
    own, words = _taken_apart(vectors, of_items)
    n = min(len(own), n_words - len(words))
    trainer.item_embeddings[:n], trainer.item_biases[:n] = own[:n, :-1], own[:n, -1]
    own_user, words_user = _taken_apart(old.user_vector, of_users)
    m = min(len(own_user), trainer.user_embeddings.shape[0] - len(words_user))
    trainer.user_embeddings[:m] = own_user[:m]
    if len(words):
        trainer.item_embeddings[-len(words) :], trainer.item_biases[-len(words) :] = words[:, :-1], words[:, -1]
        trainer.user_embeddings[-len(words_user) :] = words_user


_RIDGE = 1.0
"""As if each word were also on one item whose vector is 0."""


def _taken_apart(vectors: Floats, labels: tuple[Labels, ...]) -> tuple[Floats, Floats]:
    """Vectors of rows (n, d) as own ones (n, d) and those of words (words, d), whose mean they are; on the grid.

    W = (X'X + ridge I)^-1 X' m v,   own_i = (1 + m) v_i - X_i W,   X the words of each row, m words a row
    """
    n, m = len(vectors), len(labels)
    if m == 0:
        return vectors, np.empty((0, vectors.shape[1]))
    words = hstack(
        [csr_matrix((np.ones(n), (np.arange(n), part.codes[:n])), (n, len(part.names))) for part in labels], "csr"
    )
    normal = (words.T @ words).toarray() + _RIDGE * np.eye(words.shape[1])
    learnt = on_grid(np.linalg.solve(normal, words.T @ (m * vectors)))
    return (1 + m) * vectors - words @ learnt, learnt
