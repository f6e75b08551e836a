"""When to learn again: policies side by side, twins against strangers, and what a training may cost."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from simlab.lab.plots.style import CYCLE, FAINT, INK, QUIET, TRUTH, label_lines, percent, sheet
from simlab.lab.run import weeks_of


def cycles(runs: Mapping[str, pd.DataFrame], until: int | None = None) -> Figure:
    """True clicks as a share of the best possible, by week, a line for each policy; a triangle where a new model began.

    Each frame is a run's metrics, all of one world, the policy that never retrains first. `until` ends the figure with
    that day.
    """
    cut = {name: metrics if until is None else metrics.loc[:until] for name, metrics in runs.items()}
    weeks = {name: weeks_of(metrics) for name, metrics in cut.items()}
    last = {name: float(table["share_of_best"].iloc[-1]) for name, table in weeks.items()}
    ranking = sorted(last, key=lambda name: -last[name])
    week = next(iter(weeks.values())).index[-1]
    title = f"Week {week}, share of the best: " + ", ".join(f"{name} {percent(last[name])}" for name in ranking)
    with sheet(title, size=(10, 4.8)) as (figure, (axes,)):
        colours = dict(zip(runs, (QUIET, *CYCLE), strict=False))
        for name, table in weeks.items():
            share, new = table["share_of_best"], (table["retrained"] > 0) & (table.index > 1)
            axes.plot(share.index, share, color=colours[name])
            for weeks_of_it, marker, size in ((~new, "o", 6), (new, "^", 10)):
                axes.plot(share.index[weeks_of_it], share[weeks_of_it], marker, color=colours[name], markersize=size)
        every = [float(metrics["share_of_best"].min()) for metrics in weeks.values()]
        axes.set(xlabel="week", ylabel="true clicks, share of the best", ylim=(min(every) - 0.05, None))
        axes.set_xlim(0.8, len(next(iter(runs.values()))) / 7 + 0.2)
        axes.set_xticks(range(1, int(len(next(iter(runs.values()))) / 7) + 1))
        label_lines(axes, {name: (table.index[-1], last[name]) for name, table in weeks.items()}, colours)
    return figure


def spans(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The mean gain of the second column over the first, and how far its 95 % interval reaches to each side.

    `table` has a row a world. As twins: Student's t of the differences within worlds. As strangers: Welch's t of two
    groups that have nothing to do with each other (Student 1908, Welch 1947).

    >>> as_twins, as_strangers = spans(pd.DataFrame({"never": [1.0, 2.0, 3.0], "weekly": [1.4, 2.5, 3.6]})).values()
    >>> [round(number, 2) for number in (*as_twins, *as_strangers)]
    [0.5, 0.25, 0.5, 2.39]
    """
    before, after = table.iloc[:, 0].to_numpy(float), table.iloc[:, 1].to_numpy(float)
    gains, n = after - before, len(table)
    of_before, of_after = before.var(ddof=1) / n, after.var(ddof=1) / n
    apart = of_before + of_after
    freedom = (n - 1) * apart**2 / (of_before**2 + of_after**2)
    gain = float(gains.mean())
    return {
        "twins": (gain, float(stdtrit(n - 1, 0.975) * np.sqrt(gains.var(ddof=1) / n))),
        "strangers": (gain, float(stdtrit(freedom, 0.975) * np.sqrt(apart))),
    }


def twins(table: pd.DataFrame, what: str = "true clicks a visit") -> Figure:
    """Two policies in several worlds: each world's pair, and the gain with and without knowing who belongs together.

    `table` has a row a world and a column a policy, the one that is to be beaten first.
    """
    found = spans(table)
    gain, reach = found["twins"]
    title = f"Gain {gain:+.2f} ± {reach:.2f} among twins, ± {found['strangers'][1]:.2f} among strangers"
    with sheet(title, columns=2, size=(11, 4.6), ratios=(3, 2)) as (figure, (left, right)):
        for _, pair in table.iterrows():
            left.plot([0, 1], pair.to_numpy(float), "o-", color=TRUTH, linewidth=1.6, alpha=0.8)
        left.set_xticks([0, 1], list(table.columns))
        left.set(ylabel=what, xlim=(-0.25, 1.25), title="each line is one world")
        left.grid(axis="x", visible=False)
        for row, (name, (mean, half)) in enumerate(found.items()):
            right.errorbar(mean, row, xerr=half, fmt="o", color=TRUTH if name == "twins" else QUIET, capsize=5)
        right.axvline(0, color=INK, linewidth=1.2)
        right.set_yticks([0, 1], [f"as {name}" for name in found])
        right.set(ylim=(1.6, -0.6), xlabel="gain, with its 95 % interval", title=f"{len(table)} worlds together")
        right.grid(axis="y", visible=False)
    return figure


def net_gain(table: pd.DataFrame, cost: float) -> pd.Series:
    """What each policy earns over the first one, in euros, at `cost` euros a training.

    `table` is indexed by policy, the one that never retrains first, with the columns `margin` (euros) and `trainings`.

    >>> table = pd.DataFrame({"margin": [100.0, 160.0], "trainings": [1, 3]}, index=["never", "weekly"])
    >>> net_gain(table, cost=20.0).to_dict()
    {'never': 0.0, 'weekly': 20.0}
    """
    more = table - table.iloc[0]
    return more["margin"] - cost * more["trainings"]


def break_even(table: pd.DataFrame) -> pd.Series:
    """The cost of a training up to which each policy earns more than the first, in euros; `table` as in `net_gain`."""
    more = (table - table.iloc[0]).iloc[1:]
    return more["margin"] / more["trainings"]


def worth(table: pd.DataFrame, cost: float = 0.0) -> Figure:
    """Which policy pays at which cost of a training, a ring where it ceases to pay; for `table` see `net_gain`."""
    gains, limits = net_gain(table, cost), break_even(table)
    best = gains.idxmax()
    verdict = (
        "no retraining pays"
        if gains.max() <= 0
        else f"{best} earns most, {gains.max():,.0f} € more than {gains.index[0]}"
    )
    with sheet(f"At {cost:,.0f} € a training, {verdict}", size=(10, 4.6)) as (figure, (axes,)):
        end = 1.25 * max(cost, float(limits.max()), 1.0)
        x = np.array([0.0, end])
        colours = dict(zip(table.index, (QUIET, *CYCLE), strict=False))
        ends = {}
        for name in table.index:
            line = [float(net_gain(table, price)[name]) for price in x]
            axes.plot(x, line, color=colours[name])
            ends[name] = (end, line[-1])
        low = min(0.0, float(net_gain(table, 0.0).min()))
        high = max(1.0, float(net_gain(table, 0.0).max()))
        axes.set(ylim=(low - 0.55 * (high - low), high + 0.1 * (high - low)), xlim=(0, end))
        _mark(axes, limits, cost, colours)
        axes.set(xlabel="cost of a training, in euros", ylabel="euros more than never")
        bottom, top = axes.get_ylim()
        inside = {name: (end, float(np.clip(y, bottom, top))) for name, (_, y) in ends.items()}
        label_lines(axes, inside, colours)
    return figure


def _mark(axes: Axes, limits: pd.Series, cost: float, colours: Mapping[str, str]) -> None:
    for name, limit in limits[limits > 0].items():
        axes.plot(limit, 0, "o", color=colours[str(name)], fillstyle="none", markersize=11, mew=2)
    axes.axvline(cost, color=FAINT, linewidth=6, zorder=0)
    axes.annotate(
        "cost now",
        (cost, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(6, 0),
        textcoords="offset points",
        color=QUIET,
    )
