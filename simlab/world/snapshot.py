"""A world in one file: arrays (npz) and words (JSON inside it). The same world gives the same bytes.

The file holds the state too, so a world can be put away on any day and go on from there, here or elsewhere.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np

from simlab.errors import DataError, SimlabError
from simlab.settings import from_dict
from simlab.world.config import WorldConfig
from simlab.world.truth import World

_DAMAGED = (ValueError, TypeError, AttributeError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What NumPy and zipfile raise, one here and one there, for bytes that are no archive of arrays."""


def _flatten(value: Any, path: str, arrays: dict[str, Any], words: dict[str, Any]) -> None:
    for f in fields(value):
        part, name = getattr(value, f.name), f"{path}{f.name}"
        if isinstance(part, np.ndarray):
            arrays[name] = part
        elif is_dataclass(part) and not isinstance(part, WorldConfig):
            _flatten(part, f"{name}.", arrays, words)
        else:
            words[name] = asdict(part) if isinstance(part, WorldConfig) else part


def _unflatten(cls: type[Any], path: str, arrays: Mapping[str, Any], words: Mapping[str, Any]) -> Any:
    parts: dict[str, Any] = {}
    for name, kind in get_type_hints(cls).items():
        full = f"{path}{name}"
        if kind is WorldConfig:
            parts[name] = from_dict(WorldConfig, words[full])
        elif isinstance(kind, type) and is_dataclass(kind):
            parts[name] = _unflatten(kind, f"{full}.", arrays, words)
        elif full in arrays:
            parts[name] = arrays[full]
        else:
            parts[name] = tuple(words[full]) if isinstance(words[full], list) else words[full]
    return cls(**parts)


def to_bytes(world: World) -> bytes:
    """The world as one file: arrays (npz) and words (JSON inside it); the same world gives the same bytes."""
    arrays: dict[str, Any] = {}
    words: dict[str, Any] = {}
    _flatten(world, "", arrays, words)
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(words, sort_keys=True).encode(), dtype=np.uint8)
    np.savez(buffer, __words__=text, **arrays)
    return buffer.getvalue()


def from_bytes(data: bytes, where: str = "world file") -> World:
    """The world of `to_bytes`. Raises `DataError` where the bytes are not one."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        words = json.loads(arrays.pop("__words__").tobytes())
        world: World = _unflatten(World, "", arrays, words)
    except (SimlabError, ArithmeticError, LookupError, OSError, EOFError, MemoryError, *_DAMAGED) as error:
        raise DataError(where, str(error), "it is not a whole world file: make it again") from error
    return world
