"""The oracle: what is true of slates, in closed form, and how good the best possible slate would have been.

    value of a slate  =  sum over its positions of P(purchase) x price x margin   (or P(click), or revenue)
    regret            =  value of the best slate - value of the slate shown

Why closed form: no sampling noise stands between a learner and the truth. Shoppers look at a position whatever
stands there, and less at lower ones; so the slate with the best items, best first, is the best (rearrangement
inequality).
"""

from dataclasses import dataclass, replace

import numpy as np

from simlab.recsys.retrieval import top_n
from simlab.schema import SOURCES, Floats, Labels, Requests, Slates
from simlab.settings import choose
from simlab.world.dynamics import start, step
from simlab.world.response import Chances, Preferences, chances
from simlab.world.truth import State, World, preferences, utility_of_all


@dataclass(frozen=True, kw_only=True)
class Value:
    """Expected outcome of each slate, the purchases that come days later included; arrays of shape (R,)."""

    clicks: Floats
    purchases: Floats
    revenue: Floats
    """Euros."""
    margin: Floats
    """Euros that the shop keeps."""


class Oracle:
    """Answers questions about one world. It remembers the last state, so ask in the order of days where you can."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._state = start(world)

    def state(self, day: int) -> State:
        """What is true on `day`."""
        if day < self._state.day:
            self._state = start(self.world)
        while self._state.day < day:
            self._state = step(self.world, self._state)
        return self._state

    def chances(self, slates: Slates) -> Chances:
        """P(examined), P(clicked), P(purchased) at every place of the slates; shapes (R, n)."""
        faced = preferences(self.world, self.state(slates.requests.day), slates)
        return chances(faced, self.world.config.response)

    def value(self, slates: Slates) -> Value:
        """What the slates are worth, in expectation."""
        p = self.chances(slates)
        price, margin = self.world.catalogue.price[slates.item_id], self.world.catalogue.margin[slates.item_id]
        return Value(
            clicks=p.clicked.sum(axis=1),
            purchases=p.purchased.sum(axis=1),
            revenue=(p.purchased * price).sum(axis=1),
            margin=(p.purchased * price * margin).sum(axis=1),
        )

    def utilities(self, requests: Requests) -> Floats:
        """Utility of every item on sale for every request; shape (R, n_on_sale)."""
        n_items = int(self.world.catalogue.on_sale(requests.day).sum())
        return utility_of_all(self.world, self.state(requests.day), requests.user_id, n_items)

    def best(self, requests: Requests, goal: str = "clicks") -> Slates:
        """The slates with the highest expected `goal`: clicks, purchases, revenue or margin."""
        u = self.utilities(requests)
        n_items = u.shape[1]
        price, margin = self.world.catalogue.price[:n_items], self.world.catalogue.margin[:n_items]
        gain = choose(
            "goal", goal, {"clicks": None, "purchases": np.ones(n_items), "revenue": price, "margin": price * margin}
        )
        if gain is None:
            worth = u  # grows with P(click), and does not saturate
        else:
            looked = Preferences(  # each item alone at the top of a slate: P(purchased | looked at)
                utility=u.reshape(-1, 1), patience=np.ones(u.size), shown=np.ones((u.size, 1), dtype=bool)
            )
            worth = chances(looked, self.world.config.response).purchased.reshape(u.shape) * gain
        n = min(requests.n, n_items)
        item_id = top_n(worth, n, np.ones(n_items, dtype=bool), requests.exclude)
        return Slates(
            requests=replace(requests, n=n),
            item_id=item_id,
            propensity=np.ones(item_id.shape),
            source=np.full(item_id.shape, SOURCES.index("model"), dtype=np.int64),
            model_version=Labels.constant("oracle", len(requests)),
            arm=Labels.constant("oracle", len(requests)),
        )

    def regret(self, slates: Slates) -> Floats:
        """Expected clicks that each slate leaves to the best one, from 0 up; shape (R,)."""
        return self.value(self.best(slates.requests)).clicks - self.value(slates).clicks

    def truth_of_day(self, slates: Slates) -> dict[str, float]:
        """The true columns of a run's metrics: expected value a visit of what was shown, and of the best."""
        value, best = self.value(slates), self.value(self.best(slates.requests))
        visits = len(slates.requests) or float("nan")  # without visits there is no mean
        clicks, top = float(value.clicks.sum()), float(best.clicks.sum())
        return {
            "true_clicks_per_visit": clicks / visits,
            "best_clicks_per_visit": top / visits,
            "share_of_best": clicks / top if top > 0 else float("nan"),
            "true_purchases_per_visit": float(value.purchases.sum()) / visits,
            "true_revenue_per_visit": float(value.revenue.sum()) / visits,
            "true_margin_per_visit": float(value.margin.sum()) / visits,
        }
