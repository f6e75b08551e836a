"""Random numbers by name, in rows that can be cut anywhere.

Why names: every part of the lab draws from its own stream, so that adding a part never moves another's draws.
Why rows: a shopper's luck must not depend on who else is there, on the order of requests or on how the work was
split. So the luck of a day is a table with one row a user and one column a draw, and any rows of it can be drawn
alone: PCG64DXSM can jump to any place in its sequence, and one double uses exactly one step.
"""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from simlab.errors import ConfigError

Name = str | int | np.integer[Any]

_BLOCK = 1 << 14
"""Rows drawn at once; bounds the memory of a sparse selection."""

_JUMP = 2500
"""Draws that cost as much as one jump; rows far apart are reached by jumps, rows close together drawn through."""


def _plain(part: object) -> Name:
    """A part of a name as a plain word or whole number: np.int64(3) and 3 are the same name."""
    if isinstance(part, str):
        return str(part)
    if isinstance(part, int | np.integer) and not isinstance(part, bool):
        return int(part)
    raise ConfigError("part of a stream's name", part, "give words and whole numbers")


@lru_cache(maxsize=4096)
def _entropy(seed: int, name: tuple[Name, ...]) -> int:
    # A digest of fixed length: SeedSequence([42]) equals SeedSequence([42, 0]), so raw parts must not be passed on.
    text = "".join(f"{type(part).__name__}:{len(str(part))}:{part}" for part in (seed, *name))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=32).digest(), "little")


def stream(seed: int, *name: Name) -> np.random.Generator:
    """The generator of `name` under `seed`: the same words give the same numbers, other words unrelated ones.

    Raises `ConfigError` where the seed is not a whole number from 0 up.

    >>> round(stream(7, "response", 3).random(), 6) == round(stream(7, "response", 3).random(), 6)
    True
    >>> stream(42, "a").random() == stream(42, "a", 0).random()
    False
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError("seed", seed, "give a whole number from 0 up")
    sequence = np.random.SeedSequence(_entropy(int(seed), tuple(_plain(part) for part in name)))
    return np.random.Generator(np.random.PCG64DXSM(sequence))


def uniforms(seed: int, *name: Name, rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.float64]:
    """Rows of the endless table of uniforms called `name`, each `n` draws long; shape (len(rows), n), in [0, 1).

    Row r holds draws r*n .. r*n + n - 1 of the stream, so any selection, in any order, equals the same rows
    of the whole table, bit for bit.

    >>> whole = uniforms(1, "luck", rows=np.arange(100), n=3)
    >>> bool((uniforms(1, "luck", rows=np.array([41, 7]), n=3) == whole[[41, 7]]).all())
    True
    """
    rows = np.asarray(rows, dtype=np.int64)
    out = np.empty((len(rows), n))
    if len(rows) == 0 or n == 0:
        return out
    if rows.min() < 0:
        raise ConfigError("rows", int(rows.min()), "rows are counted from 0")
    if rows[-1] - rows[0] == len(rows) - 1 and np.all(rows[1:] > rows[:-1]):  # all of a stretch: nothing to pick
        return _from(seed, name, int(rows[0]) * n).random((len(rows), n))
    block = rows // _BLOCK
    for number in np.unique(block):
        inside = np.flatnonzero(block == number)
        first, last = int(rows[inside].min()), int(rows[inside].max())
        if len(inside) * (_JUMP + n) < (last - first + 1) * n:
            for place in inside:
                out[place] = _from(seed, name, int(rows[place]) * n).random(n)
        else:
            whole = _from(seed, name, first * n).random((last - first + 1, n))
            out[inside] = whole[rows[inside] - first]
    return out


def _from(seed: int, name: tuple[Name, ...], draw: int) -> np.random.Generator:
    generator = stream(seed, *name)
    bits = generator.bit_generator
    assert isinstance(bits, np.random.PCG64DXSM)
    bits.advance(draw)
    return generator
