"""What retraining costs and what it is worth: policies of one world side by side, in euros.

    profit  =  true margin - cost of trainings,       gain  =  profit - profit of the policy that never retrains
    cost of a training  =  compute * rows * epochs / 10^6  +  rate * (hours of training + hours of promotion)
                           + P(bad model) * loss of a bad model

Hours of promotion and risk are paid where the model was promoted. The first model is everybody's, and not counted.

Why rows times epochs: seconds depend on the machine and on who else is using it, so a bill in seconds is another one
every day. Passes over rows are counted, and the same everywhere.

Why pairs: the shoppers and their luck are the same under every policy, so a gain is told with an interval over
shoppers' differences (see simlab.lab.branch). Other seeds are other shops: with several, Student's t over the shops
says what to expect of the next one. Models are taken as they came out of training, and what a run's last model would
have earned after its last day is in no margin.

What it comes to at the default costs: gain over never in thousands of euros, and trainings, of 90 days, 800 shoppers,
means of seeds 1 and 2, models of the last 28 days; in brackets what is dominated.

                        drifting        shock          seasonal
    scheduled:7          33.2   12      51.5   12      (23.6   12)
    scheduled:14         18.6    6      34.1    6       23.9    6
    scheduled:28          9.1    3      20.2    3        3.4    3
    on-volume:30000      32.0    8      49.1   11      (18.9    8)
    on-drop               6.8    2.5    47.0    9.5      0.0    0
    on-drift              0.0    0      (-0.1   1)     (20.4   10)
    best slates         496            746             666
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from simlab.lab.branch import true_values, what_if
from simlab.lab.config import RunConfig
from simlab.lab.loop import run
from simlab.lab.replay import slates_of
from simlab.lab.run import Run
from simlab.recsys.monitor import Z
from simlab.recsys.retrain import parse_policy
from simlab.settings import check_types, require

NEVER_AGAIN, BEST = "never", "best"
"""The two ends: the first model for ever, and the oracle's best slates, which cost nothing."""


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """What a training costs; all from 0 up."""

    compute: float = 2.0
    """Euros for a million rows learnt from, times epochs."""
    hourly_rate: float = 80.0
    """Euros for an hour of an engineer."""
    training_hours: float = 4.0
    """Hours of an engineer for each training, promoted or not: to prepare it and to look at what came out."""
    promotion_hours: float = 1.0
    """Hours of an engineer for each promotion: to put it to work and to watch it."""
    bad_model_chance: float = 0.02
    """Probability that a promoted model is bad by a mistake that no world here makes, such as a bug; in [0, 1]."""
    bad_model_loss: float = 5000.0
    """Euros that a bad model is expected to lose before it is rolled back."""
    scale: float = 1.0
    """Shoppers of the company for whom one simulated shopper stands; multiplies margin and rows; above 0."""

    def __post_init__(self) -> None:
        check_types(self)
        for part in fields(self):
            value = getattr(self, part.name)
            require(part.name, value, value >= 0, "give a number from 0 up")
        require("bad_model_chance", self.bad_model_chance, self.bad_model_chance <= 1, "give a probability in [0, 1]")
        require("scale", self.scale, self.scale > 0, "give a number above 0")


def training_cost(rows: float, epochs: float, costs: CostConfig, *, promoted: bool = True) -> dict[str, float]:
    """Euros for one training on `rows` interactions: compute, engineers, risk.

    >>> training_cost(10_000, 10, CostConfig())
    {'compute': 0.2, 'engineers': 400.0, 'risk': 100.0}
    """
    hours = costs.training_hours + costs.promotion_hours * promoted
    return {
        "compute": costs.compute * costs.scale * rows * epochs / 1e6,
        "engineers": costs.hourly_rate * hours,
        "risk": costs.bad_model_chance * costs.bad_model_loss * promoted,
    }


def bill(done: Run, costs: CostConfig | None = None) -> pd.DataFrame:
    """The trainings of a run after the first, one row a version: day, rows, epochs, promoted, and euros by kind."""
    costs, registry = costs or CostConfig(), done.registry
    promoted = {row["version"] for row in registry.history("champion")}
    rows = []
    for version in registry.versions():
        card = registry.card(version)
        day, n = card["trained_day"], card["rows"]
        epochs = card["settings"]["warm_epochs" if card.get("warm_start") else "epochs"]
        if day > 0:
            euros = training_cost(n, epochs, costs, promoted=version in promoted)
            told = {"day": day, "rows": n, "epochs": epochs, "promoted": version in promoted}
            rows.append({"version": version, **told, **euros, "total": sum(euros.values())})
    columns = ["version", "day", "rows", "epochs", "promoted", "compute", "engineers", "risk", "total"]
    return pd.DataFrame(rows, columns=columns).set_index("version").sort_values("day", kind="stable")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Policies in the same shops, with the same luck."""

    margins: pd.DataFrame
    """Euros of true margin: a row a shopper, a column for each seed and policy."""
    runs: Mapping[tuple[int, str], Run]
    """By seed and policy."""
    costs: CostConfig

    def at(self, costs: CostConfig) -> "Comparison":
        """The same at other costs; nothing is run again."""
        return replace(self, costs=costs)

    @property
    def by_seed(self) -> pd.DataFrame:
        """Indexed by seed and policy: margin, cost, profit and gain over never in euros, trainings, and the standard
        error of the gain over shoppers."""
        scale, rows = self.costs.scale, []
        for column in self.margins.columns:
            seed, name = int(column[0]), str(column[1])
            difference = self.margins[seed, name] - self.margins[seed, NEVER_AGAIN]
            paid = bill(self.runs[seed, name], self.costs)["total"] if name != BEST else pd.Series(dtype=float)
            margin, cost = scale * float(self.margins[seed, name].sum()), float(paid.sum())
            rows.append(
                {
                    "margin": margin,
                    "trainings": len(paid),
                    "cost": cost,
                    "profit": margin - cost,
                    "gain": scale * float(difference.sum()) - cost,
                    "error": scale * float(difference.std() * np.sqrt(difference.count())),
                }
            )
        return pd.DataFrame(rows, index=self.margins.columns)

    @property
    def table(self) -> pd.DataFrame:
        """Means over seeds, one row a policy, never first and best last.

        `low` and `high` are the 95 % interval of the gain over shoppers of these shops; `seed_low` and `seed_high` that
        over shops (Student's t), NaN with a single one. `on_frontier` says which policies are not dominated.
        """
        groups = self.by_seed.groupby("policy", sort=False)
        table, n = groups.mean(), int(groups.size().iloc[0])
        error = groups["error"].agg(lambda part: float(np.sqrt(np.square(part).sum()))) / n
        table = table.assign(error=error, low=table["gain"] - Z * error, high=table["gain"] + Z * error)
        half = (float(stdtrit(n - 1, 0.975)) if n > 1 else np.nan) * groups["gain"].std() / np.sqrt(n)
        table = table.assign(seed_low=table["gain"] - half, seed_high=table["gain"] + half)
        return table.assign(on_frontier=frontier(table.drop(index=BEST)).reindex(table.index, fill_value=False))

    def __str__(self) -> str:
        n = self.by_seed.index.get_level_values("seed").nunique()
        head = f"mean of {n} shop{'s' if n > 1 else ''}, euros; 95 % intervals of the gain over never"
        return f"{head}\n{self.table.round(1).to_string()}"


def frontier(table: pd.DataFrame) -> "pd.Series[bool]":
    """Which policies no other one dominates: none earns as much for less cost, or more for as much.

    `table` is indexed by policy, with `cost` and `profit` in euros (Pareto 1906).

    >>> table = pd.DataFrame({"cost": [0, 5, 9], "profit": [10, 14, 12]}, index=["never", "monthly", "daily"])
    >>> frontier(table).to_dict()
    {'never': True, 'monthly': True, 'daily': False}
    """
    cost, profit = table["cost"].to_numpy(float), table["profit"].to_numpy(float)
    no_worse = (cost[None, :] <= cost[:, None]) & (profit[None, :] >= profit[:, None])
    better = (cost[None, :] < cost[:, None]) | (profit[None, :] > profit[:, None])
    return pd.Series(~(no_worse & better).any(axis=1), index=table.index)


def compare(
    config: RunConfig, policies: Sequence[str], *, seeds: Sequence[int] | None = None, costs: CostConfig | None = None
) -> Comparison:
    """Runs the shop `config` with each of `policies`, and never, in each of `seeds` (by default its own).

    Policies are written as in `RunConfig.retrain`, whose own value does not count. Raises `ConfigError` for a policy
    that there is not, and where there is no seed.
    """
    names = dict.fromkeys([NEVER_AGAIN, *policies])
    for name in names:
        parse_policy(name)
    seeds = [config.seed] if seeds is None else list(seeds)
    require("seeds", seeds, len(set(seeds)) == len(seeds) > 0, "give one or more, each once")
    runs: dict[tuple[int, str], Run] = {}
    margins: dict[tuple[int, str], pd.Series[float]] = {}
    for seed in seeds:
        never = run(replace(config, retrain=NEVER_AGAIN, seed=seed))
        runs[seed, NEVER_AGAIN], margins[seed, NEVER_AGAIN] = never, true_values(never)["margin"]
        for name in list(names)[1:]:
            other = what_if(never, 0, {"retrain": name})
            runs[seed, name] = other.branch
            margins[seed, name] = margins[seed, NEVER_AGAIN] + other.by_user["margin"]
        margins[seed, BEST] = best_margins(never)
    table = pd.DataFrame(margins).rename_axis(columns=["seed", "policy"])
    return Comparison(margins=table, runs=runs, costs=costs or CostConfig())


def best_margins(done: Run) -> "pd.Series[float]":
    """True margin of each shopper, had every visit of the run had the slates of highest margin; euros.

    In a world that remembers these are the best of each day after what the run had shown, and not the best of all.
    """
    total = np.zeros(len(done.world.shoppers))
    for day in done.days:
        asked = slates_of(done.log.day(day)[0], day, done.config.n_positions).requests
        best = done.oracle.best_pages(asked, "margin")
        worth = done.oracle.value(best).margin
        total += np.bincount(best.requests.user_id, weights=worth, minlength=len(total))
    return pd.Series(total, name="margin").rename_axis("user_id")
