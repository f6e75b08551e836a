"""A shop that is watched: a company with a lookout at its door, and perhaps an incident on its way in or out.

Why at the door: the ring knows nothing of faults. `Watched` stands where the company stands (simlab.lab.company) and
passes everything on, changed as the incident of the day says; what goes into the log it shows to the lookout first.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from simlab.errors import DataError, RunError
from simlab.files import parquet_bytes, write_bytes, write_json
from simlab.lab import spoiling
from simlab.lab.company import Company
from simlab.lab.incidents import CURES, Fault, Incident
from simlab.lab.loop import Ring, retrain, trained_day
from simlab.recsys.alerts import Alert, AlertConfig
from simlab.recsys.intake import admit
from simlab.recsys.lookout import Monitor, Seen
from simlab.recsys.rules import Known
from simlab.recsys.skew import Features
from simlab.schema import NEVER, Bools, Catalogue, Outcomes, Requests, Shoppers, Slates
from simlab.settings import from_dict, require


class Watched:
    """A company with a watch at its door, and an incident on its way in or out."""

    def __init__(
        self, ring: Ring, incident: Incident | None, config: AlertConfig | None = None, *, twin: bool = False
    ) -> None:
        """Of a `twin`, the incident's scene is played and its fault is not."""
        self.ring, self.incident, self._inner, self._twin = ring, incident, ring.company, twin
        self.monitor = Monitor(
            ring.world.catalogue,
            ring.world.shoppers,
            ring.registry,
            ring.facts,
            config=config,
            known=Known(online=ring.config.online),
        )
        self.held = spoiling.NOTHING
        """FEEDBACK on its way."""
        self.misread = 0
        """How many rows away the service looks a shopper up."""
        self.here = np.empty(0, dtype=np.bool_)
        """What can be delivered today."""
        self.seed = incident.seed if incident is not None else 0
        self._day = -1
        self._unavailable = np.empty(0, dtype=np.int64)
        self._policy = ring.policy
        if ring.log.days and not (ring.path / SEEN).exists():
            remedy = "its first days were not watched: go on without a watch, or begin a new run with one"
            raise RunError("run folder", str(ring.path), remedy)
        for day in ring.log.days:  # what a watch has seen before the run was stopped
            seen = read_seen(ring.path / SEEN, day)
            trained = features_of(ring.world.shoppers, ring.world.catalogue, seen.impressions)
            self._look(replace(seen, trained=trained))

    @property
    def fault(self) -> Fault | None:
        """What is wrong today."""
        there = self.incident is not None and self.incident.on(self._day) and not self._twin
        return self.incident.kind if self.incident is not None and there else None

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        """As the company's, after what somebody does on this day."""
        self._day, incident = day, self.incident
        if incident is not None and day == incident.day and incident.kind.before is not None:
            incident.kind.before(self, day)
        if self.fault is not None and incident is not None:
            if day == incident.day and self.fault.begins is not None:
                self.fault.begins(self, day)
            if self.fault.stock is not None:
                here = self.fault.stock(self, here)
        if incident is not None and day == incident.until and not self._twin:
            self._cure(day)
        on_sale = self.ring.world.catalogue.on_sale(day)[: len(here)]
        self.here, self._unavailable = here & on_sale, np.flatnonzero(on_sale & ~here)
        self._inner.open_day(day, here, arriving)

    def _cure(self, day: int) -> None:
        assert self.incident is not None
        self.ring.policy, self.misread, cure = self._policy, 0, self.incident.kind.cure
        if cure == "roll-back":
            self.ring.registry.rollback(day=day, actor="on call", reason="it should not have been promoted")
            self.ring.last_trained = trained_day(self.ring.registry)
        elif cure != "wait" and self.ring.last_trained != day:
            retrain(self.ring, day, f"after the cure: {CURES[cure]}")

    def show(self, requests: Requests) -> Slates:
        """A slate for each request."""
        return (
            self.plain(requests)
            if self.fault is None or self.fault.slates is None
            else self.fault.slates(requests, self)
        )

    def plain(self, requests: Requests) -> Slates:
        """What the service answers."""
        return self._inner.show(requests)

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        """As the company's."""
        self._inner.tell(slates, outcomes, feedback)

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Spoils the tables where that is the fault, logs what can be logged, and lets the watch look at what came."""
        if self.fault is not None and self.fault.events is not None:
            impressions, feedback = self.fault.events(self, day, impressions, feedback)
        elif self.held.num_rows:
            feedback, self.held = spoiling.released(feedback, self.held, NEVER - 1, day)
        people, goods = self.ring.world.shoppers, self.ring.world.catalogue
        seen = Seen(
            day=day,
            impressions=impressions,
            feedback=feedback,
            unavailable=self._unavailable,
            served=features_of(people, goods, impressions, self.misread),
            trained=features_of(people, goods, impressions),
        )
        write_seen(self.ring.path / SEEN, seen)  # before the day is logged, which is when it has happened
        launched = int(np.count_nonzero(goods.launch_day <= day))
        self._inner.close_day(day, *admit(day, impressions, feedback, launched))
        self._look(seen)

    def _look(self, seen: Seen) -> None:
        self.monitor.look(seen)
        write_json(self.ring.path / ALERTS, [asdict(alert) for alert in self.monitor.alerts])


def features_of(people: Shoppers, goods: Catalogue, impressions: pa.Table, misread: int = 0) -> Features:
    """Segment of the day's shoppers and price of the day's items, as they are read `misread` rows away.

    Both ways to them lead to the same tables here, so they differ only where an incident makes them.
    """
    users, items = (np.unique(impressions[name].drop_null().to_numpy()) for name in ("user_id", "item_id"))
    users = users[(users >= 0) & (users < len(people))]
    items = items[(items >= 0) & (items < len(goods))]
    segment = np.array(people.segment.names)[people.segment.codes[(users + misread) % len(people)]]
    return {"user_segment": pd.Series(segment, index=users), "item_price": pd.Series(goods.price[items], index=items)}


SEEN, ALERTS = "seen", "alerts.json"
"""The folder of a run in which the watch keeps what it has seen, as it came; and the file of its alerts."""


def read_seen(folder: Path, day: int) -> Seen:
    """What `write_seen` has kept of `day`. Raises `DataError` where it is missing or damaged."""
    tables = {}
    for file in sorted(folder.glob(f"day={day:05d}.*.parquet")):
        try:
            tables[file.name.split(".")[1]] = pq.read_table(file, partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise DataError("file of the watch", str(file), "it is damaged: make it again") from error
    missing = {"impressions", "feedback", "unavailable"} - tables.keys()
    require("what the watch has seen", f"day {day} in {folder}", not missing, "it is missing: make it again")
    impressions, feedback, unavailable = (tables.pop(name) for name in ("impressions", "feedback", "unavailable"))
    try:
        served = {
            name: pd.Series(table["value"].to_pandas().array, index=table["of"].to_numpy())
            for name, table in tables.items()
        }
        sold_out = unavailable["item_id"].to_numpy()
    except KeyError as error:
        raise DataError("file of the watch", f"day {day} in {folder}", f"it has other columns: {error}") from error
    return Seen(
        day=day,
        impressions=impressions,
        feedback=feedback,
        unavailable=sold_out,
        served=served,
        trained={},
    )


def write_seen(folder: Path, seen: Seen) -> None:
    """Puts what the watch has seen of a day into `folder`, a file for each table."""
    served = {
        name: pa.table({"of": values.index.to_numpy(), "value": values.to_numpy()})
        for name, values in seen.served.items()
    }
    unavailable = pa.table({"item_id": seen.unavailable})
    tables = {"impressions": seen.impressions, "feedback": seen.feedback, "unavailable": unavailable, **served}
    for name, table in tables.items():
        write_bytes(folder / f"day={seen.day:05d}.{name}.parquet", parquet_bytes(table))


def read_alerts(path: Path) -> list[Alert]:
    """The alerts of the run in the folder `path`. Raises `DataError` where it was not watched."""
    file = path / ALERTS
    try:
        return [from_dict(Alert, row) for row in json.loads(file.read_text())]
    except (OSError, ValueError) as error:
        raise DataError(
            "alerts of a run", str(file), "it was not watched from its first day: run it again with --watch"
        ) from error


@contextmanager
def watched(ring: Ring) -> Iterator[Company]:
    """The ring's company with a watch at its door, for `loop.run(over=watched)`."""
    yield Watched(ring, None)
