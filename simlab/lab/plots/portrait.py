"""A world at a glance: what there is to gain in it, how its shoppers look, when they come, how its truth moves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from simlab.lab.plots.style import COLOURS, INK, MARKERS, QUIET, SEEN, TRUTH, percent, sheet
from simlab.schema import Floats


def to_gain(clicks: Mapping[str, float]) -> Figure:
    """True clicks a visit under each policy; the last named is the best possible."""
    names, values = list(clicks), np.array(list(clicks.values()))
    shares = values / values[-1]
    popular = percent(float(shares[names.index("popularity")]))
    with sheet(f"What is popular brings {popular} of what the best slates bring", size=(9.5, 2.6)) as (figure, (axes,)):
        axes.barh(range(len(names)), values, color=[COLOURS.get(name, INK) for name in names], height=0.7)
        for row, (value, share) in enumerate(zip(values, shares, strict=True)):
            axes.text(value + 0.01 * values.max(), row, f"{value:.2f}  ({percent(float(share))})", va="center")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="true clicks a visit, day 0", ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.25 * values.max()))
        axes.grid(axis="y", visible=False)
    return figure


SAID = {
    "position": "look on whatever they click",
    "cascade": "stop at the first click",
    "dependent": "stop when satisfied",
    "logit": "choose one of all, or none",
}
"""What shoppers of each way to choose do, in words."""


def by_position(ways: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Looks and clicks at each position, in closed form, for each way to choose: (looks, clicks), each (n,)."""
    kept = [float(looks[-1] / looks[0]) for looks, _ in ways.values()]
    n = len(next(iter(ways.values()))[0])
    title = (
        f"Position {n} gets {percent(min(kept))} to {percent(max(kept))} of the looks of position 1, by way to choose"
    )
    if len(kept) == 1:
        title = f"Position {n} gets {percent(kept[0])} of the looks of position 1"
    with sheet(title, columns=2, size=(11, 4.2)) as (figure, panels):
        for axes, which, name in zip(panels, (0, 1), ("looked at", "looked at and clicked"), strict=True):
            for (way, pair), marker, line in zip(ways.items(), MARKERS, ("-", "--", "-.", ":"), strict=False):
                axes.plot(
                    np.arange(1, n + 1), pair[which], color=TRUTH, linestyle=line, marker=marker, markersize=6,
                    label=SAID[way],
                )  # fmt: skip
            axes.set(title=name, xlabel="position", ylim=(0, None), xticks=range(1, n + 1))
        panels[0].set_ylabel("probability")
        if len(ways) > 1:
            panels[1].legend(frameon=False)
    return figure


def calendar(visits: Floats, first_day: int, seconds: Floats) -> Figure:
    """Visits on each day from `first_day` on, and by hour of the day; `seconds` of the day of some visits."""
    day = first_day + np.arange(len(visits))
    live = visits[day >= 0]
    title = f"{live.mean():,.0f} visits on a live day, most on day {int(np.argmax(live))}"
    with sheet(title, columns=2, size=(11, 3.8), ratios=(2.2, 1)) as (figure, (left, right)):
        left.plot(day, visits, color=SEEN, linewidth=1.6)
        left.axvline(0, color=QUIET, linewidth=1, linestyle=":")
        left.set(xlabel="day (history ends at 0)", ylabel="visits", ylim=(0, None))
        right.hist(np.asarray(seconds) / 3600, bins=list(range(25)), color=QUIET)
        right.set(xlabel="hour of the day", xticks=range(0, 25, 6))
        right.set_yticks([])
    return figure
