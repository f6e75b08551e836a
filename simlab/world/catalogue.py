"""The shop's goods: for families, from cradle to campsite; names, brands and prices public, vectors and quality hidden.

Item i is made from row i of the luck table alone, so a larger catalogue begins with the smaller one.
"""

from collections import Counter

import numpy as np
from scipy.special import ndtri

from simlab.schema import NEVER, Catalogue, Floats, Ints, Labels
from simlab.streams import stream, uniforms
from simlab.world.config import WorldConfig
from simlab.world.truth import ItemTruth

GOODS: dict[str, tuple[float, tuple[str, ...]]] = {
    "teething": (9, ("giraffe chew toy", "cooling ring", "wooden rattle", "silicone beads", "chew mitten")),
    "nappies": (14, ("newborn nappies", "night nappies", "swim nappies", "cloth nappies", "wipes")),
    "feeding": (16, ("bottle set", "bib with pocket", "spoon set", "high-chair tray", "snack box")),
    "sleep": (35, ("sleeping bag", "night light", "swaddle blanket", "cot mobile", "white-noise owl")),
    "prams": (220, ("city pram", "jogging buggy", "travel buggy", "pram footmuff", "rain cover")),
    "bath": (12, ("bath duck", "hooded towel", "bath thermometer", "foam letters", "toddler tub")),
    "baby clothes": (18, ("bodysuit", "knitted cap", "wool socks", "dungarees", "snowsuit")),
    "picture books": (11, ("bear picture book", "lift-the-flap book", "bedtime stories", "search book", "sound book")),
    "wooden toys": (24, ("building blocks", "train set", "shape sorter", "pull-along dog", "marble run")),
    "dolls": (28, ("rag doll", "doll's house", "doll's pram", "hand puppet", "teddy bear")),
    "vehicles": (19, ("fire engine", "dump truck", "racing car", "tractor", "rescue helicopter")),
    "puzzles": (13, ("floor puzzle", "animal puzzle", "world map puzzle", "cube puzzle", "first puzzle")),
    "board games": (27, ("memory game", "dice game", "cooperative game", "strategy game", "card game")),
    "crafts": (15, ("finger paints", "modelling clay", "bead kit", "weaving loom", "sticker set")),
    "school": (32, ("school bag", "pencil case", "lunch box", "fountain pen", "desk lamp")),
    "youth books": (13, ("detective novel", "fantasy novel", "animal encyclopaedia", "comic", "diary")),
    "science": (34, ("microscope", "crystal kit", "circuit kit", "telescope", "volcano kit")),
    "outdoor": (39, ("balance bike", "scooter", "kite", "sandpit set", "trampoline")),
    "camping": (58, ("family tent", "child's sleeping bag", "head torch", "hammock", "cool box")),
    "parents": (29, ("changing bag", "coffee flask", "nursing pillow", "baby sling", "photo album")),
}
"""Category -> (usual price in euros, what it holds)."""

BRANDS = ("Alder", "Bumble", "Cloudberry", "Dapple", "Elfin", "Foxglove", "Gosling", "Hazel", "Ibex", "Juniper")

STYLES = ("", "mint", "oak", "sunny", "striped", "classic", "large", "small", "red", "navy", "soft", "travel", "deluxe")
"""The second item of a kind is told apart by the second style, and so on."""

CATEGORY_SHARE = 0.5
"""Share of the variance of an item's vector that it has in common with its category."""

ODD = 3.0
"""Standard deviation of the match with an odd vector: so large that its sine turns over several times."""

PRICE_SPREAD = 0.35
"""Standard deviation of the logarithm of prices within a category."""


def launch_days(config: WorldConfig, horizon: int) -> Ints:
    """First day on sale of all items launched before day `horizon`, rising; the old ones open with the history."""
    weekly = config.new_items_per_week
    weeks = min(config.history_days - 1, 7 * config.n_items) // 7
    young = min(weekly * (weeks + 1), config.n_items // 2)  # launched in history or on day 0
    before = np.array([-7 * ((young - 1 - k) // weekly) for k in range(young)], dtype=np.int64)
    later = np.repeat(np.arange(7, max(horizon, 7), 7), weekly)
    old = np.full(config.n_items - young, -config.history_days, dtype=np.int64)
    return np.concatenate([old, before, later])


def retire_days(config: WorldConfig, launch_day: Ints) -> Ints:
    """First day on which each item is gone for good: a week after its launch at the earliest, then by geometric law."""
    mean = config.change.lifetime_days
    if mean == 0:
        return np.full(len(launch_day), NEVER, dtype=np.int64)
    luck = uniforms(config.seed, "lifetimes", rows=np.arange(len(launch_day)), n=1)[:, 0]
    more = np.floor(np.log1p(-luck) / np.log1p(-1 / max(mean - 6, 1.001)))
    return np.asarray(launch_day + 7 + np.minimum(more, 1e6).astype(np.int64))


def _names(goods: Ints, category: Ints) -> tuple[str, ...]:
    kinds = [things for _, things in GOODS.values()]
    seen: Counter[str] = Counter()
    names = []
    for thing, group in zip(goods, category, strict=True):
        noun = kinds[group][thing]
        turn = seen[noun]
        seen[noun] += 1
        style = STYLES[turn] if turn < len(STYLES) else f"no. {turn + 1}"
        names.append(f"{noun}, {style}" if style else noun)
    return tuple(name[0].upper() + name[1:] for name in names)


def ranks(seed: int, n: int) -> Floats:
    """Base-2 logarithm of a random rank 1 .. 256 of each of `n` items, less its mean; shape (n,)."""
    luck = uniforms(seed, "ranks", rows=np.arange(n), n=1)[:, 0]
    scale = np.log2(np.arange(1, 257))
    return np.asarray(scale[(luck * 256).astype(np.int64)] - scale.mean())


def make_items(config: WorldConfig, horizon: int) -> tuple[Catalogue, ItemTruth]:
    """The catalogue and its truth, with every item launched before day `horizon`."""
    launch_day = launch_days(config, horizon)
    n, n_dims = len(launch_day), config.n_dims
    luck = uniforms(config.seed, "items", rows=np.arange(n), n=6)
    own = ndtri(uniforms(config.seed, "item vectors", rows=np.arange(n), n=n_dims))
    centre = stream(config.seed, "categories").standard_normal((len(GOODS), n_dims))
    category = (luck[:, 0] * len(GOODS)).astype(np.int64)
    goods = (luck[:, 1] * 5).astype(np.int64)
    brand = (luck[:, 2] * len(BRANDS)).astype(np.int64)
    price_index = ndtri(luck[:, 3])
    usual = np.array([price for price, _ in GOODS.values()])
    vector: Floats = np.sqrt(CATEGORY_SHARE) * centre[category] + np.sqrt(1 - CATEGORY_SHARE) * own
    catalogue = Catalogue(
        name=_names(goods, category),
        category=Labels(codes=category, names=tuple(GOODS)),
        brand=Labels(codes=brand, names=BRANDS),
        price=np.round(usual[category] * np.exp(PRICE_SPREAD * price_index), 2),
        margin=np.round(0.15 + 0.35 * luck[:, 4], 3),
        launch_day=launch_day,
        retire_day=retire_days(config, launch_day),
    )
    odd = ndtri(uniforms(config.seed, "odd vectors", rows=np.arange(n), n=n_dims if config.fuss > 0 else 0))
    truth = ItemTruth(
        vector=vector * (config.taste_scale / np.sqrt(n_dims)),
        odd=odd * (ODD / np.sqrt(n_dims)),
        quality=config.quality_sd * ndtri(luck[:, 5]) - config.tail * ranks(config.seed, n),
        price_index=price_index,
        season_peak=stream(config.seed, "seasons").random(len(GOODS)),
        companion=np.roll(np.arange(len(GOODS)), 1 + int(stream(config.seed, "companions").integers(len(GOODS) - 1))),
    )
    return catalogue, truth
