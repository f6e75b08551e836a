"""Laws of the figures of deployment, feedback, monitoring and retraining, and of the numbers in their titles."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from simlab.lab import plots
from simlab.lab.plots import style
from simlab.recsys.monitor import ratio
from simlab.schema import Floats
from simlab.streams import stream

DAYS = pd.RangeIndex(21, name="day")
POSITIONS = pd.RangeIndex(1, 11, name="position")
BAD = (DAYS >= 8) & (DAYS < 11)


def metrics(share: float, bad: float | None = None) -> pd.DataFrame:
    reached = np.full(len(DAYS), share * 3.0)
    version = np.full(len(DAYS), "good", dtype=object)
    if bad is not None:
        reached[BAD], version[BAD] = bad, "bad"
    return pd.DataFrame(
        {
            "visits": 100,
            "retrained": np.isin(DAYS, (0, 7, 14)).astype(int),
            "model_version": version,
            "share_of_best": reached / 3.0,
            "true_clicks_per_visit": reached,
            "true_margin_per_visit": 2 * reached,
            "best_clicks_per_visit": 3.0,
        },
        index=DAYS,
    )


def counted(centre: float, half: float = 0.1, days: int = 1) -> pd.DataFrame:
    """What `monitor.windows` gives, the same in every window."""
    first = pd.Index(range(0, len(DAYS), days), name="first_day")
    table = pd.DataFrame({"visits": 100, "ripe": np.asarray(first) < 7}, index=first)
    for name in ("click_rate", "clicks_per_visit", "purchases_per_visit"):
        table[name], table[f"{name}_low"], table[f"{name}_high"] = centre, centre - half, centre + half
    return table


def falling() -> pd.DataFrame:
    table = counted(0.2, 0.01, days=7)
    for name in ("click_rate", "click_rate_low", "click_rate_high"):
        table[name] -= [0.0, 0.015, 0.03]
    return table


def some_pilots(n: int = 60) -> pd.DataFrame:
    estimate = 0.2 + 0.01 * stream(1, "pilots").standard_normal(n)
    return pd.DataFrame({"estimate": estimate, "error_rows": 0.004, "error_shoppers": 0.01})


BY_POSITION = pd.DataFrame(
    {"shown": 1000, "click_rate": 0.4 * 0.8 ** (POSITIONS - 1), "looked_at": 0.85 ** (POSITIONS - 1)}, index=POSITIONS
)
REWEIGHTED = pd.DataFrame({"estimate": 0.85 ** (POSITIONS - 1), "error": 0.03}, index=POSITIONS)
WORLDS = pd.DataFrame({"never": [1.0, 2.0, 3.0], "scheduled:14": [1.4, 2.5, 3.6]}, index=[0, 1, 2])
BILL = pd.DataFrame(
    {"margin": [100.0, 160.0, 175.0], "trainings": [1, 3, 6]}, index=["never", "scheduled:14", "scheduled:7"]
)
POLICIES = pd.DataFrame(
    {
        "cost": [0.0, 1500.0, 6000.0, 0.0],
        "gain": [0.0, 9000.0, 8000.0, 90_000.0],
        "low": [0.0, 7000.0, 5000.0, 80_000.0],
        "high": [0.0, 11_000.0, 11_000.0, 100_000.0],
        "on_frontier": [True, True, False, False],
    },
    index=["never", "on-drop|scheduled:28", "scheduled:7", "best"],
)
AGES = pd.DataFrame({"loss": [0.0, 40.0, 60.0], "low": [0.0, 20.0, 30.0], "high": [0.0, 60.0, 90.0]}, index=[0, 3, 6])
PERIODS = pd.DataFrame({"cost": [500.0, 260.0, 270.0], "low": 200.0, "high": 520.0}, index=[1, 2, 3])
WEEKS = pd.RangeIndex(1, 4, name="week")
METERS = pd.DataFrame(
    {
        "gini": 0.7, "self_caused": [0.5, 0.9, 1.0], "diversity": 0.8, "repeated": [np.nan, 0.6, 0.7],
        "taste_shift": [0.1, 0.2, 0.3], "low": 0.1, "high": 0.3, "crowd": 0.9, "made": [0.1, 0.3, 0.5],
    },
    index=WEEKS,
)  # fmt: skip
LIFTS = pd.DataFrame({"lift": [1.0, 2.0, 4.0], "low": 0.5, "high": 6.0}, index=WEEKS)
LAW = 0.5 ** np.arange(1, 15)
RUNS = {"never": metrics(0.5), "scheduled:14": metrics(0.6), "scheduled:7": metrics(0.62)}
LOOKS = BY_POSITION["looked_at"]
NAIVE = BY_POSITION["click_rate"] / 0.4

FIGURES: dict[str, Callable[[], Figure]] = {
    "rollback": lambda: plots.rollback(metrics(0.6, bad=0.3), metrics(0.6), counted(1.7)),
    "position_bias": lambda: plots.position_bias(BY_POSITION),
    "looks": lambda: plots.looks(NAIVE, LOOKS, REWEIGHTED),
    "looks, no propensities": lambda: plots.looks(NAIVE, LOOKS, REWEIGHTED * np.nan),
    "maturity": lambda: plots.maturity(1000 * LAW, LAW, ripe_after=14, guess=0.8),
    "conversion": lambda: plots.conversion(counted(0.5), pd.Series(1.0, index=DAYS)),
    "noise": lambda: plots.noise(counted(0.2, 0.03), counted(0.2, 0.01, days=7), pd.Series(0.2, index=DAYS)),
    "pilots": lambda: plots.pilots(some_pilots(), 0.2, guess=0.9),
    "seen_and_hidden": lambda: plots.seen_and_hidden(falling(), pd.Series([0.6, 0.58, 0.55], index=[0, 7, 14])),
    "exposure": lambda: plots.exposure([90, 9, 1, 0, 0], [30, 30, 20, 20, 0], days=7),
    "cycles": lambda: plots.cycles(RUNS),
    "twins": lambda: plots.twins(WORLDS),
    "frontier": lambda: plots.frontier(POLICIES),
    "staleness": lambda: plots.staleness(AGES, PERIODS),
    "loop": lambda: plots.loop(METERS),
    "lift": lambda: plots.lift(LIFTS),
    "worth": lambda: plots.worth(BILL, cost=12.0),
}


def title(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_value(name: str) -> None:
    """Drawn twice it is the same picture, and pyplot knows nothing of it."""
    first, second = FIGURES[name](), FIGURES[name]()
    first.dpi = second.dpi = 40
    assert plots.png(first) == plots.png(second)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_written_runs_out_of_the_picture(name: str) -> None:
    """Title, labels and notes lie inside the figure."""
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        for text in (*figure.texts, axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts):
            if text.get_text():
                box = text.get_window_extent()
                assert -2 <= box.x0 <= box.x1 <= width + 2, text
                assert -2 <= box.y0 <= box.y1 <= height + 2, text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rollback", "3 days of the wrong model cost 450 clicks and 900 € of margin"),
        ("position_bias", "Position 10: 13 % of the clicks of position 1 = 23 % looks × 58 % liking"),
        ("looks", "Position 10 against the first: true looks 23 %, plain clicks 13 %, reweighted clicks 23 %"),
        ("looks, no propensities", "Position 10 against the first: true looks 23 %, plain clicks 13 %"),
        ("maturity", "The first evening knows 50 % of the purchases, day 6 knows 99 %"),
        ("conversion", "On the evening of day 20, that day seems to sell 50 % less than it does"),
        ("noise", "The 95 % interval of a day reaches ±0.030, that of 7 days together ±0.010"),
        ("seen_and_hidden", "Share of the best: 60 %, then 55 %; the window of day 14 stands apart"),
        ("exposure", "In the first 7 days 60 % of the items are shown; the best slates would show 80 %"),
        ("cycles", "Week 3, share of the best: scheduled:7 62 %, scheduled:14 60 %, never 50 %"),
        ("twins", "Gain +0.50 ± 0.25 among twins, ± 2.39 among strangers"),
        ("worth", "At 12 € a training, scheduled:14 earns most, 36 € more than never"),
    ],
)
def test_titles_are_computed(name: str, says: str) -> None:
    """Each says what a reader would find by reading the figure's data."""
    assert title(FIGURES[name]()) == says


def test_titles_of_rare_cases() -> None:
    """One day, more sold than expected, nothing noticed, no retraining that pays."""
    one_day = metrics(0.6)
    one_day["model_version"] = np.where(DAYS == 8, "bad", "good")
    one_day["true_clicks_per_visit"] = np.where(DAYS == 8, 0.8, 1.8)
    assert title(plots.rollback(one_day, metrics(0.6), counted(1.7))).startswith("1 day of the wrong model cost 100 ")
    assert "50 % more than it does" in title(plots.conversion(counted(1.5), pd.Series(1.0, index=DAYS)))
    assert "no window stands apart" in title(plots.seen_and_hidden(counted(0.2, days=7), LOOKS[:3]))
    assert title(plots.worth(BILL, cost=99.0)) == "At 99 € a training, no retraining pays"


def test_a_run_loses_nothing_to_itself() -> None:
    """And what it loses to its twin is won the other way round."""
    run, twin = metrics(0.6, bad=0.3), metrics(0.6)
    assert plots.lost(run, run) == {"clicks": 0, "margin": 0}
    assert plots.lost(run, twin)["clicks"] == pytest.approx(-plots.lost(twin, run)["clicks"])


def test_the_slider_ends_the_cycles() -> None:
    """Up to the last day of a week, only that week and those before it are drawn."""
    assert title(plots.cycles(RUNS, until=13)).startswith("Week 2,")


def test_windows_stand_apart_when_intervals_do_not_overlap() -> None:
    """Touching ends overlap; above counts as well as below."""
    table = pd.DataFrame(
        {"click_rate_low": [0.2, 0.3, 0.31, 0.0, 0.0], "click_rate_high": [0.3, 0.4, 0.4, 0.2, 0.19]},
        index=[0, 7, 14, 21, 28],
    )
    assert plots.apart(table).tolist() == [False, False, True, False, True]
    assert plots.noticed(table) == 14
    assert plots.noticed(table[:2]) is None


def test_intervals_by_shopper_hold_the_truth_and_those_over_rows_do_not() -> None:
    """Where rows of one shopper are alike: 95 % of the one kind hold it, far fewer of the other (the law of 05)."""
    rng = stream(5, "shoppers")
    rows, truth = [], 0.3
    for _ in range(400):
        own, times = rng.beta(0.6, 1.4, 150), 10 * rng.integers(1, 8, 150)
        clicks: Floats = rng.binomial(times, own).astype(np.float64)
        shown: Floats = times.astype(np.float64)
        estimate, by_shopper = ratio(clicks, shown)
        by_row = np.sqrt(estimate * (1 - estimate) / shown.sum())
        rows.append({"estimate": estimate, "error_rows": by_row, "error_shoppers": by_shopper})
    shares = plots.held(pd.DataFrame(rows), truth)
    assert 0.91 < shares["shoppers"] < 0.98  # four standard errors around 0.95
    assert shares["rows"] < 0.6


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=8))
def test_twins_and_strangers_agree_on_the_gain(pairs: list[tuple[float, float]]) -> None:
    """Who belongs together changes the interval, never the mean gain; the intervals are those of scipy."""
    table = pd.DataFrame(pairs, columns=["never", "weekly"])
    gains = table["weekly"] - table["never"]
    assume(min(table["weekly"].std(), table["never"].std(), gains.std()) > 1e-6)  # else there is no interval
    found = plots.spans(table)
    strangers = stats.ttest_ind(table["weekly"], table["never"], equal_var=False).confidence_interval()
    twins = stats.ttest_rel(table["weekly"], table["never"]).confidence_interval()
    for name, interval in (("twins", twins), ("strangers", strangers)):
        gain, reach = found[name]
        assert gain == pytest.approx(float(gains.mean()))
        assert gain + reach == pytest.approx(interval.high, rel=1e-6)


@given(st.floats(-1e5, 1e5), st.integers(1, 50), st.floats(0, 1e4))
def test_a_policy_pays_up_to_its_break_even(margin: float, more: int, cost: float) -> None:
    """Its net gain is positive below, nought at and negative above the cost that `break_even` gives."""
    bill = pd.DataFrame({"margin": [7.0, 7.0 + margin], "trainings": [1, 1 + more]}, index=["never", "often"])
    limit = float(plots.break_even(bill)["often"])
    gain = float(plots.net_gain(bill, cost)["often"])
    assert gain == pytest.approx(more * (limit - cost), abs=1e-6)
    assert float(plots.net_gain(bill, limit)["often"]) == pytest.approx(0, abs=1e-6)


def test_the_truth_keeps_its_colour() -> None:
    """In every figure with a true line, something is drawn in the colour of truth."""
    for name in FIGURES:
        if name in ("cycles", "worth", "lift"):  # policies side by side have their own colours; a lift is only seen
            continue
        drawn = [line.get_color() for axes in FIGURES[name]().axes for line in axes.lines]
        assert style.TRUTH in drawn, name
