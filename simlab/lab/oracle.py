"""The oracle: what is true of slates, in closed form, and how good the best possible slate would have been.

    value of a slate  =  sum over its positions of P(click), P(purchase), euros paid or euros kept
    regret            =  value of the best slate - value of the slate shown

Why closed form: no sampling noise stands between a learner and the truth. What is best depends on how a shopper
chooses; simlab.lab.best says how it is found.

In a world that remembers, what is true on a day depends on what was shown before. The oracle of a run is told by its
ring (`move`) or reads the log again (`journal`); one that is told nothing answers for a shop that shows nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from simlab.errors import ConfigError
from simlab.lab.best import best_choice, best_walk
from simlab.recsys.retrieval import top_n
from simlab.schema import NO_ITEM, SOURCES, Bools, Floats, Ints, Labels, Outcomes, Requests, Slates, blocks, join_slates
from simlab.settings import choose, require
from simlab.world.aftermath import expected_units, purchase_chances, return_chances
from simlab.world.dynamics import happened, step
from simlab.world.response import WAYS, Chances, attraction, stops
from simlab.world.truth import Happened, State, World, available, preferences, utility_of_all

if TYPE_CHECKING:
    from simlab.lab.branch import WhatIf
    from simlab.lab.run import Run

Journal = Callable[[State], Happened]
"""What shoppers did on the day of a state."""

GOALS = ("clicks", "purchases", "revenue", "margin")


@dataclass(frozen=True, kw_only=True)
class Value:
    """Expected outcome of each slate, what comes days later included; arrays of shape (R,)."""

    clicks: Floats
    purchases: Floats
    revenue: Floats
    """Euros paid."""
    refunds: Floats
    """Euros given back."""
    margin: Floats
    """Euros that the shop keeps, of what is not given back."""


class Oracle:
    """Answers questions about one world. It remembers the last state, so ask in the order of days where you can."""

    def __init__(self, world: World, journal: Journal | None = None) -> None:
        self.world = world
        self._journal = journal
        self._state = world.state
        self._told = False

    @property
    def today(self) -> int:
        """The day that was last asked for, or moved to."""
        return self._state.day

    def state(self, day: int) -> State:
        """What is true on `day`. Raises `ConfigError` for a day before that on which the world stands."""
        first = self.world.state.day
        if day < first:
            raise ConfigError("day", day, f"the world begins on day {first}: ask for that day or a later one")
        if day < self._state.day:
            forgets = self._told and self._journal is None and self.world.config.remembers
            require("day", day, not forgets, f"it was told of the days before {self._state.day} and keeps no journal")
            self._state = self.world.state
        while self._state.day < day:
            past = self._journal(self._state) if self._journal and self.world.config.remembers else None
            self._state = step(self.world, self._state, past)
        return self._state

    def move(self, slates: Slates, outcomes: Outcomes) -> None:
        """Goes on to the day after that of `slates`, which were all that was shown on it."""
        state = self.state(slates.requests.day)
        self._told = True
        self._state = step(self.world, state, happened(self.world, slates, outcomes))

    def chances(self, slates: Slates) -> Chances:
        """P(examined), P(clicked), P(purchased), P(returned) at every place of the slates; shapes (R, n)."""
        faced = preferences(self.world, self.state(slates.requests.day), slates)
        return self.world.response.chances(faced)

    def value(self, slates: Slates) -> Value:
        """What the slates are worth, in expectation."""
        p, goods = self.chances(slates), self.world.catalogue
        euros = expected_units(self.world.config.response) * self.state(slates.requests.day).price[slates.item_id]
        return Value(
            clicks=p.clicked.sum(axis=1),
            purchases=p.purchased.sum(axis=1),
            revenue=(p.purchased * euros).sum(axis=1),
            refunds=(p.returned * euros).sum(axis=1),
            margin=((p.purchased - p.returned) * euros * goods.margin[slates.item_id]).sum(axis=1),
        )

    def utilities(self, requests: Requests) -> Floats:
        """Utility of every item launched so far for every request; shape (R, n_launched)."""
        n_items = int(np.count_nonzero(self.world.catalogue.launch_day <= requests.day))
        return utility_of_all(self.world, self.state(requests.day), requests.user_id, n_items)

    def best(self, requests: Requests, goal: str = "clicks") -> Slates:
        """The slates with the highest expected `goal`: clicks, purchases, revenue or margin."""
        choose("goal", goal, dict.fromkeys(GOALS))
        n_items = int(np.count_nonzero(self.world.catalogue.launch_day <= requests.day))
        here = available(self.world, self.state(requests.day))[:n_items]
        n = min(requests.n, int(here.sum()))
        item_id = np.full((len(requests), n), NO_ITEM, dtype=np.int64)
        way = self.world.people.way[requests.user_id]
        for kind in np.unique(way).tolist() if n > 0 else []:
            find = _best_of_all if WAYS[kind] == "position" else _best_one_by_one
            for rows in blocks(np.flatnonzero(way == kind), n_items):
                some = replace(requests.take(rows), n=n)
                item_id[rows] = find(self, some, goal, self.utilities(some), here)
        return Slates(
            requests=replace(requests, n=n),
            item_id=item_id,
            propensity=np.ones(item_id.shape),
            source=np.full(item_id.shape, SOURCES.index("model"), dtype=np.int64),
            model_version=Labels.constant("oracle", len(requests)),
            arm=Labels.constant("oracle", len(requests)),
        )

    def best_pages(self, requests: Requests, goal: str = "clicks") -> Slates:
        """The best slates of whole visits: on later pages without what the best ones before had."""
        visit, parts = requests.request_id >> 12, list[Slates]()
        for page in np.unique(requests.page).tolist():
            asked = requests.take(np.flatnonzero(requests.page == page))
            pairs = [np.empty((0, 2), dtype=np.int64)]
            for part in parts:
                before = part.requests.request_id >> 12
                order = np.argsort(before)
                place = order[np.searchsorted(before, visit[requests.page == page], sorter=order)]
                pairs.append(
                    np.column_stack(
                        [np.repeat(np.arange(len(asked)), part.item_id.shape[1]), part.item_id[place].ravel()]
                    )
                )
            parts.append(self.best(replace(asked, exclude=np.concatenate(pairs)), goal))
        return join_slates(parts) if parts else self.best(requests, goal)

    def gain(self, requests: Requests, goal: str, utility: Floats) -> Floats:
        """What a click on each item brings in expectation; `utility` has shape (R, n_items)."""
        config, n_items = self.world.config.response, utility.shape[1]
        if goal == "clicks":
            return np.ones(utility.shape)
        buys = purchase_chances(utility, config)
        if goal == "purchases":
            return buys
        euros = buys * expected_units(config) * self.state(requests.day).price[:n_items]
        if goal == "revenue":
            return np.asarray(euros)
        return np.asarray(euros * self.world.catalogue.margin[:n_items] * (1 - return_chances(utility, config)))

    def regret(self, slates: Slates) -> Floats:
        """Expected clicks that each slate leaves to the best one that comes at once, from 0 up; shape (R,)."""
        return self.value(self.best(slates.requests)).clicks - self.value(slates).clicks

    def truth_of_day(self, slates: Slates) -> dict[str, float]:
        """The true columns of a run's metrics: expected value a visit of what was shown, and of the best.

        The best that the day's visits could have brought, page after page, after all that had been shown before.
        """
        value, best = self.value(slates), self.value(self.best_pages(slates.requests))
        visits = np.count_nonzero(slates.requests.page == 0) or float("nan")  # without visits there is no mean
        clicks, top = float(value.clicks.sum()), float(best.clicks.sum())
        return {
            "true_clicks_per_visit": clicks / visits,
            "best_clicks_per_visit": top / visits,
            "share_of_best": clicks / top if top > 0 else float("nan"),
            "true_purchases_per_visit": float(value.purchases.sum()) / visits,
            "true_revenue_per_visit": float(value.revenue.sum()) / visits,
            "true_margin_per_visit": float(value.margin.sum()) / visits,
        }


def _best_of_all(oracle: Oracle, requests: Requests, goal: str, utility: Floats, here: Bools) -> Ints:
    """Where looks do not depend on clicks, the best items stand in falling order of worth."""
    worth = utility  # grows with P(click), and does not saturate
    if goal != "clicks":
        worth = expit(oracle.world.config.response.base + utility) * oracle.gain(requests, goal, utility)
    return top_n(worth, requests.n, here, requests.exclude)


def _best_one_by_one(oracle: Oracle, requests: Requests, goal: str, utility: Floats, here: Bools) -> Ints:
    """Where a click ends the looks, or items stand against each other."""
    config, people = oracle.world.config.response, oracle.world.people
    way, patience = people.way[requests.user_id], people.patience[requests.user_id]
    allowed = np.tile(here, (len(requests), 1))
    row, item = requests.exclude.T
    there = (item >= 0) & (item < len(here))
    allowed[row[there], item[there]] = False
    gain = oracle.gain(requests, goal, utility)
    pull, attracts = attraction(utility, config) * allowed, expit(config.base + utility) * allowed
    on = patience[:, None] * (1 - attracts * stops(utility, way[:, None], config))
    found = [
        best_choice(pull[row], gain[row], requests.n)
        if WAYS[way[row]] == "logit"
        else best_walk(attracts[row] * gain[row], on[row], requests.n)
        for row in range(len(requests))
    ]
    return np.array(found, dtype=np.int64).reshape(len(requests), requests.n)


def what_if(run: "Run", day: int, change: Mapping[str, Any]) -> "WhatIf":
    """What other settings of the company would have done to `run` from `day` on: true differences, paired by shopper.

    See simlab.lab.branch, which says how; it stands on this module, so it is called when it is needed.
    """
    from simlab.lab import branch

    return branch.what_if(run, day, change)
