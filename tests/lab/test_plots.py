"""Laws of figures: shown once, alike every time, and their titles say what is in the data."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from matplotlib.text import Text

from simlab.errors import ConfigError
from simlab.lab import plots
from simlab.lab.plots import style
from simlab.lab.plots.cycle import STATIONS
from simlab.schema import NEVER, Catalogue, Labels
from simlab.streams import stream

N = 10
DAYS = pd.RangeIndex(14, name="day")


def metrics(share: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "visits": 100,
            "retrained": [1, *[0] * 6, 1, *[0] * 6],
            "true_clicks_per_visit": share * (3 + 0.1 * np.sin(DAYS)),
            "best_clicks_per_visit": 3 + 0.1 * np.sin(DAYS),
        },
        index=DAYS,
    )


def catalogue() -> Catalogue:
    return Catalogue(
        name=tuple(f"Thing with a rather long name, no. {k}" for k in range(N)),
        category=Labels.constant("things", N),
        brand=Labels.constant("Alder", N),
        price=np.full(N, 9.5),
        margin=np.full(N, 0.3),
        launch_day=np.zeros(N, dtype=np.int64),
        retire_day=np.full(N, NEVER),
    )


def measured(low: float, high: float) -> pd.DataFrame:
    columns = {"clicks_per_visit": 2.0, "clicks_per_visit_low": low, "clicks_per_visit_high": high}
    return pd.DataFrame(columns, index=DAYS)


def judged(offline: list[float], true: list[float]) -> pd.DataFrame:
    names = ["random", "popularity", "als", "lightfm"]
    return pd.DataFrame({"offline": offline, "error": 0.01, "share_of_best": true}, index=names)


def draw_tastes() -> Figure:
    rng = stream(3, "figures")
    segment = Labels(codes=np.arange(90) % 3, names=("expecting", "toddler", "nobody", "teens"))
    taste = rng.normal(size=(90, 4)) + 2.0 * segment.codes[:, None]
    return plots.tastes(taste, segment, vector=rng.normal(size=(N, 4)), names=catalogue().name)


def draw_positions() -> Figure:
    rng = stream(4, "figures")
    examined = np.tile(0.8 ** np.arange(N), (500, 1))
    looks = rng.random((500, N)) < examined
    return plots.positions(examined, 0.1 * examined, looks, looks & (rng.random((500, N)) < 0.1), guess=0.5)


SWEEP = pd.DataFrame(
    {"offline": [0.1, 0.3, 0.2], "error": 0.02, "true": [1.0, 1.5, 1.6]}, index=pd.Index([2, 8, 32], name="components")
)
AGEING = pd.DataFrame({"same_items": [1.0, 0.5, 0.4], "share_of_best": [1.0, 0.9, 0.7]}, index=[0, 10, 20])
FALLING = np.asarray(0.8 ** np.arange(N), dtype=np.float64)

FIGURES: dict[str, Callable[[], Figure]] = {
    "ageing": lambda: plots.ageing(AGEING),
    "ageing, shown daily": lambda: plots.ageing(AGEING.assign(shown_daily=[1.0, 0.6, 0.4])),
    "attention": lambda: plots.attention(list(np.linspace(6, 2, N)), patience=0.8),
    "by_position": lambda: plots.by_position(dict.fromkeys(("position", "cascade"), (FALLING, 0.1 * FALLING))),
    "calendar": lambda: plots.calendar(np.arange(1000.0, 1050.0), -30, np.arange(0.0, 86_400.0, 900.0)),
    "cycle": lambda: plots.cycle("log"),
    "guesses": lambda: plots.guesses({"random": 0.3, "lightfm": 0.6}, {"random": 0.1, "lightfm": 0.61}, "share"),
    "offline_and_true": lambda: plots.offline_and_true(judged([0, 0.1, 0.2, 0.3], [0.1, 0.3, 0.4, 0.5]), "recall@10"),
    "popularity": lambda: plots.popularity([9, 5, 1, 0, 0]),
    "positions": draw_positions,
    "seen_and_true": lambda: plots.seen_and_true(measured(1.8, 2.2), pd.Series(2.1, index=DAYS)),
    "slate": lambda: plots.slate(catalogue(), np.arange(N), FALLING, 0.5 * FALLING, who="Shopper 7"),
    "split": lambda: plots.split(pd.Series(5, index=range(-30, 0)), -7),
    "sweep": lambda: plots.sweep(SWEEP, "recall@10", guess=16),
    "tastes": draw_tastes,
    "to_gain": lambda: plots.to_gain({"random": 0.25, "popularity": 0.5, "best": 1.5}),
    "true_clicks": lambda: plots.true_clicks({name: metrics(0.2 + 0.1 * k) for k, name in enumerate(style.COLOURS)}),
}


def title(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_value(name: str) -> None:
    """Drawn twice it is the same picture, pyplot knows nothing of it, and a notebook can show it without a backend."""
    first, second = FIGURES[name](), FIGURES[name]()
    first.dpi = second.dpi = 40
    assert plots.png(first) == plots.png(second)
    assert plots.png(first).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    shown, _ = DisplayFormatter().format(first)  # type: ignore[no-untyped-call]
    assert shown["image/png"]


def words(figure: Figure) -> Iterator[Text]:
    """Everything written in a figure; of the marks along an axis only those that are in view."""
    for axes in figure.axes:
        yield from (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)
        axis_limits = ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())) if axes.axison else ()
        for axis, limits in axis_limits:
            for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True):
                if min(limits) <= place <= max(limits):
                    yield label
    if figure.get_suptitle():
        yield next(text for text in figure.texts if text.get_text() == figure.get_suptitle())


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_written_runs_out_of_the_picture(name: str) -> None:
    """Every word of title, labels and notes lies inside the figure."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for text in words(figure):
        if text.get_text() and text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= -2, text
            assert box.y0 >= -2, text
            assert box.x1 <= width + 2, text
            assert box.y1 <= height + 2, text


def test_each_station_can_be_lit() -> None:
    """The picture differs for every station, and an unknown one is an error that lists them."""
    pictures = set()
    for name in (None, *STATIONS):
        figure = plots.cycle(name)
        figure.dpi = 20
        pictures.add(plots.png(figure))
    assert len(pictures) == 1 + len(STATIONS)
    with pytest.raises(ConfigError, match="did you mean 'training'"):
        plots.cycle("trainin")


def test_the_picture_of_the_cycle_fits_into_a_readme(tmp_path: Path) -> None:
    """It takes less than 150 kB."""
    assert len(plots.png(plots.cycle())) < 150_000


def test_titles_say_the_shares_of_the_runs() -> None:
    """Runs are named by share of the best possible, the best first, whatever their order."""
    runs = {"popularity": metrics(0.3), "lightfm": metrics(0.61)}
    assert title(plots.true_clicks(runs)) == "Share of the best possible: lightfm 61 %, popularity 30 %"


def test_shares_weigh_visits() -> None:
    """A day counts by its visits: 3 visits at 1 of 2 clicks and 1 visit at 2 of 2 make 5 of 8."""
    days = pd.DataFrame({"visits": [3, 1], "true_clicks_per_visit": [1.0, 2.0], "best_clicks_per_visit": 2.0})
    assert plots.shares_of_best({"run": days}) == {"run": 5 / 8}


def test_the_title_counts_intervals_that_hold_the_truth() -> None:
    """Ends included; a day whose interval misses the truth is not counted."""
    truth = pd.Series(2.0, index=DAYS)
    truth[3] = 3.0
    assert title(plots.seen_and_true(measured(1.9, 2.0), truth)).endswith("on 13 of 14 days")


@pytest.mark.parametrize(
    ("offline", "true", "says"),
    [
        ([0.0, 0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4], "The offline order is the true order"),
        ([0.0, 0.4, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4], "Offline, popularity leads; in truth, lightfm"),
        ([0.0, 0.2, 0.1, 0.3], [0.1, 0.2, 0.3, 0.4], "Offline and truth agree on lightfm, not on the order of all"),
    ],
)
def test_the_title_says_whether_offline_and_truth_agree(offline: list[float], true: list[float], says: str) -> None:
    """On all, on the leader only, or on not even that."""
    assert title(plots.offline_and_true(judged(offline, true), "recall@10")) == says


def test_other_titles_are_computed_too() -> None:
    """Each says what a reader would find by reading the figure's data."""
    assert title(plots.popularity([0] * 9 + [7])) == "The most clicked 10 % of the items take 100 % of the clicks"
    assert title(plots.popularity([3] * 10)) == "The most clicked 10 % of the items take 10 % of the clicks"
    assert title(FIGURES["split"]()) == "The last 7 days hold back 23 % of the clicks"
    assert title(FIGURES["sweep"]()) == "components: recall@10 is best at 8, true clicks at 32"
    assert title(FIGURES["guesses"]()) == "Farthest off: random, guessed 0.30, too high by 0.20"
    assert title(FIGURES["positions"]()) == "Position 10 gets 13 % of the looks of position 1"
    assert title(FIGURES["ageing"]()) == "Perfect on day 0, worth 70 % of the best on day 20"
    assert title(FIGURES["slate"]()) == "Shopper 7: 2.23 clicks expected on 10 items"
    assert title(FIGURES["to_gain"]()) == "What is popular brings 33 % of what the best slates bring"
    assert title(FIGURES["by_position"]()).startswith(f"Position {N} gets 13 % to 13 % of the looks of position 1")
    assert title(FIGURES["calendar"]()) == "1,040 visits on a live day, most on day 19"
    assert title(FIGURES["attention"]()).startswith("Patience 0.80, base -5.0: 4.5 looks and ")


def test_segments_explain_all_or_nothing_where_they_do() -> None:
    """All of taste where shoppers of a segment are alike, nothing where segments are alike."""
    segment = Labels(codes=np.array([0, 0, 1, 1]), names=("a", "b"))
    things = {"vector": np.eye(2), "names": ("x", "y")}
    alike = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    mixed = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert "explains 100 %" in title(plots.tastes(alike, segment, **things))  # type: ignore[arg-type]
    assert "explains 0 %" in title(plots.tastes(mixed, segment, **things))  # type: ignore[arg-type]


@given(st.lists(st.floats(-50, 50), max_size=12), st.floats(0.01, 5))
def test_labels_are_spread_and_keep_their_order(places: list[float], gap: float) -> None:
    """Neighbours end up at least a gap apart, in their order, around the same mean."""
    rising = sorted(places)
    moved = style.spread(rising, gap)
    assert len(moved) == len(rising)
    assert all(later - earlier >= gap - 1e-6 for earlier, later in pairwise(moved))
    assert np.mean(moved or [0]) == pytest.approx(np.mean(rising or [0]), abs=1e-6)


@given(st.integers(1, 10_000), st.data())
def test_an_interval_holds_its_share(n: int, data: st.DataObject) -> None:
    """The score interval lies in [0, 1], around the share, the mirror image for the opposite share."""
    share = data.draw(st.integers(0, n)) / n
    low, high = style.interval([share], [n])
    assert 0 <= low[0] <= share <= high[0] <= 1
    opposite_low, _ = style.interval([1 - share], [n])
    assert opposite_low[0] == pytest.approx(1 - high[0], abs=1e-9)


def test_the_interval_is_wilsons() -> None:
    """81 of 263 give 0.255 to 0.366 (Newcombe, Statistics in Medicine 17, 1998, table I, method 3)."""
    low, high = style.interval([81 / 263], [263])
    assert (round(low[0], 4), round(high[0], 4)) == (0.2553, 0.3662)


def test_the_truth_has_a_colour_of_its_own() -> None:
    """Nothing else is drawn in it, and no two algorithms share one by accident."""
    others = [*style.CYCLE, style.SEEN, style.GUESS, *(c for n, c in style.COLOURS.items() if n != "best")]
    assert style.TRUTH not in others
    assert style.COLOURS["best"] == style.TRUTH
    algorithms = [style.COLOURS[name] for name in ("random", "popularity", "als", "lightfm")]
    assert len(set(algorithms)) == 4
