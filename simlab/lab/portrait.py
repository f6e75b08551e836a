"""A page about a world, before anybody recommends anything in it: `simlab world show NAME`."""

from dataclasses import asdict, replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simlab.files import write_bytes
from simlab.lab import plots
from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.lab.page import figure, page, table
from simlab.lab.worlds import open_world
from simlab.recsys.metrics import gini
from simlab.schema import (
    NO_ITEM,
    SOURCES,
    Floats,
    Ints,
    Labels,
    Requests,
    Slates,
)
from simlab.streams import stream
from simlab.tables import History
from simlab.world.config import WorldConfig
from simlab.world.response import WAYS, chances
from simlab.world.truth import World, available, preferences
from simlab.world.users import visits

DAYS = 60
"""Live days that a portrait looks ahead; nothing is shown on them, so nobody is bored, pleased or influenced."""

_MOST = 2000
"""Requests that are worked through for a figure."""


def write_portrait(config: RunConfig, path: Path, words: str = "") -> Path:
    """Writes the page of the world of `config` to `path`; `words` say what it teaches. Raises as `open_world` does."""
    world, history = open_world(replace(config, days=DAYS))
    oracle = Oracle(world)
    requests = _some(visits(world, 0, min(10, config.n_positions), world.state))
    clicked = history.impressions.filter(history.impressions["clicked"])["item_id"].to_numpy()
    popular = np.argsort(-np.bincount(clicked, minlength=len(world.catalogue)), kind="stable")
    settings = _flat(world.config)
    usual = _flat(WorldConfig())
    other = {name: [value, usual[name]] for name, value in settings.items() if value != usual[name]}
    body = [
        f'<p class="lead">{escape(words)}</p>' if words else "",
        f"<p>{len(world.shoppers):,} shoppers, {len(world.catalogue):,} items, {history.impressions.num_rows:,} "
        f"impressions and {len(clicked):,} clicks in its history; the Gini coefficient of clicks by item is "
        f"{gini(np.bincount(clicked, minlength=len(world.catalogue))):.2f}.</p>",
        "<h2>What there is to gain</h2>",
        figure(
            plots.to_gain(_values(oracle, requests, popular)),
            "Slates of random items, of what was clicked most in the history, and of the items that are truly best for "
            "each shopper, worked out in closed form.",
        ),
        "<h2>How shoppers look and click</h2>",
        figure(
            plots.by_position(_by_way(oracle, requests, popular)),
            "Mean probabilities of all shoppers on popular items in any order, were they to choose in each way. "
            + ", ".join(f"{way}: {share:.0%} of the shoppers" for way, share in _shares(world).items())
            + ".",
        ),
        "<h2>When they come</h2>",
        figure(_calendar(oracle, history), "Visits in the history, and those to come if nobody were put off."),
        "<h2>How its truth moves</h2>",
        figure(
            plots.ageing(_ageing(oracle, requests)),
            "The best slates of day 0, kept for as long as they last. Nothing else is shown, so what moves is what "
            "would move anyway.",
        ),
        "<h2>What is particular about it</h2>",
        table(
            pd.DataFrame(other, index=["here", "usual"]).T.rename_axis("setting"), "All other settings are the usual.",
            words=True,
        )
        if other
        else "<p>Every setting is the usual one.</p>",
    ]  # fmt: skip
    write_bytes(path, page(f"The world “{world.config.name}”", body).encode())
    return path


def _some(requests: Requests) -> Requests:
    rows = np.sort(stream(0, "portrait").permutation(len(requests))[:_MOST])
    return requests.take(rows)


def _flat(config: WorldConfig) -> dict[str, object]:
    return dict(pd.json_normalize(asdict(config)).iloc[0])


def _showing(requests: Requests, item_id: Ints) -> Slates:
    return Slates(
        requests=requests,
        item_id=item_id,
        propensity=np.ones(item_id.shape),
        source=np.full(item_id.shape, SOURCES.index("model"), dtype=np.int64),
        model_version=Labels.constant("portrait", len(requests)),
        arm=Labels.constant("portrait", len(requests)),
    )


def _popular(oracle: Oracle, requests: Requests, popular: Ints) -> Slates:
    here = available(oracle.world, oracle.state(requests.day))
    return _showing(requests, np.tile(popular[here[popular]][: requests.n], (len(requests), 1)))


def _values(oracle: Oracle, requests: Requests, popular: Ints) -> dict[str, float]:
    here = np.flatnonzero(available(oracle.world, oracle.state(requests.day)))
    rng = stream(0, "portrait", "random slates")
    random = here[np.argsort(rng.random((len(requests), len(here))), axis=1)[:, : requests.n]]
    slates = {
        "random": _showing(requests, random),
        "popularity": _popular(oracle, requests, popular),
        "best": oracle.best(requests),
    }
    return {name: float(oracle.value(shown).clicks.mean()) for name, shown in slates.items()}


def _shares(world: World) -> dict[str, float]:
    count = np.bincount(world.people.way, minlength=len(WAYS)) / len(world.people.way)
    return {way: float(share) for way, share in zip(WAYS, count, strict=True) if share > 0}


def _by_way(oracle: Oracle, requests: Requests, popular: Ints) -> dict[str, tuple[Floats, Floats]]:
    """All of the shoppers as if they chose in each way that there is, on popular items in any order."""
    world = oracle.world
    some = popular[available(world, oracle.state(requests.day))[popular]][: 3 * requests.n]
    order = np.argsort(stream(0, "portrait", "orders").random((len(requests), len(some))), axis=1)
    faced = preferences(world, oracle.state(requests.day), _showing(requests, some[order[:, : requests.n]]))
    found = {}
    for kind in np.unique(world.people.way).tolist():
        p = chances(replace(faced, way=np.full(len(requests), kind)), world.config.response)
        found[WAYS[kind]] = (p.examined.mean(axis=0), p.clicked.mean(axis=0))
    return found


def _calendar(oracle: Oracle, history: History) -> Figure:
    shown = history.impressions
    _, first = np.unique(shown["request_id"].to_numpy() >> 12, return_index=True)
    day, second = shown["day"].to_numpy()[first], shown["second"].to_numpy()[first]
    start = int(day.min())
    live = [visits(oracle.world, day, 1, oracle.state(day)) for day in range(DAYS)]
    count = np.concatenate([np.bincount(day - start, minlength=-start), [len(requests) for requests in live]])
    return plots.calendar(count, start, np.concatenate([second, *(requests.second for requests in live)]))


def _ageing(oracle: Oracle, requests: Requests) -> pd.DataFrame:
    first, world = oracle.best(requests), oracle.world
    rows = {}
    for day in range(0, DAYS, 6):
        here = oracle.best(replace(requests, day=day))
        left = first.shown & available(world, oracle.state(day))[first.item_id]
        kept = _showing(replace(first.requests, day=day), np.where(left, first.item_id, NO_ITEM))
        same = (first.item_id[:, :, None] == here.item_id[:, None, :]).any(axis=2).mean()
        share = oracle.value(kept).clicks.sum() / oracle.value(here).clicks.sum()
        rows[day] = {"same_items": float(same), "share_of_best": float(share)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("day")
