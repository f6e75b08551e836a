"""Settings: frozen dataclasses that come from words and go to JSON, with nothing unknown let through.

Why: a misspelt option that is swallowed in silence costs a learner an afternoon. Every setting of a run comes
through `from_dict`, and every dataclass checks its own types with `check_types` and its ranges with `require` when it
is made.
"""

import ast
import inspect
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from simlab.errors import ConfigError

Config = TypeVar("Config")


def require(thing: str, value: object, fits: bool, remedy: str) -> None:
    """Raises `ConfigError` for `thing` unless `fits`.

    >>> require("decay", 0.5, 0 < 0.5 <= 1, "give a probability in (0, 1]")
    """
    if not fits:
        raise ConfigError(thing, value, remedy)


def choose(thing: str, name: str, known: Mapping[str, Config]) -> Config:
    """The entry of `known` called `name`; else a `ConfigError` that lists the names and guesses the one meant."""
    if name in known:
        return known[name]
    guess = get_close_matches(str(name), known, n=1)
    meant = f"did you mean {guess[0]!r}? " if guess else ""
    raise ConfigError(thing, name, f"{meant}choose one of: {', '.join(sorted(known))}")


_WORDS: dict[Any, str] = {
    int: "whole number",
    float: "finite number",
    str: "word",
    bool: "true or false",
    dict: "mapping of names to values",
    NoneType: "None",
}

_kinds = cache(get_type_hints)


def _fits(value: object, kind: Any) -> bool:
    """Whether `value` is of the type `kind`; a whole number does for a float, which must be finite."""
    parts = get_args(kind)
    if kind is Any:
        return True
    if isinstance(kind, UnionType):
        return any(_fits(value, part) for part in parts)
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        parts = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if get_origin(kind) is dict:
        return isinstance(value, Mapping) and all(_fits(key, parts[0]) for key in value)
    if get_origin(kind) is Literal:
        return value in parts
    if kind in (int, float):
        number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        return number and (kind is int or abs(value) <= sys.float_info.max)  # type: ignore[arg-type]
    return isinstance(value, kind)


def _called(kind: Any) -> str:
    """What a type is called in a message."""
    if isinstance(kind, UnionType):
        return " or ".join(_called(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        length = "" if get_args(kind)[-1] is ... else f"{len(get_args(kind))} "
        return f"tuple of {length}{_called(get_args(kind)[0])}s"
    if is_dataclass(kind):
        return f"{getattr(kind, '__name__', kind)}, or its settings by from_dict"
    return _WORDS.get(get_origin(kind) or kind, str(kind))


def _check(cls: type, name: str, value: object) -> None:
    kind = _kinds(cls)[name]
    require(f"{cls.__name__}.{name}", value, _fits(value, kind), f"give: {_called(kind)}")


def check_types(config: object) -> None:
    """Raises `ConfigError` for the first field of the dataclass `config` whose value is not of its type."""
    assert is_dataclass(config)
    for field in fields(config):
        _check(type(config), field.name, getattr(config, field.name))


def _check_name(cls: type, name: str, known: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for a name that is not known, and says so where it is one of a part."""
    for part in [] if name in known else known:
        kind = _kinds(cls)[part]
        if is_dataclass(kind) and name in {field.name for field in fields(kind)}:
            raise ConfigError(f"{cls.__name__} setting", name, f"it is in {part}: give {part}={{{name!r}: ...}}")
    choose(f"{cls.__name__} setting", name, known)


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The dataclass `cls` made of `values`; nested dataclasses from nested mappings.

    Raises `ConfigError` for a name that is unknown or missing and for a value of another type; floats are finite.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Shop:
    ...     n_items: int = 500
    >>> from_dict(Shop, {"n_item": 3})
    Traceback (most recent call last):
    simlab.errors.ConfigError: Shop setting: 'n_item' will not do; did you mean 'n_items'? choose one of: n_items
    """
    assert is_dataclass(cls)
    require(f"{cls.__name__} settings", values, isinstance(values, Mapping), "give a mapping of names to values")
    known = {field.name: field for field in fields(cls)}
    ready: dict[str, Any] = {}
    for name, value in values.items():
        _check_name(cls, name, known)
        kind = _kinds(cls)[name]
        if is_dataclass(kind) and isinstance(value, Mapping):
            ready[name] = from_dict(kind, value)  # type: ignore[arg-type]
        else:
            ready[name] = tuple(value) if isinstance(value, list) else value
        _check(cls, name, ready[name])
    for name, field in known.items():
        if name not in ready and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{cls.__name__}.{name}", None, "this setting has no default: give it")
    return cls(**ready)


def described(cls: type, prefix: str = "") -> dict[str, tuple[Any, str]]:
    """Each setting of the dataclass `cls` by its dotted name: its default, and the sentences under it in the source."""
    body = cast(ast.ClassDef, ast.parse(inspect.getsource(cls)).body[0]).body
    told: dict[str, tuple[Any, str]] = {}
    for line, after in pairwise(body):
        if not (isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr)):
            continue
        name, words = cast(ast.Name, line.target).id, " ".join(str(ast.literal_eval(after.value)).split())
        kind = _kinds(cls)[name]
        if is_dataclass(kind):
            told |= described(cast(type, kind), f"{prefix}{name}.")
        else:
            told[f"{prefix}{name}"] = (getattr(cls, name, None), words)
    return told


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with `changes`, those of a part of them by name too.

    >>> merged({"drift": 0.1, "change": {"season": 0.0, "stock": 5}}, {"change": {"season": 1.0}})
    {'drift': 0.1, 'change': {'season': 1.0, 'stock': 5}}
    """
    new = dict(settings)
    for name, value in changes.items():
        inner = isinstance(value, Mapping) and isinstance(new.get(name), Mapping)
        new[name] = merged(new[name], value) if inner else value
    return new
