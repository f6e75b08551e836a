"""Named worlds, each there to teach something."""

from dataclasses import asdict

from simlab.settings import choose, from_dict, merged
from simlab.world.config import WorldConfig

PRESETS: dict[str, WorldConfig] = {
    "shop": WorldConfig(name="shop"),
}
"""shop: goods for families. Tastes are partly shared by kind of household and drift slowly, items are launched every
week, and the old shop showed noisy popularity: a factor model has much to learn, and must learn again."""

CALIBRATED = {"movielens": "movielens-100k"}
"""Worlds that are fitted to a data set: its name. See simlab.lab.worlds."""


def preset(name: str, **changes: object) -> WorldConfig:
    """The world called `name`, with some settings changed. Raises `ConfigError` for unknown names and settings.

    >>> preset("shop", n_users=200).n_users
    200
    """
    return from_dict(WorldConfig, merged(asdict(choose("preset", name, PRESETS)), changes))
