"""A report: what a company can know of a window of days, on the evening of a later day.

    volume       what was shown and what came of it; days that are missing; feedback that finds its impression
    rates        per visit and per impression with 95 % intervals by shopper; of all, and by group
    maturity     how much of the window's purchases is in; a window that is not ripe is not compared
    foreseen     the purchases that the clicks imply before they come
    catalogue    coverage, Gini, novelty, diversity of what was shown
    rungs        who answered; how long shoppers waited
    calibration  clicks beside those that position and item let expect

Why ripeness belongs to a rate: clicks are in on the same evening, purchases come for two weeks. To compare purchases of
a young window with those of an old one is the commonest false alarm there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simlab.errors import DataError
from simlab.recsys.log import EventLog
from simlab.recsys.metrics import coverage, diversity, gini, novelty
from simlab.recsys.monitor import RIPE_AFTER, VISIT_BITS, Z, ratio
from simlab.recsys.service import RUNGS, rung_of
from simlab.schema import Catalogue, Floats, Ints, Labels, Shoppers
from simlab.settings import require

NEW = 28
"""Days for which a shopper or an item counts as new."""

FEW = 30
"""Shoppers below which no interval is given."""

BEFORE = 28
"""Days before a window from which its clicks are foretold."""

_UNITS = {
    "click_rate": ("clicked", "impression", True),
    "clicks_per_visit": ("clicked", "visit", True),
    "conversion": ("purchased", "clicked", False),
    "purchases_per_visit": ("purchased", "visit", False),
    "revenue_per_visit": ("revenue", "visit", False),
    "margin_per_visit": ("margin", "visit", False),
}
"""Each rate: what is counted, per what, and whether it is whole on the same evening."""

_COUNTED = ("impression", "visit", "clicked", "purchased", "revenue", "margin")

_OF_ITEMS = ("position", "item", "category")
"""Groups that cut through visits, so that only rates per impression and per click make sense."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A window of days, as known on a later evening."""

    first_day: int
    last_day: int
    known_day: int
    """The evening on which it was written: all days count what had arrived by then."""
    volume: dict[str, float]
    """Counts of the window: impressions, visits, slates, users, clicks; also purchases so far, what was paid for them,
    and the shop's share of it less what was sent back."""
    missing_days: tuple[int, ...]
    """Days of the window that are not in the log."""
    join_rate: float
    """Share of the feedback that arrived in the window whose impression is in the log; NaN without feedback."""
    maturity: float
    """Share of the window's purchases that should be in by now, by the delays of ripe days, in [0, 1]; NaN without."""
    ripe: bool
    """Whether the last day is `RIPE_AFTER` days old, so that (nearly) all purchases are in."""
    rates: pd.DataFrame
    """One row for each by, group, metric: value, low, high (95 % by shopper), users, and whether it is ripe. A visit
    that several versions have answered counts as one in the group of each, with what was clicked there."""
    foreseen: tuple[float, float, float]
    """Purchases a visit that the window's clicks imply: value, low, high. See `foresee`."""
    catalogue: dict[str, float]
    """Coverage, Gini, novelty (bits) and diversity (share of pairs from two categories) of the window's slates."""
    rungs: dict[str, float]
    """Share of the slates that each rung has answered."""
    latency_ms: dict[str, float]
    """Median, 95th and 99th percentile of what shoppers waited."""
    calibration: pd.DataFrame
    """Tenths of the impressions by foretold click probability: foretold, clicked, low, high, impressions."""

    def rate(self, metric: str, by: str = "all", group: str = "all") -> pd.Series:
        """The row of one rate. Raises `DataError` where there is none."""
        rows = self.rates
        row = rows[(rows["metric"] == metric) & (rows["by"] == by) & (rows["group"] == group)]
        if len(row) != 1:
            known = sorted(set(zip(rows["by"], rows["group"], rows["metric"], strict=True)))
            raise DataError("rate of the report", (by, group, metric), f"there are: {known[:20]}")
        return row.iloc[0]

    def against(self, reference: "Report") -> pd.DataFrame:
        """Relative changes since `reference` with 95 % intervals, of the rates that are ripe in both.

        By first-order propagation for a ratio of independent means; shoppers who visit in both windows make the
        interval a little wide where their habits last. Columns: by, group, metric, change, low, high.
        """
        keys = ["by", "group", "metric"]
        both = self.rates.merge(reference.rates, on=keys, suffixes=("", "_before"))
        both = both[both["ripe"] & both["ripe_before"] & (both["value_before"] > 0)]
        now, before = both["value"], both["value_before"]
        spread = np.hypot((both["high"] - now) / before, now * (both["high_before"] - before) / before**2)
        change = now / before - 1
        return both[keys].assign(change=change, low=change - spread, high=change + spread).reset_index(drop=True)


def report(log: EventLog, catalogue: Catalogue, shoppers: Shoppers, first: int, last: int, known: int) -> Report:
    """The report on the days `first` .. `last` as known at the end of day `known`.

    Raises `DataError` where nothing of the window is in the log; `ConfigError` for days in the wrong order.
    """
    require("days of a report", (first, last, known), first <= last <= known, "give first <= last <= known")
    rows = log.sql(
        f"""select user_id, item_id, position, request_id, day, clicked::double as clicked, arm, model_version,
                   purchased::double as purchased, revenue, returned, latency_ms
            from impressions where day between {int(first)} and {int(last)} order by impression_id""",
        until=known,
    )
    if rows.empty:
        raise DataError("days of a report", (first, last), f"nothing was shown on them; logged are {log.days[-3:]}")
    rows["margin"] = catalogue.margin[rows["item_id"]] * np.where(rows["returned"], 0.0, rows["revenue"])
    rows["impression"], rows["visit"] = 1.0, _firsts(rows["request_id"].to_numpy() >> VISIT_BITS)  # of all
    slates = rows.drop_duplicates("request_id")
    waited, ripe = slates["latency_ms"], known - last >= RIPE_AFTER
    rung = slates["model_version"].astype(str).map(rung_of)
    counts = ("impressions", "visits", "clicks", "purchases", "revenue", "margin")
    volume = {count: float(rows[name].sum()) for count, name in zip(counts, _COUNTED, strict=True)}
    volume |= {"slates": float(len(slates)), "users": float(rows["user_id"].nunique())}
    logged = {day for day in log.days if day <= known}
    return Report(
        first_day=first,
        last_day=last,
        known_day=known,
        volume=volume,
        missing_days=tuple(day for day in range(max(first, 0), last + 1) if day not in logged),
        join_rate=_join_rate(log, first, last, known),
        maturity=_maturity(log, rows["day"].to_numpy(), known),
        ripe=ripe,
        rates=_rates(rows, _groups(rows, catalogue, shoppers, first), ripe=ripe),
        foreseen=foresee(log, rows, catalogue, known),
        catalogue=_breadth(rows, catalogue, log, first, last),
        rungs={name: float((rung == name).mean()) for name in RUNGS},
        latency_ms={f"p{q}": float(waited.quantile(q / 100)) for q in (50, 95, 99)},  # of those that were measured
        calibration=_calibration(log, rows, first),
    )


def _firsts(ids: Ints) -> Floats:
    """1 where an id stands for the first time, so that sums count ids."""
    first = np.zeros(len(ids))
    first[np.unique(ids, return_index=True)[1]] = 1.0
    return first


def _groups(rows: pd.DataFrame, catalogue: Catalogue, shoppers: Shoppers, first: int) -> dict[str, Sequence[str]]:
    """For each way to cut the window, the group of every row."""
    user_id, item_id = rows["user_id"].to_numpy(), rows["item_id"].to_numpy()
    known = user_id < len(shoppers)  # others are guests
    young_user = np.ones(len(rows), dtype=np.bool_)
    young_user[known] = shoppers.arrival_day[user_id[known]] > first - NEW
    young_item = catalogue.launch_day[item_id] > first - NEW
    age = np.array(["old", "new"])
    return {
        "all": np.full(len(rows), "all"),
        "arm": rows["arm"].astype(str),
        "model_version": rows["model_version"].astype(str),
        "segment": _words(shoppers.segment, user_id),
        "region": _words(shoppers.region, user_id),
        "user": age[young_user.astype(int)],
        "item": age[young_item.astype(int)],
        "category": list(np.array(catalogue.category.names)[catalogue.category.codes[item_id]]),
        "position": rows["position"].astype(str),
    }


def _words(column: Labels, user_id: Ints) -> Sequence[str]:
    """The word of each user; "guest" for those who are not in the column."""
    words = np.array([*column.names, "guest"])
    place, known = np.full(len(user_id), len(words) - 1), user_id < len(column)
    place[known] = column.codes[user_id[known]]
    return list(words[place])


def _rates(rows: pd.DataFrame, groups: dict[str, Sequence[str]], *, ripe: bool) -> pd.DataFrame:
    table = []
    visits, visit = np.unique(rows["request_id"].to_numpy() >> VISIT_BITS, return_inverse=True)
    for by, words in groups.items():
        code, names = pd.factorize(np.asarray(words), sort=True)
        in_group = _firsts(code * len(visits) + visit)  # a visit counts in each group that has a part in it
        sums = _by_user(rows.assign(visit=in_group), code, len(names))
        for metric, (count, unit, at_once) in _UNITS.items():
            if by in _OF_ITEMS and unit == "visit":
                continue
            for name, y, x in zip(names, sums[count], sums[unit], strict=True):
                users = int(np.count_nonzero(x))
                table.append((by, str(name), metric, *_estimate(y[x > 0], x[x > 0]), users, at_once or ripe))
    return pd.DataFrame(table, columns=["by", "group", "metric", "value", "low", "high", "users", "ripe"])


def _by_user(rows: pd.DataFrame, code: Ints, n: int) -> dict[str, Floats]:
    """Sums of what is counted in each of `n` groups by user; shapes (n, users)."""
    users, user = np.unique(rows["user_id"].to_numpy(), return_inverse=True)
    place, shape = code * len(users) + user, (n, len(users))
    sums: dict[str, Floats] = {}
    for name in _COUNTED:
        sums[name] = np.bincount(place, rows[name], n * len(users)).astype(np.float64).reshape(shape)
    return sums


def _estimate(y: Floats, x: Floats) -> tuple[float, float, float]:
    """sum(y) / sum(x) with its 95 % interval by user; its ends are NaN below `FEW` users, and where all y are 0."""
    value, error = ratio(y, x)
    if len(x) < FEW or not y.any():  # the normal law is far, and no click of few is no proof that nobody clicks
        error = float("nan")
    return value, value - Z * error, value + Z * error


def _join_rate(log: EventLog, first: int, last: int, known: int) -> float:
    found = log.sql(
        f"""select avg((impression_id in (select impression_id from impressions))::int) as share
            from feedback where day between {int(first)} and {int(last)}""",
        until=known,
    )["share"]
    return float(found.fillna(np.nan).iloc[0])


def _maturity(log: EventLog, day: Ints, known: int) -> float:
    """Mean over the rows of F(age), F the share of ripe days' purchases that came within so many days."""
    came = log.sql(
        f"""select purchase_day - day as delay, count(*) as n from impressions
            where purchased and day between {known - RIPE_AFTER - 90} and {known - RIPE_AFTER}
                  and purchase_day - day <= {RIPE_AFTER} group by all order by all""",
        until=known,
    )
    if came.empty:
        return float("nan")
    n = np.bincount(came["delay"].to_numpy(), weights=came["n"].to_numpy(), minlength=RIPE_AFTER + 1)
    share = np.cumsum(n) / n.sum()
    return float(share[np.minimum(known - day, RIPE_AFTER)].mean())


def foresee(log: EventLog, rows: pd.DataFrame, catalogue: Catalogue, known: int) -> tuple[float, float, float]:
    """Purchases a visit that clicks imply before they come: value and 95 % interval by shopper.

    sum over clicks of P(purchase | click, category) / visits, the chance from ripe days before, each category with 20
    clicks of the mean borrowed. What is not yet known is not needed, so a young window can be judged; it is wrong where
    shoppers have begun to buy less of what they click. (Confidence-based estimation, as in NannyML's CBPE.)
    """
    past = log.sql(
        f"""select item_id, sum(clicked::int)::double as clicks, sum(purchased::int)::double as purchases
            from impressions where day between {known - RIPE_AFTER - 90} and {known - RIPE_AFTER} group by all""",
        until=known,
    )
    if past.empty or past["clicks"].sum() == 0:
        return (float("nan"),) * 3
    kind, n = catalogue.category.codes[past["item_id"]], len(catalogue.category.names)
    clicks, bought = (np.bincount(kind, weights=past[name], minlength=n) for name in ("clicks", "purchases"))
    chance = (bought + 20 * bought.sum() / clicks.sum()) / (clicks + 20)
    expected = rows["clicked"] * chance[catalogue.category.codes[rows["item_id"]]]
    sums = _by_user(rows.assign(purchased=expected), np.zeros(len(rows), dtype=np.int64), 1)
    return _estimate(sums["purchased"][0], sums["visit"][0])


def _breadth(rows: pd.DataFrame, catalogue: Catalogue, log: EventLog, first: int, last: int) -> dict[str, float]:
    on_sale = np.zeros(len(catalogue), dtype=np.bool_)
    for day in range(first, last + 1):
        on_sale |= catalogue.on_sale(day)
    item_id = rows["item_id"].to_numpy()
    shown = np.bincount(item_id, minlength=len(catalogue))
    before = log.sql(
        f"""select item_id, count(distinct user_id) as users from impressions
            where clicked and day between {first - BEFORE} and {first - 1} group by all""",
        until=first - 1,
    )
    fans = np.bincount(before["item_id"], weights=before["users"], minlength=len(catalogue))
    known = (fans + 1) / (max(float(fans.sum()), 1.0) + len(catalogue))
    slate, place = np.unique(rows["request_id"].to_numpy(), return_inverse=True)
    lists = np.full((len(slate), int(rows["position"].max()) + 1), -1, dtype=np.int64)
    lists[place, rows["position"].to_numpy()] = item_id
    kinds = np.eye(len(catalogue.category.names))[catalogue.category.codes]
    return {
        "coverage": coverage(np.flatnonzero(shown * on_sale), int(on_sale.sum())) if on_sale.any() else float("nan"),
        "gini": gini(shown[on_sale]),
        "novelty": _mean(novelty(lists, known)),
        "diversity": _mean(diversity(lists, kinds)),
    }


def _mean(values: Floats) -> float:
    """Of those that are there."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _calibration(log: EventLog, rows: pd.DataFrame, first: int) -> pd.DataFrame:
    """Clicks in tenths of the impressions by foretold probability, as the `BEFORE` days before let expect it:

    p = rate(position) * rate(item) / rate(all), the item's rate with 20 impressions of the mean borrowed.
    """
    columns = ["foretold", "clicked", "low", "high", "impressions"]
    past = log.sql(
        f"""select item_id, position, count(*) as n, sum(clicked::int)::double as clicks from impressions
            where day between {first - BEFORE} and {first - 1} group by all""",
        until=first - 1,
    )
    if past.empty or past["clicks"].sum() == 0:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    overall = past["clicks"].sum() / past["n"].sum()
    rate = {}
    for name in ("position", "item_id"):
        size = 1 + max(int(past[name].max()), int(rows[name].max()))
        n, clicks = (np.bincount(past[name], weights=past[column], minlength=size) for column in ("n", "clicks"))
        rate[name] = ((clicks + 20 * overall) / (n + 20))[rows[name].to_numpy()]
    foretold = np.minimum(rate["position"] * rate["item_id"] / overall, 1.0)
    tenth = np.argsort(np.argsort(foretold, kind="stable"), kind="stable") * 10 // len(foretold)
    sums, table = _by_user(rows, tenth, 10), []
    for part, (y, x) in enumerate(zip(sums["clicked"], sums["impression"], strict=True)):
        p = foretold[tenth == part]
        table.append((p.mean() if len(p) else np.nan, *_estimate(y[x > 0], x[x > 0]), len(p)))
    return pd.DataFrame(table, columns=columns)
