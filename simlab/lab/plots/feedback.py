"""What comes back from the shoppers: clicks by position, and purchases that take their time."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simlab.lab.plots.style import FAINT, GUESS, QUIET, SEEN, TRUTH, Z95, interval, label_lines, percent, sheet


def position_bias(table: pd.DataFrame) -> Figure:
    """Why clicks grow rare down a slate: what is counted, and the two causes behind it.

    `table` is indexed by position, from 1, with the columns `shown` (rows), `click_rate` (counted) and `looked_at` (the
    true probability of a look). The title splits the fall from first to last into its two causes.
    """
    liked = table["click_rate"] / table["looked_at"]
    fall, looks, likes = (
        float(line.iloc[-1] / line.iloc[0]) for line in (table["click_rate"], table["looked_at"], liked)
    )
    last = table.index[-1]
    causes = f"{percent(looks)} looks × {percent(likes)} liking"
    title = f"Position {last}: {percent(fall)} of the clicks of position 1 = {causes}"
    with sheet(title, size=(11, 4.8)) as (figure, (axes,)):
        low, high = interval(table["click_rate"], table["shown"])
        axes.vlines(table.index, low, high, color=SEEN, linewidth=1.6)
        axes.plot(table.index, table["click_rate"], "o-", color=SEEN)
        axes.plot(table.index, table["looked_at"], color=TRUTH)
        axes.plot(table.index, liked, color=TRUTH, linestyle="--")
        axes.set(xlabel="position", ylabel="share of the items shown", ylim=(0, 1.05), xticks=table.index)
        low_on = table.index[len(table) // 3]
        for words, line, place, offset, colour in (
            ("looked at", table["looked_at"], low_on, (10, 10), TRUTH),
            ("clicked, if looked at", liked, table.index[1], (4, 10), TRUTH),
            ("clicked, as counted", table["click_rate"], low_on, (-4, -24), SEEN),
        ):
            axes.annotate(
                words, (place, float(line[place])), xytext=offset, textcoords="offset points", color=colour,
                fontweight="bold", ha="left" if offset[1] > 0 else "right",
            )  # fmt: skip
    return figure


def looks(naive: pd.Series, truth: pd.Series, reweighted: pd.DataFrame) -> Figure:
    """How many looks a position gets, relative to the first: read off clicks, reweighted by propensities, and true.

    All are indexed by position, from 1. `reweighted` has the columns `estimate` and `error` (its standard error), NaN
    where the log holds no propensities.
    """
    last = truth.index[-1]
    estimate, error = reweighted["estimate"], reweighted["error"]
    found = estimate.notna().any()
    ends = {"true looks": truth, "plain clicks": naive}
    if found:
        ends["reweighted clicks"] = estimate
    shares = [f"{name} {percent(float(line.iloc[-1]))}" for name, line in ends.items()]
    title = f"Position {last} against the first: {', '.join(shares)}"
    with sheet(title, size=(10.5, 4.6)) as (figure, (axes,)):
        axes.plot(naive.index, naive, "o:", color=QUIET, linewidth=1.6)
        axes.plot(truth.index, truth, color=TRUTH)
        if found:
            axes.errorbar(estimate.index, estimate, yerr=Z95 * error, fmt="s", color=SEEN, capsize=3)
        axes.set(xlabel="position", ylabel="relative to position 1", ylim=(0, 1.08), xticks=truth.index)
        colours = {"true looks": TRUTH, "plain clicks": QUIET, "reweighted clicks": SEEN}
        label_lines(axes, {name: (last, float(line.iloc[-1])) for name, line in ends.items()}, colours)
    return figure


def maturity(
    arrived: npt.ArrayLike, truth: npt.ArrayLike, *, ripe_after: int | None = None, guess: float | None = None
) -> Figure:
    """Which share of its purchases a day knows after so many days.

    `arrived` counts the purchases that came 0, 1, 2 ... days after the item was shown, of days whose purchases are all
    in; `truth` are the probabilities of those delays. `guess` is the reader's guess of the share known at once.
    """
    count, chance = np.asarray(arrived, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    known, true = np.cumsum(count) / count.sum(), np.cumsum(chance)
    enough = int(np.argmax(known >= 0.99))
    title = f"The first evening knows {percent(float(known[0]))} of the purchases, day {enough} knows 99 %"
    with sheet(title, size=(10, 4.4)) as (figure, (axes,)):
        axes.plot(np.arange(len(true)), true, color=TRUTH, drawstyle="steps-post")
        low, high = interval(known, count.sum())
        axes.vlines(np.arange(len(known)), low, high, color=SEEN, linewidth=1.6)
        axes.plot(np.arange(len(known)), known, "o", color=SEEN)
        if ripe_after is not None:
            axes.axvline(ripe_after, color=QUIET, linestyle=":")
            axes.text(ripe_after - 0.15, 0.06, "ripe", color=QUIET, ha="right", fontweight="bold")
        if guess is not None:
            axes.plot(0, guess, "D", color=GUESS, fillstyle="none", markersize=10, mew=2)
            axes.annotate(
                "your guess", (0, guess), xytext=(0, 12), textcoords="offset points", color=GUESS,
                fontweight="bold",
            )  # fmt: skip
        axes.set(xlabel="days since the item was shown", ylabel="share of purchases known", ylim=(0, 1.05))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        middle = len(true) / 2
        axes.text(middle, 0.80, "law of the delay", color=TRUTH, fontweight="bold")
        axes.text(middle, 0.70, "counted in the log", color=SEEN, fontweight="bold")
    return figure


def conversion(seen: pd.DataFrame, truth: pd.Series) -> Figure:
    """Purchases a visit by the day on which the items were shown: as known on an evening, and as it will turn out.

    `seen` is `monitor.windows(log, days=1, until=evening)`; `truth`, expected purchases a visit, is indexed by day.
    """
    evening = seen.index[-1]
    rate, young = seen["purchases_per_visit"], seen.index[~seen["ripe"]]
    short = 1 - float(rate.iloc[-1] / truth[evening])
    verdict = f"{percent(short)} less" if short >= 0 else f"{percent(-short)} more"
    title = f"On the evening of day {evening}, that day seems to sell {verdict} than it does"
    with sheet(title, size=(10.5, 4.6)) as (figure, (axes,)):
        if len(young):
            axes.axvspan(young[0] - 0.5, evening + 0.5, color=FAINT, alpha=0.6, linewidth=0)
            axes.annotate(
                "not ripe yet", ((young[0] + evening) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
                textcoords="offset points", ha="center", color=QUIET, fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        axes.vlines(
            seen.index, seen["purchases_per_visit_low"], seen["purchases_per_visit_high"], color=SEEN, linewidth=1.6
        )
        axes.plot(seen.index, rate, "o", color=SEEN, markersize=5)
        axes.plot(truth.index, truth, color=TRUTH)
        axes.set(xlabel="day on which the items were shown", ylabel="purchases a visit", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        ends = {
            "in the end (truth)": (truth.index[-1], float(truth.iloc[-1])),
            "known so far": (evening, float(rate.iloc[-1])),
        }
        label_lines(axes, ends, {"in the end (truth)": TRUTH, "known so far": SEEN})
    return figure
