"""Ratings as a log and as the public part of a world."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.datasets import Ratings, observed, sample, to_impressions
from simlab.datasets.ratings import DAY
from simlab.errors import ConfigError
from simlab.schema import IMPRESSIONS, check_columns


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


ROW = st.tuples(
    st.integers(0, 3), st.integers(0, 4), st.sampled_from([0.5, 1, 1.5, 2, 3, 4.5, 5]), st.integers(0, 5 * DAY)
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=60))
def test_each_rating_becomes_one_impression(rows: list[tuple[int, int, float, int]]) -> None:
    """Clicked, bought and rated on its day; ids are unique; the last day is -1; half stars go up."""
    ratings = ratings_of(rows)
    table = to_impressions(ratings)
    check_columns(table, IMPRESSIONS, "log")
    last = max(time // DAY for *_, time in rows)
    expected = sorted((time // DAY - last - 1, user, item, int(np.ceil(rating))) for user, item, rating, time in rows)
    columns = [table[name].to_pylist() for name in ("day", "user_id", "item_id", "rating")]
    assert sorted(zip(*columns, strict=True)) == expected
    assert table["purchase_day"] == table["day"]
    assert pc.all(table["clicked"]).as_py()
    assert pc.all(table["purchased"]).as_py()
    assert table["propensity"].null_count == len(rows)
    assert len(pc.unique(table["impression_id"])) == len(rows)
    for name, word in (("model_version", "organic"), ("arm", "history"), ("source", "history")):
        assert pc.unique(table[name]).to_pylist() == [word]


def test_a_user_may_rate_thousands_in_a_day() -> None:
    """Past 256 visits positions go on, and ids stay unique and say day and user."""
    n = 3000
    rows = [(3, k % 5, 4.0, 7 * DAY + k) for k in range(n)] + [(0, 0, 1.0, 8 * DAY)]
    table = to_impressions(ratings_of(rows))
    assert len(pc.unique(table["impression_id"])) == n + 1
    assert table["item_id"].to_pylist()[:n] == [k % 5 for k in range(n)]  # in order of time
    assert table["position"].to_pylist()[:257] == [0] * 256 + [1]
    decoded = np.asarray(table["impression_id"])
    assert ((decoded >> 47) - (1 << 15)).tolist() == table["day"].to_pylist()
    assert ((decoded >> 16) & (2**31 - 1)).tolist() == table["user_id"].to_pylist()


def test_public_features_come_from_the_data_or_say_unknown() -> None:
    """Category: first genre that is one; brand: decade; people of whom nothing is known are all alike."""
    ratings = ratings_of([(0, 0, 5, 0), (3, 4, 2, DAY)])
    seen = observed(ratings, seed=0)
    assert seen.catalogue.category.words() == ["Drama", "unknown", "Comedy", "Drama", "Drama"]
    assert seen.catalogue.brand.words() == ["1990s", "unknown", "2000s", "2000s", "1910s"]
    assert set(seen.shoppers.segment.words()) == set(seen.shoppers.region.words()) == {"unknown"}
    assert seen.catalogue.on_sale(-2).all()
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
