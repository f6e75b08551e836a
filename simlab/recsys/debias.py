"""Debiasing: what of the clicks is due to where and how often the shop showed things, and is divided out again.

    propensity    a click weighs 1 / P(the item was shown there), which the log keeps where chance decided
    position      a click weighs 1 / P(the place is looked at), which is estimated from the log alone

    P(click on item i at position p) = attraction_i * examination_p

Why these rows: the curve needs items that stand now here, now there, for reasons that are not the shopper's. On a
personal slate an item is high for those who like it, so that its clicks fall along the slate also where everybody looks
at all of it. So the curve is learnt from what chance placed (exploration, the noisy ranking before day 0) and from what
is the same for all; only where there is too little of it from everything, and the card says so.

Sources: Craswell, Zoeter, Taylor, Ramsey, WSDM 2008 (the model); Joachims, Swaminathan, Schnabel, WSDM 2017 (the
weights); Schnabel et al., ICML 2016 (propensities for recommenders).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from simlab.recsys.log import EventLog
from simlab.recsys.offpolicy import effective_size
from simlab.schema import GUESTS, Floats, Ints
from simlab.settings import require

ENOUGH = 300
"""Clicks on what chance placed, from which a curve is learnt without looking at the rest."""

CHANCE = "source in ('exploration', 'history') or model_version in ('fallback-popular', 'fallback-static')"
"""Rows whose place is not due to the shopper, as SQL."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """How far down people look, as far as a company can tell."""

    curve: Floats
    """P(a position is looked at) as a share of that of the top one, (n_positions,); 1 where nothing is known."""
    clicks: int
    """Clicks that it was learnt from."""
    by_chance: bool
    """Whether from places that are not due to the shopper alone; else it takes taste for attention."""

    def weight(self, position: Ints, max_weight: float) -> Floats:
        """What a click at each position weighs; shape of `position`."""
        return inverse(self.curve[position], max_weight)


def inverse(probability: Floats, max_weight: float) -> Floats:
    """min(1 / probability, max_weight), and 1 where the probability is unknown (NaN).

    Clicks of weight 1 / P add up, in expectation, to those of a policy that would have shown all alike (Horvitz,
    Thompson, JASA 1952), as far as no weight is clipped.

    >>> inverse(np.array([0.5, 0.01, np.nan]), 10.0).tolist()
    [2.0, 10.0, 1.0]
    """
    known = np.where(np.isnan(probability), 1.0, probability)
    return np.asarray(1 / np.maximum(known, 1 / max_weight))


def examination_curve(shown: Floats, clicked: Floats) -> Floats:
    """The curve that makes the clicks likeliest, for counts of shape (n_items, n_positions); 1 at the top.

    clicked_ip ~ Poisson(shown_ip a_i t_p), solved by turns, each making the likelihood greater:

        a_i = sum over p of clicked_ip / sum over p of shown_ip t_p        t_p likewise, over items

    (iterative proportional fitting; Deming, Stephan 1940). Positions never shown have 1, and so have all where nothing
    was clicked at the top.

    >>> shown = np.array([[100.0, 100.0], [50.0, 200.0]])
    >>> examination_curve(shown, np.array([[20.0, 10.0], [2.0, 4.0]])).round(6).tolist()
    [1.0, 0.5]
    """
    require("shape of shown and clicked", shown.shape, shown.shape == clicked.shape, "give counts of equal shape")
    by_item, by_place = clicked.sum(axis=1), clicked.sum(axis=0)
    curve = np.ones(shown.shape[1])
    if shown.size == 0 or by_place[0] == 0:
        return curve
    for _ in range(500):
        attraction = by_item / np.maximum(shown @ curve, 1e-12)
        looked = shown.T @ attraction
        new = np.divide(by_place, looked, out=np.ones(len(curve)), where=looked > 0)
        new, before = new / new[0], curve
        curve = new
        if np.abs(curve - before).max() < 1e-9:
            break
    curve[shown.sum(axis=0) == 0] = 1.0
    return curve


def examination(log: EventLog, *, day: int, window_days: int | None = None) -> Examination:
    """How far down people look, from the rows of the `window_days` before `day` (None: all of them).

    All clicks count, also where something else is learnt: a purchase, too, begins with a look.
    """
    rows = log.sql(
        f"""select item_id, position, {CHANCE} as chance, count(*)::double as shown, sum(clicked::int)::double as clicks
            from impressions where {within(day, window_days)} and user_id < {GUESTS}
            group by all order by all""",
        until=day - 1,
    )
    n_positions = int(rows["position"].max()) + 1 if len(rows) else 1
    chance = rows["chance"].fillna(False).to_numpy(bool)
    enough = float(rows["clicks"][chance].sum()) >= ENOUGH
    rows = rows[chance] if enough else rows
    shown, clicked = np.zeros((2, int(rows["item_id"].max()) + 1 if len(rows) else 0, n_positions))
    for table, column in ((shown, "shown"), (clicked, "clicks")):
        np.add.at(table, (rows["item_id"].to_numpy(), rows["position"].to_numpy()), rows[column].to_numpy())
    return Examination(curve=examination_curve(shown, clicked), clicks=int(clicked.sum()), by_chance=enough)


def within(day: int, window_days: int | None) -> str:
    """SQL for the days of the window before `day`.

    >>> within(10, 7), within(10, None)
    ('day between 3 and 9', 'day <= 9')
    """
    return f"day <= {day - 1}" if window_days is None else f"day between {day - window_days} and {day - 1}"


def told(weight: Floats, max_weight: float) -> dict[str, Any]:
    """What the card of a model says of its weights before they are divided by their mean.

    >>> told(np.array([1.0, 10.0]), 10.0)
    {'rows': 2, 'clipped_share': 0.5, 'effective_sample_size': 1.2}
    """
    clipped = float(np.mean(weight >= max_weight)) if len(weight) else 0.0
    return {"rows": len(weight), "clipped_share": clipped, "effective_sample_size": round(effective_size(weight), 1)}
