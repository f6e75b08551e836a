"""The vocabulary: what passes between the halves is written down whole, in order, and only when it can be known."""

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.schema import (
    NEVER,
    NO_ITEM,
    Bools,
    Catalogue,
    Clicks,
    Labels,
    Outcomes,
    Requests,
    Shoppers,
    Slates,
    codes_of,
    join_outcomes,
    join_slates,
)
from simlab.tables import FEEDBACK, IMPRESSIONS, History, check_columns, to_feedback, to_impressions

PRICE = np.linspace(0.99, 9.99, 10)


def some_slates(day: int = 3) -> tuple[Slates, Outcomes]:
    """Three requests, two positions: two bought at once and returned the day after, one bought two days later and
    rated on day 6, one only clicked, and a place with no item."""
    requests = Requests(
        day=day, user_id=np.array([4, 0, 4]), visit=np.array([0, 0, 1]), n=2, second=np.array([7, 8, 9])
    )
    slates = Slates(
        requests=requests,
        item_id=np.array([[5, 6], [7, 8], [9, NO_ITEM]]),
        propensity=np.array([[0.5, 0.25], [1.0, 1.0], [np.nan, 1.0]]),
        source=np.array([[0, 0], [1, 2], [3, 0]]),
        model_version=Labels.constant("m1", 3),
        arm=Labels(codes=np.array([0, 1, 0]), names=("champion", "challenger")),
        latency_ms=np.array([1.5, 2.5, 0.1]),
    )
    clicks = Clicks(
        place=np.array([0, 3, 4]),
        dwell=np.array([12.0, np.nan, 30.0]),
        units=np.array([2, 1, 0]),
        purchase_day=np.array([day, day + 2, NEVER]),
        rating=np.array([0, 4, 0]),
        rating_day=np.array([NEVER, day + 3, NEVER]),
        return_day=np.array([day + 1, NEVER, NEVER]),
    )
    clicked = np.array([[True, False], [False, True], [True, False]])
    return slates, Outcomes(examined=clicked, clicked=clicked, clicks=clicks)


def some_history(day: int = 3) -> History:
    slates, outcomes = some_slates(day)
    return History(impressions=to_impressions(slates, outcomes), feedback=to_feedback(slates, outcomes, PRICE))


def test_impressions_have_the_schema_and_drop_empty_places() -> None:
    """One row for each item shown, in the one schema; unknown propensities are null, and dwell without a click."""
    table = some_history().impressions
    assert table.schema.equals(IMPRESSIONS)
    assert table["item_id"].to_pylist() == [5, 6, 7, 8, 9]
    assert table["position"].to_pylist() == [0, 1, 0, 1, 0]
    assert table["propensity"].to_pylist() == [0.5, 0.25, 1.0, 1.0, None]
    assert table["dwell"].to_pylist() == [12.0, None, None, None, 30.0]
    assert table["clicked"].to_pylist() == [True, False, False, True, True]
    assert table["second"].to_pylist() == [7, 7, 8, 8, 9]
    assert table["source"].to_pylist() == ["model", "model", "exploration", "fallback", "history"]
    assert table["arm"].to_pylist() == ["champion", "champion", "challenger", "challenger", "champion"]
    assert table["latency_ms"].to_pylist() == np.array([1.5, 1.5, 2.5, 2.5, 0.1], dtype=np.float32).tolist()


def test_feedback_is_what_comes_of_them_by_day() -> None:
    """A row for each purchase, rating and return, on its day, about its impression; two units cost twice the price."""
    history = some_history(day=3)
    shown, told = history.impressions["impression_id"].to_pylist(), history.feedback
    assert told.schema.equals(FEEDBACK)
    assert told.to_pylist() == [
        {"impression_id": shown[0], "item_id": 5, "kind": "purchase", "day": 3, "value": 2 * 5.99},
        {"impression_id": shown[0], "item_id": 5, "kind": "return", "day": 4, "value": 2 * 5.99},
        {"impression_id": shown[3], "item_id": 8, "kind": "purchase", "day": 5, "value": 8.99},
        {"impression_id": shown[3], "item_id": 8, "kind": "rating", "day": 6, "value": 4.0},
    ]


def test_slates_that_nobody_clicks_have_no_feedback() -> None:
    """Nor have no slates: both tables are there, empty, in the schema."""
    slates, outcomes = some_slates()
    nothing = Clicks(**{field.name: getattr(outcomes.clicks, field.name)[:0] for field in fields(Clicks)})
    unseen = Outcomes(examined=outcomes.examined, clicked=outcomes.clicked & False, clicks=nothing)
    assert to_feedback(slates, unseen, PRICE).equals(FEEDBACK.empty_table())
    assert to_impressions(slates, unseen)["dwell"].null_count == 5


def test_what_is_known_grows_with_the_days() -> None:
    """At the end of a day: the rows of both tables up to it, no more and no less."""
    history = some_history(day=3)
    assert [history.known(day).impressions.num_rows for day in (2, 3, 9)] == [0, 5, 5]
    assert [history.known(day).feedback.num_rows for day in (2, 3, 4, 5, 6)] == [0, 1, 2, 3, 4]
    assert history.known(6).feedback.equals(history.feedback)


def test_outcomes_spread_over_the_slates() -> None:
    """One value a click stands at its place; what was bought in the end is where units were."""
    _, outcomes = some_slates()
    assert outcomes.purchased.tolist() == [[True, False], [False, True], [False, False]]
    assert outcomes.spread(outcomes.clicks.units, -1).tolist() == [[2, -1], [-1, 1], [0, -1]]


def test_joined_slates_are_written_as_they_would_be_apart() -> None:
    """Pages of a day, asked for in turn and joined, give the rows of both tables one after the other."""
    slates, outcomes = some_slates()
    later = replace(
        slates,
        requests=replace(slates.requests, page=np.ones(3, dtype=np.int64), exclude=np.array([[2, 9], [0, 5]])),
        item_id=np.array([[1, 2], [3, NO_ITEM], [0, 1]]),
        model_version=Labels(codes=np.array([1, 0, 1]), names=("m2", "m1")),
    )
    parts = [(slates, outcomes), (later, outcomes)]
    whole, came = join_slates([slates, later]), join_outcomes([outcomes, outcomes])
    apart = [row for part in parts for row in to_impressions(*part).to_pylist()]
    assert to_impressions(whole, came).to_pylist() == apart
    told = [row for part in parts for row in to_feedback(*part, PRICE).to_pylist()]
    by_day = sorted(told, key=lambda row: (row["day"], row["kind"], row["impression_id"]))
    found = to_feedback(whole, came, PRICE).to_pylist()
    assert sorted(found, key=lambda row: (row["day"], row["kind"], row["impression_id"])) == by_day
    assert whole.requests.exclude.tolist() == [[5, 9], [3, 5]]
    assert join_slates([slates]) is slates
    assert join_outcomes([outcomes]) is outcomes


def test_a_shopper_waits_as_long_as_the_log_says() -> None:
    """Waiting is kept to the log's precision, and nobody waits where nothing is said."""
    slates, outcomes = some_slates()
    assert to_impressions(slates, outcomes)["latency_ms"][4].as_py() == slates.latency_ms[2]
    assert replace(slates, latency_ms=np.empty(0)).latency_ms.tolist() == [0, 0, 0]


ID = st.tuples(st.integers(-10_000, 10_000), st.integers(0, 2**31 - 1), st.integers(0, 15), st.integers(0, 15))


def request_id(day: int, user: int, visit: int, page: int) -> int:
    asked = Requests(day=day, user_id=np.array([user]), visit=np.array([visit]), page=np.array([page]), n=1)
    return int(asked.request_id[0])


@given(ID, ID, st.booleans(), st.booleans())
def test_request_ids_are_positive_unique_and_ordered(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int], same_user: bool, same_visit: bool
) -> None:
    """An id says day, user, visit and page and nothing else; ids rise with them, and leave 8 bits for positions."""
    if same_user:
        other = (*one[:2], *other[2:])
    if same_visit:
        other = (*one[:3], other[3])
    first, second = request_id(*one), request_id(*other)
    assert 0 < first < 2**63
    assert (first < second) == (one < other)
    assert (first == second) == (one == other)
    assert first % 256 == 0
    assert (first >> 12 == second >> 12) == (one[:3] == other[:3])  # pages of a visit


def test_taking_requests_keeps_what_is_each_ones() -> None:
    """A permutation of requests carries along visit, page, second and what each of them excludes."""
    requests = Requests(
        day=0,
        user_id=np.array([10, 11, 12]),
        visit=np.array([0, 1, 2]),
        n=2,
        page=np.array([3, 4, 5]),
        second=np.array([6, 7, 8]),
        exclude=np.array([[0, 5], [2, 7]]),
    )
    turned = requests.take(np.array([2, 0]))
    found = [getattr(turned, name).tolist() for name in ("user_id", "visit", "page", "second")]
    assert found == [[12, 10], [2, 0], [5, 3], [8, 6]]
    assert turned.request_id.tolist() == requests.request_id[[2, 0]].tolist()
    assert sorted(map(tuple, turned.exclude.tolist())) == [(0, 7), (1, 5)]


def test_exclusions_of_nobody_s_request_are_refused() -> None:
    """Rows count from 0 to the number of requests; the error names the wrong one."""
    for row in (-1, 2):
        with pytest.raises(ConfigError, match=f"row of an exclusion: {row} "):
            Requests(day=0, user_id=np.arange(2), visit=np.zeros(2, dtype=np.int64), n=1, exclude=np.array([[row, 0]]))


def catalogue(launch_day: list[int], retire_day: list[int]) -> Catalogue:
    n = len(launch_day)
    return Catalogue(
        name=tuple("abcdef"[:n]),
        category=Labels.constant("toys", n),
        brand=Labels.constant("Alder", n),
        price=np.ones(n),
        margin=np.full(n, 0.3),
        launch_day=np.array(launch_day),
        retire_day=np.array(retire_day),
    )


def test_a_catalogue_known_early_is_the_first_part_of_the_later_one() -> None:
    """launched_by cuts at the day and hides retirements to come; items out of order of launch are refused."""
    whole = catalogue([-5, -5, 0, 7], [0, 3, NEVER, NEVER])
    assert whole.launched_by(0).name == ("a", "b", "c")
    assert whole.launched_by(0).retire_day.tolist() == [0, NEVER, NEVER]
    assert whole.launched_by(3).retire_day.tolist() == [0, 3, NEVER]
    with pytest.raises(ConfigError, match="launch"):
        catalogue([0, -5], [NEVER, NEVER])


@given(st.integers(-7, 9))
def test_what_is_on_sale_is_known_on_the_day(day: int) -> None:
    """From the day of launch to the day before retirement, and the catalogue known on the day says the same."""
    whole = catalogue([-5, -5, 0, 7], [0, 3, NEVER, 8])
    expected: Bools = np.array([-5 <= day < 0, -5 <= day < 3, day >= 0, day == 7])
    assert whole.on_sale(day).tolist() == expected.tolist()
    known = whole.launched_by(day)
    assert known.on_sale(day).tolist() == expected[: len(known)].tolist()
    assert not expected[len(known) :].any()


def test_shoppers_known_early_are_the_first_part_of_all() -> None:
    """arrived_by cuts after those of the day; shoppers out of order of arrival are refused."""
    segments = codes_of(["old", "new", "new", "old"])
    whole = Shoppers(segment=segments, region=segments, arrival_day=np.array([-9, 0, 0, 4]))
    assert [len(whole.arrived_by(day)) for day in (-10, -9, 0, 3, 4)] == [0, 1, 3, 3, 4]
    assert whole.arrived_by(0).segment.words() == ["old", "new", "new"]
    assert whole.arrived_by(0).arrival_day.tolist() == [-9, 0, 0]
    with pytest.raises(ConfigError, match="arrival"):
        replace(whole, arrival_day=np.array([0, 0, -1, 4]))


def test_a_missing_or_ill_typed_column_is_named() -> None:
    """The error names the place, the column and what to do."""
    table = some_history().impressions
    check_columns(table, IMPRESSIONS, "log")
    with pytest.raises(ConfigError, match="log.*add the column clicked"):
        check_columns(table.drop_columns(["clicked"]), IMPRESSIONS, "log")
    with pytest.raises(ConfigError, match="column day.*int32"):
        check_columns(table.set_column(2, "day", pa.array(["x"] * 5)), IMPRESSIONS, "log")


def test_words_become_codes_and_words_again() -> None:
    """codes_of and words are inverse."""
    assert codes_of(["b", "a", "b"]).words() == ["b", "a", "b"]
