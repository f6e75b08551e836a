"""Ratings as a log and as the public part of a world."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.datasets import Ratings, observed, sample, to_history
from simlab.datasets.ratings import DAY
from simlab.errors import ConfigError
from simlab.schema import NEVER, Requests
from simlab.tables import FEEDBACK, IMPRESSIONS, check_columns


def ratings_of(rows: list[tuple[int, int, float, int]], n_users: int = 4, n_items: int = 5) -> Ratings:
    user_id, item_id, rating, timestamp = (np.array(column) for column in zip(*rows, strict=True))
    return Ratings(
        name="made up",
        user_id=user_id,
        item_id=item_id,
        rating=rating.astype(float),
        timestamp=timestamp,
        user_key=np.arange(n_users) + 100,
        item_key=np.arange(n_items) + 200,
        title=tuple(f"Film {item}" for item in range(n_items)),
        genres=(("unknown", "Drama"), (), ("Comedy",), ("Drama",), ("Drama", "Comedy"))[:n_items],
        year=np.array([1995, 0, 2003, 2009, 1919])[:n_items],
    )


PRICE = np.array([9.99, 5.0, 12.5, 7.25, 20.0])

ROW = st.tuples(
    st.integers(0, 3), st.integers(0, 4), st.sampled_from([0.5, 1, 1.5, 2, 3, 4.5, 5]), st.integers(0, 5 * DAY)
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=60))
def test_each_rating_becomes_one_impression(rows: list[tuple[int, int, float, int]]) -> None:
    """Clicked, bought and rated on its day; ids are unique; the last day is -1; half stars go up."""
    ratings = ratings_of(rows)
    history = to_history(ratings, PRICE)
    shown, told = history.impressions, history.feedback
    check_columns(shown, IMPRESSIONS, "log")
    check_columns(told, FEEDBACK, "log")
    last = max(time // DAY for *_, time in rows)
    expected = sorted(
        (time // DAY - last - 1, time % DAY, user, item, PRICE[item], np.ceil(rating))
        for user, item, rating, time in rows
    )
    came = told.to_pandas().astype({"kind": "str"}).set_index("impression_id")
    found = shown.to_pandas().set_index("impression_id")[["day", "second", "user_id", "item_id"]]
    for kind in ("purchase", "rating"):
        part = came[came["kind"] == kind]
        assert part[["day", "item_id"]].sort_index().equals(found[["day", "item_id"]].sort_index())
        found = found.assign(**{kind: part["value"]})
    assert sorted(found.itertuples(index=False, name=None)) == expected
    assert told.num_rows == 2 * len(rows)
    assert told["day"].to_pylist() == sorted(told["day"].to_pylist())
    assert pc.all(shown["clicked"]).as_py()
    assert len(pc.unique(shown["impression_id"])) == len(rows)
    for name in ("propensity", "latency_ms", "dwell"):
        assert shown[name].null_count == len(rows)
    for name, word in (("model_version", "organic"), ("arm", "history"), ("source", "history")):
        assert pc.unique(shown[name]).to_pylist() == [word]


def test_a_user_may_rate_thousands_in_a_day() -> None:
    """Sixteen slates of one to a visit; past 256 of them positions go on, and ids stay unique and say what they say."""
    n = 3000
    rows = [(3, k % 5, 4.0, 7 * DAY + k) for k in range(n)] + [(0, 0, 1.0, 8 * DAY)]
    table = to_history(ratings_of(rows), PRICE).impressions
    assert len(pc.unique(table["impression_id"])) == n + 1
    assert table["item_id"].to_pylist()[:n] == [k % 5 for k in range(n)]  # in order of time
    assert table["position"].to_pylist()[:257] == [0] * 256 + [1]
    asked = [
        Requests(day=day, user_id=np.array([user]), visit=np.array([visit]), page=np.array([page]), n=1).request_id[0]
        for day, user, visit, page in [(-2, 3, 0, 0), (-2, 3, 0, 1), (-2, 3, 1, 0), (-2, 3, 15, 15), (-1, 0, 0, 0)]
    ]
    assert table["request_id"].take([0, 1, 16, 255, n]).to_pylist() == asked
    assert (
        table["impression_id"].to_pylist()
        == (np.asarray(table["request_id"]) | np.asarray(table["position"]).astype(np.int64)).tolist()
    )


def test_more_ratings_in_a_day_than_ids_are_refused() -> None:
    """65,536 of a user, and not one more."""
    for n in (65_536, 65_537):
        same = np.zeros(n, dtype=np.int64)
        ratings = replace(
            ratings_of([(0, 0, 5, 0)]), user_id=same, item_id=same, rating=np.full(n, 3.0), timestamp=same
        )
        if n == 65_536:
            assert len(pc.unique(to_history(ratings, PRICE).impressions["impression_id"])) == n
        else:
            with pytest.raises(ConfigError, match="made up, ratings of one user on one day"):
                to_history(ratings, PRICE)


def test_public_features_come_from_the_data_or_say_unknown() -> None:
    """Category: first genre that is one; brand: decade; people of whom nothing is known are all alike."""
    ratings = ratings_of([(0, 0, 5, 0), (3, 4, 2, DAY)])
    seen = observed(ratings, seed=0)
    assert seen.catalogue.category.words() == ["Drama", "unknown", "Comedy", "Drama", "Drama"]
    assert seen.catalogue.brand.words() == ["1990s", "unknown", "2000s", "2000s", "1910s"]
    assert set(seen.shoppers.segment.words()) == set(seen.shoppers.region.words()) == {"unknown"}
    first = ratings.day.min()
    assert seen.catalogue.on_sale(first).all()
    assert not seen.catalogue.on_sale(first - 1).any()
    assert set(seen.catalogue.retire_day) == {NEVER}
    assert len(seen.shoppers.arrived_by(first)) == 4
    assert len(seen.shoppers.arrived_by(first - 1)) == 0
    known = replace(ratings, age=np.array([17, 18, 60, 49]), occupation=("writer", "artist", "none", "none"))
    shoppers = observed(known, seed=0).shoppers
    assert shoppers.segment.words() == ["under 18", "18-24", "56 and over", "45-49"]
    assert shoppers.region.words() == ["writer", "artist", "none", "none"]


def test_choices_are_in_order_of_time_within_each_user() -> None:
    """Whatever the order of the file."""
    seen = observed(ratings_of([(1, 0, 5, 30), (0, 1, 4, 20), (1, 2, 3.5, 10), (0, 3, 2, 5)]), seed=0)
    assert seen.user_id.tolist() == [0, 0, 1, 1]
    assert seen.item_id.tolist() == [3, 1, 2, 0]
    assert seen.rating.tolist() == [2, 4, 4, 5]


def test_a_price_belongs_to_the_item(movielens: Ratings) -> None:
    """The first items cost the same where there are only few, and prices are prices."""
    few = ratings_of([(0, 0, 5, 0)])
    prices = observed(movielens, seed=0).catalogue.price
    assert observed(few, seed=0).catalogue.price.tolist() == prices[:5].tolist()
    assert (prices > 0).all()
    assert observed(movielens, seed=1).catalogue.price.tolist() != prices.tolist()


def test_a_sample_keeps_what_it_keeps(movielens: Ratings) -> None:
    """Some users, the items that most of them rated, and all ratings between them, with original ids and titles."""
    part = sample(movielens, 100, 200, seed=1)
    assert (part.n_users, part.n_items) == (100, 200)
    whole = set(zip(movielens.user_key[movielens.user_id], movielens.item_key[movielens.item_id], strict=True))
    kept = list(zip(part.user_key[part.user_id], part.item_key[part.item_id], strict=True))
    assert set(kept) == {(u, i) for u, i in whole if u in part.user_key and i in part.item_key}
    assert all(movielens.title[key - 1] == title for key, title in zip(part.item_key, part.title, strict=True))
    everything = sample(movielens, 100, seed=1)
    assert everything.user_key.tolist() == part.user_key.tolist()
    count = np.bincount(everything.item_id)
    assert count.min() > 0
    assert np.sort(count)[-200:].sum() == len(part)
    assert len(sample(movielens, 10**6)) == 100_000


def test_a_sample_of_nothing_is_refused(movielens: Ratings) -> None:
    """At least one user and one item."""
    with pytest.raises(ConfigError, match="n_users"):
        sample(movielens, 0)
    with pytest.raises(ConfigError, match="n_items"):
        sample(movielens, 5, 0)
