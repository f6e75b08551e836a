"""The shoppers: what kind of household they are is public; tastes, activity, thrift and patience are hidden.

Shopper u is made from row u of the luck table alone, so a larger population begins with the smaller one. Newcomer k
has row NEWCOMERS + k, so it is the same person however many were there before.

When they come: the number of visits of shopper u on day t is Poisson, cut at MAX_VISITS, with mean (before the cut: at
visits_per_day = 3 shoppers differ so much that 2.37 are left, at 0.34 nearly all)

    activity_u * (1 + weekly (WEEK_t - 1)) * (1 + yearly cos(2 pi (t - MIDWINTER) / year)) * (1 + lift, in a campaign)
               * exp(pull (satisfaction_u - 1/2)),          0 before the arrival and after having left for good

The seconds of a day's visits are independent draws from the day's rhythm HOURS, in order. After each slate a shopper
asks for another one with probability next_page, at most MAX_PAGES in all.
"""

import numpy as np
from scipy.special import gammaincinv, ndtri, pdtr

from simlab.schema import Floats, Ints, Labels, Requests, Shoppers, Slates
from simlab.streams import stream, uniforms
from simlab.world.config import RhythmConfig, WorldConfig
from simlab.world.response import WAYS
from simlab.world.truth import PeopleTruth, State, World

SEGMENTS = ("expecting", "newborn", "toddler", "preschool", "school", "teens", "grandparents", "gift buyers")
REGIONS = ("north", "east", "south", "west", "islands")

WEEK = (0.80, 0.85, 0.90, 1.00, 1.15, 1.25, 1.05)
"""Visits by weekday, relative to the mean: Saturday (day 5 of a week) is the busiest."""

HOURS = (1, 0.5, 0.3, 0.2, 0.3, 0.8, 2, 3.5, 4, 4.5, 5, 5, 5.5, 5, 4.5, 4.5, 5, 5.5, 6.5, 8, 9, 8, 5, 2.5)
"""Visits by hour of the day, in parts of their sum: after the children have gone to bed."""

MIDWINTER = 355 / 365
"""When visits are most frequent, as a share of the year."""

MAX_VISITS = 5
"""Visits of one shopper on one day, at most."""

MAX_PAGES = 16
"""Slates in one visit, at most."""

PAGE_SECONDS = 30
"""Between the slates of one visit."""

DAY_SECONDS = 86_400

NEWCOMERS = 1 << 40
"""Row of luck of the first shopper who arrives later; far beyond the number of shoppers of any world."""

_GAMMA_SHAPE = 1.2


def luck_rows(config: WorldConfig, n: int) -> Ints:
    """Row of luck of each of the `n` shoppers; the first n_users are there from the start.

    >>> luck_rows(WorldConfig(n_users=2), 4).tolist()
    [0, 1, 1099511627776, 1099511627777]
    """
    number = np.arange(n)
    return np.where(number < config.n_users, number, NEWCOMERS + number - config.n_users)


def make_people(config: WorldConfig, horizon: int) -> tuple[Shoppers, PeopleTruth, Floats, Floats]:
    """The shoppers who arrive before day `horizon`, their truth, their tastes on the first day, and their homes."""
    later = np.repeat(np.arange(7, max(horizon, 7), 7), config.loyalty.newcomers_per_week)
    arrival_day = np.concatenate([np.full(config.n_users, -config.history_days, dtype=np.int64), later])
    rows = luck_rows(config, len(arrival_day))
    luck = uniforms(config.seed, "people", rows=rows, n=5)
    more = uniforms(config.seed, "ways and budgets", rows=rows, n=2)
    own = ndtri(uniforms(config.seed, "tastes", rows=rows, n=config.n_dims))
    centre = stream(config.seed, "segments").standard_normal((len(SEGMENTS), config.n_dims))
    segment = (luck[:, 0] * len(SEGMENTS)).astype(np.int64)
    home = np.sqrt(config.segment_share) * centre[segment]
    spread = np.full(config.n_dims, np.sqrt(1 - config.segment_share))
    shoppers = Shoppers(
        segment=Labels(codes=segment, names=SEGMENTS),
        region=Labels(codes=(luck[:, 1] * len(REGIONS)).astype(np.int64), names=REGIONS),
        arrival_day=arrival_day,
    )
    truth = PeopleTruth(
        spread=spread,
        activity=gammaincinv(_GAMMA_SHAPE, luck[:, 2]) * config.visits_per_day / _GAMMA_SHAPE,
        price_sensitivity=-config.price_sensitivity * np.log1p(-luck[:, 3]),
        patience=np.clip(config.patience - 0.1 + 0.2 * luck[:, 4], 0, 1),
        way=ways(config, more[:, 0]),
        log_budget=np.log(30) + 0.7 * ndtri(more[:, 1]),
    )
    return shoppers, truth, home + spread * own, home


def ways(config: WorldConfig, luck: Floats) -> Ints:
    """How each shopper chooses, index into WAYS; `luck` is uniform, (n_users,)."""
    response = config.response
    shares = [response.cascade_share, response.dependent_share, response.logit_share]
    way = 1 + np.searchsorted(np.cumsum(shares), luck, side="right")
    return np.asarray(way % len(WAYS))  # those beyond the last share look by position


def rhythm(config: RhythmConfig, day: int) -> float:
    """How busy `day` is, 1 in the mean of an ordinary year."""
    week = 1 + config.weekly * (WEEK[day % 7] - 1)
    year = 1 + config.yearly * np.cos(2 * np.pi * (day / config.year_days - MIDWINTER))
    running = config.campaign_day <= day < config.campaign_day + config.campaign_days
    return float(max(week, 0.0) * year * (1 + config.campaign_lift * running))


def clock(luck: Floats) -> Ints:
    """The second of the day that `luck` (uniform, any shape) stands for.

    >>> clock(np.array([0.0, 0.5])).tolist()
    [0, 58644]
    """
    share = np.concatenate([[0.0], np.cumsum(HOURS)]) / np.sum(HOURS)
    return np.asarray(np.floor(np.interp(luck, share, 3600.0 * np.arange(25))), dtype=np.int64)


def visits(world: World, day: int, n: int, state: State | None = None) -> Requests:
    """Who visits on `day`, asking for slates of `n` items; ordered by user, then visit.

    `state` is that of the day; without it nobody is more or less satisfied than at first, and nobody has left.
    """
    config, loyalty = world.config, world.config.loyalty
    mean = world.people.activity * rhythm(config.rhythm, day) * (world.shoppers.arrival_day <= day)
    if state is not None:
        mean = mean * state.present
        if loyalty.pull > 0:
            mean *= np.exp(loyalty.pull * (state.satisfaction - 0.5))
    luck = uniforms(config.seed, "visits", config.luck, day, rows=world.rows, n=1)[:, 0]
    count = sum((luck >= pdtr(k, mean)).astype(np.int64) for k in range(MAX_VISITS))
    come = np.flatnonzero(count)
    user_id: Ints = np.repeat(come, count[come])
    first = np.cumsum(count[come]) - count[come]
    visit = np.arange(len(user_id)) - np.repeat(first, count[come])
    times = uniforms(config.seed, "clock", config.luck, day, rows=world.rows[come], n=MAX_VISITS)
    times[np.arange(MAX_VISITS) >= count[come, None]] = np.inf
    second = clock(np.sort(times, axis=1)[np.repeat(np.arange(len(come)), count[come]), visit])
    return Requests(day=day, user_id=user_id, visit=visit, n=n, second=second)


def next_page(world: World, slates: Slates) -> Requests:
    """The requests for another slate after `slates`: without the items that were there already, and those before."""
    asked, rhythm = slates.requests, world.config.rhythm
    again = np.empty(0, dtype=np.int64)
    page = int(asked.page[0]) + 1 if len(asked) else 0
    if rhythm.next_page > 0 and 0 < page < MAX_PAGES:
        name = (world.config.seed, "pages", world.config.luck, asked.day, page)
        luck = uniforms(*name, rows=world.rows[asked.user_id], n=MAX_VISITS)
        again = np.flatnonzero(luck[np.arange(len(asked)), asked.visit] < rhythm.next_page)
    before = asked.take(again)
    shown = slates.item_id[again]
    pairs = np.column_stack([np.repeat(np.arange(len(again)), shown.shape[1]), shown.ravel()])
    return Requests(
        day=asked.day,
        user_id=before.user_id,
        visit=before.visit,
        n=asked.n,
        page=np.full(len(again), page),
        second=np.minimum(before.second + PAGE_SECONDS, DAY_SECONDS - 1),
        exclude=np.concatenate([before.exclude, pairs[pairs[:, 1] >= 0]]),
    )
