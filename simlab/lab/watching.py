"""What a company's report says of a window, and beside it what was true."""

import numpy as np
import pandas as pd

from simlab.lab.run import Run
from simlab.recsys.quality import Finding, check_day, missing_days, usual
from simlab.recsys.report import BEFORE, Report, report
from simlab.recsys.rules import Known
from simlab.settings import require

TRUE = ("clicks_per_visit", "purchases_per_visit", "revenue_per_visit", "margin_per_visit")
"""Rates whose expectation the oracle knows."""


def report_of(run: Run, days: int = 7, until: int | None = None, known: int | None = None) -> Report:
    """The report on the `days` that end with `until`, as known at the end of day `known`; both by default the last.

    Raises `DataError` where nothing of them is logged, `ConfigError` for a day that has not happened.
    """
    last = max(run.log.days, default=-1)
    require("days that have happened", last + 1, last >= 0, "let the run go on for a day at least")
    until = last if until is None else until
    require("until", until, 0 <= until <= last, f"give a day from 0 to {last}")
    require("days of a window", days, 1 <= days <= until + 1, f"give 1 to {until + 1}: live days begin with 0")
    known = last if known is None else known
    require("known", known, until <= known <= last, f"give a day from {until} to {last}")
    return report(run.log, run.world.catalogue, run.world.shoppers, until - days + 1, until, known)


def beside_truth(run: Run, told: Report) -> pd.DataFrame:
    """The rates of all shoppers with their intervals, and what was true of the window's slates.

    One row a rate: value, low, high, ripe, truth: its expectation given what was shown, what comes later included; NaN
    where the oracle has none. An estimate that is not ripe lies below the truth and says so.
    """
    rates = told.rates[told.rates["by"] == "all"].set_index("metric")[["value", "low", "high", "ripe"]]
    days = run.metrics.loc[told.first_day : told.last_day]
    truth = {name: float(np.average(days[f"true_{name}"], weights=days["visits"])) for name in TRUE}
    return rates.assign(truth=[truth.get(str(name), float("nan")) for name in rates.index])


def findings(run: Run, told: Report) -> list[Finding]:
    """What is wrong with the data of the window's days, by all that the company knows of itself; see recsys.quality."""
    log, first, last = run.log, told.first_day, told.last_day
    versions = {name: run.registry.card(name) for name in run.registry.versions()}
    random = tuple(name for name, card in versions.items() if card.get("settings", {}).get("algorithm") == "random")
    earlier = run.metrics.loc[first - BEFORE : first - 1]  # none on the first days
    before = usual([{str(name): x for name, x in row.items()} for _, row in earlier.iterrows()])
    shown = log.sql("select impression_id, day from impressions order by day", until=last)
    days = shown["day"].to_numpy()
    missing = missing_days([*range(first), *log.days], last)
    found = [missing] if missing else []
    for day in [day for day in log.days if first <= day <= last]:
        ids = shown["impression_id"].to_numpy()[: np.searchsorted(days, day)]
        known = Known(impression_id=ids, random=random, online=run.config.online)
        found += check_day(day, *log.day(day), run.world.catalogue.launched_by(day), usual=before, known=known)
    return found
