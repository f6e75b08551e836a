"""The feedback loop: how far a recommender has come to make what it then measures.

What is shown is clicked, what is clicked is learnt from, what is learnt is shown; and where looks move tastes, what is
shown is also what comes to be liked. Meters by week:

    gini          of exposure, over the items on sale: 0 all alike, 1 one item has it all
    self_caused   share of the rows of the training window that the shop's own models put there: not the old policy's
                  slates, nor chance, fallbacks or a holdback
    diversity     within a slate: share of its pairs from two categories
    categories    effective number of categories that a shopper is shown in the week: exp of the entropy of their
                  shares (Hill, Ecology 1973), mean over those who came
    repeated      share of what a shopper was shown that was there the week before, too; of those who came in both

These a company can count. Beside them what only the lab knows, shoppers against themselves as they would have been:

    taste_shift   distance between a shopper's taste and the one of the same shopper in the control, in units of how far
                  shoppers of the control are from their mean (root mean square); mean over shoppers, 95 % interval
    crowd         variance of tastes among shoppers, as a share of that in the control: below 1 they have grown alike
    made          share of the true clicks that there would not be, had the same slates met the tastes of the control

Why the control is a world in which nothing is shown: shoppers, drifts and shifts have their own luck, so the same world
with nobody looking at anything is where each would have been, exactly; without influence every distance is 0. Chance is
no such control, for it is a treatment too: looks at all goods alike pull everybody to the middle. A run with random
slates can be given as `control` where that is the question.

The world "influence" of 800 shoppers, seed 1, week 9:

                          gini   self_caused   categories   taste_shift   crowd    made    true clicks a visit
    lightfm, weekly       0.77   100 %          3.7         0.52          0.96     72 %    2.83, week 1: 0.85
    popularity, never     0.95   100 %          4.4         0.68          0.57     80 %    2.91          0.74
    random                0.05     0 %         12.0         0.40          0.48    -77 %    0.08          0.13
    lightfm, influence 0  0.69   100 %          4.1         0             1         0 %    2.23          1.90
"""

import numpy as np
import pandas as pd

from simlab.errors import RunError
from simlab.lab.oracle import Oracle
from simlab.lab.replay import slates_of
from simlab.lab.run import Run
from simlab.recsys.metrics import diversity, gini
from simlab.recsys.monitor import Z
from simlab.schema import Floats

SEEN = ("gini", "self_caused", "diversity", "categories", "repeated")
"""What a company can count."""

TRUE = ("taste_shift", "low", "high", "crowd", "made")
"""What only the lab knows."""


def meters(done: Run, control: Run | None = None) -> pd.DataFrame:
    """The meters of a run by week, counted from 1; `low` and `high` are of the taste shift.

    `control` is a run of the same world; by default nothing is shown in it. Raises `RunError` for a run of another
    world, or of fewer days.
    """
    if control is not None:
        same = (control.config.preset, control.config.data, control.config.seed, control.config.world)
        if same != (done.config.preset, done.config.data, done.config.seed, done.config.world):
            raise RunError("control", str(control.path), "it is of another world: give a run of the same settings")
        if len(control.days) < len(done.days):
            raise RunError("control", str(control.path), f"it has {len(control.days)} days: run {len(done.days)}")
    return pd.concat([seen(done), truth(done, control)], axis=1)


def seen(done: Run) -> pd.DataFrame:
    """What the company counts: the columns `SEEN`, by week."""
    rows = done.log.sql(
        """select day // 7 + 1 as week, user_id, item_id, count(*) as shown from impressions where day >= 0
           group by all order by all"""
    )
    catalogue, table = done.world.catalogue, []
    unit = np.eye(len(catalogue.category.names))[catalogue.category.codes]
    own, before = self_caused(done), pd.DataFrame({"user_id": [], "item_id": []})
    lists = _diversity(done, unit)
    for week, part in rows.groupby("week"):
        last = min(7 * int(str(week)), len(done.days)) - 1
        times = np.bincount(part["item_id"], weights=part["shown"], minlength=len(catalogue))
        table.append(
            {
                "week": week,
                "gini": gini(times[catalogue.on_sale(last)]),
                "self_caused": own[last],
                "diversity": float(np.mean(lists[7 * (int(str(week)) - 1) : last + 1])),
                "categories": _categories(part, unit),
                "repeated": _repeated(part, before),
            }
        )
        before = part
    return pd.DataFrame(table, columns=["week", *SEEN]).set_index("week")


def self_caused(done: Run) -> Floats:
    """Share of what could be learnt from at the end of each day that the shop's own models had shown; by day.

    Rows are those that training counts (`signal`, as known at the end of the run), over its window of days.
    """
    config, registry = done.config.training, done.registry
    chance = [one for one in registry.versions() if registry.card(one)["settings"]["algorithm"] == "random"]
    names = ", ".join(f"'{one}'" for one in ["", *chance])
    rows = done.log.sql(
        f"""select day, count(*) as n, count(*) filter (source = 'model' and model_version not in ({names})) as own
            from impressions where {config.signal} group by all order by all"""
    ).set_index("day")
    n_before = max(config.window_days or 0, -int(min(rows.index, default=0)))
    days = rows.reindex(range(-n_before, len(done.days)), fill_value=0)
    window = days.cumsum() if config.window_days is None else days.rolling(config.window_days).sum()
    return (window["own"] / window["n"]).loc[0:].to_numpy(float)


def _diversity(done: Run, unit: Floats) -> list[float]:
    """Diversity within slates, mean over the slates of each day; NaN on a day without."""
    found = []
    for day in done.days:
        slates = slates_of(done.log.day(day)[0], day, done.config.n_positions)
        lists = diversity(slates.item_id, unit)
        found.append(float(np.nanmean(lists)) if np.isfinite(lists).any() else np.nan)
    return found


def _categories(shown: pd.DataFrame, unit: Floats) -> float:
    """Effective number of categories of what each shopper was shown, mean over shoppers; rows of user, item, times."""
    user, row = np.unique(shown["user_id"], return_inverse=True)
    counts = np.zeros((len(user), unit.shape[1]))
    np.add.at(counts, (row, unit[shown["item_id"]].argmax(axis=1)), shown["shown"].to_numpy(float))
    share = counts / counts.sum(axis=1, keepdims=True)
    return float(np.exp(-np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0).sum(axis=1)).mean())


def _repeated(shown: pd.DataFrame, before: pd.DataFrame) -> float:
    """Share of what is `shown` that was shown to the same shoppers `before`; rows of user, item, times."""
    shown = shown[shown["user_id"].isin(before["user_id"])]
    known = pd.MultiIndex.from_frame(before[["user_id", "item_id"]])
    again = pd.MultiIndex.from_frame(shown[["user_id", "item_id"]]).isin(known)
    return float(shown["shown"][again].sum() / shown["shown"].sum()) if len(shown) else float("nan")


def truth(done: Run, control: Run | None = None) -> pd.DataFrame:
    """What only the lab knows: the columns `TRUE`, by week; for `control` see `meters`."""
    other = Oracle(done.world) if control is None else control.oracle
    true, without, table = 0.0, 0.0, []
    for day in done.days:
        slates = slates_of(done.log.day(day)[0], day, done.config.n_positions)
        true += float(done.oracle.value(slates).clicks.sum())
        without += float(other.value(slates).clicks.sum())
        if day % 7 < 6 and day < done.days[-1]:
            continue
        shift = taste_shift(done.oracle.state(day).taste, other.state(day).taste)
        half = Z * float(shift.std(ddof=1) / np.sqrt(len(shift)))
        spread = [one.state(day).taste.var(axis=0).sum() for one in (done.oracle, other)]
        mean = float(shift.mean())
        ends = {"taste_shift": mean, "low": mean - half, "high": mean + half, "crowd": spread[0] / spread[1]}
        table.append({"week": day // 7 + 1, **ends, "made": 1 - without / true if true else np.nan})
        true, without = 0.0, 0.0
    return pd.DataFrame(table, columns=["week", *TRUE]).set_index("week")


def taste_shift(taste: Floats, control: Floats) -> Floats:
    """How far each shopper is from where they would have been; tastes of shape (n_users, n_dims), shift (n_users,).

    |taste_u - control_u| / sqrt(mean over v of |control_v - mean control|^2): at 1, as far as shoppers are from their
    mean; two of them drawn by chance are sqrt(2) apart.

    >>> here, there = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> taste_shift(here, there).round(3).tolist()
    [1.414, 2.0]
    """
    unit = np.sqrt(np.square(control - control.mean(axis=0)).sum(axis=1).mean())
    return np.asarray(np.linalg.norm(taste - control, axis=1) / unit)
