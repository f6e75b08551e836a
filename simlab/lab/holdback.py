"""A long-run holdback: a share of the shoppers who are never shown what the recommender would choose.

    run(config, over=held_back(HoldbackConfig(share=0.1)))         and then          effect(run)

Who is held back is decided by a salted hash of the user, the same for as long as the run goes on. The difference of the
clicks of the two groups is what a company can know of what its recommender has come to be worth, months of habits,
tastes and boredom included; an A/B test of a week knows the week.

Why not a challenger: one holds its share by the same hash, but a shop makes one change at a time, so nothing would be
trained for as long as it is there, and its share is asked for again with each. A holdback stands beside all that: it is
an arm of its own, "holdback", that no judge and no policy looks at.

Why chance is the default: what was popular on day 0 is a recommendation too, and pulls tastes the same way for all.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from simlab.errors import RunError
from simlab.files import write_json
from simlab.lab.company import Company
from simlab.lab.loop import Ring
from simlab.lab.run import Run
from simlab.recsys.monitor import VISIT_BITS, Z, ratio
from simlab.recsys.service import Service, load
from simlab.recsys.traffic import HOLDBACK, Traffic, share_of
from simlab.recsys.training import train
from simlab.schema import SOURCES, Bools, Ints, Labels, Outcomes, Requests, Slates
from simlab.settings import check_types, choose, require

KINDS = {"random": "exploration", "popularity": "fallback"}
"""What they are shown, and the source that the log gives for it: no model is credited with it."""


@dataclass(frozen=True, kw_only=True)
class HoldbackConfig:
    """Who is held back, and what they get instead."""

    share: float = 0.1
    """Of the shoppers, in (0, 1)."""
    by: str = "random"
    """random or popularity, both of day 0 for ever: what is launched later is not shown to them."""
    salt: str = "holdback"
    """Another word holds other shoppers back."""

    def __post_init__(self) -> None:
        check_types(self)
        require("share of a holdback", self.share, 0 < self.share < 1, "give a share between 0 and 1")
        choose("what a holdback shows", self.by, KINDS)

    def holds(self, user_id: Ints) -> Bools:
        """Who is held back; shape of `user_id`.

        >>> HoldbackConfig(share=0.5).holds(np.arange(6)).tolist()
        [False, False, False, True, False, False]
        """
        return np.asarray(share_of(user_id, self.salt) < self.share)


class HeldBack:
    """A company, and some shoppers whom it does not serve."""

    def __init__(self, company: Company, ring: Ring, config: HoldbackConfig) -> None:
        self.company, self.config = company, config
        self._ring, self._here = ring, np.empty(0, dtype=np.bool_)
        self._service = Service(ring.service.catalogue, ring.service.fallback, seed=ring.config.seed)
        self._version = _version(ring, config.by)
        self._service.route(Traffic(champion=self._version), {self._version: load(ring.registry, self._version)})

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        """Begins `day` for both."""
        self.company.open_day(day, here, arriving)
        catalogue = self._ring.world.catalogue.launched_by(day)
        self._service.new_day(catalogue, self._ring.world.shoppers.arrived_by(day))
        self._here = here[: len(catalogue)]

    def show(self, requests: Requests) -> Slates:
        """The company's slates, and other ones for those who are held back."""
        slates = self.company.show(requests)
        held = self.config.holds(requests.user_id)
        rows = np.flatnonzero(held)
        if len(rows) == 0:
            return slates
        other = self._service.recommend(requests.take(rows), self._here)
        shown, propensity, source = slates.item_id.copy(), slates.propensity.copy(), slates.source.copy()
        shown[rows], propensity[rows] = other.item_id, other.propensity
        source[rows] = SOURCES.index(KINDS[self.config.by])
        return replace(
            slates,
            item_id=shown,
            propensity=propensity,
            source=source,
            model_version=_renamed(slates.model_version, held, self._version),
            arm=_renamed(slates.arm, held, HOLDBACK),
        )

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        """The company hears of everybody."""
        self.company.tell(slates, outcomes, feedback)

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Logs all of `day`."""
        self.company.close_day(day, impressions, feedback)


def _version(ring: Ring, by: str) -> str:
    """The version that those who are held back get, learnt on day 0; in the registry, so that its rows can be read."""
    name = f"{HOLDBACK}-{by}-day00000"
    if name not in ring.registry.versions():
        config = replace(ring.config.training_config(), algorithm=by)
        catalogue, people = ring.world.catalogue.launched_by(0), ring.world.shoppers.arrived_by(0)
        model, card = train(ring.log, catalogue, people, config=config, day=0)
        ring.registry.register(model, name, card)
    return name


def _renamed(labels: Labels, rows: Bools, name: str) -> Labels:
    return Labels(codes=np.where(rows, len(labels.names), labels.codes), names=(*labels.names, name))


def held_back(config: HoldbackConfig | None = None) -> Callable[[Ring], AbstractContextManager[Company]]:
    """What to give to `run` as `over`: the company of the ring, with a holdback.

    The run's folder keeps who is held back, and a run that is gone on with must be given the same again: raises
    `RunError` where it is another holdback, or where days have happened without one.
    """
    config = config or HoldbackConfig()

    @contextmanager
    def over(ring: Ring) -> Iterator[Company]:
        file = ring.path / "holdback.json"
        before = json.loads(file.read_text()) if file.exists() else None
        if before != asdict(config) and (before is not None or ring.log.days):
            raise RunError("holdback of the run", asdict(config), f"the run was begun with {before}: go on with that")
        missing = [day for day in ring.log.days if HOLDBACK not in ring.log.day(day)[0]["arm"].to_pylist()]
        require("days with a holdback", missing[:5], not missing, "they are without one: begin anew, and stay with it")
        write_json(file, asdict(config))
        yield HeldBack(ring.company, ring, config)

    return over


def effect(done: Run) -> pd.DataFrame:
    """What the company sees: clicks a visit of those it serves (`served`) and of those held back (`held`), by week.

    `lift` is served / held - 1, with the 95 % interval `low`, `high`: by shopper, groups independent, of the logarithm
    of the ratio (delta method). NaN in a week without clicks in one of them.
    """
    rows = done.log.sql(
        f"""select day // 7 + 1 as week, user_id, arm = '{HOLDBACK}' as held, sum(clicked::int)::double as clicks,
                   count(distinct request_id >> {VISIT_BITS})::double as visits
            from impressions where day >= 0 group by all order by all"""
    )
    table = []
    for week, part in rows.groupby("week"):
        groups = (part[part["held"] == held] for held in (False, True))
        (served, of_served), (held, of_held) = (
            ratio(group["clicks"].to_numpy(float), group["visits"].to_numpy(float)) for group in groups
        )
        told = {"week": week, "served": served, "held": held, "lift": np.nan, "low": np.nan, "high": np.nan}
        if served > 0 and held > 0:
            error = np.hypot(of_served / served, of_held / held)
            ends = {"lift": 0.0, "low": -Z * error, "high": Z * error}
            told |= {name: served / held * float(np.exp(end)) - 1 for name, end in ends.items()}
        table.append(told)
    return pd.DataFrame(table, columns=["week", "served", "held", "lift", "low", "high"]).set_index("week")
