"""What is true of shoppers and their answers: tastes, slates, positions, drift."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simlab.lab.plots.style import FAINT, GUESS, INK, QUIET, SEEN, TRUTH, interval, label_lines, percent, sheet
from simlab.schema import Bools, Catalogue, Floats, Ints, Labels
from simlab.world.config import ResponseConfig
from simlab.world.response import Preferences, chances


def tastes(taste: Floats, segment: Labels, *, vector: Floats, names: Sequence[str]) -> Figure:
    """Shoppers along the one direction in which tastes differ most, a row for each segment; a mark at its mean.

    `taste` has shape (n_users, n_dims), the items' `vector` (n_items, n_dims). The ends are named by the items that lie
    farthest out there. The title says which share of the variance of taste, in all dimensions, is between segments.
    """
    centred = taste - taste.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
    place, order = centred @ axis, np.argsort(vector @ axis, kind="stable")
    groups = [centred[segment.codes == code] for code in range(len(segment.names))]
    between = sum(len(group) * float((group.mean(axis=0) ** 2).sum()) for group in groups if len(group))
    title = f"The segment explains {percent(between / float((centred**2).sum()))} of the differences in taste"
    with sheet(title, size=(9.5, 1.4 + 0.5 * len(groups))) as (figure, (axes,)):
        for row in range(len(groups)):
            mine = np.sort(place[segment.codes == row])
            height = row + 0.3 * np.sin(np.arange(len(mine)) * 2.4)  # apart, and the same every time
            axes.scatter(mine, height, s=8, color=QUIET, alpha=0.4, edgecolors="none")
            if len(mine):
                axes.plot(mine.mean(), row, "o", color=TRUTH, markersize=10)
        axes.set_yticks(range(len(groups)), segment.names)
        axes.set_xlabel("direction in which tastes differ most (grey: one shopper, mark: mean of the segment)")
        axes.set_ylim(len(groups) - 0.4, -1.3)
        low, high = axes.get_xlim()
        for x, side, ends in ((low, "left", order[:2]), (high, "right", order[:-3:-1])):
            axes.annotate(
                "\n".join(names[item][:32] for item in ends), (x, -0.85), xytext=(6 if side == "left" else -6, 0),
                textcoords="offset points", ha=side, va="center", fontsize=11, color=QUIET, style="italic",
            )  # fmt: skip
        axes.grid(axis="y", visible=False)
    return figure


def slate(catalogue: Catalogue, item_id: Ints, examined: Floats, clicked: Floats, *, who: str) -> Figure:
    """A slate as one shopper meets it, top item first: how likely each item is looked at, and clicked.

    `examined` and `clicked` are probabilities, of the shape (n,) of `item_id`; the title says what to expect of `who`.
    """
    n, row = len(item_id), np.arange(len(item_id))
    title = f"{who}: {float(clicked.sum()):.2f} clicks expected on {n} items"
    with sheet(title, size=(9.5, 0.9 + 0.4 * n)) as (figure, (axes,)):
        axes.barh(row, examined, height=0.72, color=FAINT)
        axes.barh(row, clicked, height=0.72, color=TRUTH)
        for place, (seen, hit) in enumerate(zip(examined, clicked, strict=True)):
            axes.text(seen + 0.012, place, f"looks {seen:.2f}, clicks {hit:.2f}", va="center", fontsize=11, color=INK)
        axes.set_yticks(row, [f"{catalogue.name[item][:34]}  {catalogue.price[item]:.2f} €" for item in item_id])
        axes.set(xlim=(0, 1.5), xticks=[0, 0.5, 1], ylim=(n - 0.4, -0.6), xlabel="probability")
        axes.grid(axis="y", visible=False)
    return figure


def positions(examined: Floats, clicked: Floats, looks: Bools, clicks: Bools, *, guess: float | None = None) -> Figure:
    """What each position is worth: probabilities in closed form beside what happened, with 95 % intervals.

    All have shape (R, n): probabilities `examined` and `clicked`, outcomes `looks` and `clicks`. `guess` is the
    reader's guess of the looks that the last position gets, as a share of those of the first.
    """
    n_rows, n = examined.shape
    place = np.arange(1, n + 1)
    kept = float(examined[:, -1].mean() / examined[:, 0].mean())
    title = f"Position {n} gets {percent(kept)} of the looks of position 1"
    with sheet(title, columns=2, size=(11, 4.4)) as (figure, panels):
        for axes, truth, seen, name in zip(
            panels, (examined, clicked), (looks, clicks), ("looked at", "looked at and clicked"), strict=True
        ):
            share = seen.mean(axis=0)
            low, high = interval(share, n_rows)
            axes.plot(place, truth.mean(axis=0), color=TRUTH)
            axes.errorbar(place, share, yerr=[share - low, high - share], fmt="o", color=SEEN, capsize=3, markersize=5)
            axes.set(title=name, xlabel="position", ylim=(0, None), xticks=place)
        panels[0].set_ylabel("share of visits")
        panels[0].text(n * 0.42, 0.86, "closed form", color=TRUTH, fontweight="bold")
        panels[0].text(n * 0.42, 0.77, f"what {n_rows:,} visits did", color=SEEN, fontweight="bold")
        if guess is not None:
            panels[0].plot(n, guess * examined[:, 0].mean(), "D", color=GUESS, markersize=10, fillstyle="none", mew=2)
            panels[0].text(n * 0.42, 0.68, "your guess for the last", color=GUESS, fontweight="bold")
    return figure


def attention(utility: Sequence[float], patience: float = 0.85, base: float = -5.0) -> Figure:
    """Expected looks and clicks on a slate with these utilities, top first, for one patience and one base."""
    worth = np.asarray(utility, dtype=np.float64)[None, :]
    n = worth.shape[1]
    faced = Preferences(utility=worth, patience=np.array([patience]), shown=np.ones((1, n), dtype=bool))
    p = chances(faced, ResponseConfig(base=base))
    looks, clicks = float(p.examined.sum()), float(p.clicked.sum())
    title = f"Patience {patience:.2f}, base {base:.1f}: {looks:.1f} looks and {clicks:.2f} clicks a visit"
    with sheet(title, size=(9.5, 4.2)) as (figure, (axes,)):
        place = np.arange(1, n + 1)
        axes.bar(place, p.examined[0], color=FAINT, width=0.8)
        axes.bar(place, p.clicked[0], color=TRUTH, width=0.8)
        axes.text(n + 0.45, 0.93, "looked at", color=QUIET, fontweight="bold", ha="right")
        axes.text(n + 0.45, 0.85, "looked at and clicked", color=TRUTH, fontweight="bold", ha="right")
        axes.set(xlabel="position", ylabel="probability", ylim=(0, 1.02), xticks=place)
        axes.grid(axis="x", visible=False)
    return figure


def ageing(table: pd.DataFrame) -> Figure:
    """How slates that were perfect on day 0 grow old.

    `table` is indexed by day, with the columns `same_items` (share of the day's best items that were in the slate of
    day 0) and `share_of_best` (its true clicks as a share of the best possible); perhaps also `shown_daily` (the same,
    had these slates been shown on all days before).
    """
    first, end, last = table.index[0], table.index[-1], table.iloc[-1]
    title = f"Perfect on day {first}, worth {percent(float(last['share_of_best']))} of the best on day {end}"
    if "shown_daily" in table:
        title += f"; {percent(float(last['shown_daily']))} if they are shown every day"
    lines = {
        "share_of_best": ("true clicks, as a share\nof the best possible", TRUTH, "o"),
        "same_items": ("items that are still\namong the best", QUIET, "s"),
        "shown_daily": ("true clicks, if shown\non all days before", TRUTH, "v"),
    }
    with sheet(title) as (figure, (axes,)):
        there = {column: line for column, line in lines.items() if column in table}
        for column, (_, colour, marker) in there.items():
            style = "--" if column == "shown_daily" else "-"
            axes.plot(table.index, table[column], color=colour, marker=marker, markersize=5, linestyle=style)
        top = max(1.03, 1.05 * float(table[list(there)].to_numpy().max()))
        axes.set(xlabel="day", ylabel="share", ylim=(0, top))
        ends = {words: (float(table.index.max()), float(last[column])) for column, (words, _, _) in there.items()}
        label_lines(axes, ends, {words: colour for words, colour, _ in there.values()}, gap=0.16)
    return figure
