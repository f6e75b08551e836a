"""The picture of the cycle: the life of a recommender in production, one station lit.

`python -m simlab.lab.plots PATH` saves it; the README shows it, and each notebook shows where in it you are.
"""

from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from simlab.lab.plots.style import FAINT, INK, QUIET, SEEN, SETTINGS, TRUTH, Picture
from simlab.settings import choose

WIDTH, HEIGHT = 1.72, 1.06


@dataclass(frozen=True, kw_only=True)
class Station:
    """One box of the picture."""

    title: str
    words: str
    """What happens there, two short lines."""
    place: tuple[float, float]
    """Centre, in inches from the lower left."""


STATIONS = {
    "history": Station(title="History", words="shown and clicked\nbefore day 0", place=(1.0, 3.5)),
    "training": Station(title="Batch training", words="log in,\nmodel out", place=(3.0, 3.5)),
    "registry": Station(title="Registry", words="versions, and who\npromoted which", place=(5.0, 3.5)),
    "deployment": Station(title="Deployment", words="the champion\nanswers requests", place=(7.0, 3.5)),
    "slate": Station(title="Slate", words="a short list,\nbest guess first", place=(9.0, 3.5)),
    "shopper": Station(title="Shopper", words="hidden taste:\nlooks, clicks, buys", place=(11.0, 2.35)),
    "feedback": Station(title="Feedback", words="clicks at once,\npurchases later", place=(9.0, 1.2)),
    "log": Station(title="Event log", words="one row for each\nitem shown", place=(7.0, 1.2)),
    "monitoring": Station(title="Monitoring", words="what the company\ncan measure", place=(5.0, 1.2)),
    "decision": Station(title="Decision", words="keep the model,\nor learn again?", place=(3.0, 1.2)),
}
"""In the order in which they are met."""


def cycle(station: str | None = None) -> Figure:
    """The ring with `station` lit, or all of it alike. Raises `ConfigError` for a station that is not in STATIONS."""
    lit = None if station is None else choose("station", station, STATIONS)
    with mpl.rc_context(SETTINGS):
        figure = Picture(figsize=(12.1, 4.3))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 12.1), ylim=(0.2, 4.5))
        axes.axis("off")
        _ground(axes)
        for known in STATIONS.values():
            _box(axes, known, lit=known is lit, dim=lit is not None and known is not lit)
        _arrows(axes)
    return figure


def _ground(axes: Axes) -> None:
    company = FancyBboxPatch(
        (0.06, 0.3), 9.88, 4.1, boxstyle="round,pad=0,rounding_size=0.15", facecolor="#EAF3F9", edgecolor="none"
    )
    axes.add_patch(company)
    axes.text(0.2, 0.48, "what a company runs and sees", color=SEEN, fontsize=13, fontweight="bold", va="center")
    axes.text(
        11.02,
        0.63,
        "what is true:\nonly the lab knows",
        color=TRUTH,
        fontsize=13,
        fontweight="bold",
        ha="center",
        va="center",
    )


def _box(axes: Axes, station: Station, *, lit: bool, dim: bool) -> None:
    x, y = station.place
    main = TRUTH if station.title == "Shopper" else SEEN
    face = main if lit else "white"
    edge = FAINT if dim else main
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=face,
            edgecolor=main if lit else edge,
            linewidth=3 if lit else 1.8,
        )
    )
    strong = "white" if lit else (QUIET if dim else INK)
    axes.text(x, y + 0.27, station.title, ha="center", va="center", fontsize=14, fontweight="bold", color=strong)
    words = "white" if lit else QUIET
    axes.text(x, y - 0.17, station.words, ha="center", va="center", fontsize=11, color=words, linespacing=1.15)


def _arrows(axes: Axes) -> None:
    top, low, half, tall = 3.5, 1.2, WIDTH / 2, HEIGHT / 2
    for left in (1.0, 3.0, 5.0, 7.0):
        _arrow(axes, (left + half, top), (left + 2 - half, top))
    for right in (9.0, 7.0, 5.0):
        _arrow(axes, (right - half, low), (right - 2 + half, low))
    _arrow(axes, (9.0 + half, top), (11.0, 2.35 + tall), bend=-0.35)
    _arrow(axes, (11.0 + 0.35, 2.35 - tall), (9.0 + half, low), bend=-0.35)
    _arrow(axes, (3.0, low + tall), (3.0, top - tall))
    axes.text(3.14, 2.35, "learn again,\nfrom the log", fontsize=12, color=INK, va="center")


def _arrow(axes: Axes, tail: tuple[float, float], head: tuple[float, float], *, bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            tail,
            head,
            arrowstyle="-|>",
            mutation_scale=16,
            linewidth=2,
            color=INK,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=1,
            shrinkB=1,
        )
    )
