"""Settings: frozen dataclasses that come from words and go to JSON, with nothing unknown let through.

Why: a misspelt option that is swallowed in silence costs a learner an afternoon. Every setting of a run comes
through `from_dict`, and every dataclass checks its own ranges with `require` when it is made.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

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


def _fits(value: object, kind: object) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) and kind in (str, bool) else True


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The dataclass `cls` made of `values`; nested dataclasses from nested mappings.

    Raises `ConfigError` for a name that is unknown or missing and for a value of another type.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Shop:
    ...     n_items: int = 500
    >>> from_dict(Shop, {"n_item": 3})
    Traceback (most recent call last):
    simlab.errors.ConfigError: Shop setting: 'n_item' will not do; did you mean 'n_items'? choose one of: n_items
    """
    assert is_dataclass(cls)
    known = {field.name: field for field in fields(cls)}
    kinds = get_type_hints(cls)
    ready: dict[str, Any] = {}
    for name, value in values.items():
        choose(f"{cls.__name__} setting", name, known)
        kind = kinds[name]
        if is_dataclass(kind) and isinstance(value, Mapping):
            ready[name] = from_dict(kind, value)  # type: ignore[arg-type]
            continue
        ready[name] = tuple(value) if isinstance(value, list) else value
        if not _fits(value, kind):
            raise ConfigError(
                f"{cls.__name__}.{name}", value, f"give a value of type {getattr(kind, '__name__', kind)}"
            )
    for name, field in known.items():
        if name not in ready and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{cls.__name__}.{name}", None, "this setting has no default: give it")
    return cls(**ready)
