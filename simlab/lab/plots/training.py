"""What a model learns from, and how offline marks compare with the truth."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simlab.lab.plots.style import CYCLE, FAINT, GUESS, INK, QUIET, SEEN, TRUTH, Z95, label_lines, percent, sheet

HELD_BACK = CYCLE[1]
"""Days that a model may not learn from."""


def popularity(counts: npt.ArrayLike, *, share: float = 0.1) -> Figure:
    """Which share of all clicks the most clicked items take; `counts` has shape (n_items,), never clicked ones as 0."""
    falling = np.sort(np.asarray(counts, dtype=np.float64))[::-1]
    taken = np.concatenate([[0.0], np.cumsum(falling) / falling.sum()])
    part = np.linspace(0, 1, len(taken))
    top = float(np.interp(share, part, taken))
    title = f"The most clicked {percent(share)} of the items take {percent(top)} of the clicks"
    with sheet(title, size=(9.5, 4.6)) as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1.6)
        axes.plot(part, taken, color=SEEN)
        axes.plot([share, share, 0], [0, top, top], color=SEEN, linewidth=1.2, linestyle="--")
        axes.plot(share, top, "o", color=SEEN)
        axes.text(0.55, 0.5, "if all items were\nclicked alike", color=QUIET, va="top")
        axes.set(
            xlabel="share of the items, most clicked first", ylabel="share of the clicks", xlim=(0, 1), ylim=(0, 1.02)
        )
    return figure


def split(clicks: pd.Series, cut: int, *, window_days: int | None = None) -> Figure:
    """Clicks by day, cut in two: the past to learn from, and the days from `cut` on to be judged by.

    Days more than `window_days` before the cut are too old to be learnt from, and grey.
    """
    past, later = clicks[clicks.index < cut], clicks[clicks.index >= cut]
    old = past[past.index < cut - window_days] if window_days is not None else past.iloc[:0]
    past = past.drop(old.index)
    total = max(float(clicks.sum()), 1.0)
    title = f"The last {len(later)} days hold back {percent(float(later.sum()) / total)} of the clicks"
    with sheet(title, size=(9.5, 3.9)) as (figure, (axes,)):
        for part, colour, words, side in (
            (past, SEEN, "learn from these", "right"),
            (later, HELD_BACK, "judge by these", "left"),
        ):
            axes.bar(part.index, part, color=colour, width=1.0 if len(clicks) > 120 else 0.8)
            axes.annotate(
                words, (cut - 0.5, 1.06), xycoords=("data", "axes fraction"), xytext=(-8 if side == "right" else 8, 0),
                textcoords="offset points", ha=side, color=colour, fontweight="bold", annotation_clip=False,
            )  # fmt: skip
        if len(old):
            axes.bar(old.index, old, color=FAINT, width=1.0 if len(clicks) > 120 else 0.8)
            axes.text(0.01, 1.06, "too old, left out", transform=axes.transAxes, color=QUIET, fontweight="bold")
        axes.axvline(cut - 0.5, color=INK, linewidth=1.5)
        axes.set(xlabel="day (the shop opens on day 0)", ylabel="clicks")
        axes.grid(axis="x", visible=False)
    return figure


def offline_and_true(table: pd.DataFrame, metric: str) -> Figure:
    """Offline marks beside the truth, one row a model, the truly best on top.

    `table` is indexed by model, with the columns `offline`, `error` (its standard error over users) and `share_of_best`
    (true clicks of the model's slates as a share of the best possible). The title says whether both give one order.
    """
    rows = table.sort_values("share_of_best", ascending=False, kind="stable")
    by_offline = rows.sort_values("offline", ascending=False, kind="stable")
    leader, truly = by_offline.index[0], rows.index[0]
    verdict = f"Offline, {leader} leads; in truth, {truly}"
    if leader == truly:
        verdict = f"Offline and truth agree on {truly}, not on the order of all"
    if list(rows.index) == list(by_offline.index):
        verdict = "The offline order is the true order"
    with sheet(verdict, columns=2, size=(10.5, 1.7 + 0.5 * len(rows))) as (figure, (left, right)):
        _dots(left, rows["offline"], SEEN, f"{metric}, offline", Z95 * rows["error"])
        _dots(right, rows["share_of_best"], TRUTH, "true clicks, share of the best possible")
        right.set_yticklabels([])
    return figure


def _dots(axes: Axes, values: pd.Series, colour: str, label: str, half: pd.Series | None = None) -> None:
    place = np.arange(len(values))
    axes.hlines(place, 0, values, color=FAINT, linewidth=2)
    axes.errorbar(values, place, xerr=half, fmt="o", color=colour, markersize=10, capsize=4, elinewidth=1.6)
    for row, value in enumerate(values):
        axes.annotate(f"{value:.3f}", (value, row), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=11)
    axes.set_yticks(place, [str(name) for name in values.index], color=INK)
    axes.set(xlabel=label, ylim=(len(values) - 0.5, -0.6))
    axes.set_xlim(0, 1.15 * float((values if half is None else values + half).max()))
    axes.grid(axis="y", visible=False)


def sweep(table: pd.DataFrame, metric: str, *, guess: float | None = None) -> Figure:
    """Offline marks and the truth over one setting, each as a share of its best value; the title names both peaks.

    `table` is indexed by the setting, whose name is the index's, with the columns `offline`, `error` (standard error)
    and `true`. `guess` is where the reader expects the best.
    """
    names = {"offline": metric, "true": "true clicks"}
    colours = {metric: SEEN, "true clicks": TRUTH}
    peaks = {column: table.index[int(np.argmax(table[column]))] for column in names}
    title = f"{table.index.name}: {metric} is best at {peaks['offline']:g}, true clicks at {peaks['true']:g}"
    place, values = np.arange(len(table)), table.index.to_numpy(dtype=np.float64)
    with sheet(title, size=(9.5, 4.6)) as (figure, (axes,)):
        for (column, name), marker in zip(names.items(), "so", strict=True):
            shares = table[column] / table[column].max()
            axes.plot(place, shares, marker=marker, color=colours[name])
        half = Z95 * table["error"] / table["offline"].max()
        offline = table["offline"] / table["offline"].max()
        axes.fill_between(place, offline - half, offline + half, color=SEEN, alpha=0.15, linewidth=0)
        if guess is not None:
            x = float(np.interp(guess, values, place))
            axes.axvline(x, color=GUESS, linestyle=":", linewidth=2)
            axes.annotate(
                "your guess", (x, 0.02), xycoords=("data", "axes fraction"), xytext=(6, 0), textcoords="offset points",
                color=GUESS, fontweight="bold",
            )  # fmt: skip
        axes.set_xticks(place, [f"{value:g}" for value in values])
        axes.set(xlabel=str(table.index.name), ylabel="share of the highest value")
        ends = {name: (float(place[-1]), float(table[c].iloc[-1] / table[c].max())) for c, name in names.items()}
        label_lines(axes, ends, colours)
    return figure
