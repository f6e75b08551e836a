"""Features as served are held against features as trained: equal ones pass, shifted and scaled ones are named."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from simlab.recsys.skew import Features, features, profile, skew, unequal
from simlab.schema import NEVER, Catalogue, Labels, Shoppers
from simlab.streams import stream

GOODS = Catalogue(
    name=("yo-yo", "duck", "kite"),
    category=Labels(codes=np.array([1, 0, 1]), names=("bath", "outdoors")),
    brand=Labels.constant("Alder", 3),
    price=np.array([3.0, 10.0, 20.0]),
    margin=np.full(3, 0.5),
    launch_day=np.array([-9, -9, 4]),
    retire_day=np.full(3, NEVER),
)
PEOPLE = Shoppers(
    segment=Labels(codes=np.array([0, 1, 1]), names=("teens", "school")),
    region=Labels.constant("north", 3),
    arrival_day=np.array([-9, -9, -9]),
)


def test_features_are_those_of_the_day() -> None:
    """Goods on sale on day 3; who visited on it, guests apart, with clicks of days 1 and 2."""
    seen = pa.table(
        {
            "day": [3, 3, 3, 2, 1, 0, 2],
            "user_id": [2, 0, 1 << 30, 2, 2, 2, 1],
            "clicked": [True, False, True, True, True, True, True],
        }
    )
    found = features(seen, GOODS, PEOPLE, day=3, window_days=2)
    assert {name: values.to_dict() for name, values in found.items()} == {
        "item_price": {0: 3.0, 1: 10.0},
        "item_category": {0: "outdoors", 1: "bath"},
        "user_segment": {0: "teens", 2: "school"},
        "recent_clicks": {0: 0, 2: 2},
    }


def sample(name: str, n: int = 500) -> dict[str, "pd.Series[Any]"]:
    """Features of `n` items or users."""
    rng = stream(0, "test quality", name)
    return {
        "price": pd.Series(np.exp(rng.normal(3, 1, n))),
        "category": pd.Series(rng.choice(["bath", "outdoors", "books"], n, p=[0.6, 0.3, 0.1])),
        "clicks": pd.Series(rng.poisson(1.5, n)),
    }


def test_samples_of_one_kind_are_no_skew() -> None:
    """Of 100 pairs of samples with the same law, and of other sizes, none shifts."""
    for k in range(100):
        trained, served = sample(f"trained {k}"), sample(f"served {k}", 20 + 10 * (k % 50))
        assert skew(profile(trained), served, day=1) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("price", lambda values: 100 * values),
        ("price", lambda values: values.where(values.index % 3 > 0)),  # a third is not filled in
        ("category", lambda values: values.replace("bath", "Bath")),
        ("category", lambda values: values.where(values != "bath")),
        ("clicks", lambda values: values * 0),
    ],
)
def test_another_spread_is_a_shift(name: str, change: Any) -> None:
    """One feature, served in another unit, in other words, with gaps or as a constant: a warning with the numbers."""
    served = sample("served")
    (found,) = skew(profile(sample("trained")), served | {name: change(served[name])}, day=3)
    assert (found.check, found.severity, found.day, found.count) == ("feature_shift", "warning", 3, 500)
    assert found.evidence.startswith(f"{name}: PSI ")


def test_the_index_of_a_shift_worked_by_hand() -> None:
    """Counts 80 and 20 as trained, 40 and 60 as served, half a row added to each of two bins."""
    trained = {"kind": pd.Series(["a"] * 80 + ["b"] * 20)}
    served = {"kind": pd.Series(["a"] * 40 + ["b"] * 60)}
    q, p = np.array([80.5, 20.5]) / 101, np.array([40.5, 60.5]) / 101
    (found,) = skew(profile(trained), served, day=0)
    assert f"PSI {np.sum((p - q) * np.log(p / q)):.2f};" in found.evidence


@pytest.mark.parametrize(
    "price", [None, pd.Series([], dtype=float), pd.Series([np.nan] * 9), pd.Series(["dear", "cheap"])]
)
def test_a_feature_that_is_not_served_is_an_error(price: "pd.Series[Any] | None") -> None:
    """Not there, empty, or words for numbers."""
    rest = {name: values for name, values in sample("served").items() if name != "price"}
    (found,) = skew(profile(sample("trained")), rest if price is None else rest | {"price": price}, day=3)
    assert (found.check, found.severity) == ("feature_missing", "error")


def test_what_is_served_is_what_was_trained() -> None:
    """Values are compared where both have one: of the same item or user, as often as it was served."""
    trained: Features = {"price": pd.Series([3.0, 10.0, 20.0, np.nan]), "kind": pd.Series(["toys", "books"])}
    served: Features = {
        "price": pd.Series([10.0, 10.0, np.nan, 7.0, 8.0], index=[1, 1, 2, 3, 9]),
        "kind": pd.Series(["toys"]),
    }
    assert unequal(trained, served, day=3) == []


def test_another_unit_is_told_by_its_factor() -> None:
    """Cents for euros in half of what is served, and a word for another: errors with the median of the ratio."""
    trained: Features = {"price": pd.Series([3.0, 10.0, 20.0]), "kind": pd.Series(["toys", "books"])}
    served: Features = {
        "price": pd.Series([3.0, 1000.0, 2000.0, 3.0], index=[0, 1, 2, 0]),
        "kind": pd.Series(["toys", "toys"]),
    }
    price, kind = unequal(trained, served, day=3)
    assert (price.check, price.severity, price.count, price.share) == ("feature_values", "error", 2, 0.5)
    assert "1000.0 as served and 10.0 as trained for 1; in the median 100 times as trained" in price.evidence
    assert (kind.count, kind.share) == (1, 0.5)
    assert kind.evidence == "kind: 1 of 2 values differ; the first: toys as served and books as trained for 1"
