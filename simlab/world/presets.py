"""Named worlds, each there to teach something."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from simlab.settings import choose, from_dict
from simlab.world.config import WorldConfig

PRESETS: dict[str, WorldConfig] = {
    "shop": WorldConfig(name="shop"),
}
"""shop: goods for families. Tastes are partly shared by kind of household and drift slowly, items are launched every
week, and the old shop showed noisy popularity: a factor model has much to learn, and must learn again."""


def preset(name: str, **changes: object) -> WorldConfig:
    """The world called `name`, with some settings changed. Raises `ConfigError` for unknown names and settings.

    >>> preset("shop", n_users=200).n_users
    200
    """
    return from_dict(WorldConfig, merged(asdict(choose("preset", name, PRESETS)), changes))


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
