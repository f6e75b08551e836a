"""Watching: what the company knows of its shop, day by day and over windows.

Nothing here is the truth: clicks are counted, purchases, ratings and returns are counted on the day they arrive, and a
click rate is an estimate with an interval. The whole of a window is in `report`, what cannot be in a day's tables in
`quality`, whether shoppers have changed in `drift`, `detectors` and `signals`.
"""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from simlab.recsys.log import EventLog
from simlab.recsys.metrics import coverage, gini
from simlab.schema import KINDS, Catalogue, Floats
from simlab.settings import require

RIPE_AFTER = 14
"""Days after which nearly every purchase that a day's impressions lead to has arrived, in the default shop."""

VISIT_BITS = 12
"""request_id >> VISIT_BITS names the visit without its pages, as `schema.Requests` packs them."""

Z = 1.959964
"""Standard errors to either end of a 95 % interval."""

_RATES = {
    "click_rate": ("clicks", "impressions"),
    "clicks_per_visit": ("clicks", "visits"),
    "purchases_per_visit": ("purchases", "visits"),
}

_COLUMNS = [
    "first_day",
    "visits",
    "purchases",
    *(f"{rate}{end}" for rate in _RATES for end in ("", "_low", "_high")),
    "ripe",
]


def daily_metrics(impressions: pa.Table, feedback: pa.Table, catalogue: Catalogue, day: int) -> dict[str, float]:
    """What the company knows at the end of `day` from its IMPRESSIONS and the FEEDBACK that arrived.

    Clicks belong to the day's impressions; purchases, ratings and returns to the day on which they arrive. Revenue is
    what was paid, refunds what was given back, margin the shop's share of the difference; all in euros. A visit has one
    slate or several. Coverage and Gini are over the items on sale. Rates are NaN on a day without visits.
    """
    slates = pc.unique(impressions["request_id"]).to_numpy()
    visits = len(np.unique(slates >> VISIT_BITS))
    clicks = pc.sum(impressions["clicked"]).as_py() or 0
    shown = impressions["item_id"].to_numpy()
    times_shown = np.bincount(shown, minlength=len(catalogue))[catalogue.on_sale(day)]
    fallback = pc.sum(pc.equal(impressions["source"].cast(pa.string()), "fallback")).as_py() or 0
    words = feedback["kind"].cast(pa.string())
    came = {kind: feedback.filter(pc.equal(words, kind)) for kind in KINDS}
    value = {kind: table["value"].to_numpy() for kind, table in came.items()}
    kept = {
        kind: float((catalogue.margin[table["item_id"].to_numpy()] * value[kind]).sum()) for kind, table in came.items()
    }
    return {
        "visits": visits,
        "slates": len(slates),
        "impressions": len(shown),
        "clicks": clicks,
        "click_rate": clicks / len(shown) if len(shown) else float("nan"),
        "clicks_per_visit": clicks / visits if visits else float("nan"),
        "purchases": len(value["purchase"]),
        "revenue": float(value["purchase"].sum()),
        "returns": len(value["return"]),
        "refunds": float(value["return"].sum()),
        "margin": kept["purchase"] - kept["return"],
        "ratings": len(value["rating"]),
        "mean_rating": float(value["rating"].mean()) if len(value["rating"]) else float("nan"),
        "coverage": coverage(np.flatnonzero(times_shown), len(times_shown)) if len(times_shown) else float("nan"),
        "gini": gini(times_shown),
        "fallback_share": fallback / len(shown) if len(shown) else float("nan"),
    }


def ratio(numerator: Floats, denominator: Floats) -> tuple[float, float]:
    """A ratio of sums over users and its standard error; arrays of shape (n_users,).

    r = sum(y) / sum(x),  se = sqrt(n / (n-1) * sum((y - r x)^2)) / sum(x)            (delta method, users the unit)

    Why users: the clicks of one shopper are alike, so impressions are not independent draws. NaN without users.
    Source: Deng, Knoblich, Lu, KDD 2018.

    >>> ratio(np.array([1.0, 1.0]), np.array([2.0, 2.0]))
    (0.5, 0.0)
    """
    n, total = len(denominator), float(denominator.sum())
    if total == 0:
        return float("nan"), float("nan")
    r = float(numerator.sum()) / total
    if n < 2:
        return r, float("nan")
    return r, float(np.sqrt(n / (n - 1) * np.square(numerator - r * denominator).sum()) / total)


def windows(log: EventLog, days: int = 7, until: int | None = None, *, ripe_after: int = RIPE_AFTER) -> pd.DataFrame:
    """The live days in windows of `days`, as known at the end of day `until` (default: the last logged).

    One row a window, its first day the index: visits, purchases that came of its impressions so far, click rate,
    clicks and purchases per visit with 95 % intervals by user (`*_low`, `*_high`), and `ripe`: whether its last day
    is `ripe_after` days old, after which (nearly) all purchases are in.
    """
    require("days in a window", days, days >= 1, "give a whole number from 1 up")
    require("ripe_after", ripe_after, ripe_after >= 0, "give days from 0 up")
    last = max((day for day in log.days if until is None or day <= until), default=-1)
    rows = log.sql(
        f"""select day // {int(days)} * {int(days)} as first_day, user_id, count(*) as impressions,
                   count(distinct request_id >> {VISIT_BITS}) as visits, sum(clicked::int)::bigint as clicks,
                   sum(purchased::int)::bigint as purchases
            from impressions where day >= 0 group by all order by all""",
        until=last,
    )
    table: list[dict[str, Any]] = []
    for first, part in rows.groupby("first_day"):
        row: dict[str, Any] = {"first_day": first, "visits": part["visits"].sum(), "purchases": part["purchases"].sum()}
        for name, (count, unit) in _RATES.items():
            value, error = ratio(part[count].to_numpy(float), part[unit].to_numpy(float))
            row |= {name: value, f"{name}_low": value - Z * error, f"{name}_high": value + Z * error}
        row["ripe"] = bool(last >= int(str(first)) + days - 1 + ripe_after)
        table.append(row)
    return pd.DataFrame(table, columns=_COLUMNS).set_index("first_day")
