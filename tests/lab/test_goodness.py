"""Gains are those of the rows, and their errors those between users."""

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.lab.goodness import goodness
from simlab.streams import stream


def test_gains_add_up() -> None:
    """Each score is the one above plus the gain; the table says which parts help."""
    n = 400
    noise = stream(0, "noise").normal(size=(2, n))
    fit = goodness(
        "rows", np.arange(n), {"one": np.zeros(n), "two": 1 + noise[0], "three": 1 + noise[0] + noise[1] / 50}
    )
    table = fit.table
    assert table["score"].diff()[1:].tolist() == pytest.approx(table["gain"][1:].tolist())
    assert table["error"].iloc[1] == pytest.approx(noise[0].std() / np.sqrt(n))
    assert table["helps"].tolist() == ["", "yes", "no"]
    assert "+ two" in str(fit)
    with pytest.raises(ConfigError, match="held-out rows"):
        goodness("rows", np.empty(0, dtype=np.int64), {"one": np.empty(0)})


def test_errors_are_those_between_users() -> None:
    """Rows that a user repeats ten times tell no more than one: the error is that of the users, not smaller."""
    users = stream(0, "users").normal(size=300)
    once = goodness("rows", np.arange(300), {"one": np.zeros(300), "two": users}).parts[1]
    often = goodness("rows", np.repeat(np.arange(300), 10), {"one": np.zeros(3000), "two": np.repeat(users, 10)}).parts[
        1
    ]
    assert (often.gain, often.error) == pytest.approx((once.gain, once.error))
