"""What came of a run, or of several: the truth by day, and what the company saw of it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from simlab.lab.plots.style import GUESS, INK, QUIET, SEEN, TRUTH, colour_of, label_lines, percent, sheet


def shares_of_best(runs: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """True clicks of each run as a share of the best possible, over all its visits.

    >>> day = {"visits": [3, 1], "true_clicks_per_visit": [1.0, 2.0], "best_clicks_per_visit": [2.0, 4.0]}
    >>> shares_of_best({"half as good": pd.DataFrame(day)})
    {'half as good': 0.5}
    """
    return {
        name: float(
            (metrics["true_clicks_per_visit"] * metrics["visits"]).sum()
            / (metrics["best_clicks_per_visit"] * metrics["visits"]).sum()
        )
        for name, metrics in runs.items()
    }


def true_clicks(runs: Mapping[str, pd.DataFrame]) -> Figure:
    """True clicks a visit by day, a line for each run, beside the best possible; a triangle where a new model began.

    Each frame is a run's metrics: indexed by day, with `visits`, `retrained`, `true_clicks_per_visit` and
    `best_clicks_per_visit`. The runs have one world in common, so the best possible of the first is that of all.
    """
    shares = shares_of_best(runs)
    ranking = sorted(shares, key=lambda name: -shares[name])
    title = "Share of the best possible: " + ", ".join(f"{name} {percent(shares[name])}" for name in ranking)
    with sheet(title, size=(10, 4.8)) as (figure, (axes,)):
        lines = {name: runs[name]["true_clicks_per_visit"] for name in ranking}
        colours = {name: colour_of(name, place) for place, name in enumerate(ranking)}
        best = next(iter(runs.values()))["best_clicks_per_visit"]
        for name, line in {**lines, "best possible": best}.items():
            colour = colours.setdefault(name, TRUTH)
            axes.plot(line.index, line, color=colour, linestyle="--" if line is best else "-")
            if line is not best:
                new = line[(runs[name]["retrained"] == 1) & (line.index > line.index[0])]
                axes.plot(new.index, new, "^", color=colour, markersize=10)
        lines["best possible"] = best
        axes.set(xlabel="day", ylabel="true clicks a visit", ylim=(0, None))
        label_lines(axes, {name: (line.index[-1], float(line.iloc[-1])) for name, line in lines.items()}, colours)
    return figure


def seen_and_true(seen: pd.DataFrame, truth: pd.Series) -> Figure:
    """Clicks a visit as the company measured them day by day, with 95 % intervals, and the truth behind them.

    `seen` is `monitor.windows(log, days=1)`; `truth`, expected clicks a visit, is indexed by day too. The title counts
    the intervals that hold the truth.
    """
    low, high, mean = (seen[f"clicks_per_visit{end}"] for end in ("_low", "_high", ""))
    both = truth.reindex(seen.index)
    holds = int(((low <= both) & (both <= high)).sum())
    with sheet(f"The company's 95 % interval holds the truth on {holds} of {len(seen)} days", size=(10, 4.6)) as (
        figure,
        (axes,),
    ):
        axes.vlines(seen.index, low, high, color=SEEN, linewidth=1.6)
        axes.plot(seen.index, mean, "o", color=SEEN, markersize=5)
        axes.plot(truth.index, truth, color=TRUTH)
        axes.set(xlabel="day", ylabel="clicks a visit")
        ends = {
            "truth": (truth.index[-1], float(truth.iloc[-1])),
            "measured": (seen.index[-1], float(mean.iloc[-1])),
        }
        label_lines(axes, ends, {"truth": TRUTH, "measured": SEEN})
    return figure


def guesses(guess: Mapping[str, float], outcome: Mapping[str, float], what: str) -> Figure:
    """The reader's guesses against what came out, a row each; the title names the guess that was farthest off."""
    off = {name: guess[name] - outcome[name] for name in outcome}
    worst = max(off, key=lambda name: abs(off[name]))
    side = "too high" if off[worst] > 0 else "too low"
    title = f"Farthest off: {worst}, guessed {guess[worst]:.2f}, {side} by {abs(off[worst]):.2f}"
    with sheet(title, size=(9.5, 1.6 + 0.55 * len(outcome))) as (figure, (axes,)):
        rows = np.arange(len(outcome))
        for row, name in enumerate(outcome):
            axes.plot([guess[name], outcome[name]], [row, row], color=QUIET, linewidth=1.5, zorder=1)
        axes.plot([guess[name] for name in outcome], rows, "D", color=GUESS, fillstyle="none", markersize=10, mew=2)
        axes.plot(list(outcome.values()), rows, "o", color=TRUTH, markersize=10)
        left = off[worst] <= 0  # on the row where they are farthest apart, each on its own side
        for x, words, colour, to_left in (
            (guess[worst], "your guess", GUESS, left),
            (outcome[worst], "outcome", TRUTH, not left),
        ):
            axes.annotate(
                words, (x, list(outcome).index(worst)), xytext=(-12 if to_left else 12, 0), textcoords="offset points",
                va="center", ha="right" if to_left else "left", color=colour, fontweight="bold",
            )  # fmt: skip
        axes.set_yticks(rows, list(outcome), color=INK)
        axes.set(ylim=(len(outcome) - 0.5, -0.5), xlabel=what)
        axes.margins(x=0.25)
        axes.grid(axis="y", visible=False)
    return figure
