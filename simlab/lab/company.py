"""The company as the ring meets it: it is told what day it is and what is in stock, shows slates, and hears what came.

    InProcess    the service in this process: fast
    OverHttp     the same service behind a socket, in a process of its own: real (simlab.lab.over_http)

Both see the same and say the same: what passes here are requests, slates and feedback, nothing of the truth.
"""

from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from simlab.recsys.letters import user_of
from simlab.recsys.log import EventLog
from simlab.recsys.online import Act
from simlab.recsys.registry import Registry
from simlab.recsys.service import Service, at_work
from simlab.schema import Bools, Catalogue, Outcomes, Requests, Shoppers, Slates


class Company(Protocol):
    """What runs a shop's recommendations."""

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        """Begins `day`: what is `here` to be delivered (n_items,), and the FEEDBACK that arrives about earlier days."""

    def show(self, requests: Requests) -> Slates:
        """A slate for each request."""

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        """What came of slates at once: the clicks, and the FEEDBACK of the same day."""

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Logs all of `day`; with it, the day has happened."""


class InProcess:
    """The service in this process."""

    def __init__(
        self, service: Service, log: EventLog, registry: Registry, catalogue: Catalogue, shoppers: Shoppers
    ) -> None:
        """`catalogue` and `shoppers` are all there will ever be; the service knows those of its day."""
        self.service = service
        self._log, self._registry = log, registry
        self._catalogue, self._shoppers = catalogue, shoppers
        self._here: Bools | None = None
        self._row = 0
        self.refresh()

    def refresh(self) -> None:
        """Serves the traffic of the registry, where it has changed."""
        if self._registry.changed(self._row):
            traffic = self._registry.traffic()
            self.service.route(traffic, at_work(self._registry, traffic, self.service.models))
            self._row = traffic.row

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        """Serves the goods, the people and the traffic of `day` from now on."""
        service = self.service
        service.new_day(self._catalogue.launched_by(day), self._shoppers.arrived_by(day))
        self.refresh()
        service.live.open_day(self._log, day, service.traffic.quarantined)
        self._here = here[: len(service.catalogue)]
        self._hear(self._sound(arriving, day), day)

    def show(self, requests: Requests) -> Slates:
        """A slate for each request."""
        return self.service.recommend(requests, self._here)

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        """Takes in what concerns the next slate."""
        live, asked, n = self.service.live, slates.requests, slates.item_id.shape[1]
        if not live.config.listens:
            return
        row, position = outcomes.clicks.place // n, outcomes.clicks.place % n
        pairs = zip(asked.user_id[row].tolist(), slates.item_id[row, position].tolist(), strict=True)
        live.hear([Act(user_id, item_id, "click", asked.day) for user_id, item_id in pairs])
        self._hear(feedback, asked.day)

    def _sound(self, feedback: pa.Table, day: int) -> pa.Table:
        """FEEDBACK without what is about items that versions in quarantine have shown."""
        bad = self.service.traffic.quarantined
        if not (bad and self.service.live.config.listens):
            return feedback
        names = ", ".join(f"'{version}'" for version in bad)
        shown = self._log.sql(f"select impression_id from impressions where model_version in ({names})", until=day - 1)
        return feedback.filter(pc.invert(pc.is_in(feedback["impression_id"], pa.array(shown["impression_id"]))))

    def _hear(self, feedback: pa.Table, day: int) -> None:
        columns = (feedback[name].to_pylist() for name in ("impression_id", "item_id", "kind"))
        self.service.live.hear([Act(user_of(shown), item, kind, day) for shown, item, kind in zip(*columns)])

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """One more day of the log."""
        self._log.append(day, impressions, feedback)
