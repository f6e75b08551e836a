"""The lookout: it looks at a shop every evening, in the order of days, and remembers what it needs for the next.

What it raises an alarm about, and when, stands in simlab.recsys.alerts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from simlab.recsys.alerts import (
    N_SERIES,
    Alert,
    AlertConfig,
    Series,
    groups,
    items,
    levels,
    mixes,
    of_models,
    shares,
)
from simlab.recsys.daybook import DaySums, day_sums
from simlab.recsys.drift import split_budget
from simlab.recsys.facts import Facts
from simlab.recsys.intake import admit
from simlab.recsys.monitor import daily_metrics
from simlab.recsys.quality import check_day, usual
from simlab.recsys.registry import Registry
from simlab.recsys.rules import Known
from simlab.recsys.signals import common_fall, mix_drift
from simlab.recsys.skew import Features, unequal
from simlab.schema import NEVER, Catalogue, Ints, Shoppers
from simlab.settings import require


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What has reached the watch of a day."""

    day: int
    impressions: pa.Table
    """As they came; see IMPRESSIONS."""
    feedback: pa.Table
    """As it came; see FEEDBACK."""
    unavailable: Ints
    """Items that could not be delivered."""
    served: Features
    """Features as the service read them, indexed by user or item; see `skew.unequal`."""
    trained: Features
    """The same as training computes them."""


class Monitor:
    """Watches one shop, day after day."""

    def __init__(
        self,
        catalogue: Catalogue,
        shoppers: Shoppers,
        registry: Registry,
        facts: Facts,
        *,
        config: AlertConfig | None = None,
        known: Known | None = None,
    ) -> None:
        """`catalogue` and `shoppers` may be of later days too: only what is in the tables of a day is looked up."""
        self.alerts: list[Alert] = []
        """All so far, oldest first."""
        self.config = config or AlertConfig()
        self._catalogue, self._shoppers, self._registry, self._facts = catalogue, shoppers, registry, facts
        self._known = known or Known()
        self._days: list[DaySums] = []
        self._metrics: list[dict[str, float]] = []
        self._last: dict[tuple[str, str, str], int] = {}

    def look(self, seen: Seen) -> list[Alert]:
        """The alerts that are new on the evening of a day. Call it once a day, in their order, the day being logged."""
        day, last = seen.day, self._days[-1].day if self._days else -1
        require("day of a look", day, day > last, f"day {last} was the last: look at each day once, in their order")
        catalogue = self._catalogue.launched_by(day)
        impressions, feedback = admit(day, seen.impressions, seen.feedback, len(catalogue))
        found = [*self._of_data(seen, catalogue), *_of_features(seen), *_of_gaps(seen, impressions, last)]
        self._days.append(day_sums(day, impressions, feedback, catalogue, self._shoppers))
        self._metrics.append(daily_metrics(impressions, feedback, catalogue, day))
        found += self._of_series(seen)
        found += of_models(self._registry, catalogue, day)
        told = {(one.check, one.where, one.severity): one for one in reversed(found)}
        fresh = [one for key, one in reversed(told.items()) if day - self._last.get(key, -NEVER) > self.config.silence]
        self._last |= dict.fromkeys(told, day)
        self.alerts += fresh
        return fresh

    def _of_data(self, seen: Seen, catalogue: Catalogue) -> Iterator[Alert]:
        before = usual([day for day in self._metrics[-28:] if day["impressions"]])
        tables = (seen.impressions, seen.feedback)
        for found in check_day(seen.day, *tables, catalogue, usual=before, known=self._known):
            yield Alert(
                check=found.check,
                where=found.evidence.partition(" is ")[0] if found.check == "schema" else "",
                severity=found.severity,
                day=seen.day,
                evidence=found.evidence,
                look=found.look,
            )

    def _of_series(self, seen: Seen) -> Iterator[Alert]:
        config = self.config
        window = [day for day in self._days if day.day > seen.day - config.window]
        last = seen.day - config.window
        before = [day for day in self._days if last - config.reference < day.day <= last]
        if len(before) < config.reference - GAPS or not window or seen.day < 20:
            return
        parts = {**groups("segment", self._shoppers.segment), **groups("region", self._shoppers.region)}
        alpha = split_budget(config.alarms_a_month, len(parts) + N_SERIES, 30)
        series = Series(window, before, alpha)
        yield from levels(series, parts, config)
        yield from mixes(series, config)
        yield from shares(series)
        yield from items(series, seen.unavailable)
        yield from self._of_categories(seen.day, alpha)

    def _of_categories(self, day: int, alpha: float) -> Iterator[Alert]:
        """A week against the fortnight before: a season moves categories apart, other tastes lower them all."""
        before, after = (self._facts.window(range(day - back, day - back + n)) for back, n in ((20, 14), (6, 7)))
        fall, mix = common_fall(before, after, alpha=alpha), mix_drift(before, after, alpha=alpha)
        if fall.found and fall.size < -self.config.fall:
            evidence = f"click rates of all categories together {fall.size:+.0%} in a week"
            look = "whether shoppers like other things, or the model has lost them; a season would lower some only"
            yield Alert(check="common_fall", where="", severity="error", day=day, evidence=evidence, look=look)
        if mix.found and mix.size > CATEGORIES_MATTER:
            evidence = f"categories share the clicks otherwise: PSI {mix.size:.3f}; all together {fall.size:+.0%}"
            look = "the calendar first, for a season comes back by itself; then prices and stock"
            yield Alert(check="categories", where="", severity="warning", day=day, evidence=evidence, look=look)


GAPS = 2
"""Days of the reference that may be missing."""

CATEGORIES_MATTER = 0.025
"""PSI of clicks by category, given what was shown, from which on it matters."""


def _of_features(seen: Seen) -> Iterator[Alert]:
    for found in unequal(seen.trained, seen.served, day=seen.day):
        yield Alert(
            check=found.check, where="", severity="error", day=seen.day, evidence=found.evidence, look=found.look
        )


def _of_gaps(seen: Seen, admitted: pa.Table, last: int) -> Iterator[Alert]:
    """Days that nobody has looked at, and rows that were not fit to be logged."""
    if seen.day > last + 1:
        evidence, look = f"days {last + 1} to {seen.day - 1} have not been looked at", "the job that closes days"
        yield Alert(check="missing_days", where="", severity="error", day=seen.day, evidence=evidence, look=look)
    came = seen.impressions.num_rows
    if came > 2 * admitted.num_rows:
        evidence, look = f"{came - admitted.num_rows} of {came} rows could not be logged", "the findings of this day"
        yield Alert(check="rows_lost", where="", severity="error", day=seen.day, evidence=evidence, look=look)
