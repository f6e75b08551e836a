"""One look for every figure: large enough for a projector, colours that colour-blind people tell apart, direct labels.

Why no pyplot: a figure made through it is shown twice, or not at all, depending on the backend and on how a cell ends.
Here a figure is a value: made, returned, shown once, everywhere. The title says the finding, computed from the data.

Colours are those of Okabe and Ito, "Color Universal Design" (2008). Vermilion is the truth, which only the lab knows;
blue is what the company sees.
"""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

TRUTH = "#D55E00"
"""What is true: closed forms, the oracle, the best possible."""
SEEN = "#0072B2"
"""What the company sees and estimates."""
GUESS = "#8A5A8C"
"""What the reader predicted."""
INK = "#222222"
QUIET = "#6B6B6B"
"""Secondary text and axes."""
FAINT = "#D9D9D9"
"""Grid lines and what stands in the background."""

COLOURS = {
    "random": "#7F7F7F",
    "popularity": "#B07D00",
    "als": "#009E73",
    "lightfm": "#0072B2",
    "factor": "#0072B2",
    "best": TRUTH,
}
"""An algorithm has the same colour in every figure."""

CYCLE = ("#0072B2", "#009E73", "#B07D00", "#8A5A8C", "#2F8FC4", "#7F7F7F")
"""For everything without a colour of its own; vermilion is not among them."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Shape tells series apart where colour cannot."""

Z95 = 1.959963984540054
"""Standard errors on each side of a 95 % interval."""

SETTINGS: "dict[RcKeyType, Any]" = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 13,
    "axes.labelsize": 13,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.titlesize": 14,
    "axes.titlelocation": "left",
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "lines.linewidth": 2.4,
    "lines.markersize": 7,
    "text.color": INK,
}


class Picture(Figure):
    """A figure that a notebook can show without a backend."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file of 128 colours, a third of the usual size; the same figure gives the same bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


@contextmanager
def sheet(
    title: str, *, columns: int = 1, size: tuple[float, float] = (9.5, 4.6), ratios: Sequence[float] | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure headed by `title` with `columns` panels side by side, to be drawn on inside `with`; size in inches.

    >>> with sheet("Two and two is four") as (figure, (axes,)):
    ...     _ = axes.plot([0, 1], [2, 4])
    >>> figure.get_suptitle()
    'Two and two is four'
    """
    with mpl.rc_context(SETTINGS):
        figure = Picture(figsize=size, layout="constrained")
        grid = {"width_ratios": list(ratios)} if ratios is not None else None
        axes = figure.subplots(1, columns, squeeze=False, gridspec_kw=grid)[0]
        lines = textwrap.fill(title, int(7 * size[0]))
        figure.suptitle(lines, x=0.01, ha="left", fontsize=15, fontweight="bold")
        yield figure, list(axes)


def colour_of(name: str, place: int = 0) -> str:
    """The colour of the series `name`: its own if it has one, else the `place`-th of the cycle.

    >>> colour_of("als"), colour_of("week 3", 1)
    ('#009E73', '#009E73')
    """
    return COLOURS.get(name, CYCLE[place % len(CYCLE)])


def label_lines(
    axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str], *, gap: float = 0.075
) -> None:
    """Writes each name beside its line's end (x, y), pushed apart where they would overlap; no legend needed.

    `gap` is the height of a name, as a share of the panel's.
    """
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][1])
    wanted = [ends[name][1] for name in names]
    for name, y in zip(names, spread(wanted, gap * (high - low)), strict=True):
        axes.annotate(
            name,
            (ends[name][0], y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colours[name],
            fontweight="bold",
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Rising `places` moved as little as is simple, so that neighbours are at least `gap` apart.

    >>> spread([0.0, 0.1, 5.0], 1.0)
    [-0.45, 0.55, 5.0]
    """
    groups: list[tuple[float, int]] = []  # centre and size of each group of labels that touch
    for place in places:
        centre, size = place, 1
        while groups and centre - gap * (size - 1) / 2 < groups[-1][0] + gap * (groups[-1][1] + 1) / 2 - 1e-12:
            other, more = groups.pop()
            centre, size = (other * more + centre * size) / (more + size), more + size
        groups.append((centre, size))
    return [round(c + gap * (k - (n - 1) / 2), 12) for c, n in groups for k in range(n)]


def interval(share: npt.ArrayLike, n: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """95 % interval of a share seen in `n` independent trials: low and high, in [0, 1], of the shape of `share`.

    The score interval of Wilson (JASA 1927), which stays sensible at 0 and 1.

    >>> low, high = interval([0.0], [10])
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.0], [0.278])
    """
    p, n = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2))
    # p lies inside; at 0 and 1 it is an end, and must not fall outside by a last digit
    return np.clip(centre - half, 0.0, p), np.clip(centre + half, p, 1.0)


def percent(share: float) -> str:
    """A share in words for a title.

    >>> percent(0.714), percent(0.004), percent(float("nan"))
    ('71 %', '0.4 %', 'none')
    """
    if not np.isfinite(share):
        return "none"
    points = 100 * share
    return f"{points:.1f} %" if 0 < abs(points) < 2 else f"{points:.0f} %"
