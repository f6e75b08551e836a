"""Models as plain arrays: what is served needs numpy only, and what is stored is arrays plus JSON with a checksum.

Why not the trainer's own objects: a pickle runs code when it is opened, breaks with the next release of its library,
and drags the library into the server.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from simlab.errors import ModelError
from simlab.recsys.folders import write_folder
from simlab.schema import Bools, Floats, Ints, Requests
from simlab.streams import uniforms

FORMAT = 1


class Recommender(Protocol):
    """Scores items for those who ask; higher is better. Everything else is the service's work."""

    @property
    def n_items(self) -> int:
        """The items 0 .. n_items - 1 are known to the model; later ones it cannot score."""

    def knows(self, user_id: Ints) -> Bools:
        """Which of the users it can serve personally; shape (R,)."""

    def scores(self, requests: Requests) -> Floats:
        """A finite score of every item for every request, whatever the order of requests; shape (R, n_items)."""


@dataclass(frozen=True, kw_only=True)
class RandomModel:
    """Every item is as good as any other: the baseline below all baselines."""

    seed: int
    n_items: int
    """Items it can score."""

    def knows(self, user_id: Ints) -> Bools:
        """It treats all alike."""
        return np.ones(len(user_id), dtype=bool)

    def scores(self, requests: Requests) -> Floats:
        """Uniform numbers, by the row of the user and the visit; shape (R, n_items)."""
        table = np.empty((len(requests), self.n_items))
        for visit in np.unique(requests.visit):
            rows = np.flatnonzero(requests.visit == visit)
            name = ("random model", requests.day, int(visit))
            table[rows] = uniforms(self.seed, *name, rows=requests.user_id[rows], n=self.n_items)
        return table


@dataclass(frozen=True, kw_only=True)
class PopularityModel:
    """The same ranking for everybody."""

    score: Floats
    """Shape (n_items,), for example clicks."""

    @property
    def n_items(self) -> int:
        """Items it can score."""
        return len(self.score)

    def knows(self, user_id: Ints) -> Bools:
        """It treats all alike."""
        return np.ones(len(user_id), dtype=bool)

    def scores(self, requests: Requests) -> Floats:
        """The popularity of each item; shape (R, n_items), a view."""
        return np.broadcast_to(self.score, (len(requests), len(self.score)))


@dataclass(frozen=True, kw_only=True)
class SegmentModel:
    """A ranking for each kind of household: what a shop knows of somebody who has done nothing yet."""

    score: Floats
    """Shape (n_segments, n_items)."""
    segment: Ints
    """Of each shopper, index into the rows of `score`; shape (n_users,)."""

    def __post_init__(self) -> None:
        fits = self.score.ndim == 2 and self.segment.ndim == 1
        if not (fits and (len(self.segment) == 0 or 0 <= self.segment.min() <= self.segment.max() < len(self.score))):
            shapes = (self.score.shape, self.segment.shape)
            raise ModelError("segments of a model", shapes, "give scores (segments, items) and a segment for each user")

    @property
    def n_items(self) -> int:
        """Items it can score."""
        return int(self.score.shape[1])

    def knows(self, user_id: Ints) -> Bools:
        """Users whose segment it has been told."""
        return np.asarray(user_id < len(self.segment))

    def scores(self, requests: Requests) -> Floats:
        """The popularity of each item in the segment, the mean of all for a user it does not know; (R, n_items)."""
        known = self.knows(requests.user_id)
        table = np.empty((len(requests), self.n_items))
        table[known] = self.score[self.segment[requests.user_id[known]]]
        table[~known] = self.score.mean(axis=0) if len(self.score) else 0
        return table


@dataclass(frozen=True, kw_only=True)
class FactorModel:
    """score(u, i) = user_vector_u . item_vector_i + item_bias_i."""

    user_vector: Floats
    """Shape (n_users, d)."""
    item_vector: Floats
    """Shape (n_items, d)."""
    item_bias: Floats
    """Shape (n_items,)."""
    known: Bools
    """Users for whom there is a vector worth using; shape (n_users,)."""

    def __post_init__(self) -> None:
        n_users, n_items, d = len(self.known), len(self.item_bias), self.user_vector.shape[-1]
        fits = self.user_vector.shape == (n_users, d) and self.item_vector.shape == (n_items, d)
        if not fits:
            shapes = (self.user_vector.shape, self.item_vector.shape, self.item_bias.shape, self.known.shape)
            raise ModelError("shapes of a factor model", shapes, "give (users, d), (items, d), (items,) and (users,)")

    @property
    def n_items(self) -> int:
        """Items it can score."""
        return len(self.item_bias)

    def knows(self, user_id: Ints) -> Bools:
        """Users that it has learnt something about; those beyond its table are not."""
        known = user_id < len(self.known)
        known[known] = self.known[user_id[known]]
        return known

    def vectors(self, user_id: Ints) -> Floats:
        """The vector of each user, zeros for those beyond the table: they count as average; shape (R, d)."""
        inside = user_id < len(self.known)
        vector = np.zeros((len(user_id), self.user_vector.shape[1]))
        vector[inside] = self.user_vector[user_id[inside]]
        return vector

    def scores(self, requests: Requests) -> Floats:
        """The formula above, in double precision; shape (R, n_items)."""
        table: Floats = self.vectors(requests.user_id) @ self.item_vector.T
        table += self.item_bias
        return table


Model = RandomModel | PopularityModel | SegmentModel | FactorModel

KINDS: dict[str, type[Model]] = {
    "random": RandomModel,
    "popularity": PopularityModel,
    "segment": SegmentModel,
    "factor": FactorModel,
}


def _to_bytes(model: Model) -> bytes:
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(model, field.name)) for field in fields(model)}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ModelError(f"model, {name}", str(array.dtype), "give numbers: anything else would have to be pickled")
        if not np.isfinite(array).all():
            raise ModelError(f"model, {name}", "not all finite", "a score must be a number: look at its training")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _checksum(head: dict[str, Any], data: bytes) -> str:
    """SHA-256 of all that is stored: format, kind and card as JSON, a zero byte, the arrays."""
    told = json.dumps({name: head.get(name) for name in ("format", "kind", "card")}, sort_keys=True)
    return hashlib.sha256(told.encode() + b"\0" + data).hexdigest()


def to_json(thing: str, value: dict[str, Any]) -> str:
    """Readable JSON, the same for the same value. Raises `ModelError` for what it cannot hold, like NumPy's numbers."""
    try:
        plain = json.loads(json.dumps(value))  # keys become words, so that they sort as they will when read again
    except (TypeError, ValueError) as error:
        raise ModelError(thing, value, f"give plain numbers, words, lists and dictionaries ({error})") from error
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def save_model(model: Model, folder: Path, card: dict[str, Any]) -> None:
    """Puts `model` with its `card` (lineage, JSON) into the new folder `folder`; the same model gives the same bytes.

    Raises `ModelError` for a model of no known kind, or not of numbers, for a card that is no JSON, and where there is
    such a folder already; `OSError` naming the file where it cannot be written.
    """
    kind = next((name for name, cls in KINDS.items() if type(model) is cls), None)
    if kind is None:
        raise ModelError("model", type(model).__name__, f"store one of: {', '.join(KINDS)}")
    data = _to_bytes(model)
    head: dict[str, Any] = json.loads(to_json("card of a model", {"format": FORMAT, "kind": kind, "card": card}))
    head["sha256"] = _checksum(head, data)
    try:
        write_folder(folder, {"arrays.npz": data, "model.json": to_json("card of a model", head).encode()})
    except FileExistsError as error:
        raise ModelError("model folder", str(folder), "it exists already: choose another version") from error


def load_model(folder: Path) -> tuple[Model, dict[str, Any]]:
    """The model in `folder` and its card. Raises `ModelError` where it is missing, damaged or of an unknown format."""
    try:
        head = json.loads((folder / "model.json").read_text())
        data = (folder / "arrays.npz").read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError("model file", error.filename, "it is missing: train the model again") from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise ModelError("model file", str(folder / "model.json"), "it is damaged: train the model again") from error
    head = head if isinstance(head, dict) else {}
    if head.get("format") != FORMAT or str(head.get("kind")) not in KINDS:
        remedy = f"this simlab reads format {FORMAT} of the kinds {', '.join(KINDS)}"
        raise ModelError("model format", f"{head.get('format')} {head.get('kind')}", remedy)
    if _checksum(head, data) != head.get("sha256"):
        remedy = "the checksum of model.json and arrays.npz is wrong: train the model again"
        raise ModelError("model file", str(folder), remedy)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            parts: dict[str, Any] = {
                name: stored[name] if stored[name].ndim else int(stored[name]) for name in stored.files
            }
        if not all(np.isfinite(part).all() for part in parts.values()):
            raise ValueError("some of its numbers are not finite")
        return KINDS[head["kind"]](**parts), head["card"]
    except (ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError("model file", str(folder), f"it does not fit its kind ({error}): train it again") from error
