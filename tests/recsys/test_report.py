"""A report counts right, says what it cannot know yet, and compares nothing that is not ripe."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simlab
from simlab.errors import ConfigError, DataError
from simlab.lab.run import Run
from simlab.recsys.log import EventLog
from simlab.recsys.monitor import RIPE_AFTER
from simlab.recsys.report import Report, report
from simlab.schema import GUESTS, Floats, Labels, Shoppers
from simlab.streams import stream
from simlab.tables import FEEDBACK
from tests.recsys.rows import CATALOGUE, feedback, impressions

PEOPLE = Shoppers(
    segment=Labels(codes=np.array([0, 1, 0]), names=("teens", "school")),
    region=Labels.constant("north", 3),
    arrival_day=np.array([0, 0, 30]),
)

ROWS = pd.DataFrame(
    [
        # visit, user, item, position, clicked, version
        (1, 0, 0, 0, True, "a"),
        (1, 0, 1, 1, False, "a"),
        (2, 1, 1, 0, True, "b"),
        (2, 1, 2, 1, True, "b"),
        (3, 0, 1, 0, False, "a"),
        (4, GUESTS, 0, 0, False, "fallback-popular"),
    ],
    columns=["visit", "user_id", "item_id", "position", "clicked", "model_version"],
).assign(day=1)


def logged(path: Path) -> EventLog:
    """Three visits of two shoppers and one of a guest on day 1; one purchase on the day, and on day 3 another and
    the return of the first; one orphan."""
    log = EventLog(path / "log")
    log.append(0, impressions(ROWS.iloc[:0]), FEEDBACK.empty_table())
    rows = ROWS.assign(latency_ms=[10.0, 10.0, 20.0, 20.0, 30.0, 40.0])
    shown = impressions(rows)
    ids = shown["impression_id"].to_numpy()
    words = ["impression_id", "item_id", "kind", "day", "value"]
    first = [(ids[0], 0, "purchase", 1, 3.0), (99, 1, "purchase", 1, 9.0)]
    later = [(ids[2], 1, "purchase", 3, 10.0), (ids[0], 0, "return", 3, 3.0)]
    log.append(1, shown, feedback(pd.DataFrame(first, columns=words)))
    log.append(3, impressions(ROWS.iloc[:0]), feedback(pd.DataFrame(later, columns=words)))
    return log


def value(told: Report, metric: str, by: str = "all", group: str = "all") -> float:
    return float(told.rate(metric, by, group)["value"])


def test_a_window_is_counted(tmp_path: Path) -> None:
    """By hand: four visits, six impressions, three clicks, and what has come of them by then."""
    log = logged(tmp_path)
    early, late = (report(log, CATALOGUE, PEOPLE, 1, 1, known) for known in (1, 3))
    assert early.volume == {
        "impressions": 6,
        "visits": 4,
        "slates": 4,
        "users": 3,
        "clicks": 3,
        "purchases": 1,
        "revenue": 3.0,
        "margin": pytest.approx(3.0 * 0.8),
    }
    assert (late.volume["purchases"], late.volume["revenue"]) == (2, 13.0)
    assert [value(early, name) for name in ("click_rate", "clicks_per_visit", "conversion")] == [0.5, 0.75, 1 / 3]
    assert value(late, "margin_per_visit") == pytest.approx(10.0 * 0.5 / 4)
    assert early.rungs == {"personal": 0.75, "segment": 0.0, "popular": 0.25, "static": 0.0}
    assert early.latency_ms["p50"] == 25.0
    assert early.join_rate == 0.5


def test_a_window_is_cut_every_way(tmp_path: Path) -> None:
    """Each group has its own rates; a group of shoppers that nobody knows is the guests'."""
    told = report(logged(tmp_path), CATALOGUE, PEOPLE, 1, 1, 3)
    assert value(told, "clicks_per_visit", "model_version", "a") == 0.5
    assert value(told, "clicks_per_visit", "segment", "school") == 2.0
    assert value(told, "clicks_per_visit", "segment", "guest") == 0.0
    assert value(told, "click_rate", "position", "1") == 0.5
    assert value(told, "click_rate", "item", "new") == 0.5
    with pytest.raises(DataError, match=r"rate of the report: \('arm', 'canary', 'click_rate'\)"):
        told.rate("click_rate", "arm", "canary")


def test_missing_days_are_named(tmp_path: Path) -> None:
    """A day without a folder is missing; one on which nothing was shown is not."""
    assert report(logged(tmp_path), CATALOGUE, PEOPLE, 0, 3, 3).missing_days == (2,)


def test_a_window_that_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    """One in which nothing was shown, and days in the wrong order."""
    log = logged(tmp_path)
    with pytest.raises(DataError, match=r"days of a report: \(2, 3\)"):
        report(log, CATALOGUE, PEOPLE, 2, 3, 3)
    for days in ((2, 1, 3), (1, 3, 2)):
        with pytest.raises(ConfigError, match="days of a report"):
            report(log, CATALOGUE, PEOPLE, *days)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return simlab.run(days=30, world={"n_users": 500}, seed=5, out=tmp_path_factory.mktemp("run") / "run")


def reported(run: Run, first: int, last: int, known: int) -> Report:
    world = run.world
    return report(run.log, world.catalogue, world.shoppers, first, last, known)


def test_a_report_agrees_with_the_days_own_metrics(run: Run) -> None:
    """Visits, slates, impressions and clicks of a week are the sums of what each evening counted."""
    told, days = reported(run, 14, 20, 29), run.metrics.loc[14:20]
    for name in ("visits", "slates", "impressions", "clicks"):
        assert told.volume[name] == days[name].sum()
    assert told.missing_days == ()
    assert told.join_rate == 1.0
    assert sum(told.rungs.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(("known", "ripe"), [(20 + RIPE_AFTER - 1, False), (20 + RIPE_AFTER, True)])
def test_a_young_window_says_so_and_is_not_compared(run: Run, known: int, ripe: bool) -> None:
    """Its purchases are still to come: only what is whole on the same evening can be set against another window."""
    day = min(known, 29)
    told = reported(run, 20 + day - known, 20 + day - known, day)
    before = reported(run, 0, 6, 29)
    assert told.ripe == ripe
    assert told.maturity == pytest.approx(1.0, abs=0.05)
    compared = set(told.against(before)["metric"])
    assert compared >= {"click_rate", "clicks_per_visit"}
    assert ("purchases_per_visit" in compared) == ripe


def test_maturity_is_the_share_of_purchases_that_has_come(run: Run) -> None:
    """Told beforehand from ripe days' delays, it is what later turns out, to three standard errors."""
    young, old = reported(run, 13, 15, 15), reported(run, 13, 15, 29)
    bought = old.volume["purchases"]
    share = young.volume["purchases"] / bought
    assert young.maturity < 0.9
    assert abs(young.maturity - share) < 3 * np.sqrt(share * (1 - share) / bought) + 0.03


def test_foreseen_purchases_need_no_purchase_of_the_window(run: Run) -> None:
    """What clicks imply is the same on the same evening's clicks, and near to what comes; the counted so far is not."""
    young, old = reported(run, 13, 15, 15), reported(run, 13, 15, 29)
    came = float(old.rate("purchases_per_visit")["value"])
    so_far = float(young.rate("purchases_per_visit")["value"])
    foreseen, low, high = young.foreseen
    assert low < foreseen < high
    assert abs(foreseen - came) < 0.15 * came
    assert so_far < 0.85 * came


def test_a_change_has_an_interval_that_knows_of_both_windows(run: Run) -> None:
    """A window against itself has not changed; against another, the interval is wider than either's own."""
    one, other = reported(run, 0, 6, 29), reported(run, 7, 13, 29)
    same = one.against(one)
    assert np.allclose(same["change"], 0)
    changes = other.against(one)
    row = changes[(changes["by"] == "all") & (changes["metric"] == "clicks_per_visit")].iloc[0]
    own = other.rate("clicks_per_visit")
    assert float(row["high"] - row["change"]) > float((own["high"] - own["value"]) / own["value"])


def clicks_by(p: Floats, days: int, path: Path) -> EventLog:
    """A log of so many days with 400 visits each, where position and item alone decide of clicks; p (n, items)."""
    log, rng = EventLog(path / "log"), stream(1, "test", "clicks")
    n, n_items = p.shape
    for day in range(days):
        visit = np.repeat(np.arange(400) + 400 * day, n)
        position = np.tile(np.arange(n), 400)
        item_id = np.argsort(rng.random((400, n_items)), axis=1)[:, :n].ravel()
        rows = pd.DataFrame({"visit": visit, "user_id": visit % 100, "item_id": item_id, "position": position})
        clicked = rng.random(len(rows)) < p[position, item_id]
        log.append(day, impressions(rows.assign(day=day, clicked=clicked)), FEEDBACK.empty_table())
    return log


def test_foretold_clicks_come_where_position_and_item_decide(tmp_path: Path) -> None:
    """In a world of that kind each tenth's clicks are what was foretold, but for chance."""
    p = np.outer([1.0, 0.6, 0.3], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    goods = replace(CATALOGUE, launch_day=np.full(6, -9), retire_day=np.full(6, 99))
    people = Shoppers(
        segment=Labels.constant("all", 100), region=Labels.constant("all", 100), arrival_day=np.zeros(100, dtype=int)
    )
    told = report(clicks_by(p, 35, tmp_path), goods, people, 28, 34, 34).calibration
    width = (told["high"] - told["low"]) / 2
    assert (np.abs(told["foretold"] - told["clicked"]) < 2 * width).all()
    assert told["impressions"].sum() == 7 * 400 * 3
    assert told["foretold"].is_monotonic_increasing


def test_a_visit_of_two_versions_counts_in_each(tmp_path: Path) -> None:
    """Page 0 by one, page 1 by the other: each group has the visit, and its own clicks; all have it once."""
    log, n = EventLog(tmp_path / "log"), 60
    pages = [
        pd.DataFrame({"visit": range(n), "user_id": np.arange(n) % 40, "page": page, "model_version": version})
        for page, version in enumerate(("a", "b"))
    ]
    rows = pd.concat(pages, ignore_index=True).assign(day=0, item_id=0, position=0)
    clicked = np.where(rows["model_version"] == "a", rows["visit"] % 2 == 0, rows["visit"] % 3 == 0)
    log.append(0, impressions(rows.assign(clicked=clicked)), FEEDBACK.empty_table())
    told = report(log, CATALOGUE, PEOPLE, 0, 0, 0)
    assert value(told, "clicks_per_visit", "model_version", "a") == pytest.approx(1 / 2)
    assert value(told, "clicks_per_visit", "model_version", "b") == pytest.approx(1 / 3)
    assert value(told, "clicks_per_visit") == pytest.approx(1 / 2 + 1 / 3)
    assert told.rate("clicks_per_visit", "model_version", "b")["users"] == 40


def test_few_shoppers_have_no_interval(tmp_path: Path) -> None:
    """Nor have those who have not clicked at all: no click of few is no proof that nobody clicks."""
    told = report(logged(tmp_path), CATALOGUE, PEOPLE, 1, 1, 3)
    assert np.isnan(told.rates["low"]).all()
    assert np.isnan(told.against(told)["high"]).all()


def test_what_nobody_measured_is_left_out(tmp_path: Path) -> None:
    """A shop without known shoppers, and slates whose latency is not there."""
    log = EventLog(tmp_path / "log")
    log.append(0, impressions(ROWS.assign(day=0, latency_ms=[np.nan] * 4 + [30.0, 50.0])), FEEDBACK.empty_table())
    nobody = Shoppers(segment=Labels.constant("x", 0), region=Labels.constant("x", 0), arrival_day=np.zeros(0, int))
    told = report(log, CATALOGUE, nobody, 0, 0, 0)
    assert told.latency_ms["p50"] == 40.0
    assert value(told, "clicks_per_visit", "segment", "guest") == 0.75
