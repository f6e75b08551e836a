"""The figures of the notebooks and the report: data in, one figure out.

>>> from simlab.lab import plots
>>> plots.cycle("log").get_size_inches().tolist()
[12.1, 4.3]
"""

from simlab.lab.plots.costs import frontier, staleness
from simlab.lab.plots.cycle import cycle
from simlab.lab.plots.deployment import lost, rollback
from simlab.lab.plots.feedback import conversion, looks, maturity, position_bias
from simlab.lab.plots.loop import lift, loop
from simlab.lab.plots.monitoring import apart, exposure, held, noise, noticed, pilots, seen_and_hidden
from simlab.lab.plots.portrait import SAID, by_position, calendar, to_gain
from simlab.lab.plots.retraining import break_even, cycles, net_gain, spans, twins, worth
from simlab.lab.plots.runs import guesses, seen_and_true, shares_of_best, true_clicks
from simlab.lab.plots.style import percent, png
from simlab.lab.plots.training import offline_and_true, popularity, split, sweep
from simlab.lab.plots.world import ageing, attention, positions, slate, tastes

__all__ = [
    "SAID",
    "ageing",
    "apart",
    "attention",
    "break_even",
    "by_position",
    "calendar",
    "conversion",
    "cycle",
    "cycles",
    "exposure",
    "frontier",
    "guesses",
    "held",
    "lift",
    "looks",
    "loop",
    "lost",
    "maturity",
    "net_gain",
    "noise",
    "noticed",
    "offline_and_true",
    "percent",
    "pilots",
    "png",
    "popularity",
    "position_bias",
    "positions",
    "rollback",
    "seen_and_hidden",
    "seen_and_true",
    "shares_of_best",
    "slate",
    "spans",
    "split",
    "staleness",
    "sweep",
    "tastes",
    "to_gain",
    "true_clicks",
    "twins",
    "worth",
]
