"""What is watched is counted right, and an interval covers as often as it says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.log import EventLog
from simlab.recsys.monitor import RIPE_AFTER, daily_metrics, ratio, windows
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS, History
from tests.recsys.rows import CATALOGUE, feedback, impressions

A_DAY = pd.DataFrame(
    [
        # visit, page, user, item, clicked, source
        (1, 0, 0, 1, True, "model"),
        (1, 1, 0, 2, True, "model"),
        (2, 0, 0, 1, False, "model"),
        (2, 0, 0, 2, True, "model"),
        (3, 0, 4, 1, False, "fallback"),
        (3, 2, 4, 4, False, "fallback"),
    ],
    columns=["visit", "page", "user_id", "item_id", "clicked", "source"],
).assign(day=2)

ARRIVED = pd.DataFrame(
    [
        (11, 1, "purchase", 10.0),
        (12, 2, "purchase", 20.0),
        (-1, 2, "purchase", 36.0),  # two kites, at a lower price
        (-2, 0, "purchase", 3.0),  # bought before it was retired
        (-2, 0, "rating", 5.0),
        (-3, 3, "rating", 2.0),
        (-4, 1, "return", 10.0),
    ],
    columns=["impression_id", "item_id", "kind", "value"],
).assign(day=2)


def test_a_day_is_counted_as_by_hand() -> None:
    """Three visits of five slates, six impressions, three clicks; four purchases, two ratings and a return arrive."""
    found = daily_metrics(impressions(A_DAY), feedback(ARRIVED), CATALOGUE, 2)
    assert found == {
        "visits": 3,
        "slates": 5,
        "impressions": 6,
        "clicks": 3,
        "click_rate": 3 / 6,
        "clicks_per_visit": 3 / 3,
        "purchases": 4,
        "revenue": 10 + 20 + 36 + 3,
        "returns": 1,
        "refunds": 10,
        "margin": pytest.approx(0.5 * 10 + 0.25 * 20 + 0.25 * 36 + 0.8 * 3 - 0.5 * 10),
        "ratings": 2,
        "mean_rating": 3.5,
        "coverage": 3 / 4,  # the tent is not on sale yet, the yo-yo no more
        "gini": pytest.approx((2 * (1 * 0 + 2 * 1 + 3 * 2 + 4 * 3) - 5 * 6) / (4 * 6)),  # shown 0, 1, 2 and 3 times
        "fallback_share": 2 / 6,
    }


def test_a_day_is_counted_as_by_pandas() -> None:
    """A random day of 500 impressions and 300 rows of feedback, the same numbers from data frames."""
    rng = stream(1, "test monitor")
    rows = pd.DataFrame({"visit": np.repeat(np.arange(125), 4), "page": np.tile([0, 0, 1, 1], 125), "day": 39})
    rows = rows.assign(item_id=rng.integers(1, 6, 500), clicked=rng.random(500) < 0.4)
    rows = rows.assign(user_id=rng.integers(0, 90, 500), source=rng.choice(["model", "fallback"], 500))
    told = pd.DataFrame({"impression_id": np.arange(300), "item_id": rng.integers(0, 6, 300), "day": 39})
    told = told.assign(kind=rng.choice(["purchase", "rating", "return"], 300), value=rng.integers(1, 6, 300) * 1.0)
    found = daily_metrics(impressions(rows), feedback(told), CATALOGUE, 39)
    value = told.groupby("kind")["value"]
    share = told["item_id"].map(pd.Series(CATALOGUE.margin)) * told["value"]
    kept = share.groupby(told["kind"]).sum()
    assert (found["visits"], found["slates"]) == (125, 250)
    assert found["click_rate"] == pytest.approx(rows["clicked"].mean())
    assert found["clicks_per_visit"] == pytest.approx(rows.groupby("visit")["clicked"].sum().mean())
    assert [found[name] for name in ("purchases", "ratings", "returns")] == value.size().tolist()
    assert found["revenue"] == pytest.approx(value.sum()["purchase"])
    assert found["refunds"] == pytest.approx(value.sum()["return"])
    assert found["mean_rating"] == pytest.approx(value.mean()["rating"])
    assert found["margin"] == pytest.approx(kept["purchase"] - kept["return"])
    assert found["coverage"] == 1
    assert found["fallback_share"] == pytest.approx((rows["source"] == "fallback").mean())


def test_coverage_is_of_what_is_on_sale() -> None:
    """What is retired, or not launched yet, is neither in the catalogue that is covered nor counted if it is shown."""
    shown = pd.DataFrame({"visit": [1, 1, 1], "user_id": 0, "item_id": [0, 1, 5], "clicked": False})
    for day, on_sale in ((1, {0, 1, 2, 3, 4}), (2, {1, 2, 3, 4}), (7, {1, 2, 3, 4, 5}), (40, {1, 2, 3, 5})):
        found = daily_metrics(impressions(shown.assign(day=day)), FEEDBACK.empty_table(), CATALOGUE, day)
        assert found["coverage"] == len(on_sale & {0, 1, 5}) / len(on_sale)
        shown_once = len(on_sale & {0, 1, 5})
        assert found["gini"] == pytest.approx(1 - shown_once / len(on_sale))


def test_a_day_without_visits_is_a_day() -> None:
    """Counts are 0, rates are not defined, and late purchases still arrive."""
    found = daily_metrics(IMPRESSIONS.empty_table(), feedback(ARRIVED), CATALOGUE, 2)
    assert [found[name] for name in ("visits", "slates", "impressions", "clicks", "coverage")] == [0, 0, 0, 0, 0]
    assert (found["purchases"], found["revenue"]) == (4, 69)
    assert all(np.isnan(found[name]) for name in ("click_rate", "clicks_per_visit", "gini", "fallback_share"))
    nothing = daily_metrics(IMPRESSIONS.empty_table(), FEEDBACK.empty_table(), CATALOGUE, 2)
    assert [nothing[name] for name in ("purchases", "ratings", "returns")] == [0, 0, 0]
    assert [nothing[name] for name in ("revenue", "refunds", "margin")] == [0, 0, 0]
    assert np.isnan(nothing["mean_rating"])


USERS = st.lists(st.tuples(st.floats(0, 50), st.floats(0.5, 50)), min_size=2, max_size=30)


@given(USERS)
def test_the_ratio_is_the_delta_method_s(users: list[tuple[float, float]]) -> None:
    """se^2 = (var y / mx^2 - 2 my cov / mx^3 + my^2 var x / mx^4) / n, as Deng, Knoblich and Lu write it (KDD 2018)."""
    y, x = np.array(users).T
    n, my, mx = len(y), y.mean(), x.mean()
    cov = np.cov(y, x)
    variance = (cov[0, 0] / mx**2 - 2 * my * cov[0, 1] / mx**3 + my**2 * cov[1, 1] / mx**4) / n
    value, error = ratio(y, x)
    assert value == pytest.approx(y.sum() / x.sum())
    assert error**2 == pytest.approx(variance, rel=1e-6, abs=1e-9)


def test_a_ratio_worked_by_hand() -> None:
    """y = 1, 2, 0 of x = 2, 2, 4: r = 3/8, residuals 1/4, 5/4, -3/2, se = sqrt(3/2 * 31/8) / 8."""
    value, error = ratio(np.array([1.0, 2.0, 0.0]), np.array([2.0, 2.0, 4.0]))
    assert value == 3 / 8
    assert error == pytest.approx(np.sqrt(3 / 2 * 31 / 8) / 8)


def test_with_one_visit_each_it_is_the_error_of_a_mean() -> None:
    """x = 1 for all: the textbook's sd / sqrt(n)."""
    y = stream(2, "test monitor").normal(size=40)
    value, error = ratio(y, np.ones(40))
    assert value == pytest.approx(y.mean())
    assert error == pytest.approx(y.std(ddof=1) / np.sqrt(40))


def test_too_few_users_have_no_error() -> None:
    """None: no ratio; one: no error; users without impressions do not count as clicks."""
    assert all(np.isnan(ratio(np.empty(0), np.empty(0))))
    assert all(np.isnan(ratio(np.zeros(3), np.zeros(3))))
    value, error = ratio(np.array([1.0]), np.array([4.0]))
    assert value == 0.25
    assert np.isnan(error)


def test_the_interval_covers_where_the_naive_one_does_not() -> None:
    """Shoppers who click alike: in 2,000 repetitions the interval by user covers the truth 95 times in 100.

    Each of 800 shoppers has a click rate of her own, Beta(0.5, 4.5), and sees 1 to 60 items. The interval over
    impressions, sqrt(r (1 - r) / n), takes her clicks for independent draws and covers half of the time.
    """
    rng = stream(3, "test monitor")
    repetitions, n_users, truth = 2_000, 800, 0.1
    rate = rng.beta(0.5, 4.5, (repetitions, n_users))
    seen = rng.integers(1, 61, (repetitions, n_users))
    clicks = rng.binomial(seen, rate)
    covered, naive = 0, 0
    for y, x in zip(clicks.astype(float), seen.astype(float), strict=True):
        value, error = ratio(y, x)
        covered += abs(value - truth) < 1.96 * error
        naive += abs(value - truth) < 1.96 * np.sqrt(value * (1 - value) / x.sum())
    assert abs(covered / repetitions - 0.95) < 4 * np.sqrt(0.95 * 0.05 / repetitions)
    assert naive / repetitions < 0.6


N_DAYS = 24

Logged = tuple[EventLog, pd.DataFrame]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Twenty-four live days after one of history; two pages a visit; a third of the clicks is bought, half
    of it three days later."""
    rng = stream(4, "test monitor")
    n = 40 * (N_DAYS + 1)
    rows = pd.DataFrame({"day": np.repeat(np.arange(-1, N_DAYS), 40), "item_id": rng.integers(0, 3, n)})
    rows = rows.assign(visit=np.arange(n) // 4, page=np.arange(n) // 2 % 2, clicked=rng.random(n) < 0.5)
    rows["user_id"] = rows["visit"] % 12
    rows["bought"] = rows["clicked"] & (rng.random(n) < 1 / 3)
    rows["arrives"] = rows["day"] + np.where(rng.random(n) < 0.5, 0, 3)
    log = EventLog(tmp_path_factory.mktemp("log"))
    by_day = {day: impressions(part.drop(columns=["bought", "arrives"])) for day, part in rows.groupby("day")}
    rows["impression_id"] = np.concatenate([table["impression_id"].to_numpy() for table in by_day.values()])

    def told(day: int) -> pa.Table:
        part = rows[rows["bought"] & (rows["arrives"] == day)].assign(day=day)
        return feedback(pd.concat([part.assign(kind=kind, value=5.0) for kind in ("purchase", "rating")]))

    log.import_history(History(impressions=by_day[-1], feedback=told(-1)))
    for day in range(N_DAYS):
        log.append(day, by_day[day], told(day))
    return log, rows


@pytest.mark.parametrize(("days", "until"), [(7, None), (7, 23), (5, 17), (1, 2), (100, None)])
def test_windows_are_counted_as_by_pandas(days: int, until: int | None, logged: Logged) -> None:
    """Visits, clicks and purchases of each window's impressions, as known at the end of the day that is asked for."""
    log, rows = logged
    last = N_DAYS - 1 if until is None else until
    found = windows(log, days=days, until=until)
    seen = rows[(rows["day"] >= 0) & (rows["day"] <= last)]
    known = seen["bought"] & (seen["arrives"] <= last)
    expected = seen.assign(known=known, first_day=seen["day"] // days * days).groupby("first_day")
    assert found.index.tolist() == list(range(0, last + 1, days))
    assert found["visits"].tolist() == expected["visit"].nunique().tolist()
    assert found["purchases"].tolist() == expected["known"].sum().tolist()
    assert found["click_rate"].tolist() == pytest.approx(expected["clicked"].mean().tolist())
    per_visit = expected["clicked"].sum() / expected["visit"].nunique()
    assert found["clicks_per_visit"].tolist() == pytest.approx(per_visit.tolist())


def test_windows_have_intervals_by_user(logged: Logged) -> None:
    """value -+ 1.96 standard errors of the ratio over users, each user's window one draw."""
    log, rows = logged
    found = windows(log).loc[7]
    users = rows[(rows["day"] >= 7) & (rows["day"] < 14)].groupby("user_id")
    visits, clicks, bought = users["visit"].nunique(), users["clicked"].sum(), users["bought"].sum()  # all ripe
    for name, count, unit in (
        ("click_rate", clicks, users.size()),
        ("clicks_per_visit", clicks, visits),
        ("purchases_per_visit", bought, visits),
    ):
        value, error = ratio(np.asarray(count, dtype=float), np.asarray(unit, dtype=float))
        assert found[name] == pytest.approx(value)
        assert found[f"{name}_low"] == pytest.approx(value - 1.96 * error, abs=1e-4)
        assert found[f"{name}_high"] == pytest.approx(value + 1.96 * error, abs=1e-4)


@pytest.mark.parametrize(("until", "ripe"), [(None, 2), (23, 2), (1_000, 2), (22, 1), (18, 1), (17, 0), (0, 0)])
def test_a_window_is_ripe_when_its_purchases_are_in(until: int | None, ripe: int, logged: Logged) -> None:
    """RIPE_AFTER days after its last day, and days that are not logged yet do not count."""
    assert RIPE_AFTER == 14
    log, _ = logged
    flags = windows(log, days=5, until=until)["ripe"].tolist()
    assert flags == [True] * ripe + [False] * (len(flags) - ripe)


@pytest.mark.parametrize(("ripe_after", "ripe"), [(0, 3), (1, 2), (5, 2), (6, 1), (10, 1), (11, 0)])
def test_how_long_purchases_take_can_be_said(ripe_after: int, ripe: int, logged: Logged) -> None:
    """Shops differ: the days of which a window is ripe are a setting, from 0 up."""
    log, _ = logged
    flags = windows(log, days=5, until=14, ripe_after=ripe_after)["ripe"].tolist()
    assert flags == [True] * ripe + [False] * (len(flags) - ripe)
    with pytest.raises(ConfigError, match="ripe_after: -1"):
        windows(log, ripe_after=-1)


def test_an_empty_log_has_no_windows(tmp_path: Path, logged: Logged) -> None:
    """Nor has one with history only, or before day 0; the columns are there all the same."""
    log, _ = logged
    whole = windows(log)
    for none in (windows(EventLog(tmp_path / "nowhere")), windows(log, until=-1)):
        assert len(none) == 0
        assert none.columns.tolist() == whole.columns.tolist()
        assert none.index.name == whole.index.name == "first_day"


@pytest.mark.parametrize("days", [0, -7])
def test_windows_of_no_days_are_refused(days: int, tmp_path: Path) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match="days in a window"):
        windows(EventLog(tmp_path), days=days)
