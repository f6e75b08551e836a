"""A report as gauges for Prometheus: the last full week, told anew when a day is closed.

    simlab_open_day                                    also where nothing else can be told
    simlab_report_day                                  the evening on which the report was written
    simlab_window_rate{by, group, metric}              and _low, _high: 95 % by shopper; of rates that are ripe
    simlab_window_volume{of}                           visits, impressions, clicks, ...
    simlab_window_{maturity, join_share, missing}      how whole the window is
    simlab_window_foreseen_purchases_per_visit         what its clicks imply
    simlab_window_catalogue{of}, _slates_share{rung}, _latency_seconds{percentile}, _calibration_share{tenth}

Why the day is told too: an old report looks as healthy as it was. A rule that compares `simlab_report_day` with
`simlab_open_day`, and one for its absence, make a dead pipeline an alarm.
"""

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from simlab.recsys.log import EventLog
from simlab.recsys.report import Report, report
from simlab.schema import Catalogue, Shoppers

DAYS = 7
"""Of the window: whole weeks, so that weekdays weigh the same."""


def last_week(log: EventLog, catalogue: Catalogue, shoppers: Shoppers, day: int) -> Report | None:
    """The report on the `DAYS` before the open day `day`, as known on its eve; None where nothing was logged yet."""
    if day == 0 or not log.days:
        return None
    return report(log, catalogue, shoppers, max(day - DAYS, 0), day - 1, day - 1)


def gauges_text(told: Report | None, day: int) -> bytes:
    """The gauges of a report, on the open day `day`, in Prometheus' text format."""
    registry = CollectorRegistry()
    Gauge("simlab_open_day", "The day that is open", registry=registry).set(day)
    if told is None:
        return generate_latest(registry)

    def one(name: str, about: str, value: float) -> None:
        if not math.isnan(value):
            Gauge(f"simlab_{name}", about, registry=registry).set(value)

    def many(name: str, about: str, label: str, values: Mapping[str, float]) -> None:
        gauge = Gauge(f"simlab_window_{name}", about, [label], registry=registry)
        for word, value in values.items():
            if not math.isnan(value):
                gauge.labels(word).set(value)

    one("report_day", "The evening on which the report was written", told.known_day)
    one("window_maturity", "Share of the window's purchases that should be in", told.maturity)
    one("window_join_share", "Share of the feedback that finds its impression", told.join_rate)
    one("window_missing", "Days of the window that are not in the log", len(told.missing_days))
    one("window_foreseen_purchases_per_visit", "Purchases a visit that clicks imply", told.foreseen[0])
    many("volume", "Counts of the window", "of", told.volume)
    many("catalogue", "Coverage, Gini, novelty and diversity of what was shown", "of", told.catalogue)
    many("slates_share", "Share of the slates that each rung has answered", "rung", told.rungs)
    waits = {word: ms / 1000 for word, ms in told.latency_ms.items()}
    many("latency_seconds", "What shoppers waited for a slate", "percentile", waits)
    tenths = told.calibration
    ratio = {str(tenth): clicked / p for tenth, (p, clicked) in enumerate(zip(tenths["foretold"], tenths["clicked"]))}
    many("calibration_share", "Clicks as a share of those foretold, by tenths of the foretold", "tenth", ratio)
    _rates(told, registry)
    return generate_latest(registry)


def _rates(told: Report, registry: CollectorRegistry) -> None:
    ripe = told.rates[told.rates["ripe"] & told.rates["value"].notna()]
    for column, about in (("value", "A rate"), ("low", "Lower end of its 95 % interval"), ("high", "Upper end")):
        name = "simlab_window_rate" + ("" if column == "value" else f"_{column}")
        gauge = Gauge(name, f"{about}, of a group", ["by", "group", "metric"], registry=registry)
        for by, group, metric, value in zip(ripe["by"], ripe["group"], ripe["metric"], ripe[column], strict=True):
            if not math.isnan(value):
                gauge.labels(by, group, metric).set(value)
