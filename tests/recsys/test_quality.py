"""Clean days pass in silence; each fault put into one is found, by its name, and nothing else is."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import simlab
from simlab.recsys.monitor import daily_metrics
from simlab.recsys.online import OnlineConfig
from simlab.recsys.quality import (
    Finding,
    Usual,
    check_day,
    missing_days,
    usual,
)
from simlab.recsys.registry import Registry
from simlab.recsys.rules import Known
from simlab.recsys.skew import features, profile, skew, unequal
from simlab.schema import Catalogue, Requests
from simlab.tables import FEEDBACK, IMPRESSIONS
from tests.recsys.rows import CATALOGUE

SHOP = {"n_users": 300, "n_items": 120, "history_days": 28}
PAGES = {"rhythm": {"next_page": 0.6}}

CLEAN: dict[str, dict[str, Any]] = {
    "shop": {"world": SHOP},
    "newcomers, pages, epsilon": {
        "preset": "cold-start",
        "days": 9,
        "world": {"n_users": 300, "n_items": 120, **PAGES, "loyalty": {"newcomers_per_week": 100}},
        "online": {"exploration": "epsilon"},
    },
    "thompson, fold-in": {
        "world": SHOP | PAGES,
        "online": {"exploration": "thompson", "fold_in": 1.0, "suppress_days": 7},
    },
    "random, hardly any goods": {
        "training": {"algorithm": "random"},
        "world": SHOP | PAGES | {"n_items": 25, "change": {"price_change": 0.2, "lifetime_days": 30, "stock": 3}},
    },
    "popular, campaign": {
        "training": {"algorithm": "popularity"},
        "segments": False,
        "latency_ms": 80.0,
        "world": SHOP | {"rhythm": {"campaign_day": 1, "campaign_days": 2, "campaign_lift": 2.0}},
        "online": {"exploration": "epsilon", "epsilon": 0.5, "candidates": 20},
    },
    "niche": {"preset": "niche", "world": SHOP},
}
"""Lawful shops of 300 shoppers."""


class Day(NamedTuple):
    """A day, and what the company knew when it began."""

    day: int
    impressions: pa.Table
    feedback: pa.Table
    catalogue: Catalogue
    usual: Usual
    known: Known

    def found(self, **changes: Any) -> list[Finding]:
        """What is wrong with it."""
        one = self._replace(**changes)
        return check_day(one.day, one.impressions, one.feedback, one.catalogue, usual=one.usual, known=one.known)


def days_of(run: simlab.Run) -> list[Day]:
    """The days of a run as the company met them."""
    ids = run.log.sql("select impression_id from impressions where day < 0")["impression_id"].to_numpy()
    random = tuple(name for name in Registry(run.path / "models").versions() if name.startswith("random"))
    seen: list[dict[str, float]] = []
    days = []
    for day in run.log.days:
        impressions, feedback = run.log.day(day)
        catalogue = run.world.catalogue.launched_by(day)
        known = Known(impression_id=ids, random=random, online=run.config.online)
        days.append(Day(day, impressions, feedback, catalogue, usual(seen), known))
        ids = np.append(ids, impressions["impression_id"].to_numpy())
        seen.append(daily_metrics(impressions, feedback, catalogue, day))
    return days


@pytest.mark.parametrize("name", CLEAN)
def test_clean_days_pass_in_silence(name: str, tmp_path: Path) -> None:
    """No finding on any day of a lawful shop, with all that is known or nothing, nor any skew since before day 0."""
    run = simlab.run(**{"days": 5, "out": tmp_path, **CLEAN[name]})
    assert missing_days(run.log.days, until=run.config.days - 1) is None
    rows = run.log.sql("select day, user_id, clicked from impressions")
    impressions, people = pa.Table.from_pandas(rows, preserve_index=False), run.world.shoppers
    before = features(impressions, run.world.catalogue.launched_by(0), people, day=-1)
    trained = json.loads(json.dumps(profile(before)))
    for one in days_of(run):
        assert one.found() == []
        assert one.found(usual=None, known=None) == []
        served = features(impressions, one.catalogue, people, day=one.day)
        assert skew(trained, served, day=one.day) == []
        assert unequal(features(impressions, one.catalogue, people, day=one.day), served, day=one.day) == []


BUSY = {"n_users": 300, "n_items": 120, "history_days": 28, "visits_per_day": 2.0}


def a_day(folder: Path, **settings: Any) -> Day:
    """The last of three days of a busy shop."""
    return days_of(simlab.run(days=3, world=BUSY, out=folder, **settings))[-1]


@pytest.fixture(scope="module")
def exploring(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Three places in ten are left to chance."""
    return a_day(tmp_path_factory.mktemp("epsilon") / "run", online={"exploration": "epsilon", "epsilon": 0.3})


@pytest.fixture(scope="module")
def by_chance(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """All is left to chance."""
    return a_day(tmp_path_factory.mktemp("random") / "run", training={"algorithm": "random"})


@pytest.fixture(scope="module")
def certain(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Nothing is left to chance."""
    return a_day(tmp_path_factory.mktemp("certain") / "run")


Frame = pd.DataFrame
Fault = Callable[[Frame], Frame]


def frame(table: pa.Table) -> Frame:
    """A table with its labels as words, its row numbers 0, 1, 2 .."""
    rows: Frame = table.to_pandas()
    labels = [column for column in rows if isinstance(rows[column].dtype, pd.CategoricalDtype)]
    return rows.astype(dict.fromkeys(labels, object))


def table(rows: Frame, schema: pa.Schema) -> pa.Table:
    """The way back."""
    return pa.Table.from_pandas(rows.reset_index(drop=True), schema=schema, preserve_index=False)


def first(n: int, column: str, value: Any) -> Fault:
    """The first `n` rows have another value."""

    def change(rows: Frame) -> Frame:
        return rows.assign(**{column: rows[column].where(np.arange(len(rows)) >= n, value)})

    return change


def of(kind: str, value: Any) -> Fault:
    """The values of a kind of feedback are changed, by a function or to a number."""

    def change(rows: Frame) -> Frame:
        changed = value(rows["value"]) if callable(value) else value
        return rows.assign(value=rows["value"].where(rows["kind"] != kind, changed))

    return change


def of_source(source: str, value: Any) -> Fault:
    """The propensities of a source are changed, by a function or to a number."""

    def change(rows: Frame) -> Frame:
        changed = value(rows["propensity"]) if callable(value) else value
        return rows.assign(propensity=rows["propensity"].where(rows["source"] != source, changed))

    return change


def no_clicks(rows: Frame) -> Frame:
    return rows.assign(clicked=False, dwell=np.nan)


def a_tenth_of_slates(rows: Frame) -> Frame:
    return rows[rows["request_id"].isin(rows["request_id"].unique()[::10])]


def slates_of_yesterday(rows: Frame) -> Frame:
    return rows.assign(day=rows["day"] - rows["request_id"].isin(rows["request_id"].unique()[:5]).astype(int))


def sent_again(rows: Frame) -> Frame:
    return pd.concat([rows, rows[:7]])


def third_places_lost(rows: Frame) -> Frame:
    return rows[(rows["position"] != 2) | ~rows["request_id"].isin(rows["request_id"].unique()[:5])]


def two_at_a_place(rows: Frame) -> Frame:
    row = rows[(rows["position"] == 3) & (rows["source"] == "model")].index[:4]
    return rows.assign(position=rows["position"].where(~rows.index.isin(row), 4))


def dwell_below_0(rows: Frame) -> Frame:
    return rows.assign(dwell=-rows["dwell"])


def dwell_everywhere(rows: Frame) -> Frame:
    return rows.assign(dwell=3.0)


def equal_chances(rows: Frame) -> Frame:
    return rows.assign(propensity=1 / (50 - rows["position"]))


def a_bot(rows: Frame) -> Frame:
    slates = rows["request_id"].unique()[:120]
    place = np.arange(120)
    asked = Requests(day=2, user_id=np.full(120, 7), visit=4 + place // 12, page=place % 12, n=10)
    copies = rows[rows["request_id"].isin(slates)].copy()
    copies["request_id"] = copies["request_id"].map(dict(zip(slates, asked.request_id, strict=True)))
    copies["impression_id"] = copies["request_id"] + copies["position"]
    return pd.concat([rows, copies.assign(user_id=7)])


IMPRESSION_FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "nothing came": (lambda rows: rows[:0], {"no_impressions"}),
    "hardly anything came": (a_tenth_of_slates, {"few_impressions"}),
    "clicks were not sent": (no_clicks, {"no_clicks"}),
    "a click is empty": (first(3, "clicked", None), {"null"}),
    "yesterday's slates": (slates_of_yesterday, {"another_day"}),
    "sent twice": (sent_again, {"duplicate_impression"}),
    "position 300": (first(3, "position", 300), {"position"}),
    "position -1": (first(3, "position", -1), {"position"}),
    "rows lost": (third_places_lost, {"slate_holes"}),
    "two items at a place": (two_at_a_place, {"slate_holes"}),
    "items from nowhere": (first(3, "item_id", 10_000), {"item_id"}),
    "item -1": (first(3, "item_id", -1), {"item_id"}),
    "user -1": (first(3, "user_id", -1), {"user_id"}),
    "milliseconds": (lambda rows: rows.assign(second=rows["second"] * 1000), {"second"}),
    "second -1": (first(3, "second", -1), {"second"}),
    "latency below 0": (first(3, "latency_ms", -1.0), {"latency_ms"}),
    "dwell below 0": (dwell_below_0, {"dwell"}),
    "dwell without clicks": (dwell_everywhere, {"dwell_without_click"}),
    "another source": (first(3, "source", "magic"), {"source"}),
    "another arm": (first(3, "arm", "left"), {"arm"}),
    "no version": (first(3, "model_version", ""), {"model_version"}),
    "propensity above 1": (first(3, "propensity", 1.5), {"propensity"}),
    "propensity 0": (first(3, "propensity", 0.0), {"propensity"}),
    "no propensity": (first(3, "propensity", np.nan), {"no_propensity"}),
    "chance not divided": (of_source("exploration", 0.3), {"propensity_left"}),
    "another epsilon": (of_source("exploration", lambda p: p * 0.7), {"propensity_left"}),
    "certain, it says": (of_source("model", 1.0), {"propensity_sum"}),
    "half of what is best": (of_source("model", lambda p: p / 2), {"propensity_sum"}),
    "equal chances, it says": (equal_chances, {"propensity_left", "propensity_sum", "repeated_slate"}),
    "a bot": (a_bot, {"one_user"}),
}
"""What can happen to IMPRESSIONS, and the checks that must tell."""

FEEDBACK_FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "nothing came": (lambda rows: rows[:0], {"no_feedback"}),
    "hardly anything came": (lambda rows: rows[::10], {"few_feedback"}),
    "of yesterday": (lambda rows: rows.assign(day=rows["day"].where(rows.index > 4, 1)), {"another_day"}),
    "sent twice": (sent_again, {"duplicate_feedback"}),
    "of nobody": (first(1, "impression_id", 5), {"unknown_impression"}),
    "a value is empty": (first(3, "value", np.nan), {"null"}),
    "items from nowhere": (first(3, "item_id", 10_000), {"feedback_item"}),
    "another kind": (first(3, "kind", "gift"), {"kind"}),
    "ten stars": (of("rating", lambda stars: 2 * stars), {"rating"}),
    "no stars": (of("rating", 0.0), {"rating"}),
    "half stars": (of("rating", 3.5), {"rating"}),
    "sold for nothing": (of("purchase", 0.0), {"value"}),
    "paid to the shopper": (of("return", lambda euros: -euros), {"value"}),
    "cents": (of("purchase", lambda euros: 100 * euros), {"price"}),
    "hundreds of euros": (of("purchase", lambda euros: euros / 100), {"price"}),
    "another currency": (of("purchase", lambda euros: 11 * euros), {"price"}),
}
"""What can happen to FEEDBACK, and the checks that must tell."""


def told(findings: list[Finding]) -> set[str]:
    """The names of the checks, after each finding was looked at."""
    for one in findings:
        assert one.day == 2
        assert (one.count > 0) == (one.share > 0)
        assert one.evidence
        assert one.look
    return {one.check for one in findings}


@pytest.mark.parametrize("name", IMPRESSION_FAULTS)
def test_a_fault_in_impressions_is_found_and_nothing_else(name: str, exploring: Day) -> None:
    """Each fault gives the findings named for it; that feedback is about lost impressions is another test's."""
    fault, checks = IMPRESSION_FAULTS[name]
    rows = frame(exploring.impressions)
    before = exploring.known.impression_id
    assert before is not None
    known = replace(exploring.known, impression_id=np.append(before, rows["impression_id"]))
    assert told(exploring.found(impressions=table(fault(rows), IMPRESSIONS), known=known)) == checks


@pytest.mark.parametrize("name", FEEDBACK_FAULTS)
def test_a_fault_in_feedback_is_found_and_nothing_else(name: str, exploring: Day) -> None:
    """Each fault gives the findings named for it."""
    fault, checks = FEEDBACK_FAULTS[name]
    assert told(exploring.found(feedback=table(fault(frame(exploring.feedback)), FEEDBACK))) == checks


def test_feedback_about_lost_impressions_is_about_what_nobody_was_shown(exploring: Day) -> None:
    """Where a day's impressions are lost, its purchases tell; where none are known nothing is said."""
    rows = frame(exploring.impressions)[:0]
    found = exploring.found(impressions=table(rows, IMPRESSIONS))
    assert told(found) == {"no_impressions", "unknown_impression"}
    found = exploring.found(impressions=table(rows, IMPRESSIONS), known=Known())
    assert told(found) == {"no_impressions"}


@pytest.mark.parametrize("fault", ["first of the slate", "certain", "of twice as many", "no whole number"])
def test_chances_that_are_equal_fall_by_the_items_above(fault: str, by_chance: Day) -> None:
    """A random version says 1/m, 1/(m-1), 1/(m-2) .., m being whole and no more than is on sale."""
    assert by_chance.found() == []
    rows = frame(by_chance.impressions)
    changed = {
        "first of the slate": rows.groupby("request_id")["propensity"].transform("first"),
        "certain": rows["propensity"] * 0 + 1,
        "of twice as many": 1 / (2 * len(by_chance.catalogue) - rows["position"]),
        "no whole number": rows["propensity"] * 0.999,
    }
    found = by_chance.found(impressions=table(rows.assign(propensity=changed[fault]), IMPRESSIONS))
    assert told(found) == {"propensity_left"}


def test_a_slate_drawn_by_chance_does_not_come_twice(by_chance: Day, certain: Day) -> None:
    """Ten of 120 items in the same order come again by a cache; where nothing is left to chance that is usual."""
    for day, checks in ((by_chance, {"repeated_slate"}), (certain, set[str]())):
        rows = frame(day.impressions)
        again = rows[rows["request_id"] == rows["request_id"].iloc[0]]
        visit = 7 << 12
        later = again.assign(request_id=again["request_id"] + visit, impression_id=again["impression_id"] + visit)
        assert told(day.found(impressions=table(pd.concat([rows, later]), IMPRESSIONS))) == checks


@pytest.mark.parametrize(("day", "source"), [("certain", "model"), ("certain", "fallback"), ("exploring", "fallback")])
def test_what_is_certain_has_propensity_1(day: str, source: str, request: pytest.FixtureRequest) -> None:
    """The model's rows where nothing is explored, and those of the fallback everywhere."""
    one: Day = request.getfixturevalue(day)
    rows = frame(one.impressions)
    rows["source"] = rows["source"].where(rows["user_id"] > 20, "fallback")
    rows["propensity"] = rows["propensity"].where(rows["source"] != "fallback", 1.0)
    assert one.found(impressions=table(rows, IMPRESSIONS)) == []
    rows["propensity"] = rows["propensity"].where(rows["source"] != source, 0.9)
    assert told(one.found(impressions=table(rows, IMPRESSIONS))) == {"propensity_sure"}


def test_thompson_s_propensities_are_not_too_small(exploring: Day) -> None:
    """Whatever explores, the mean of 1/P over draws of the best is not above 1 by more than chance."""
    known = replace(exploring.known, online=OnlineConfig(exploration="thompson"))
    assert exploring.found(known=known) == []
    rows = of_source("model", lambda p: p / 2)(frame(exploring.impressions))
    (found,) = exploring.found(known=known, impressions=table(rows, IMPRESSIONS))
    assert found.check == "propensity_sum"
    assert "the first: position 0, slates " in found.evidence


def test_what_is_not_on_sale_cannot_be_shown(exploring: Day) -> None:
    """On its day of retirement an item is not on sale; feedback about it still arrives."""
    goods = exploring.catalogue
    item = int(frame(exploring.impressions)["item_id"].iloc[0])
    gone = replace(goods, retire_day=np.where(np.arange(len(goods)) == item, 2, goods.retire_day))
    assert told(exploring.found(catalogue=gone)) == {"not_on_sale"}


def test_nothing_comes_of_what_is_shown_later(exploring: Day) -> None:
    """An impression_id says its day."""
    rows = frame(exploring.feedback)
    later = table(rows.assign(impression_id=rows["impression_id"] + (10 << 47)), FEEDBACK)
    assert told(exploring.found(feedback=later, known=None)) == {"too_early"}


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_promotions_are_no_fault(factor: float, exploring: Day) -> None:
    """All at half price, or half as dear again."""
    rows = frame(exploring.feedback)
    paid = rows["value"].where(rows["kind"] == "rating", rows["value"] * factor)
    assert exploring.found(feedback=table(rows.assign(value=paid), FEEDBACK)) == []


def test_one_price_in_another_unit_is_enough(exploring: Day) -> None:
    """A single purchase paid a hundred times too much; the evidence says what, where and how much."""
    rows = frame(exploring.feedback)
    one = int(np.flatnonzero(rows["kind"] == "purchase")[3])
    values = rows["value"].where(np.arange(len(rows)) != one, rows["value"] * 100)
    (found,) = exploring.found(feedback=table(rows.assign(value=values), FEEDBACK))
    assert (found.check, found.severity, found.count) == ("price", "error", 1)
    assert found.share == 1 / len(rows)
    assert f"impression_id {rows['impression_id'].iloc[one]}, item_id" in found.evidence


@pytest.mark.parametrize(
    ("name", "column"),
    [("impressions", name) for name in IMPRESSIONS.names] + [("feedback", name) for name in FEEDBACK.names],
)
def test_a_column_that_is_missing_stops_what_needs_it(name: str, column: str, certain: Day) -> None:
    """Missing, of another type or there twice it is one finding, and all else goes on in silence."""
    whole: pa.Table = getattr(certain, name)
    words = pa.array(["?"] * len(whole), pa.large_string())
    retyped = whole.set_column(whole.column_names.index(column), column, words)
    for damaged in (whole.drop_columns([column]), retyped, whole.append_column(column, whole[column])):
        (found,) = certain.found(**{name: damaged})
        assert (found.check, found.severity, found.share) == ("schema", "error", 1)
        assert found.evidence.startswith(f"{name}: the column {column} is ")


def test_what_was_not_checked_is_told(certain: Day) -> None:
    """By name, so that silence about it is not taken for health."""
    (found,) = certain.found(impressions=certain.impressions.drop_columns(["clicked"]))
    assert "is missing; not checked: dwell_without_click, no_clicks" in found.evidence
    (found,) = certain.found(feedback=certain.feedback.drop_columns(["value"]))
    assert "is missing; not checked: rating, value, price" in found.evidence


def test_a_column_that_nobody_knows_is_told(certain: Day) -> None:
    """It is a warning: nothing is lost by it."""
    (found,) = certain.found(feedback=certain.feedback.append_column("mood", certain.feedback["day"]))
    assert (found.check, found.severity) == ("schema", "warning")


def test_other_faults_are_found_beside_a_missing_column(exploring: Day) -> None:
    """What can be checked is checked."""
    rows = first(3, "second", -1)(frame(exploring.impressions))
    found = exploring.found(impressions=table(rows, IMPRESSIONS).drop_columns(["propensity", "item_id"]))
    assert sorted(one.check for one in found) == ["schema", "schema", "second"]


@pytest.mark.parametrize(
    ("impressions", "usual", "severity"),
    [
        (pa.table({}), None, "error"),
        (IMPRESSIONS.empty_table(), None, "error"),
        (IMPRESSIONS.empty_table(), Usual(impressions=20), "error"),
        (IMPRESSIONS.empty_table(), Usual(impressions=8), "warning"),
        (IMPRESSIONS.empty_table(), Usual(impressions=0), "warning"),
    ],
)
def test_a_day_without_impressions_is_never_fine(impressions: pa.Table, usual: Usual | None, severity: str) -> None:
    """Whatever is usual and whatever is missing, it is found; an error where 20 rows or more are usual, or unknown."""
    found = check_day(2, impressions, FEEDBACK.empty_table(), CATALOGUE, usual=usual)
    assert [one.severity for one in found if one.check == "no_impressions"] == [severity]


@pytest.mark.parametrize(("usual", "many"), [(None, 4000), (Usual(impressions=1000.0, clicks=20.0), 1000)])
def test_no_clicks_of_many_impressions_are_an_alarm(usual: Usual | None, many: int, certain: Day) -> None:
    """None where 20 were to be expected, by the usual rate or a poor shop's; fewer impressions may have none."""
    rows = no_clicks(frame(certain.impressions))
    assert len(rows) > many
    rows = rows.assign(position=0, request_id=rows["impression_id"])
    for n, checks in ((many, {"no_clicks"}), (many - 10, set[str]())):
        some = table(rows[:n], IMPRESSIONS)
        assert told(check_day(2, some, FEEDBACK.empty_table(), certain.catalogue, usual=usual)) == checks


def test_what_is_usual_is_the_median_of_days() -> None:
    """One dead day does not move it; without days nothing is known."""
    day = {"impressions": 100.0, "clicks": 6.0, "purchases": 1.0, "ratings": 2.0, "returns": 3.0, "gini": 0.5}
    dead = dict.fromkeys(day, 0.0)
    assert usual([day, dead, day]) == Usual(impressions=100, clicks=6, feedback=6)
    assert usual([]) == Usual()


def test_missing_days_are_told() -> None:
    """Those of 0 .. until that are not there, whatever comes later and in whatever order."""
    assert missing_days([2, 0, 1, 9], until=2) is None
    found = missing_days([5, 0, 3], until=4)
    assert found is not None
    assert (found.day, found.count, found.share, found.severity) == (1, 3, 3 / 5, "error")
    assert missing_days([], until=0) is not None
