"""The feedback loop: what a company can count of it, what only the lab knows, and what a holdback tells."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simlab.lab.plots.style import CYCLE, FAINT, GUESS, SEEN, TRUTH, label_lines, percent, sheet

COUNTED = {"self_caused": SEEN, "repeated": CYCLE[1], "gini": CYCLE[2], "diversity": GUESS}
"""Meters that are shares, and their colours."""


def loop(table: pd.DataFrame) -> Figure:
    """The meters by week: what the company counts on the left, how far it has moved its shoppers on the right.

    `table` is that of `simlab.lab.feedback_loop.meters`.
    """
    week, last = int(table.index[-1]), table.iloc[-1]
    title = f"Week {week}: shoppers are {last['taste_shift']:.2f} from where they would be, and "
    title += f"{percent(max(float(last['made']), 0.0))} of the clicks are made by what was shown"
    with sheet(title, columns=2, size=(12, 5)) as (figure, (left, right)):
        for name, colour in COUNTED.items():
            left.plot(table.index, table[name], "o-", color=colour, markersize=4)
        left.set(xlabel="week", ylabel="share", ylim=(-0.02, 1.05), title="what a company can count")
        ends = {name.replace("_", "-"): (week, float(last[name])) for name in COUNTED}
        label_lines(left, ends, {name.replace("_", "-"): colour for name, colour in COUNTED.items()})
        right.axhline(0, color=FAINT, linewidth=2, zorder=0)
        right.fill_between(table.index, table["low"], table["high"], color=TRUTH, alpha=0.18, linewidth=0)
        for name, style in (("taste_shift", "-"), ("made", "--"), ("crowd", ":")):
            right.plot(table.index, table[name], style, color=TRUTH)
        right.set(xlabel="week", ylabel="against a shop that shows nothing", title="what only the lab knows")
        words = {"taste shift": "taste_shift", "clicks made": "made", "crowd": "crowd"}
        label_lines(right, {name: (week, float(last[of])) for name, of in words.items()}, dict.fromkeys(words, TRUTH))
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def lift(table: pd.DataFrame) -> Figure:
    """Clicks a visit of those who are served, as a multiple of those held back, by week, with 95 % intervals.

    `table` is that of `simlab.lab.holdback.effect`; the scale is a logarithm, for weeks are compared by their ratio.
    """
    first, last = (1 + float(table["lift"].iloc[place]) for place in (0, -1))
    title = f"The served click {first:.1f} times as often as the held back in week {table.index[0]}, "
    title += f"{last:.1f} times in week {table.index[-1]}"
    with sheet(title, size=(10, 4.8)) as (figure, (axes,)):
        axes.vlines(table.index, 1 + table["low"], 1 + table["high"], color=SEEN, linewidth=1.8)
        axes.plot(table.index, 1 + table["lift"], "o", color=SEEN)
        axes.axhline(1, color=FAINT, linewidth=3, zorder=0)
        axes.set(xlabel="week", ylabel="clicks a visit, served over held back", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
