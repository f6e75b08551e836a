"""A page about a world, before anybody recommends anything in it: `simlab world show NAME`."""

from collections.abc import Callable, Mapping, Sequence
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
    Bools,
    Floats,
    Ints,
    Labels,
    Requests,
    Slates,
    join_slates,
)
from simlab.settings import described
from simlab.streams import stream
from simlab.tables import History
from simlab.world.config import WorldConfig
from simlab.world.history import serve
from simlab.world.response import WAYS, chances
from simlab.world.truth import World, available, preferences
from simlab.world.users import visits

DAYS = 60
"""Live days that a portrait looks ahead; nothing is shown on them, so nobody is bored, pleased or influenced."""

_MOST = 2000
"""Requests that are worked through for a figure."""


def write_portrait(config: RunConfig, path: Path, words: Sequence[str] = ()) -> Path:
    """Writes the page of the world of `config` to `path`; `words` say what it teaches, a paragraph each.

    Raises as `open_world` does.
    """
    world, history = open_world(replace(config, days=DAYS))
    oracle = Oracle(world)
    requests = _some(visits(world, 0, min(10, config.n_positions), world.state))
    clicked = history.impressions.filter(history.impressions["clicked"])["item_id"].to_numpy()
    popular = np.argsort(-np.bincount(clicked, minlength=len(world.catalogue)), kind="stable")
    here, usual, told = _flat(world.config), _flat(WorldConfig()), described(WorldConfig)
    other = {
        name: [value, usual[name], told[name][1]]
        for name, value in here.items()
        if name != "name" and value != usual[name]
    }
    shares = {way: share for way, share in _shares(world).items() if share < 1}
    body = [
        *(f'<p class="lead">{escape(paragraph)}</p>' for paragraph in words),
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
            "Probabilities in closed form, the mean of all shoppers on popular items, each item in each place"
            + (f"; were all to {_said(shares)}." if shares else "."),
        ),
        "<h2>When they come</h2>",
        figure(_calendar(oracle, history), "Visits in the history, and those to come if nobody were put off."),
        "<h2>How its truth moves</h2>",
        figure(
            plots.ageing(_ageing(oracle, requests)),
            "The best slates of day 0, tried again on later days, as a share of what is then the best, in a shop that "
            "shows nothing in between. "
            + ("The dashed line: had they been shown to everybody who came, every day." * world.config.remembers),
        ),
        "<h2>What is particular about it</h2>",
        table(
            pd.DataFrame(other, index=["here", "usual", "what it is"]).T.rename_axis("setting"),
            "All other settings are the usual.",
            words=True,
        )
        if other
        else "<p>Every setting is the usual one.</p>",
    ]  # fmt: skip
    name = Path(config.preset).stem if config.preset != "shop" else world.config.name
    write_bytes(path, page(f"The world “{name}”", body).encode())
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


def _said(shares: Mapping[str, float]) -> str:
    return ", to ".join(f"{plots.SAID[way]} ({share:.0%} do)" for way, share in shares.items())


def _by_way(oracle: Oracle, requests: Requests, popular: Ints) -> dict[str, tuple[Floats, Floats]]:
    """All of the shoppers as if they chose in each way that there is, on popular items in any order."""
    world = oracle.world
    some = popular[available(world, oracle.state(requests.day))[popular]][: 3 * requests.n]
    order = np.argsort(stream(0, "portrait", "orders").random((len(requests), len(some))), axis=1)[:, : requests.n]
    turned = [_showing(requests, some[np.roll(order, k, axis=1)]) for k in range(requests.n)]  # each item in each place
    faced = preferences(world, oracle.state(requests.day), join_slates(turned))
    found = {}
    for kind in np.unique(world.people.way).tolist():
        p = chances(replace(faced, way=np.full(len(faced.way), kind)), world.config.response)
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


def _shown_daily(world: World) -> Callable[[Slates], float]:
    """True clicks on slates in a world where everybody who came was shown the best slates of day 0, day after day."""
    past, users = Oracle(world), np.arange(len(world.shoppers))
    best = past.best(Requests(day=0, user_id=users, visit=np.zeros_like(users), n=10)).item_id

    def value(kept: Slates) -> float:
        while past.today < kept.requests.day:
            state = past.state(past.today)
            here = available(world, state)

            def show(requests: Requests, here: Bools = here) -> Slates:
                left = (best != NO_ITEM) & here[best]
                return _showing(requests, np.where(left, best, NO_ITEM)[requests.user_id])

            past.move(*serve(world, state, visits(world, past.today, best.shape[1], state), show))
        return float(past.value(kept).clicks.sum())

    return value


def _ageing(oracle: Oracle, requests: Requests) -> pd.DataFrame:
    first, world = oracle.best(requests), oracle.world
    daily = _shown_daily(world) if world.config.remembers else None
    rows = {}
    for day in range(0, DAYS, 6):
        here = oracle.best(replace(requests, day=day))
        left = first.shown & available(world, oracle.state(day))[first.item_id]
        kept = _showing(replace(first.requests, day=day), np.where(left, first.item_id, NO_ITEM))
        same = (first.item_id[:, :, None] == here.item_id[:, None, :]).any(axis=2).mean()
        share = oracle.value(kept).clicks.sum() / oracle.value(here).clicks.sum()
        rows[day] = {"same_items": float(same), "share_of_best": float(share)}
        if daily is not None:
            rows[day]["shown_daily"] = float(daily(kept) / oracle.value(here).clicks.sum())
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("day")
