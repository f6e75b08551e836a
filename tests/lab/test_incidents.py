"""Incidents: each is seen by the watch for what it is, begins on its day, ends with its cure; a quiet shop is quiet."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from simlab.errors import ConfigError
from simlab.lab.drills import SCENE, Played, config_of, morning_of, play, score
from simlab.lab.incidents import CURES, FAULTS, Incident
from simlab.lab.loop import Ring, open_ring
from simlab.lab.watched import Watched, read_alerts
from simlab.recsys.facts import Facts
from simlab.recsys.intake import admit
from simlab.recsys.lookout import Monitor, Seen
from simlab.settings import merged

SMALL = merged(SCENE, {"days": 34, "world": {"n_users": 800, "n_items": 150, "history_days": 40}})
DAY = 24


@pytest.fixture(scope="module")
def quiet() -> Played:
    """A shop in which nothing goes wrong."""
    config = config_of(11, None, scene=SMALL)
    return play(config)


@pytest.fixture(scope="module")
def ring(quiet: Played) -> Ring:
    return open_ring(quiet.run.config, quiet.run.path)


def incident(fault: str, **changes: int) -> Incident:
    return Incident(fault=fault, day=1 if FAULTS[fault].slow else DAY, seed=11, **changes)


def test_a_quiet_shop_is_quiet(quiet: Played) -> None:
    """No alert in five weeks; 100 runs of half a year are in the benchmark."""
    assert quiet.alerts == []


def test_every_fault_is_described_and_changes_something() -> None:
    """It has a cure of the menu, and one part at least that does it; each is told by a check of its own."""
    parts = ("events", "slates", "begins", "stock", "settings", "world")
    assert len(FAULTS) >= 15
    assert len({fault.signs for fault in FAULTS.values()}) > 15
    for fault in FAULTS.values():
        assert fault.cure in CURES
        assert any(getattr(fault, part) is not None for part in parts)
    assert {fault.place for fault in FAULTS.values()} == {
        "events", "training", "serving", "registry", "shoppers", "goods"
    }  # fmt: skip


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.events is not None])
def test_faults_of_events_are_seen_in_the_tables(fault: str, quiet: Played, ring: Ring) -> None:
    """The days of a quiet run, spoiled from one day on: no alert before, the telling one within four days of it."""
    shop, spoil = Watched(ring, incident(fault)), FAULTS[fault].events
    assert spoil is not None
    none = np.empty(0, dtype=np.int64)
    people, goods = ring.world.shoppers, ring.world.catalogue
    days = {day: quiet.run.log.day(day) for day in quiet.run.log.days}
    for day in [day for day in days if day >= DAY]:
        days[day] = spoil(shop, day, *days[day])
    logged = {day: admit(day, *tables, len(goods)) for day, tables in days.items()}
    monitor = Monitor(goods, people, ring.registry, Facts(_Days(logged), goods, people))
    for day, (shown, heard) in days.items():
        if day > DAY + 4:
            break
        monitor.look(Seen(day=day, impressions=shown, feedback=heard, unavailable=none, served={}, trained={}))
    assert all(one.day >= DAY for one in monitor.alerts)
    assert {*FAULTS[fault].signs} & {one.check for one in monitor.alerts}


class _Days:
    """A log of days that were spoiled."""

    def __init__(self, days: dict[int, tuple[pa.Table, pa.Table]]) -> None:
        self._days = days

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        return self._days[day]


@pytest.mark.parametrize("fault", ["serving-skew", "wrong-model"])
def test_faults_of_the_shop_cost_money_until_they_are_mended(fault: str, quiet: Played) -> None:
    """Seen on the day or the next; true margin is lost; mended on the next day, less is lost. A watch that is opened
    again has seen what it saw before.

    With the cure the champion of before answers again, and what a wrong one showed is not learnt from.
    """
    kind = incident(fault)
    config = config_of(11, kind, scene=SMALL)
    start = morning_of(config, DAY)
    told = play(config, kind, start=start)
    result = score(told, quiet, kind)
    assert {*FAULTS[fault].signs} & {one.check for one in told.alerts if one.day <= DAY + 3}
    assert all(one.day >= DAY for one in told.alerts)
    assert result.named
    assert result.delay <= 1
    assert result.lost > 0
    mended = play(config, replace(kind, until=DAY + 1), start=start)
    assert (quiet.margin - mended.margin).iloc[DAY:].sum() < 0.7 * result.lost
    assert (quiet.margin - told.margin).iloc[:DAY].abs().max() == 0.0
    assert Watched(open_ring(config, told.run.path), None).monitor.alerts == told.alerts == read_alerts(told.run.path)
    if fault == "wrong-model":
        assert mended.run.registry.history("champion")[-2]["version"] == "lightfm-day00021"
        assert mended.run.registry.quarantined() == (f"hotfix-day{DAY:05d}",)


@pytest.mark.parametrize("day", [DAY, 28])
def test_one_segment_can_be_hurt_while_the_mean_rises(day: int) -> None:
    """The release lifts the shop's clicks; the hurt segment alone is named; also on a day of training."""
    kind = replace(incident("segment-hurt"), day=day)
    told = play(config_of(11, kind, scene=SMALL), kind)
    rate = told.run.metrics["click_rate"]
    assert rate.loc[day : day + 5].mean() > rate.loc[day - 7 : day - 1].mean()
    hurt = told.run.world.shoppers.segment.names[1]
    assert {one.where for one in told.alerts if one.check == "clicks_of_group"} == {f"segment {hurt}"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Incident(fault="fire", day=3), "fault: 'fire'"),
        (lambda: Incident(fault="bots", day=0), "day of an incident: 0"),
        (lambda: Incident(fault="bots", day=5, until=5), "until: 5"),
    ],
)
def test_what_cannot_happen_is_refused(make: Callable[[], Incident], words: str) -> None:
    """Naming what was given."""
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_drill_that_goes_on_is_the_one_that_began_with_day_0(quiet: Played) -> None:
    """The same log, alerts and margins as the quiet run, from the morning of a day on."""
    config = quiet.run.config
    later = play(config, incident("bots"), twin=True, start=morning_of(config, DAY))
    assert later.run.log.digest() == quiet.run.log.digest()
    assert later.alerts == quiet.alerts
    assert (later.margin == quiet.margin).all()


def test_an_incident_that_cannot_be_seen_is_refused(quiet: Played) -> None:
    """After the last day, and on days that have been."""
    with pytest.raises(ConfigError, match="day of an incident: 24 .*the last day is 19"):
        play(config_of(11, None, scene={**SMALL, "days": 20}), incident("bots"))
    with pytest.raises(ConfigError, match="day of an incident: 24 .*day 33 has been"):
        play(quiet.run.config, incident("bots"), start=quiet.run.path)


@pytest.mark.soak
@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_is_caught_and_named(fault: str) -> None:
    """In the full scene: within a fortnight, by the check that tells it; the season within its run."""
    kind = replace(incident(fault), seed=5)
    told = play(config_of(5, kind), kind)
    checks = {one.check for one in told.alerts if one.day <= kind.day + (41 if kind.kind.slow else 14)}
    assert {*kind.kind.signs} & checks
