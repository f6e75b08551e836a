"""What a deployment did: the days of a bad model, and what they cost."""

import pandas as pd
from matplotlib.figure import Figure

from simlab.lab.plots.style import FAINT, INK, QUIET, SEEN, TRUTH, label_lines, sheet


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
        axes.plot(twin.index, twin["true_clicks_per_visit"], color=TRUTH, linestyle=":", linewidth=2)
        axes.plot(metrics.index, metrics["true_clicks_per_visit"], color=TRUTH)
        axes.set(xlabel="day", ylabel="clicks a visit", ylim=(0, None))
        top = axes.get_ylim()[1]
        if wrong.any():
            first = int(metrics.index[wrong][0])
            axes.text(first - 0.4, 0.02 * top, "wrong model", rotation=90, va="bottom", color=QUIET, fontsize=12)
            without = float(twin["true_clicks_per_visit"][wrong].mean())
            axes.annotate(
                "without the mistake", (first, without), xytext=(0, 30), textcoords="offset points",
                ha="center", color=TRUTH, arrowprops={"arrowstyle": "-", "color": TRUTH},
            )  # fmt: skip
        last = metrics.index[-1]
        ends = {
            "truth": (last, float(metrics["true_clicks_per_visit"].iloc[-1])),
            "measured": (last, float(seen["clicks_per_visit"].iloc[-1])),
        }
        label_lines(axes, ends, {"truth": TRUTH, "measured": SEEN})
        axes.tick_params(colors=INK)
    return figure
