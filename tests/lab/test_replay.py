"""What the log and the luck tell of a day is what happened."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from simlab.lab.oracle import Oracle
from simlab.lab.replay import journal, slates_of
from simlab.recsys.log import EventLog
from simlab.tables import to_feedback, to_impressions
from simlab.testing import EVERYTHING
from simlab.world.birth import make_world
from simlab.world.dynamics import happened, step
from simlab.world.history import make_history
from simlab.world.truth import Happened, State, World
from simlab.world_laws import day_of

DAYS = 6


@pytest.fixture(scope="module")
def first() -> World:
    """A world on day 0 in which slates are late, run out of items and have many pages."""
    config = replace(EVERYTHING, n_items=12, new_items_per_week=0, rhythm=replace(EVERYTHING.rhythm, next_page=0.8))
    return make_history(make_world(config, DAYS))[0]


def same(one: object, other: object) -> list[str]:
    """The names of the fields whose bytes differ."""
    pairs = ((f.name, getattr(one, f.name), getattr(other, f.name)) for f in fields(one))  # type: ignore[arg-type]
    return [name for name, a, b in pairs if np.asarray(a).tobytes() != np.asarray(b).tobytes()]


@pytest.fixture(scope="module")
def told(first: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[EventLog, list[State], list[Happened]]:
    """Days that went by, what is true on each, what happened on each, and the log of them."""
    log, now = EventLog(tmp_path_factory.mktemp("replay") / "log"), first
    states, past = [first.state], []
    for day in range(DAYS):
        slates, outcomes = day_of(now)
        feedback = to_feedback(slates, outcomes, now.state.price)
        log.append(day, to_impressions(slates, outcomes), feedback.filter(pc.equal(feedback["day"], day)))
        past.append(happened(now, slates, outcomes))
        now = replace(now, state=step(now, now.state, past[-1]))
        states.append(now.state)
    return log, states, past


def test_the_journal_tells_what_happened(first: World, told: tuple[EventLog, list[State], list[Happened]]) -> None:
    """The same bytes of looks, clicks and sales, though the log holds no look and not one empty place."""
    log, states, past = told
    read = journal(first, log, 4)
    for day in range(DAYS):
        assert same(read(states[day]), past[day]) == []
    assert any((one.item_id < 0).any() for one in past)


def test_an_oracle_with_a_journal_knows_every_day(
    first: World, told: tuple[EventLog, list[State], list[Happened]]
) -> None:
    """Forwards, backwards, and again: the states of the ring, byte for byte."""
    log, states, _ = told
    oracle = Oracle(first, journal(first, log, 4))
    for day in (DAYS, 2, 5, 0, DAYS):
        assert same(oracle.state(day), states[day]) == []
    assert same(Oracle(first).state(DAYS), states[DAYS]) != []


def test_slates_come_back_from_their_rows(first: World) -> None:
    """Who was shown what where, on which page, when and how late; rows in any order; no empty slates."""
    scarce = replace(first, state=replace(first.state, stock=np.where(np.arange(12) < 7, 0.0, 3.0)))
    slates, outcomes = day_of(scarce)
    asked = slates.requests
    slates = replace(slates, requests=replace(asked, page=15 - asked.page, visit=15 - asked.visit))  # up to the last
    rows = to_impressions(slates, outcomes)
    again = slates_of(rows.take(pa.array(np.arange(rows.num_rows)[::-1].copy())), 0, 4)
    full = np.flatnonzero(slates.shown.any(axis=1))
    order = full[np.argsort(slates.requests.request_id[full])]
    assert (again.item_id == slates.item_id[order]).all()
    assert (again.latency_ms == slates.latency_ms[order]).all()
    for name in ("user_id", "visit", "page", "second", "request_id"):
        assert (getattr(again.requests, name) == getattr(slates.requests, name)[order]).all(), name
    assert (again.item_id < 0).any()
    assert len(order) < len(slates.requests)


def test_a_day_on_which_nothing_was_shown_can_be_read(first: World, tmp_path: Path) -> None:
    """No rows, no slates, nothing happened."""
    slates, outcomes = day_of(first)
    rows, feedback = to_impressions(slates, outcomes), to_feedback(slates, outcomes, first.state.price)
    log = EventLog(tmp_path / "log")
    log.append(0, rows.slice(0, 0), feedback.slice(0, 0))
    past = journal(first, log, 4)(first.state)
    assert len(past.user_id) == 0
    assert not past.sold.any()
    assert step(first, first.state, past).day == 1
