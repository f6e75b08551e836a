"""The shoppers: what kind of household they are is public; tastes, activity, thrift and patience are hidden.

Shopper u is made from row u of the luck table alone, so a larger population begins with the smaller one.
"""

import numpy as np
from scipy.special import gammaincinv, ndtri, pdtr

from simlab.schema import Ints, Labels, Requests, Shoppers
from simlab.streams import stream, uniforms
from simlab.world.truth import WEEK, PeopleTruth, World, WorldConfig

SEGMENTS = ("expecting", "newborn", "toddler", "preschool", "school", "teens", "grandparents", "gift buyers")
REGIONS = ("north", "east", "south", "west", "islands")

MAX_VISITS = 5
"""Visits of one shopper on one day, at most."""

_GAMMA_SHAPE = 1.2


def make_people(config: WorldConfig) -> tuple[Shoppers, PeopleTruth]:
    """The shoppers and their truth on the first day of history."""
    rows = np.arange(config.n_users)
    luck = uniforms(config.seed, "people", rows=rows, n=5)
    own = ndtri(uniforms(config.seed, "tastes", rows=rows, n=config.n_dims))
    centre = stream(config.seed, "segments").standard_normal((len(SEGMENTS), config.n_dims))
    segment = (luck[:, 0] * len(SEGMENTS)).astype(np.int64)
    home = np.sqrt(config.segment_share) * centre[segment]
    spread = np.full(config.n_dims, np.sqrt(1 - config.segment_share))
    shoppers = Shoppers(
        segment=Labels(codes=segment, names=SEGMENTS),
        region=Labels(codes=(luck[:, 1] * len(REGIONS)).astype(np.int64), names=REGIONS),
    )
    truth = PeopleTruth(
        taste=home + spread * own,
        home=home,
        spread=spread,
        activity=gammaincinv(_GAMMA_SHAPE, luck[:, 2]) * config.visits_per_day / _GAMMA_SHAPE,
        price_sensitivity=-config.price_sensitivity * np.log1p(-luck[:, 3]),
        patience=0.75 + 0.2 * luck[:, 4],
    )
    return shoppers, truth


def visits(world: World, day: int, n: int) -> Requests:
    """Who visits on `day`, asking for slates of `n` items; ordered by user, then visit.

    The number of a shopper's visits is Poisson with mean activity x weekday factor, cut at MAX_VISITS.
    """
    mean = world.people.activity * WEEK[day % 7]
    rows = np.arange(len(mean))
    luck = uniforms(world.config.seed, "visits", day, rows=rows, n=1)[:, 0]
    count = sum((luck >= pdtr(k, mean)).astype(np.int64) for k in range(MAX_VISITS))
    user_id: Ints = np.repeat(rows, count)
    first = np.cumsum(count) - count
    visit = np.arange(len(user_id)) - np.repeat(first, count)
    return Requests(day=day, user_id=user_id, visit=visit, n=n)
