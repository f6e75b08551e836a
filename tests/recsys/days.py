"""A log that is made up as it is read: shoppers with tastes, categories with seasons, a champion that can lose touch.

    log-odds of a click  =  base + taste_u + liking_uc + season_c(day) - fall(day)

As far as facts look: the columns that they read, and nothing of slates.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.special import expit

from simlab.recsys.facts import Facts
from simlab.schema import NEVER, Catalogue, Floats, Labels, Shoppers
from simlab.streams import stream
from simlab.tables import FEEDBACK

N_USERS, N_CATEGORIES, PER_CATEGORY = 400, 12, 5


def goods(n_categories: int = N_CATEGORIES, launch_day: int = -100) -> Catalogue:
    """Five items a category, the last one of all launched on `launch_day`."""
    n = n_categories * PER_CATEGORY
    names = tuple(f"category {c}" for c in range(n_categories))
    return Catalogue(
        name=tuple(f"item {i}" for i in range(n)),
        category=Labels(codes=np.arange(n) % n_categories, names=names),
        brand=Labels(codes=np.zeros(n, dtype=np.int64), names=("none",)),
        price=np.ones(n),
        margin=np.full(n, 0.5),
        launch_day=np.append(np.full(n - 1, -100), launch_day),
        retire_day=np.full(n, NEVER),
    )


def people(n: int = N_USERS, arrival_day: int = -100, late: int = 0) -> Shoppers:
    """`n` shoppers, the last `late` of whom arrive on `arrival_day`."""
    alike = Labels(codes=np.zeros(n, dtype=np.int64), names=("all",))
    return Shoppers(
        segment=alike, region=alike, arrival_day=np.append(np.full(n - late, -100), np.full(late, arrival_day))
    )


@dataclass(frozen=True, kw_only=True)
class MadeDays:
    """A log of as many days as are asked for."""

    seed: int = 0
    fall_day: int = NEVER
    """First day of a fall that all categories share; a champion that is trained later makes up for it."""
    fall: float = 0.8
    season: float = 0.0
    """Swing of a category over a year of 56 days; each has its own time."""
    trained: tuple[int, ...] = (0,)
    """Days on which champions begin."""
    n_categories: int = N_CATEGORIES
    visits: float = 0.5
    """Of a shopper a day, on average."""

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The rows of `day`, the same whenever they are asked for."""
        rng, own = stream(self.seed, "made", day), stream(self.seed, "shoppers")
        taste, activity = own.normal(0, 0.7, N_USERS), own.gamma(1.2, self.visits / 1.2, N_USERS)
        liking = own.normal(0, 1.0, (N_USERS, self.n_categories))
        user = np.repeat(np.arange(N_USERS), 10 * np.minimum(rng.poisson(activity), 5))
        item = rng.integers(0, self.n_categories * PER_CATEGORY, len(user))
        category = item % self.n_categories
        began = max(one for one in self.trained if one <= day)
        fallen = self.fall if began < self.fall_day <= day else 0.0
        odds = -1.8 + taste[user] + liking[user, category] + self._season(day)[category] - fallen
        words = {"source": "model", "arm": "champion", "model_version": f"model-day{began:05d}"}
        return pa.table(
            {
                "user_id": pa.array(user.astype(np.int32)),
                "item_id": pa.array(item.astype(np.int32)),
                "clicked": pa.array(rng.random(len(user)) < expit(odds)),
                **{name: pa.array([word] * len(user), pa.string()) for name, word in words.items()},
            }
        ), FEEDBACK.empty_table()

    def _season(self, day: int) -> Floats:
        phase = day / 56 - np.arange(self.n_categories) / self.n_categories
        return np.asarray(self.season * np.cos(2 * np.pi * phase))

    def facts(self) -> Facts:
        """What a company knows of these days."""
        return Facts(self, goods(self.n_categories), people())
