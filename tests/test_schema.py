import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.schema import (
    IMPRESSIONS,
    NEVER,
    NO_ITEM,
    Catalogue,
    Labels,
    Outcomes,
    Requests,
    Slates,
    arriving,
    check_columns,
    codes_of,
    known,
    to_impressions,
)


def some_impressions(day: int = 3) -> pa.Table:
    """Three requests, two positions: bought at once, bought two days later and rated, and a place with no item."""
    requests = Requests(day=day, user_id=np.array([4, 0, 4]), visit=np.array([0, 0, 1]), n=2)
    slates = Slates(
        requests=requests,
        item_id=np.array([[5, 6], [7, 8], [9, NO_ITEM]]),
        propensity=np.array([[0.5, 0.25], [1.0, 1.0], [np.nan, 1.0]]),
        source=np.zeros((3, 2), dtype=np.int64),
        model_version=Labels.constant("m1", 3),
        arm=Labels.constant("champion", 3),
    )
    bought = np.array([[True, False], [False, True], [False, False]])
    outcomes = Outcomes(
        examined=bought,
        clicked=bought,
        purchased=bought,
        purchase_day=np.where(bought, np.array([[day, NEVER], [NEVER, day + 2], [NEVER, NEVER]]), NEVER),
        rating=np.array([[0, 0], [0, 4], [0, 0]]),
    )
    return to_impressions(slates, outcomes)


def test_impressions_have_the_schema_and_drop_empty_places() -> None:
    """One row for each item shown, in the one schema; an unknown propensity is null."""
    table = some_impressions()
    assert table.schema.equals(IMPRESSIONS)
    assert table["item_id"].to_pylist() == [5, 6, 7, 8, 9]
    assert table["propensity"].to_pylist() == [0.5, 0.25, 1.0, 1.0, None]
    assert table["rating"].to_pylist() == [None, None, None, 4, None]


def test_what_is_known_grows_with_the_days() -> None:
    """On the day itself only what came at once is known; later purchases and their ratings appear on their day."""
    table = some_impressions(day=3)
    assert known(table, 2)["purchased"].to_pylist() == [False] * 5
    assert known(table, 3)["purchased"].to_pylist() == [True, False, False, False, False]
    assert known(table, 4)["rating"].to_pylist() == [None] * 5
    assert known(table, 5).equals(table)
    assert known(table, 3)["purchase_day"].to_pylist() == [3, None, None, None, None]


def test_known_and_arriving_divide_the_purchases() -> None:
    """Every purchase is either known on a day or arrives after it, and none is both."""
    table = some_impressions(day=3)
    for day in range(2, 7):
        seen = set(known(table, day).filter(known(table, day)["purchased"])["impression_id"].to_pylist())
        later = set(arriving(table, day + 1)["impression_id"].to_pylist())
        assert not seen & later
        assert len(seen | later) == 2


@given(
    st.integers(-10_000, 10_000),
    st.integers(0, 2**31 - 1),
    st.integers(0, 255),
    st.integers(0, 2**31 - 1),
    st.integers(-10_000, 10_000),
)
def test_request_ids_are_positive_unique_and_ordered_by_day(
    day: int, user: int, visit: int, other: int, later: int
) -> None:
    """An id says day, user and visit and nothing else."""
    first = Requests(day=day, user_id=np.array([user]), visit=np.array([visit]), n=1).request_id[0]
    second = Requests(day=later, user_id=np.array([other]), visit=np.array([visit]), n=1).request_id[0]
    assert first > 0
    assert (first == second) == ((day, user) == (later, other))
    if day < later:
        assert first < second


def test_taking_requests_keeps_each_ones_exclusions() -> None:
    """A permutation of requests carries along what each of them excludes."""
    requests = Requests(
        day=0,
        user_id=np.array([10, 11, 12]),
        visit=np.zeros(3, dtype=np.int64),
        n=2,
        exclude=np.array([[0, 5], [2, 7]]),
    )
    turned = requests.take(np.array([2, 0]))
    assert turned.user_id.tolist() == [12, 10]
    assert sorted(map(tuple, turned.exclude.tolist())) == [(0, 7), (1, 5)]


def test_a_catalogue_known_early_is_the_first_part_of_the_later_one() -> None:
    """launched_by cuts at the day; items out of order of launch are refused."""

    def catalogue(launch_day: list[int]) -> Catalogue:
        n = len(launch_day)
        return Catalogue(
            name=tuple("abcdef"[:n]),
            category=Labels.constant("toys", n),
            brand=Labels.constant("Alder", n),
            price=np.ones(n),
            margin=np.full(n, 0.3),
            launch_day=np.array(launch_day),
        )

    whole = catalogue([-5, -5, 0, 7])
    assert whole.launched_by(0).name == ("a", "b", "c")
    assert whole.on_sale(7).all()
    with pytest.raises(ConfigError, match="launch"):
        catalogue([0, -5])


def test_a_missing_or_ill_typed_column_is_named() -> None:
    """The error names the place, the column and what to do."""
    table = some_impressions()
    check_columns(table, IMPRESSIONS, "log")
    with pytest.raises(ConfigError, match="log.*add the column clicked"):
        check_columns(table.drop_columns(["clicked"]), IMPRESSIONS, "log")
    with pytest.raises(ConfigError, match="column day.*int32"):
        check_columns(table.set_column(2, "day", pa.array(["x"] * 5)), IMPRESSIONS, "log")


def test_words_become_codes_and_words_again() -> None:
    """codes_of and words are inverse."""
    assert codes_of(["b", "a", "b"]).words() == ["b", "a", "b"]
