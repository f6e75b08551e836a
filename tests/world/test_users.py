"""Who visits, when, and for how long: counts within 4 standard errors of their closed forms."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.special import pdtr
from scipy.stats import chisquare

from simlab.schema import Floats, Labels, Requests, Slates
from simlab.streams import uniforms
from simlab.world.birth import make_world
from simlab.world.config import RhythmConfig
from simlab.world.presets import preset
from simlab.world.response import WAYS
from simlab.world.truth import World
from simlab.world.users import (
    DAY_SECONDS,
    HOURS,
    MAX_PAGES,
    MAX_VISITS,
    NEWCOMERS,
    WEEK,
    clock,
    next_page,
    rhythm,
    visits,
)


def crowd(**settings: Any) -> World:
    return make_world(preset("shop", n_users=1500, n_items=30, **settings), 60)


def expected_visits(mean: Floats) -> float:
    """Poisson cut at MAX_VISITS: E[min(N, 5)] = sum over k < 5 of P(N > k)."""
    return float(sum((1 - pdtr(k, mean)).sum() for k in range(MAX_VISITS)))


def near(count: float | np.floating[Any], mean: float, n: int = 1) -> bool:
    """Whether the mean of `n` counts, nearly Poisson, is within 4 standard errors."""
    return bool(abs(count - mean) < 4 * np.sqrt(mean / n))


@pytest.mark.parametrize("day", [*range(7), 40])
def test_visits_follow_activity_and_weekday(day: int) -> None:
    """Over 20 weeks; a mean that is a tenth off is found."""
    world = crowd()
    counts = [len(visits(world, day + 7 * week, 10)) for week in range(20)]
    mean = expected_visits(world.people.activity * WEEK[day % 7])
    assert near(np.mean(counts), mean, 20)
    assert not near(np.mean(counts), 1.1 * mean, 20)


def test_the_usual_week_has_mean_one_and_rhythms_multiply() -> None:
    """weekly stretches the week around 1, the year swings, a campaign lifts on its days only."""
    assert sum(WEEK) == pytest.approx(7)
    plain = RhythmConfig(weekly=0)
    assert {rhythm(plain, day) for day in range(-400, 400)} == {1.0}
    assert rhythm(RhythmConfig(weekly=2), 5) == pytest.approx(1 + 2 * 0.25)
    assert rhythm(RhythmConfig(), -2) == rhythm(RhythmConfig(), 5) == 1.25
    year = [rhythm(RhythmConfig(weekly=0, yearly=0.5, year_days=100), day) for day in range(100)]
    assert np.mean(year) == pytest.approx(1)
    assert max(year) == pytest.approx(1.5, abs=1e-3)
    assert np.argmax(year) == round(100 * 355 / 365)
    lifted = RhythmConfig(weekly=0, campaign_day=3, campaign_days=2, campaign_lift=0.4)
    assert [rhythm(lifted, day) for day in range(2, 6)] == [1, 1.4, 1.4, 1]
    assert rhythm(replace(lifted, weekly=1, campaign_day=5), 5) == pytest.approx(1.25 * 1.4)
    assert min(rhythm(RhythmConfig(weekly=4, yearly=1, year_days=9), day) for day in range(63)) >= 0


def test_a_campaign_brings_more_of_the_same_shoppers() -> None:
    """Whoever would have come comes too, at no earlier number of visits."""
    usual, lively = crowd(), crowd(rhythm={"campaign_day": 3, "campaign_days": 1, "campaign_lift": 0.5})
    few, many = visits(usual, 3, 10), visits(lively, 3, 10)
    assert set(few.request_id.tolist()) < set(many.request_id.tolist())
    assert near(len(many), expected_visits(1.5 * usual.people.activity))
    assert (visits(usual, 4, 10).request_id == visits(lively, 4, 10).request_id).all()


def test_visits_are_numbered_in_order_of_time() -> None:
    """From 0, at most 5 a day, rising seconds, each within the day."""
    asked = visits(crowd(visits_per_day=3.0), 5, 10)
    assert asked.visit.max() == MAX_VISITS - 1
    same = asked.user_id[1:] == asked.user_id[:-1]
    assert (asked.visit[1:][same] == asked.visit[:-1][same] + 1).all()
    assert (asked.visit[1:][~same] == 0).all()
    assert (asked.second[1:][same] >= asked.second[:-1][same]).all()
    assert ((asked.second >= 0) & (asked.second < DAY_SECONDS)).all()


def test_the_clock_follows_the_hours() -> None:
    """Visits by hour against HOURS, of the first, of later visits, and of both: they are draws in order."""
    asked = visits(crowd(visits_per_day=3.0), 5, 10)
    p = np.array(HOURS) / np.sum(HOURS)
    seen = np.bincount(asked.second // 3600, minlength=24)
    assert chisquare(seen, p * len(asked)).pvalue > 1e-4
    assert clock(np.array([0.0, 1 - 2.0**-53])).tolist() == [0, DAY_SECONDS - 1]
    first = asked.second[asked.visit == 0].mean()
    assert first < asked.second[asked.visit == 3].mean() - 3600


def test_satisfied_shoppers_come_more_often_and_who_has_left_never() -> None:
    """exp(pull * (satisfaction - 1/2)) times; the absent and those to arrive stay away."""
    world = crowd(loyalty={"pull": 1.5, "newcomers_per_week": 200})
    n = len(world.rows)
    for satisfaction in (0.0, 0.5, 1.0):
        state = replace(world.state, day=0, satisfaction=np.full(n, satisfaction))
        asked = visits(world, 0, 10, state)
        here = world.shoppers.arrival_day <= 0
        assert near(
            len(asked), expected_visits(world.people.activity[here] * WEEK[0] * np.exp(1.5 * satisfaction - 0.75))
        )
        assert here[asked.user_id].all()
    gone = np.arange(n) % 3 == 0
    left = visits(world, 21, 10, replace(world.state, day=21, present=~gone))
    everybody = visits(world, 21, 10, replace(world.state, day=21))
    assert (left.request_id == everybody.request_id[~gone[everybody.user_id]]).all()
    assert (everybody.user_id >= 1500).any()


def test_newcomers_arrive_every_week() -> None:
    """On day 7 and every seventh day after, before the horizon; earlier ones are those of a world without them."""
    world = make_world(preset("shop", n_users=100, loyalty={"newcomers_per_week": 30}), 30)
    days, counts = np.unique(world.shoppers.arrival_day, return_counts=True)
    assert dict(zip(days.tolist(), counts.tolist(), strict=True)) == {-90: 100, 7: 30, 14: 30, 21: 30, 28: 30}
    alone = make_world(preset("shop", n_users=100), 30)
    assert (world.state.taste[:100] == alone.state.taste).all()
    assert [len(world.shoppers.arrived_by(day)) for day in (-90, 6, 7, 29)] == [100, 100, 130, 220]


def test_newcomers_are_the_same_people_however_many_were_there_before() -> None:
    """Who they are, what they like and when they come hang on their number among the newcomers alone."""
    small, large = (make_world(preset("cold-start", n_users=n), 30) for n in (100, 101))
    assert len(large.rows) - len(small.rows) == 1
    assert (large.rows[101:] == small.rows[100:]).all()
    assert small.rows[99:102].tolist() == [99, NEWCOMERS, NEWCOMERS + 1]
    assert (large.state.taste[101:] == small.state.taste[100:]).all()
    for name in ("activity", "price_sensitivity", "patience", "way", "log_budget"):
        assert (getattr(large.people, name)[101:] == getattr(small.people, name)[100:]).all()
    assert (large.shoppers.segment.codes[101:] == small.shoppers.segment.codes[100:]).all()
    few, many = visits(small, 29, 10), visits(large, 29, 10)
    later = few.user_id >= 100
    assert later.sum() > 200
    assert (few.user_id[later] + 1 == many.user_id[many.user_id > 100]).all()
    assert (few.second[later] == many.second[many.user_id > 100]).all()


def test_many_visits_are_cut() -> None:
    """At visits_per_day = 3 shoppers, of gamma shape 1.2, come 2.37 times a day: the mean of min(N, 5)."""
    activity = make_world(preset("shop", n_users=20_000, n_items=5, visits_per_day=3.0), 1).people.activity
    assert expected_visits(activity) / 20_000 == pytest.approx(2.37, abs=0.03)


def page(asked: Requests, item_id: int) -> Slates:
    shown = np.tile(np.arange(item_id, item_id + asked.n), (len(asked), 1))
    return Slates(
        requests=asked, item_id=np.where(shown < 30, shown, -1), propensity=np.ones(shown.shape),
        source=0 * shown, model_version=Labels.constant("m", len(asked)), arm=Labels.constant("a", len(asked)),
    )  # fmt: skip


def test_pages_are_geometric_and_cut() -> None:
    """Each further page is asked for with probability next_page, by the same visit, 16 at most."""
    world = crowd(visits_per_day=3.0, rhythm={"next_page": 0.9})
    asked = visits(world, 2, 2)
    counts = [len(asked)]
    while len(asked := next_page(world, page(asked, 2 * (len(counts) - 1)))):
        counts.append(len(asked))
        assert (asked.page == len(counts) - 1).all()
    assert len(counts) == MAX_PAGES
    for before, after in pairwise(counts):
        assert abs(after - 0.9 * before) < 4 * np.sqrt(0.09 * before)
    assert len(np.unique(asked.request_id)) == len(asked)
    assert len(next_page(crowd(), page(visits(world, 2, 2), 0))) == 0


def test_another_page_excludes_all_that_was_there_and_stays_within_the_day() -> None:
    """Empty places exclude nothing; half a minute later, and never tomorrow."""
    world = crowd(rhythm={"next_page": 0.95})
    late = replace(visits(world, 2, 4), second=np.full(len(visits(world, 2, 4)), DAY_SECONDS - 40))
    second = next_page(world, page(late, 0))
    third = next_page(world, page(second, 28))
    assert set(second.second.tolist()) == {DAY_SECONDS - 10}
    assert set(third.second.tolist()) == {DAY_SECONDS - 1}
    for row in range(len(third)):
        mine = third.exclude[third.exclude[:, 0] == row, 1]
        assert sorted(mine.tolist()) == [0, 1, 2, 3, 28, 29]


def test_ways_come_in_their_shares() -> None:
    """Position gets the rest; who chooses how is settled by the shopper's row, and shares of 1 are exact."""
    shares = {"cascade_share": 0.2, "dependent_share": 0.3, "logit_share": 0.1}
    way = make_world(preset("shop", n_users=20_000, n_items=5, response=shares), 1).people.way
    for kind, share in zip(WAYS, (0.4, 0.2, 0.3, 0.1), strict=True):
        seen = (way == WAYS.index(kind)).sum()
        assert abs(seen - 20_000 * share) < 4 * np.sqrt(20_000 * share * (1 - share))
    for kind in WAYS[1:]:
        config = preset("shop", n_users=500, n_items=5, response={f"{kind}_share": 1.0})
        assert set(make_world(config, 1).people.way.tolist()) == {WAYS.index(kind)}


def test_people_differ_as_stated() -> None:
    """Activity is gamma with shape 1.2 around the mean, thrift exponential, patience within 0.1, budgets log-normal."""
    people = make_world(preset("shop", n_users=20_000, n_items=5), 1).people
    n = np.sqrt(20_000)
    assert abs(people.activity.mean() - 0.34) < 4 * 0.34 / np.sqrt(1.2) / n
    assert abs(people.activity.var() / (0.34**2 / 1.2) - 1) < 0.1
    assert abs(people.price_sensitivity.mean() - 0.3) < 4 * 0.3 / n
    assert people.patience.min() >= 0.75
    assert people.patience.max() <= 0.95
    assert abs(people.log_budget.mean() - np.log(30)) < 4 * 0.7 / n
    assert abs(people.log_budget.std() - 0.7) < 4 * 0.7 / np.sqrt(2) / n


def test_the_luck_of_visits_is_the_row_s() -> None:
    """The same shopper comes at the same seconds of the same days, whoever else is there; other luck, other days."""
    small, large = crowd(), make_world(preset("shop", n_users=1800, n_items=30), 1)
    few, many = visits(small, 4, 10), visits(large, 4, 10)
    inside = many.user_id < 1500
    assert (many.request_id[inside] == few.request_id).all()
    assert (many.second[inside] == few.second).all()
    assert not np.array_equal(visits(crowd(luck=1), 4, 10).user_id, few.user_id)
    assert uniforms(0, "visits", 0, 4, rows=np.array([3]), n=1) != uniforms(0, "visits", 1, 4, rows=np.array([3]), n=1)
