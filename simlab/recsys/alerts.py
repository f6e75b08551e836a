"""Alerts: what is worth waking somebody for, each evening, from what the company knows.

    data       what cannot be in the day's tables                             simlab.recsys.quality
    features   as served, held against those of training                      simlab.recsys.skew
    level      clicks an impression of the last days, by group   a ratio by shopper, against the weeks before
    mix        where clicks stand in a slate, hours, delays of purchases      PSI, against the weeks before
    share      rungs, newcomers, what is sold out, one shopper, one item      counts, against the weeks before
    models     the age of the champion, and whether it is like its kind       the registry

Why two conditions: a series alarms where the change is beyond chance AND large enough to matter. The first keeps the
budget of false alarms, `split_budget` over all series; the second keeps quiet where a big shop sees what is true and of
no account. (One shopper and one item have no law here, only a size, and what is sold out is no matter of chance.) An
alert that is open is told once: again only after a fortnight of silence.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from simlab.recsys.daybook import DaySums, of_group, total
from simlab.recsys.drift import pooled, psi_test
from simlab.recsys.monitor import ratio
from simlab.recsys.registry import Registry
from simlab.recsys.report import FEW
from simlab.recsys.rules import Severity
from simlab.recsys.service import RUNGS
from simlab.schema import Bools, Catalogue, Ints, Labels
from simlab.settings import check_types, require


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Something that a person should look at."""

    check: str
    """Which check found it."""
    where: str
    """Of what: a segment, an item, a version; "" for the whole shop."""
    severity: Severity
    day: int
    """The first evening on which it was seen."""
    evidence: str
    look: str
    """Where to look first."""


@dataclass(frozen=True, kw_only=True)
class AlertConfig:
    """When to wake somebody."""

    alarms_a_month: float = 0.1
    """False alarms in 30 days that all series together may give by chance, above 0."""
    window: int = 3
    """Days that are compared, from 1 up: fewer are sooner, and less sure."""
    reference: int = 14
    """Days before them with which they are compared, whole weeks."""
    fall: float = 0.12
    """Relative fall of the click rate that matters, in (0, 1)."""
    apart: float = 0.25
    """Relative fall of a group beside all others that matters, in (0, 1)."""
    mix: float = 0.1
    """PSI of a mix that matters, above 0."""
    silence: int = 14
    """Days without it after which an alert is told again."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("alarms_a_month", "mix"):
            require(name, getattr(self, name), getattr(self, name) > 0, "give a number above 0")
        for name in ("window", "reference", "silence"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "give days from 1 up")
        for name in ("fall", "apart"):
            require(name, getattr(self, name), 0 < getattr(self, name) < 1, "give a share in (0, 1)")


class Series(NamedTuple):
    """The days that are compared."""

    now: Sequence[DaySums]
    before: Sequence[DaySums]
    alpha: float
    """Probability of a false alarm that each series may have today."""


N_SERIES = 12
"""Series beside those by group: the level, three mixes, three rungs, newcomers, two of categories; one shopper and one
item, which have no law of chance, are counted too."""


def groups(kind: str, column: Labels) -> dict[str, Bools]:
    """The shoppers of each word of a column; shape (n_users,) each."""
    return {f"{kind} {name}": column.codes == code for code, name in enumerate(column.names)}


def levels(series: Series, parts: dict[str, Bools], config: AlertConfig) -> Iterator[Alert]:
    """The log of the click rate, now less before, all, and each group beside all others: z beyond the quantile.

    var(log r) = (se / r)^2, se by shopper; windows and groups count as independent, which errs on the safe side where
    the same shoppers are in both.
    """
    everybody = np.ones(max(map(len, parts.values()), default=0), dtype=np.bool_)
    limit, day = float(-ndtri(series.alpha)), series.now[-1].day
    change, error = _change(series, everybody)
    if change < min(math.log1p(-config.fall), -limit * error):
        evidence = f"clicks an impression {math.expm1(change):+.0%} in {len(series.now)} days, z {change / error:.1f}"
        look = "what was released; else who clicks less: all, or one segment, and since when"
        yield Alert(check="clicks", where="", severity="error", day=day, evidence=evidence, look=look)
    for name, members in parts.items():
        inside, outside = _change(series, members), _change(series, ~members)
        apart, spread = inside[0] - outside[0], math.hypot(inside[1], outside[1])
        if apart < min(math.log1p(-config.apart), -limit * spread) and inside[0] < math.log1p(-config.fall):
            evidence = (
                f"{name}: clicks an impression {math.expm1(apart):+.0%} beside all others, z {apart / spread:.1f}"
            )
            look = f"what only {name} has: its client, its part of the model, its goods"
            yield Alert(check="clicks_of_group", where=name, severity="error", day=day, evidence=evidence, look=look)


def _change(series: Series, members: Bools) -> tuple[float, float]:
    """The change of the log click rate of a group and its standard error; 0 and infinity where nothing is known.

    That is so below `FEW` shoppers, for whom the delta method is no law.
    """
    sums = [of_group(days, members) for days in (series.now, series.before)]
    (now, se_now), (before, se_before) = (ratio(*both) for both in sums)
    if min(len(clicked) for clicked, _ in sums) < FEW or not before > 0:
        return 0.0, math.inf
    if now == 0:  # P(no click) = exp(-expected); those of one shopper are alike
        chance = math.exp(-before * float(sums[0][1].sum()) / CLICKS_ALIKE)
        return NOBODY, (-NOBODY / float(-ndtri(chance)) if 0 < chance < 0.5 else math.inf if chance else 0.1)
    return math.log(now / before), math.hypot(se_now / now, se_before / before)


CLICKS_ALIKE = 3
"""As many clicks of a group say no more than one that comes by itself, where none has come."""

NOBODY = -5.0
"""Stands for the logarithm of a rate of 0 against that of before."""

_MIXES = {
    "position": "how positions are logged; the page",
    "hour": "clocks and time zones of servers and clients",
    "delay": "the way of purchases to us: queues, batches, retries",
}


def mixes(series: Series, config: AlertConfig) -> Iterator[Alert]:
    """Where clicks stand, when slates are asked for, and how late purchases come, by PSI and its law."""
    for name, look in _MIXES.items():
        now, before = total(series.now, name), total(series.before, name)
        if before.sum() and now.sum() >= 30:
            test = psi_test(*pooled(before, now), series.alpha / VISITS_ALIKE)
            if test.drifted and test.statistic > config.mix:
                evidence = f"{name}: PSI {test.statistic:.2f} against {len(series.before)} days before"
                yield _warning(f"mix_of_{name}s", "", series, evidence, look)


VISITS_ALIKE = 10
"""Slates and clicks of a shopper are alike, which the law of PSI does not know: its level is so many times lower."""


def shares(series: Series) -> Iterator[Alert]:
    """Of slates by the lower rungs, of visits by newcomers, and of clicks by one shopper."""
    rungs, of_old = total(series.now, "rung"), total(series.before, "rung")
    for code, rung in enumerate(RUNGS[1:], start=1):
        now, before = rungs[code] / max(rungs.sum(), 1), of_old[code] / max(of_old.sum(), 1)
        if _rose(rungs[code], rungs.sum(), before, series.alpha) and now > before + (
            0.005 if rung == "static" else 0.05
        ):
            evidence = f"the rung {rung} answers {now:.1%} of the slates, {before:.1%} before"
            yield _warning("rung", rung, series, evidence, "models and deadlines; the rungs above it; many newcomers")
    new, visits = (int(total(series.now, name)[0]) for name in ("visits_of_new", "visits"))
    new_before, visits_before = (int(total(series.before, name)[0]) for name in ("visits_of_new", "visits"))
    share, was = new / max(visits, 1), new_before / max(visits_before, 1)
    if share > was + 0.08 and _rose(new, visits, was, series.alpha / VISITS_ALIKE):
        evidence = f"{share:.0%} of the visits are by shoppers of the last week, {was:.0%} before"
        yield _warning("newcomers", "", series, evidence, "a campaign, an opening; else how shoppers are recognised")
    clicks, of_before = total(series.now, "clicked"), total(series.before, "clicked")
    most, usual_most = int(clicks.argmax()), float(of_before.max()) * len(series.now) / len(series.before)
    if clicks[most] > 30 + 3 * usual_most:
        evidence = (
            f"user {most} has {clicks[most]} clicks in {len(series.now)} days; nobody had {usual_most:.0f} before"
        )
        yield _warning("one_shopper", f"user {most}", series, evidence, "bots: what it clicks, and when")


def items(series: Series, unavailable: Ints) -> Iterator[Alert]:
    """Of impressions that what is sold out now used to have, of clicks on one item, and of new goods."""
    shown, clicks = total(series.before, "item_shown"), total(series.now, "item_clicked")
    out = unavailable[unavailable < len(shown)]
    gone = shown[out].sum() / max(shown.sum(), 1)
    if gone > 0.1:
        evidence = f"{len(out)} items cannot be delivered; they had {gone:.0%} of the impressions before"
        yield _warning("sold_out", "", series, evidence, "the warehouse, and how stock is counted")
    before = total(series.before, "item_clicked")
    before = np.append(before, np.zeros(len(clicks) - len(before), dtype=np.int64))
    item = int(clicks.argmax()) if len(clicks) else 0
    share, was = clicks[item] / max(clicks.sum(), 1), (before[item] + 1) / max(before.sum(), 1)
    if share > 0.05 and share > 4 * was and clicks[item] >= 30:
        evidence = f"item {item} has {share:.0%} of the clicks, {was:.1%} before"
        yield _warning(
            "one_item", f"item {item}", series, evidence, "who clicks it: many, or a few that are no shoppers"
        )


def _rose(count: int, n: int, before: float, alpha: float) -> bool:
    """Whether a share is above that of before, by the normal law of a count; at least one of 200 counts as before."""
    p = max(before, 0.005)
    return bool(count > n * p + float(-ndtri(alpha)) * math.sqrt(n * p * (1 - p)))


def _warning(check: str, where: str, series: Series, evidence: str, look: str) -> Alert:
    day = series.now[-1].day
    return Alert(check=check, where=where, severity="warning", day=day, evidence=evidence, look=look)


def of_models(registry: Registry, catalogue: Catalogue, day: int) -> Iterator[Alert]:
    """A champion that is older than champions become, one that is not like those before it, and one that does not know
    goods of `catalogue` that were there when it was trained."""
    rows = [row for row in registry.history("champion") if row["day"] <= day]
    pairs = zip([None, *rows], rows)
    days = [int(row["day"]) for before, row in pairs if before is None or before["version"] != row["version"]]
    gaps = np.diff(days)
    tried = np.diff(sorted({int(row["day"]) for row in rows}))
    usual = int(max(gaps.max(initial=0), tried.max(initial=0)))
    if len(tried) >= 2 and day - days[-1] > 1.5 * usual + 1:
        evidence = f"the champion has not changed for {day - days[-1]} days; tried, or changed, it is every {usual}"
        look = "the job that trains: its last words"
        yield Alert(check="old_model", where="", severity="warning", day=day, evidence=evidence, look=look)
    if rows and rows[-1]["day"] == day:
        yield from _of_champion(registry, rows, catalogue, day)


def _of_champion(registry: Registry, rows: list[dict[str, Any]], catalogue: Catalogue, day: int) -> Iterator[Alert]:
    row, version = rows[-1], rows[-1]["version"]
    model, now = registry.load(version)
    odd = []
    there = int(np.count_nonzero(catalogue.launch_day <= now.get("trained_day", 0)))
    if model.n_items < there:
        odd.append(f"it knows {model.n_items} of the {there} items there were when it was trained")
    if len(rows) >= 2 and rows[-2]["version"] != version:
        was = registry.card(rows[-2]["version"])
        pairs = [(name, _setting(was, name), _setting(now, name)) for name in ("algorithm", "signal")]
        odd += [f"its {name} is {new}, that of the one before {old}" for name, old, new in pairs if old != new]
        if now.get("trained_day", 0) < was.get("trained_day", 0):
            odd.append(f"it was trained on day {now.get('trained_day')}, the one before on day {was['trained_day']}")
        if now.get("rows", 0) < 0.5 * was.get("rows", 0):
            odd.append(f"it has learnt from {now.get('rows')} rows, the one before from {was['rows']}")
    if odd:
        look = f"who promoted it, and why: {row['actor']}, {row['reason']!r}"
        yield Alert(
            check="odd_champion", where=version, severity="warning", day=day, evidence="; ".join(odd), look=look
        )


def _setting(card: dict[str, Any], name: str) -> object:
    return card.get("settings", {}).get(name)


def told(alerts: Iterable[Alert]) -> list[str]:
    """Alerts as lines to read."""
    return [
        f"day {one.day}  {one.severity:8}{one.check}{' of ' + one.where if one.where else ''}: {one.evidence}; "
        f"look first at: {one.look}"
        for one in alerts
    ]
