"""A world fitted to real ratings: it keeps their item popularity, user activity and rating histogram.

Shoppers choose as in `organic`, with utility_ui = quality_i + scale * x_u . y_i, where

1. x and y are leading singular vectors of what was chosen, as `factors` finds them;
2. `scale` is the one under which choices hidden from the fit are likeliest;
3. quality_i comes from proportional fitting: expected choices equal n_u for each user and c_i for each item;
4. the cuts of the rating scale give the real histogram over the choices that the world expects.

From day 0 on tastes drift, each around a home between the mean of all and the taste that was fitted,

    home_u = mean + settled (taste_u - mean),     spread = sqrt(1 - settled^2) * standard deviation of all

so that the crowd keeps its spread in the end. Why homes of their own: real tastes have long tails, and drift around
one home for all turns them into a Gaussian crowd, which is worth less (MovieLens 100K, clicks of the best slate after
60 days: 2.78 -> 2.59 with settled 0, 2.79 with 0.6).

Why singular vectors and not a recommender's factors: the world must not be the model family that is tested in it.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri

from simlab.schema import Floats, Ints
from simlab.settings import check_types, require
from simlab.streams import stream, uniforms
from simlab.world.birth import first_state
from simlab.world.config import ResponseConfig, WorldConfig
from simlab.world.factors import choices_of, factors, scale_of_taste, spread
from simlab.world.organic import Observed, expected_utilities, fit_margins, start_model
from simlab.world.truth import ItemTruth, PeopleTruth, World

MOST_PAIRS = 200_000_000
"""Pairs of user and item in a world that is fitted in minutes."""

SILENT = ResponseConfig(dwell_seconds=0.0, another_unit=0.0, rating_share=0.0, return_share=0.0)
"""What neither choices nor impressions tell is not in the world."""

_BUDGET = 1.4
"""Median budget over median price, as in made worlds: 30 euros over 21."""

_DIGITS = 6
"""The stored truth is rounded, so that it does not hang on the last digits of a processor's products."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """What ratings do not tell."""

    seed: int = 0
    """Of the hidden share of choices, and of the world's luck."""
    n_dims: int = 24
    """Hidden dimensions of taste, less than users and items."""
    hidden_share: float = 0.15
    """Share of the choices hidden to find the scale of taste, in (0, 0.5]."""
    click_rate: float = 0.15
    """Probability that an organic choice would be clicked when looked at on a slate, in (0, 1)."""
    purchase_rate: float = 0.35
    """Probability that a click on an organic choice becomes a purchase, in (0, 1)."""
    visits_per_day: float = 0.48
    """Mean visits of a user a day; users differ as their numbers of ratings do; in (0, 3]."""
    drift: float = 0.1
    """Daily step of taste from day 0 on, as a share of the standard deviation around home, in [0, 1)."""
    settled: float = 0.6
    """How near home lies to the fitted taste: 0 is the mean of all, 1 the taste itself; in [0, 1]."""

    def __post_init__(self) -> None:
        check_types(self)
        require("seed", self.seed, self.seed >= 0, "give a whole number from 0 up")
        require("n_dims", self.n_dims, 1 <= self.n_dims <= 1000, "give a whole number from 1 to 1000")
        require("hidden_share", self.hidden_share, 0 < self.hidden_share <= 0.5, "give a share in (0, 0.5]")
        for name in ("click_rate", "purchase_rate"):
            require(name, getattr(self, name), 0 < getattr(self, name) < 1, "give a probability in (0, 1)")
        require("visits_per_day", self.visits_per_day, 0 < self.visits_per_day <= 3, "give a number in (0, 3]")
        require("drift", self.drift, 0 <= self.drift < 1, "give a share in [0, 1)")
        require("settled", self.settled, 0 <= self.settled <= 1, "give a share in [0, 1]")


def _response(
    observed: Observed, config: CalibrationConfig, chosen: Floats, expected: tuple[Floats, Floats]
) -> ResponseConfig:
    """Clicks, purchases and ratings, from the utilities of the choices that were made and of those `expected`."""
    utility, mass = expected
    together = np.corrcoef(chosen, observed.rating)[0, 1] if chosen.std() * observed.rating.std() > 0 else 0.0
    steep = max(0.0, together) / np.sqrt(1 - min(together**2, 0.99))  # of the probit, per standard deviation
    slope = round(float(steep / max(chosen.std(), 1e-9)), _DIGITS)
    count = np.bincount(observed.rating, minlength=6)[1:] + 0.5
    shares = np.cumsum(count)[:4] / count.sum()
    cuts = [brentq(lambda cut, share=share: mass @ ndtr(cut - slope * utility) - share, -99, 99) for share in shares]
    base = brentq(lambda base: mass @ expit(base + utility) - config.click_rate, -99, 99)
    one, two, three, four = (round(float(cut), _DIGITS) for cut in cuts)
    return replace(
        SILENT,
        base=round(float(base), _DIGITS),
        purchase_base=purchase_base(utility, mass * expit(base + utility), config.purchase_rate),
        rating_scale=slope,
        rating_cuts=(one, two, three, four),
        rating_share=ResponseConfig().rating_share,
    )


def purchase_base(utility: Floats, weight: Floats, share: float) -> float:
    """`ResponseConfig.purchase_base` with which a `share` of clicks of `utility`, counted by `weight`, is bought."""
    scale, weight = ResponseConfig().purchase_scale, weight / weight.sum()
    return round(float(brentq(lambda base: weight @ expit(base + scale * utility) - share, -99, 99)), _DIGITS)


def _people(taste: Floats, activity: Ints, price: Floats, config: CalibrationConfig) -> PeopleTruth:
    n_users = len(activity)
    budget = uniforms(config.seed, "budgets", rows=np.arange(n_users), n=1)[:, 0]
    luck = uniforms(config.seed, "people", rows=np.arange(n_users), n=1)[:, 0]
    return PeopleTruth(
        spread=np.round(np.sqrt(1 - config.settled**2) * taste.std(axis=0), _DIGITS),
        activity=activity * (config.visits_per_day / activity.mean()),
        price_sensitivity=np.zeros(n_users),
        patience=0.75 + 0.2 * luck,
        way=np.zeros(n_users, dtype=np.int64),
        log_budget=np.log(_BUDGET * np.median(price)) + 0.7 * ndtri(np.maximum(budget, 1e-300)),
    )


def calibrate(observed: Observed, *, config: CalibrationConfig) -> World:
    """The world whose shoppers, left alone, would choose and rate as those of `observed` did.

    It stands on day 0 with the tastes that were fitted, for the real choices are its history. Raises `ConfigError`
    where there are not more users and items than `n_dims`, or everybody chose everything.
    """
    n_users, n_items = len(observed.shoppers), len(observed.catalogue)
    for name, n in (("users", n_users), ("items", n_items)):
        require(name, n, n >= 2, "a fit needs at least 2 users and 2 items")
    require(
        "n_dims",
        config.n_dims,
        config.n_dims < min(n_users, n_items),
        f"give less than the {n_users} users and {n_items} items, or take more of them",
    )
    pairs = n_users * n_items
    told = len(observed.user_id)
    require("choices", told, told < pairs, "every user chose every item, which tells nothing: give what was liked only")
    require(
        "users x items", pairs, pairs <= MOST_PAIRS, f"take a sample of users: at most {MOST_PAIRS} pairs are fitted"
    )
    everything = np.ones(len(observed.user_id), dtype=np.bool_)
    x, y = factors(choices_of(observed, everything), observed.catalogue, observed.shoppers, config.n_dims)
    hidden = stream(config.seed, "hidden choices").random(len(everything)) < config.hidden_share
    taste = np.round(x, _DIGITS)
    vector = np.round(scale_of_taste(observed, hidden, config.n_dims) * y, _DIGITS)
    margins = observed.activity, observed.popularity
    fit = fit_margins(start_model(taste, vector, *margins), *margins)
    utility, mass = expected_utilities(fit)
    quality = np.round(fit.quality - utility @ mass, _DIGITS)
    chosen = np.einsum("rd,rd->r", taste[observed.user_id], vector[observed.item_id]) + quality[observed.item_id]
    response = _response(observed, config, chosen, (utility - utility @ mass, mass))
    return world_of(observed, config, (taste, vector, quality), response)


def world_of(
    observed: Observed, config: CalibrationConfig, fitted: tuple[Floats, Floats, Floats], response: ResponseConfig
) -> World:
    """The world of what was fitted: tastes, vectors and qualities.

    What choices do not tell has no strength, but seasons, companions and budgets are drawn as in made worlds, so that
    whoever gives them strength finds them there. Budgets are as far above prices as there.
    """
    taste, vector, quality = fitted
    pairing = stream(config.seed, "companions")
    n_users, n_items, n_categories = len(taste), len(vector), len(observed.catalogue.category.names)
    settings = WorldConfig(
        name=observed.name,
        seed=config.seed,
        n_users=n_users,
        n_items=n_items,
        n_dims=config.n_dims,
        taste_scale=round(spread(taste, vector), _DIGITS),
        history_days=1,
        new_items_per_week=0,
        price_sensitivity=0.0,
        drift=config.drift,
        visits_per_day=config.visits_per_day,
        response=response,
    )
    items = ItemTruth(
        vector=vector,
        odd=np.zeros((n_items, 0)),
        quality=quality,
        price_index=np.zeros(n_items),
        season_peak=stream(config.seed, "seasons").random(n_categories),
        companion=np.roll(np.arange(n_categories), 1 + int(pairing.integers(max(n_categories - 1, 1)))),
    )
    centre = np.round(taste.mean(axis=0), _DIGITS)
    home = np.round(centre + config.settled * (taste - centre), _DIGITS)
    first = first_state(settings, observed.catalogue, items, taste=taste, home=home)
    return World(
        config=settings,
        catalogue=observed.catalogue,
        shoppers=observed.shoppers,
        items=items,
        people=_people(taste, observed.activity, observed.catalogue.price, config),
        state=replace(first, day=0),
        rows=np.arange(n_users),
    )
