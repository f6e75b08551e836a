"""The service: requests come in, slates go out, and each row says which model chose it and how.

Fallback ladder, thin: shoppers whom the model does not know, and all of them while there is no model, get what is
popular; the rows say "fallback", so that no model is credited with it.
"""

from dataclasses import replace

import numpy as np

from simlab.errors import ModelError
from simlab.recsys.models import PopularityModel, RandomModel, Recommender
from simlab.recsys.retrieval import best_items
from simlab.schema import NO_ITEM, SOURCES, Bools, Catalogue, Floats, Ints, Labels, Requests, Slates
from simlab.settings import require

NO_MODEL = "none"

FALLBACK = "fallback"
"""What rows of the fallback say instead of a model's version."""

_MODEL, _FALLBACK = SOURCES.index("model"), SOURCES.index("fallback")


class Service:
    """Answers requests with the model that is deployed. It holds one model at a time and no shopper's state."""

    def __init__(self, catalogue: Catalogue, fallback: PopularityModel) -> None:
        """Raises `ModelError` where the fallback does not fit the catalogue."""
        self.catalogue = catalogue
        self._check(fallback, "the fallback")
        self.fallback = fallback
        self.version = NO_MODEL
        self._model: Recommender = fallback

    def deploy(self, model: Recommender, version: str) -> None:
        """Serves `model` from now on. Raises `ModelError` where it does not fit; then the old one goes on."""
        self._check(model, version)
        self._model, self.version = model, version

    def recommend(self, requests: Requests, available: Bools | None = None) -> Slates:
        """A slate for each request: the best of what is on sale, can be scored and is not excluded.

        `available` (n_items,) says what can be delivered today, by default all that is on sale. A slate depends on its
        own request alone. Items launched after the model's training are not shown by it. Where too little is left,
        slates end in `NO_ITEM`; raises `ConfigError` where they are to hold more items than the model knows of.
        """
        here = self.catalogue.on_sale(requests.day)
        here = here if available is None else here & available
        known = self._model.knows(requests.user_id)
        if self.version == NO_MODEL:
            known = np.zeros(len(requests), dtype=bool)
        if known.all():
            item_id, propensity = self._rank(self._model, requests, here)
        else:
            item_id = np.empty((len(requests), requests.n), dtype=np.int64)
            propensity = np.empty(item_id.shape)
            for rows, model in ((np.flatnonzero(known), self._model), (np.flatnonzero(~known), self.fallback)):
                if len(rows):
                    item_id[rows], propensity[rows] = self._rank(model, requests.take(rows), here)
        return Slates(
            requests=requests,
            item_id=item_id,
            propensity=propensity,
            source=np.where(known, _MODEL, _FALLBACK)[:, None].repeat(requests.n, axis=1),
            model_version=Labels(codes=(~known).astype(np.int64), names=(self.version, FALLBACK)),
            arm=Labels.constant("champion", len(requests)),
        )

    def _check(self, model: Recommender, name: str) -> None:
        if model.n_items > len(self.catalogue):
            remedy = f"the catalogue has {len(self.catalogue)} items: deploy a model trained on it"
            raise ModelError(f"items of {name}", model.n_items, remedy)

    def _rank(self, model: Recommender, requests: Requests, here: Bools) -> tuple[Ints, Floats]:
        """The items of each slate and their propensities."""
        allowed, n = here[: model.n_items], requests.n
        require("items in a slate", n, n <= model.n_items, f"the model knows {model.n_items} items: ask for fewer")
        requests = replace(requests, n=min(n, int(np.count_nonzero(allowed))))
        item_id = np.full((len(requests), n), NO_ITEM, dtype=np.int64)
        if requests.n:
            item_id[:, : requests.n] = best_items(model, requests, allowed)
        if not isinstance(model, RandomModel):
            return item_id, np.ones(item_id.shape)  # the ranking is certain
        pairs = np.unique(requests.exclude, axis=0)
        pairs = pairs[(pairs[:, 1] >= 0) & (pairs[:, 1] < model.n_items)]
        banned = np.bincount(pairs[allowed[pairs[:, 1]], 0], minlength=len(requests))
        left = allowed.sum() - banned[:, None] - np.arange(n)  # from which each item was drawn
        return item_id, 1 / np.maximum(left, 1)
