"""A report as gauges for Prometheus: the last week that is logged, told anew when the log has changed.

    simlab_open_day                                    also where nothing else can be told
    simlab_report_day                                  the last day that is in the log, and so in the report; -1 without
    simlab_window_rate{by, group, metric}              and _low, _high: 95 % by shopper; of rates that are ripe
    simlab_window_volume{of}                           visits, impressions, clicks, ...
    simlab_window_{maturity, join_share, missing}      how whole the window is
    simlab_window_foreseen_purchases_per_visit         what its clicks imply
    simlab_report_findings{severity}                   rows of the last logged day that cannot be right; see `quality`
    simlab_window_catalogue{of}, _slates_share{rung}, _latency_seconds{percentile}, _calibration_share{tenth}

Why the days are told too: an old report looks as healthy as it was. Rules that compare `simlab_report_day` with
`simlab_open_day`, watch that the open day goes on, and that both are there, make a dead pipeline an alarm.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from simlab.recsys.log import EventLog
from simlab.recsys.quality import check_day
from simlab.recsys.report import Report, report
from simlab.schema import Catalogue, Shoppers

DAYS = 7
"""Of the window: whole weeks, so that weekdays weigh the same."""


def last_week(log: EventLog, catalogue: Catalogue, shoppers: Shoppers) -> Report | None:
    """The report on the last `DAYS` that are logged, as known on the last evening.

    None where nothing was logged yet, or nobody was served on them. Raises `DataError` where the log cannot be read.
    """
    last = max(log.days, default=-1)
    first = max(last - DAYS + 1, 0)
    if last < 0 or not any(log.day(day)[0].num_rows for day in log.days if first <= day):
        return None
    return report(log, catalogue, shoppers, first, last, last)


def wrong_rows(log: EventLog, catalogue: Catalogue) -> dict[str, int]:
    """Rows of the last logged day that cannot be right, by severity; none before the first day.

    A row that breaks two rules counts twice. Raises `DataError` where the log cannot be read.
    """
    rows = {"error": 0, "warning": 0}
    for day in log.days[-1:]:
        for found in check_day(day, *log.day(day), catalogue.launched_by(day)):
            rows[found.severity] += max(found.count, 1)
    return rows


def gauges_text(told: Report | None, day: int, logged: int, wrong: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """The gauges of a report, in Prometheus' text format; `day` is open, `logged` the last in the log, or -1, and
    `wrong` are the `wrong_rows` of that one."""
    registry = CollectorRegistry()
    if wrong:
        rows = Gauge(
            "simlab_report_findings", "Rows of the last day that cannot be right", ["severity"], registry=registry
        )
        for severity, n in wrong.items():
            rows.labels(severity).set(n)
    Gauge("simlab_open_day", "The day that is open", registry=registry).set(day)
    Gauge("simlab_report_day", "The last day in the log", registry=registry).set(logged)
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
