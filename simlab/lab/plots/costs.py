"""What retraining is worth: policies by cost and profit, and what age costs."""

import pandas as pd
from matplotlib.figure import Figure

from simlab.lab.plots.style import FAINT, QUIET, TRUTH, percent, sheet


def frontier(table: pd.DataFrame) -> Figure:
    """Policies by what their trainings cost and what they earn over never, those that none dominates on a line.

    `table` is that of `simlab.lab.costs.Comparison`; what the best slates would have gained is told in the title.
    """
    policies = table.drop(index="best")
    best = str(policies["gain"].idxmax())
    share = percent(float(policies["gain"].max() / table["gain"]["best"]))
    title = f"{best} earns most, {policies['gain'].max():,.0f} € over never: {share} of what the best slates would"
    if policies["gain"].max() <= 0:
        title = "No training pays for itself"
    with sheet(title, size=(10, 5)) as (figure, (axes,)):
        axes.axhline(0, color=FAINT, linewidth=2, zorder=0)
        edge = policies[policies["on_frontier"]].sort_values("cost")
        axes.plot(edge["cost"], edge["gain"], color=TRUTH, linewidth=1.8)
        for name, row in policies.iterrows():
            colour = TRUTH if row["on_frontier"] else QUIET
            axes.vlines(row["cost"], row["low"], row["high"], color=colour, linewidth=1.4)
            axes.plot(row["cost"], row["gain"], "o", color=colour)
            axes.annotate(
                str(name), (row["cost"], row["gain"]), xytext=(7, -15), textcoords="offset points", color=colour
            )
        axes.set(xlabel="cost of trainings, euros", ylabel="profit over never, euros")
        axes.margins(x=0.2, y=0.1)
        axes.set_xlim(left=-0.04 * max(float(policies["cost"].max()), 1.0))
    return figure


def staleness(curve: pd.DataFrame, advice: pd.DataFrame) -> Figure:
    """What a model loses a day by its age, and what trainings and age cost together by the period of training.

    `curve` is that of `simlab.lab.staleness.Staleness`, `advice` the table of its advice.
    """
    period = int(advice.index[int(advice["cost"].to_numpy().argmin())])
    title = f"Least is lost with a training every {period} days: {advice['cost'].min():,.0f} € a day"
    if period == advice.index[-1]:
        title = f"No period up to {period} days is best: train more rarely, or never"
    with sheet(title, columns=2, size=(11.5, 4.8)) as (figure, (left, right)):
        left.fill_between(curve.index, curve["low"], curve["high"], color=TRUTH, alpha=0.18, linewidth=0)
        left.plot(curve.index, curve["loss"], "o-", color=TRUTH)
        left.set(xlabel="days since training", ylabel="euros lost a day against a fresh model")
        right.fill_between(advice.index, advice["low"], advice["high"], color=TRUTH, alpha=0.18, linewidth=0)
        right.plot(advice.index, advice["cost"], color=TRUTH)
        right.plot(period, advice["cost"][period], "o", color=TRUTH, fillstyle="none", markersize=12, mew=2)
        top = 3 * float(advice["cost"].min())
        right.set(xlabel="days between trainings", ylabel="euros a day, trainings and age", ylim=(0, top))
    return figure
