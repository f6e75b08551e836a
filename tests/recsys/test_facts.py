"""Facts are what the log says, day by day, whoever reads it and when."""

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest

from simlab.errors import RunError
from simlab.lab.loop import run
from simlab.lab.run import Run
from simlab.recsys.facts import DayFacts, Facts
from simlab.schema import GUESTS, NEVER
from tests.recsys.days import MadeDays, goods, people

DAYS = 9


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Nine days with launches and newcomers, and a champion from the sixth day on that is another one."""
    return run(
        days=DAYS,
        seed=3,
        retrain="scheduled:5",
        out=tmp_path_factory.mktemp("facts") / "run",
        world={
            "n_users": 150,
            "n_items": 50,
            "history_days": 14,
            "new_items_per_week": 5,
            "loyalty": {"newcomers_per_week": 200},
        },
    )


@pytest.fixture
def facts(shop: Run) -> Facts:
    """Nothing has been read yet."""
    return Facts(shop.log, shop.world.catalogue, shop.world.shoppers)


def same(one: DayFacts, other: DayFacts) -> bool:
    """Whether two summaries say the same."""
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(DayFacts))


def test_totals_are_those_of_the_log(shop: Run, facts: Facts) -> None:
    """Impressions and clicks by day, as SQL counts them."""
    counted = shop.log.sql(
        "select day, count(*) as n, sum(clicked::int)::bigint as clicks from impressions where day >= 0 "
        "group by day order by day"
    )
    for day in range(DAYS):
        one = facts.day(day)
        assert (one.day, one.impressions, one.clicks) == tuple(counted.iloc[day])
        assert one.of_first_day.sum() == one.impressions


def test_a_window_is_what_the_champion_showed(shop: Run, facts: Facts) -> None:
    """By shopper and category, over the days that are asked for, in any order."""
    rows = shop.log.sql("select user_id, item_id, clicked from impressions where day in (1, 2, 7) and source = 'model'")
    category = shop.world.catalogue.category.codes[rows["item_id"]]
    window = facts.window([7, 1, 2])
    expected = np.zeros(window.shown.shape)
    np.add.at(expected, (rows["user_id"].to_numpy(), category), 1)
    assert np.array_equal(window.shown, expected)
    clicked = np.zeros(window.shown.shape)
    np.add.at(clicked, (rows["user_id"].to_numpy(), category), rows["clicked"].to_numpy())
    assert np.array_equal(window.clicked, clicked)
    assert facts.click_rate([1, 2, 7]) == clicked.sum() / expected.sum()


def test_what_is_new_is_known_by_arrival_and_launch(shop: Run, facts: Facts) -> None:
    """The first day of a row is the later one of its shopper's and its item's."""
    rows = shop.log.sql("select user_id, item_id from impressions where day = 8")
    arrived = shop.world.shoppers.arrival_day[rows["user_id"]]
    first = np.maximum(arrived, shop.world.catalogue.launch_day[rows["item_id"]])
    one = facts.day(8)
    assert dict(zip(one.first_day, one.of_first_day)) == {day: (first == day).sum() for day in np.unique(first)}
    assert 7 in one.first_day


def test_champions_are_told_with_their_first_days(facts: Facts) -> None:
    """A company of which the log speaks of two models."""
    assert facts.champions(0) == []
    assert facts.champions(5) == [("lightfm-day00000", 0)]
    assert facts.champions(DAYS) == [("lightfm-day00000", 0), ("lightfm-day00005", 5)]


def test_facts_are_read_again_the_same(shop: Run, facts: Facts) -> None:
    """In another order, by another reader."""
    other = Facts(shop.log, shop.world.catalogue, shop.world.shoppers)
    backwards = {day: other.day(day) for day in reversed(range(DAYS))}
    assert all(same(facts.day(day), backwards[day]) for day in range(DAYS))


def test_later_days_of_the_world_tell_nothing(shop: Run, facts: Facts) -> None:
    """Who knows only the goods and the people of a day knows as much of it."""
    world = shop.world
    then = Facts(shop.log, world.catalogue.launched_by(6), world.shoppers.arrived_by(6))
    assert same(then.day(6), facts.day(6))


def test_a_day_that_was_not_logged_is_refused(facts: Facts) -> None:
    """The morning of a day knows nothing of it."""
    with pytest.raises(RunError, match="day of the log"):
        facts.day(DAYS)


class WithStrangers:
    """A log of which some rows are guests', some the fallback's and some a challenger's, and one day has no row."""

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The rows of `day`."""
        table, feedback = MadeDays().day(day)
        n = len(table)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        columns["user_id"][: n // 2] = [GUESTS + place for place in range(n // 2)]
        columns["source"][-1] = "fallback"
        columns["arm"][-2], columns["model_version"][-2] = "challenger", "rival"
        made = pa.table(columns, schema=table.schema)
        return made.slice(0, 0 if day == 1 else n), feedback


def test_guests_fallback_and_rivals_are_not_the_champion_s() -> None:
    """They are counted among all rows, and in no window; a day without rows leaves the champion as it was."""
    facts, log = Facts(WithStrangers(), goods(), people()), WithStrangers()
    n = len(log.day(0)[0])
    one = facts.day(0)
    assert one.impressions == n
    assert one.shown.sum() == n - n // 2 - 2
    assert dict(zip(one.first_day, one.of_first_day))[NEVER] == n // 2
    assert facts.window([0]).shown.shape[0] <= len(people())
    assert facts.champions(3) == [("model-day00000", 0)]
    assert facts.click_rate([1]) == 0.0
    assert facts.window([1]).shown.sum() == facts.window([]).clicked.sum() == 0
