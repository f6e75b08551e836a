"""Signals: what they are blind to is exact, and what they find by chance is as rare as they say."""

import numpy as np
import pytest

from simlab.recsys.facts import Window
from simlab.recsys.signals import MIN_CATEGORIES, SILENT, common_fall, mix_drift
from simlab.schema import Floats
from simlab.streams import stream

N_USERS, N_CATEGORIES = 500, 12


def window(seed: int, rate: Floats | float, *, name: str = "before", shown: int = 8) -> Window:
    """Each shopper is shown `shown` items a category; click rates vary by shopper, around `rate`."""
    rng, own = stream(seed, name), stream(seed, "own")
    keen = own.gamma(4, 1 / 4, (N_USERS, 1)) * np.broadcast_to(rate, N_CATEGORIES)
    clicked = rng.binomial(shown, np.minimum(keen, 1.0)).astype(np.float64)
    return Window(shown=np.full_like(clicked, shown), clicked=clicked)


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_of_all_categories_is_found_and_is_no_drift(seed: int) -> None:
    """All rates three quarters of what they were."""
    before, after = window(seed, 0.2), window(seed, 0.15, name="after")
    fall = common_fall(before, after, alpha=0.001)
    assert fall.found
    assert abs(fall.size + 0.25) < 0.05
    assert not mix_drift(before, after, alpha=0.001).found


@pytest.mark.parametrize("seed", range(5))
def test_a_season_is_a_drift_and_no_fall(seed: int) -> None:
    """Rates of half of the categories doubled, of the others halved, though clicks as a whole grow or fall."""
    low, high = np.tile([0.1, 0.2], N_CATEGORIES // 2), np.tile([0.2, 0.1], N_CATEGORIES // 2)
    before, after = window(seed, low), window(seed, high, name="after")
    assert not common_fall(before, after, alpha=0.01).found
    assert mix_drift(before, after, alpha=0.001).found


def test_a_common_factor_is_no_drift_at_all() -> None:
    """The PSI of rates that are all halved is exactly 0."""
    before = window(0, 0.2)
    assert mix_drift(before, Window(shown=2 * before.shown, clicked=before.clicked), alpha=0.5).size < 1e-12


def test_the_same_days_have_not_changed() -> None:
    """Nothing has fallen, nothing has drifted, and no error is left, for every shopper is compared with himself."""
    one = window(0, 0.2)
    fall, drift = common_fall(one, one, alpha=0.4), mix_drift(one, one, alpha=0.4)
    assert (fall.size, fall.limit, drift.size, drift.limit) == (0.0, 0.0, 0.0, 0.0)
    assert not fall.found
    assert not drift.found


@pytest.mark.parametrize("look", [common_fall, mix_drift])
def test_false_alarms_are_as_rare_as_asked(look: type(common_fall)) -> None:  # type: ignore[valid-type]
    """Of 300 pairs of windows of the same shop about a tenth is found at the level of a tenth; a fall may be rarer."""
    found = sum(look(window(seed, 0.2), window(seed, 0.2, name="after"), alpha=0.1).found for seed in range(300))
    assert found <= 300 * 0.1 + 3 * np.sqrt(300 * 0.09)
    assert found >= 5


def test_shoppers_may_come_in_any_number() -> None:
    """Shoppers who were not there before, or are no more, are counted where they are."""
    before, after = window(0, 0.2), window(0, 0.2, name="after")
    fewer = Window(shown=after.shown[:300], clicked=after.clicked[:300])
    nobody = np.zeros((200, N_CATEGORIES))
    padded = Window(shown=np.vstack([fewer.shown, nobody]), clicked=np.vstack([fewer.clicked, nobody]))
    for look in (common_fall, mix_drift):
        assert look(before, fewer, alpha=0.01) == look(before, padded, alpha=0.01)


def test_of_few_categories_and_few_clicks_nothing_is_said() -> None:
    """Nobody can tell what four categories have in common, nor what ten clicks say."""
    before, after = window(0, 0.2), window(0, 0.01, name="after")
    few = [
        Window(shown=one.shown[:, : MIN_CATEGORIES - 1], clicked=one.clicked[:, : MIN_CATEGORIES - 1])
        for one in (before, after)
    ]
    none = Window(shown=np.zeros((0, N_CATEGORIES)), clicked=np.zeros((0, N_CATEGORIES)))
    for look in (common_fall, mix_drift):
        assert look(*few, alpha=0.1) == look(before, none, alpha=0.1) == look(none, none, alpha=0.1) == SILENT
