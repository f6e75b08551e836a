"""Upkeep: a service that is up with the registry and the inbox, in every process that serves the shop.

Why it asks before each batch, and nobody tells it: all processes then change at one moment, which is when the row of
the history gets its name, or the transaction of the inbox ends; a message could come late, or not.
"""

import threading
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from simlab.recsys.inbox import Inbox
from simlab.recsys.online import Act
from simlab.recsys.registry import Registry
from simlab.recsys.service import Served, Service, load
from simlab.recsys.traffic import Traffic
from simlab.recsys.watch import FAILURES
from simlab.recsys.wire import answers
from simlab.schema import Bools, Catalogue, Requests, Shoppers

WARM_UP = 5.0
"""Seconds that a new model may take for its first slates before it is put to work."""


class Today(NamedTuple):
    """What is read together, so that nobody is answered by parts of two days."""

    day: int
    """The open day, as last read."""
    here: Bools
    """Which items can be delivered on it."""


class Upkeep:
    """Keeps `service` at what `registry` and `inbox` say, for the goods and people there are."""

    def __init__(
        self, service: Service, registry: Registry, inbox: Inbox, catalogue: Catalogue, shoppers: Shoppers
    ) -> None:
        """Where the champion cannot be loaded the lower rungs answer, and `refused` says why."""
        self.service, self.registry, self.inbox = service, registry, inbox
        self.catalogue, self.shoppers = catalogue, shoppers
        self.refused = ""
        """Why the last change of traffic was not taken, or not wholly; empty where it was."""
        self.today = Today(inbox.day, np.zeros(0, dtype=np.bool_))
        self._loading, self._news = threading.Lock(), threading.Lock()
        self._seq, self._row = 0, 0
        self._opened: tuple[object, ...] = ()
        """The day, the versions left out and the day on its way into the log, with which the live state was opened."""
        self._unavailable: frozenset[int] = frozenset()
        self.refresh()
        self._warm_up()

    @property
    def day(self) -> int:
        """The open day, as last read."""
        return self.today.day

    @property
    def behind(self) -> bool:
        """Whether traffic has changed since it was last taken in."""
        return self.registry.changed(self._row)

    def refresh(self, *, turn: bool = True) -> None:
        """Takes in what has changed since the last batch: traffic, day, stock, events. Cheap where nothing has.

        New traffic begins when its models are loaded and warm, and who comes meanwhile waits for that, to the deadline;
        without `turn` the old traffic goes on. A change is noted when it is done, so that what fails is done again.
        """
        moved = turn and self.behind
        with self._news:
            self._take_in()  # after the look: the goods are there that a new model knows
        if moved:
            with self._loading:
                if self.behind:
                    self._turn()
            with self._news:
                self._take_in()

    def _take_in(self) -> None:
        news, bad = self.inbox.news(self._seq), self.service.traffic.quarantined
        opened = (news.day, bad, news.moving)
        if opened != self._opened:
            self.service.new_day(self.catalogue.launched_by(news.day), self.shoppers.arrived_by(news.day))
            self._opened = ()  # until it is
            self.service.live.open_day(self.inbox.log, news.day if news.moving is None else news.moving, bad)
            again = self.inbox.news(0)
            if (again.day, again.moving) != (news.day, news.moving):
                return self._take_in()  # a day was closed meanwhile
            news = again
        elif not (news.heard or news.unavailable != self._unavailable):
            self._seq = news.seq
            return None
        here = np.ones(len(self.service.catalogue), dtype=np.bool_)
        here[[item for item in news.unavailable if item < len(here)]] = False
        acts = [Act(one.user_id, one.item_id, one.type, one.day) for one in news.heard if one.model_version not in bad]
        self.service.live.hear(acts)
        self.today, self._seq = Today(news.day, here), news.seq
        self._unavailable, self._opened = news.unavailable, opened
        return None

    def _warm_up(self) -> None:
        """Answers once by the lower rungs, so that the first shopper does not wait for what is compiled or read."""
        if len(self.service.catalogue):
            nobody = np.array([0], dtype=np.int64)
            asked = Requests(day=self.day, user_id=nobody, visit=nobody, n=min(10, len(self.service.catalogue)))
            answers(self.service.recommend(asked, self.today.here, personal=False))

    def _turn(self) -> None:
        """New traffic, as far as its models can be loaded: without the champion the old goes on as a whole."""
        try:
            traffic = self.registry.traffic()
        except Exception as error:  # a row is damaged: until it is put back, nobody knows who is to answer
            self.refused = str(error)
            return
        models, refused = self._models(traffic)
        if traffic.champion is None or traffic.champion in models:
            self.service.route(traffic, models)
        else:
            self.service.route(replace(self.service.traffic, quarantined=traffic.quarantined), self.service.models)
        self.refused = "; ".join(refused)
        self._row = traffic.row

    def _models(self, traffic: Traffic) -> tuple[dict[str, Served], list[str]]:
        """The models of `traffic`, warm, and what is wrong with those that are missing: lower rungs answer for them."""
        models, refused = dict[str, Served](), list[str]()
        for version in dict.fromkeys(name for name in (*traffic.versions, traffic.shadow) if name):
            try:
                served = self.service.models.get(version)
                if served is None:
                    served = load(self.registry, version)
                    self._rehearse(version, served)
                FAILURES.labels(version)  # from now on told, as 0: a rise can only be seen from something
                models[version] = served
            except Exception as error:  # whatever a model does, the others are to go on
                refused.append(str(error))
        return models, refused

    def _rehearse(self, version: str, served: Served) -> None:
        """Warms a model up; one that takes too long for that is put to work as it is, and delays its own shoppers."""
        wrong: list[Exception] = []

        def warm() -> None:
            try:
                self.service.rehearse(version, served, self.day)
            except Exception as error:
                wrong.append(error)

        rehearsal = threading.Thread(target=warm, daemon=True)
        rehearsal.start()
        rehearsal.join(WARM_UP)
        if wrong:
            raise wrong[0]
