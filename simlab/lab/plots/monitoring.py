"""Watching a shop: chance against change, honest intervals and others, what is seen and what is not, who gets shown."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simlab.lab.plots.style import FAINT, GUESS, INK, QUIET, SEEN, TRUTH, Z95, label_lines, percent, sheet
from simlab.recsys.metrics import gini

DRAWN = 40
"""Pilots that are drawn, of all that were counted."""


def noise(daily: pd.DataFrame, wider: pd.DataFrame, truth: pd.Series) -> Figure:
    """The click rate by day and over wider windows, each with 95 % intervals, and the truth behind both.

    `daily` and `wider` are `monitor.windows` of one log; `truth`, the expected click rate, is indexed by day.
    """
    days = int(wider.index[1] - wider.index[0]) if len(wider) > 1 else len(daily)
    halves = [float((part["click_rate_high"] - part["click_rate_low"]).mean() / 2) for part in (daily, wider)]
    title = f"The 95 % interval of a day reaches ±{halves[0]:.3f}, that of {days} days together ±{halves[1]:.3f}"
    with sheet(title, size=(10.5, 4.8)) as (figure, (axes,)):
        for first, low, high in zip(wider.index, wider["click_rate_low"], wider["click_rate_high"], strict=True):
            axes.fill_between([first - 0.4, first + days - 0.6], low, high, color=SEEN, alpha=0.18, linewidth=0)
        axes.hlines(wider["click_rate"], wider.index - 0.4, wider.index + days - 0.6, color=SEEN)
        axes.vlines(daily.index, daily["click_rate_low"], daily["click_rate_high"], color=QUIET, linewidth=1)
        axes.plot(daily.index, daily["click_rate"], "o", color=QUIET, markersize=4)
        axes.plot(truth.index, truth, color=TRUTH, linewidth=1.8)
        axes.set(xlabel="day", ylabel="click rate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        last = daily.index[-1]
        ends = {
            "truth": (last, float(truth.iloc[-1])),
            "by day": (last, float(daily["click_rate"].iloc[-1])),
            f"by {days} days": (last, float(wider["click_rate"].iloc[-1])),
        }
        label_lines(axes, ends, {"truth": TRUTH, "by day": QUIET, f"by {days} days": SEEN})
    return figure


def held(pilots: pd.DataFrame, truth: float) -> dict[str, float]:
    """Which share of the 95 % intervals of `pilots` holds the `truth`; for the columns and keys see `pilots`.

    >>> held(pd.DataFrame({"estimate": [0.2, 0.3], "error_rows": [0.01, 0.01], "error_shoppers": [0.1, 0.1]}), 0.2)
    {'rows': 0.5, 'shoppers': 1.0}
    """
    off = (pilots["estimate"] - truth).abs()
    return {unit: float((off <= Z95 * pilots[f"error_{unit}"]).mean()) for unit in ("rows", "shoppers")}


def pilots(pilots: pd.DataFrame, truth: float, *, guess: float | None = None) -> Figure:
    """The same measurements with two kinds of 95 % intervals, those that miss the truth drawn black.

    `pilots` has a row for each measurement: `estimate`, and its standard error with rows (`error_rows`) and with
    shoppers (`error_shoppers`) as the unit. `guess` is the reader's guess of the share of intervals over rows that hold
    the truth.
    """
    shares = held(pilots, truth)
    title = (
        f"Of {len(pilots)} intervals over rows, {percent(shares['rows'])} hold the truth; "
        f"by shopper, {percent(shares['shoppers'])}"
    )
    drawn = pilots.head(DRAWN).sort_values("estimate", kind="stable", ignore_index=True)
    with sheet(title, columns=2, size=(11, 5.4)) as (figure, panels):
        for axes, unit in zip(panels, ("rows", "shoppers"), strict=True):
            half = Z95 * drawn[f"error_{unit}"]
            holds = (drawn["estimate"] - truth).abs() <= half
            for part, colour, width in ((holds, SEEN, 1.6), (~holds, INK, 2.6)):
                low, high = (drawn["estimate"] - half)[part], (drawn["estimate"] + half)[part]
                axes.hlines(drawn.index[part], low, high, color=colour, linewidth=width)
                axes.plot(drawn["estimate"][part], drawn.index[part], "o", color=colour, markersize=3)
            axes.axvline(truth, color=TRUTH)
            axes.set(yticks=[], xlabel="click rate", title=f"{unit} as the unit: {percent(shares[unit])} hold it")
            axes.grid(axis="y", visible=False)
        panels[1].sharex(panels[0])
        panels[0].set_ylabel(f"the first {len(drawn)} pilots, lowest first")
        panels[0].set_xlim(*_reach(drawn, truth))
        panels[0].annotate(
            "truth", (truth, 0.0), xycoords=("data", "axes fraction"), xytext=(5, 4), textcoords="offset points",
            color=TRUTH, fontweight="bold",
        )  # fmt: skip
        if guess is not None:
            panels[0].annotate(
                f"your guess {percent(guess)}", (0.98, 0.04), xycoords="axes fraction", ha="right", color=GUESS,
                fontweight="bold",
            )  # fmt: skip
    return figure


def _reach(drawn: pd.DataFrame, truth: float) -> tuple[float, float]:
    half = Z95 * drawn["error_shoppers"]
    low = min(truth, float((drawn["estimate"] - half).min()))
    high = max(truth, float((drawn["estimate"] + half).max()))
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def apart(seen: pd.DataFrame) -> "pd.Series[bool]":
    """Which windows have a 95 % interval that does not overlap that of the first; `seen` is `monitor.windows(log)`.

    >>> low_and_high = {"click_rate_low": [0.20, 0.19, 0.17], "click_rate_high": [0.22, 0.21, 0.19]}
    >>> apart(pd.DataFrame(low_and_high)).tolist()
    [False, False, True]
    """
    low, high = seen["click_rate_low"], seen["click_rate_high"]
    found: pd.Series[bool] = (high < low.iloc[0]) | (low > high.iloc[0])
    return found


def noticed(seen: pd.DataFrame) -> int | None:
    """The first window that stands `apart`; None where none does."""
    found = seen.index[apart(seen)]
    return int(found[0]) if len(found) else None


def seen_and_hidden(seen: pd.DataFrame, share: pd.Series) -> Figure:
    """What a company can watch, the click rate by window, beside what it cannot: the share of the best possible.

    `seen` is `monitor.windows(log)`; `share`, true clicks as a share of the best possible, has the same index.
    """
    when = noticed(seen)
    verdict = "no window stands apart" if when is None else f"the window of day {when} stands apart"
    title = f"Share of the best: {percent(float(share.iloc[0]))}, then {percent(float(share.iloc[-1]))}; {verdict}"
    with sheet(title, columns=2, size=(11, 4.6)) as (figure, (left, right)):
        _windows(left, seen, when)
        right.plot(share.index, share, "o-", color=TRUTH)
        right.set(title="what it cannot see: share of the best possible", xlabel="first day of the window")
        right.set_ylim(0, 1.02)
        right.axhline(1, color=TRUTH, linestyle="--", linewidth=1.4)
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _windows(axes: Axes, seen: pd.DataFrame, when: int | None) -> None:
    low, high = seen["click_rate_low"], seen["click_rate_high"]
    axes.axhspan(float(low.iloc[0]), float(high.iloc[0]), color=FAINT, alpha=0.6, linewidth=0)
    axes.vlines(seen.index, low, high, color=SEEN, linewidth=1.8)
    axes.plot(seen.index, seen["click_rate"], "o", color=SEEN)
    axes.set(title="what the company sees: click rate", xlabel="first day of the window")
    axes.text(seen.index[-1], float(high.iloc[0]), "interval of the first ", color=QUIET, ha="right", va="top")
    if when is not None:
        axes.plot(when, float(seen["click_rate"][when]), "o", color=SEEN, fillstyle="none", markersize=16, mew=2)
    axes.margins(y=0.12)


def exposure(shown: npt.ArrayLike, best: npt.ArrayLike, *, days: int) -> Figure:
    """How the places on the slates are shared out among the items: by the model, and by the best possible slates.

    `shown` and `best` count the places of each item on sale in the first `days` days, never shown ones as 0; shape
    (n_items,).
    """
    counts = {"as shown": np.asarray(shown, dtype=np.float64), "best slates": np.asarray(best, dtype=np.float64)}
    covered = {name: percent(float((count > 0).mean())) for name, count in counts.items()}
    title = (
        f"In the first {days} days {covered['as shown']} of the items are shown; "
        f"the best slates would show {covered['best slates']}"
    )
    with sheet(title, size=(9.5, 4.6)) as (figure, (axes,)):
        for (name, count), colour, height in zip(counts.items(), (SEEN, TRUTH), (0.27, 0.17), strict=True):
            taken = np.concatenate([[0.0], np.cumsum(np.sort(count)[::-1]) / count.sum()])
            axes.plot(np.linspace(0, 1, len(taken)), taken, color=colour)
            axes.text(0.5, height, f"{name}: Gini {gini(count):.2f}", color=colour, fontweight="bold")
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--")
        axes.text(0.62, 0.58, "if all items were\nshown alike", color=QUIET, va="top")
        axes.set(
            xlabel="share of the items, most shown first", ylabel="share of the places", xlim=(0, 1), ylim=(0, 1.02)
        )
    return figure
