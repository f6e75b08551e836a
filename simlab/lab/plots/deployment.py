"""What a deployment did: the days of a bad model, and what they cost."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simlab.lab.plots.style import FAINT, QUIET, SEEN, TRUTH, label_lines, sheet


def lost(metrics: pd.DataFrame, twin: pd.DataFrame) -> dict[str, float]:
    """What a run lost against its twin, in expectation: `clicks`, and `margin` in euros; below 0 it won.

    Both are metrics of runs of one world, so that day by day the same shoppers came.

    >>> day = {"visits": [10], "true_clicks_per_visit": [1.0], "true_margin_per_visit": [4.0]}
    >>> lost(pd.DataFrame(day), pd.DataFrame(day | {"true_clicks_per_visit": [1.5]}))
    {'clicks': 5.0, 'margin': 0.0}
    """
    return {
        name: float((metrics["visits"] * (twin[column] - metrics[column])).sum())
        for name, column in (("clicks", "true_clicks_per_visit"), ("margin", "true_margin_per_visit"))
    }


def rollback(metrics: pd.DataFrame, twin: pd.DataFrame, seen: pd.DataFrame) -> Figure:
    """Clicks a visit by day across a promotion by mistake and its rollback: the truth, what was measured, and the twin.

    `metrics` and `twin` are metrics of runs of one world, with and without the mistake; the mistake is every day whose
    `model_version` is not that of the first. `seen` is `monitor.windows(log, days=1)` of the run with the mistake.
    """
    wrong = metrics["model_version"] != metrics["model_version"].iloc[0]
    cost = lost(metrics, twin)
    many = f"{wrong.sum()} days" if wrong.sum() != 1 else "1 day"
    title = f"{many} of the wrong model cost {cost['clicks']:,.0f} clicks and {cost['margin']:,.0f} € of margin"
    with sheet(title, size=(10.5, 4.8)) as (figure, (axes,)):
        for day in metrics.index[wrong]:
            axes.axvspan(day - 0.5, day + 0.5, color=FAINT, linewidth=0)
        axes.vlines(seen.index, seen["clicks_per_visit_low"], seen["clicks_per_visit_high"], color=SEEN, linewidth=1.6)
        axes.plot(seen.index, seen["clicks_per_visit"], "o", color=SEEN, markersize=5)
        for line, dots in ((twin, ":"), (metrics, "-")):
            axes.plot(line.index, line["true_clicks_per_visit"], color=TRUTH, linestyle=dots, drawstyle="steps-mid")
        axes.set(xlabel="day", ylabel="clicks a visit", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if wrong.any():
            _name_the_mistake(axes, metrics.index[wrong], float(twin["true_clicks_per_visit"][wrong].mean()))
        last = metrics.index[-1]
        ends = {
            "truth": (last, float(metrics["true_clicks_per_visit"].iloc[-1])),
            "measured": (last, float(seen["clicks_per_visit"].iloc[-1])),
        }
        label_lines(axes, ends, {"truth": TRUTH, "measured": SEEN})
    return figure


def _name_the_mistake(axes: Axes, days: pd.Index, without: float) -> None:
    middle = (days[0] + days[-1]) / 2
    axes.annotate(
        "wrong model", (middle, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
        ha="center", color=QUIET, fontweight="bold", annotation_clip=False,
    )  # fmt: skip
    low = 0.22 * axes.get_ylim()[1]
    axes.annotate(
        "without the mistake", (middle, without), xytext=(days[-1] + 1, low), va="center", color=TRUTH,
        fontweight="bold", arrowprops={"arrowstyle": "-", "color": TRUTH},
    )  # fmt: skip
