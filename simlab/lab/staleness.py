"""How fast a model goes stale, and how often it is then worth training: from one run, before any policy is tried.

Models are trained on many days a of a run, on what its log told then. On each later day t = a + k every shopper gets a
slate of each of them, and one of a fresh model of that day:

    loss_u(a, k)  =  visits a day of u * (true margin of the fresh model's slate - that of the model of day a)

    L(k)          =  mean over a of sum over u of loss_u(a, k)                  euros lost on a day at age k, L(0) = 0

Trained every T days, a shop pays for one training and loses L(0) + .. + L(T - 1) in T days. So the period to choose is

    T*  =  argmin over T of  (cost of a training + L(0) + .. + L(T - 1)) / T

which is the optimal age of replacement of an ageing machine (Barlow, Hunter, Operations Research 1960).

Intervals: shoppers and training days are both drawn again, independently (pigeonhole bootstrap; Owen, Annals of Applied
Statistics 2007). Training days near each other see the same later days, so with few of them intervals are too narrow.

Why everybody is asked, and not who came: that some came on a day is luck, of which there need be none.

What one run cannot know: what models would have learnt from slates that they had themselves shown. All learn from the
log of the run, but whoever trains more rarely has a worse log, which makes the fresh models worse too. In the shop
(800 shoppers, seed 1, 90 days) fresh models brought 3,470 euros a day from the log of scheduled:3, 3,353 from that of
scheduled:7 and 3,291 from that of scheduled:28, which is more than age alone loses. So advice from one run trains too
rarely. `log_effect` measures that part from two runs, and `advise` takes it in as a line:

    T*  =  argmin over T of  (cost of a training + L(0) + .. + L(T - 1)) / T  +  log effect * T

What the advice is worth: the period without and with the log effect (of scheduled:3 against scheduled:21), and how
much more profit the best of scheduled:3, 5, 7, 21 and the advised one brought, in thousands of euros of 90 days, with
the 95 % interval over shoppers. Neighbouring periods differ by more, for each run's models have luck of their own.

                   without     with        best    less advised
    drifting, 1    9           5 (4 to 6)  5       0
    drifting, 2    8           5 (5 to 5)  3       1.1 +- 7.3       of 158
    shop, 1        8           6 (5 to 7)  6       0
    shop, 2        10          6 (5 to 7)  5       9.6 +- 5.6       of 208; scheduled:7 202

Models start from nothing here, and what is decided in real time is left out.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from simlab.lab.costs import CostConfig, training_cost
from simlab.lab.loop import Ring, open_ring
from simlab.lab.run import Run
from simlab.recsys.service import Served
from simlab.recsys.traffic import Traffic
from simlab.recsys.training import train
from simlab.schema import Floats, Ints, Requests
from simlab.settings import require
from simlab.streams import stream
from simlab.world.truth import available

DRAWS = 400
"""Bootstrap samples."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """How often to train."""

    period: int
    """Days between trainings."""
    low: int
    high: int
    """Ends of the 95 % interval of the period."""
    horizon: int
    """The longest period that was weighed: where the period is this one, the best may be longer, or never."""
    table: pd.DataFrame
    """Euros a day that trainings and age cost, by period: `cost`, and the 95 % interval `low`, `high`."""

    @property
    def policy(self) -> str:
        """The period as a policy, e.g. "scheduled:9"."""
        return f"scheduled:{self.period}"

    def __str__(self) -> str:
        more = ", the longest weighed: it may be longer, or never" if self.period == self.horizon else ""
        return f"train every {self.period} days (95 % interval {self.low} to {self.high}){more}"


@dataclass(frozen=True, kw_only=True)
class Staleness:
    """What age costs."""

    trained: Ints
    """Days on which models were trained; shape (A,)."""
    ages: Ints
    """Days since training, from 0 up; shape (K,)."""
    loss: Floats
    """Euros of margin a day that each shopper brings less than with a fresh model, NaN where the run had ended; shape
    (A, K, U)."""
    fresh: Floats
    """Euros of margin a day that each shopper brings with the fresh model of a day; shape (A, U)."""
    rows: float
    """Mean number of interactions that a training learnt from."""
    epochs: int
    seed: int
    """Of the bootstrap."""

    @property
    def curve(self) -> pd.DataFrame:
        """Euros lost a day by `age`: `loss`, its 95 % interval `low`, `high`, and how many `models` grew so old."""
        low, high = np.quantile(self._draws(), [0.025, 0.975], axis=0)
        n = np.isfinite(self.loss[:, :, 0]).sum(axis=0)
        columns = {"loss": self._mean(), "low": low, "high": high, "models": n}
        return pd.DataFrame(columns, index=pd.Index(self.ages, name="age"))

    def advise(self, costs: CostConfig | None = None, log_effect: float = 0.0) -> Advice:
        """The period at which trainings and age together cost least a day.

        `log_effect` is what a day more between trainings costs a day by the log that it makes; see `log_effect`.
        """
        costs = costs or CostConfig()
        euros = sum(training_cost(self.rows, self.epochs, costs).values())
        days = np.arange(int(self.ages[-1]) + 1)

        def daily(curve: Floats) -> Floats:
            lost = costs.scale * np.interp(days, self.ages, curve)
            of_log = costs.scale * log_effect * (days + 1)
            return np.asarray((euros + np.cumsum(lost)) / (days + 1) + of_log)  # of the periods 1, 2 ..

        cost, drawn = daily(self._mean()), np.array([daily(curve) for curve in self._draws()])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        first, last = np.quantile(drawn.argmin(axis=1) + 1, [0.025, 0.975])
        table = pd.DataFrame({"cost": cost, "low": low, "high": high}, index=pd.Index(days + 1, name="period"))
        return Advice(
            period=int(cost.argmin()) + 1,
            low=int(np.floor(first)),
            high=int(np.ceil(last)),
            horizon=len(days),
            table=table,
        )

    def _mean(self) -> Floats:
        return np.asarray(np.nanmean(self.loss.sum(axis=2), axis=0))

    def _draws(self) -> Floats:
        """Curves of the bootstrap; shape (DRAWS, K)."""
        n_models, n_ages, n_users = self.loss.shape
        rng = stream(self.seed, "staleness", "bootstrap")
        of_models = rng.multinomial(n_models, np.full(n_models, 1 / n_models), size=DRAWS)
        of_users = rng.multinomial(n_users, np.full(n_users, 1 / n_users), size=DRAWS)
        there = np.isfinite(self.loss[:, :, 0])
        summed = (np.nan_to_num(self.loss).reshape(-1, n_users) @ of_users.T).reshape(n_models, n_ages, DRAWS)
        total = np.einsum("akb,ba->bk", summed, of_models)
        n = of_models @ there
        return np.where(n > 0, total / np.maximum(n, 1), self._mean())  # an old age that was not drawn once


def staleness(done: Run, *, every: int = 3, horizon: int | None = None) -> Staleness:
    """Trains a model every `every` days of the run and lets each age for up to `horizon` days, default half of the run.

    Models are of the run's settings and its log. Raises `ConfigError` for numbers that leave no age to look at.
    """
    days = len(done.days)
    horizon = days // 2 if horizon is None else horizon
    require("every", every, every >= 1, "give a whole number from 1 up")
    require("horizon", horizon, every <= horizon < days, f"give days from {every} up, fewer than the run's {days}")
    ring = open_ring(done.config, done.path)
    grid, ages = np.arange(0, days, every), np.arange(0, horizon + 1, every)
    loss = np.full((len(grid), len(ages), len(done.world.shoppers)), np.nan)
    fresh = np.empty((len(grid), len(done.world.shoppers)))
    served: list[Served] = []
    rows: list[int] = []
    for place, day in enumerate(grid.tolist()):
        model, n_rows = _trained(ring, day)
        served.append(model)
        rows.append(n_rows)
        margins = _margins(ring, day, served[-len(ages) :], done.metrics["visits"].mean())
        fresh[place] = margins[0]
        for age, margin in enumerate(margins):
            loss[place - age, age] = margins[0] - margin
    return Staleness(
        trained=grid,
        ages=ages,
        loss=loss,
        fresh=fresh,
        rows=float(np.mean(rows)),
        epochs=done.config.training.epochs,
        seed=done.config.seed,
    )


def log_effect(often: Staleness, rarely: Staleness, more_days: int) -> tuple[float, float]:
    """Euros a day that a day more between trainings costs by what the log then teaches, and its standard error.

    The mean difference of fresh models' margins, for each of the `more_days` by which the runs' periods differ; paired
    by shopper. Both must be of one world and the same days; raises `ConfigError` where they are not.
    """
    same = often.fresh.shape == rarely.fresh.shape and bool(np.all(often.trained == rarely.trained))
    require("runs to compare", (often.fresh.shape, rarely.fresh.shape), same, "give two of one world and length")
    require("more_days", more_days, more_days >= 1, "give the difference of the periods, from 1 up")
    difference = (often.fresh - rarely.fresh).mean(axis=0) / more_days
    return float(difference.sum()), float(difference.std(ddof=1) * np.sqrt(len(difference)))


def _trained(ring: Ring, day: int) -> tuple[Served, int]:
    """A model of what the run's log told at the start of `day`, and on how many rows it was trained."""
    catalogue, people = ring.world.catalogue.launched_by(day), ring.world.shoppers.arrived_by(day)
    config = ring.config.training_config()
    model, card = train(ring.log, catalogue, people, config=config, day=day, without=ring.registry.quarantined())
    return Served(model, day), int(card["rows"])


def _margins(ring: Ring, day: int, models: list[Served], visits: float) -> list[Floats]:
    """Each shopper's true margin a day with each of `models`, the youngest (the last) first; shapes (n_users,)."""
    world, state = ring.world, ring.oracle.state(day)
    people = world.shoppers.arrived_by(day)
    weight = np.where(state.present, world.people.activity, 0.0)
    weight[len(people) :] = 0
    weight *= visits / max(float(weight.sum()), 1e-9)
    everybody = Requests(
        day=day, user_id=np.arange(len(people)), visit=np.zeros(len(people), dtype=np.int64), n=ring.config.n_positions
    )
    ring.service.new_day(world.catalogue.launched_by(day), people)
    return [_margin(ring, everybody, model, weight) for model in models[::-1]]


def _margin(ring: Ring, asked: Requests, served: Served, weight: Floats) -> Floats:
    ring.service.route(Traffic(champion="aged"), {"aged": served})
    slates = ring.service.recommend(asked, available(ring.world, ring.oracle.state(asked.day)))
    waited = np.full(len(asked), ring.config.latency_ms)
    margin = np.zeros(len(weight))
    margin[asked.user_id] = ring.oracle.value(replace(slates, latency_ms=waited)).margin
    return margin * weight
