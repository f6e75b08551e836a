"""Looks and clicks by hand and at the ends of their settings; simlab.testing holds sampler against closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from simlab.errors import ConfigError
from simlab.schema import Bools, Floats, Requests
from simlab.streams import uniforms
from simlab.world.config import ResponseConfig, WorldConfig
from simlab.world.response import WAYS, Preferences, chances, draws, first_look, luck_of, respond

EVEN = ResponseConfig(base=0.0, satisfied_base=0.0, satisfied_scale=0.0, purchase_base=0.0, purchase_scale=0.0)
"""Who looks clicks with 1/2, is satisfied with 1/2, buys with 1/2."""


def facing(way: str, utility: list[list[float]], shown: list[list[bool]] | None = None, late: float = 0) -> Preferences:
    """Shoppers of patience 0.8."""
    n = len(utility)
    return Preferences(
        utility=np.array(utility, dtype=np.float64),
        patience=np.full(n, 0.8),
        shown=np.ones(np.shape(utility), dtype=bool) if shown is None else np.array(shown),
        way=np.full(n, WAYS.index(way)),
        latency_ms=np.full(n, late),
    )


@pytest.mark.parametrize(
    ("way", "looks"),
    [
        ("position", [1, 0.8, 0.64]),
        ("cascade", [1, 0.8 * 0.5, 0.64 * 0.25]),
        ("dependent", [1, 0.8 * 0.75, 0.64 * 0.75**2]),
        ("logit", [1, 1, 1]),
    ],
)
def test_looks_by_hand(way: str, looks: list[float]) -> None:
    """Where every click, satisfaction and purchase is a toss of a coin; for logit, of three items and none."""
    p = chances(facing(way, [[0.0, 0.0, 0.0]]), EVEN)
    np.testing.assert_allclose(p.examined[0], looks, rtol=1e-15)
    np.testing.assert_allclose(p.clicked[0], np.full(3, 1 / 4) if way == "logit" else np.array(looks) / 2, rtol=1e-15)
    np.testing.assert_allclose(p.purchased, p.clicked / 2, rtol=1e-15)
    np.testing.assert_allclose(p.returned, p.purchased * 0.05, rtol=1e-15)


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_place_costs_patience_and_nothing_else(way: str) -> None:
    """The item behind it is looked at with the patience of two steps, and an empty slate is not answered."""
    p = chances(facing(way, [[0.0, 9.0, 0.0], [0.0, 0.0, 0.0]], [[True, False, True], [False] * 3]), EVEN)
    q = chances(facing(way, [[0.0, -1e9, 0.0]]), EVEN)
    np.testing.assert_allclose(p.clicked[0], q.clicked[0], rtol=1e-15)
    assert (p.examined[1] == 0).all()


def test_logit_is_a_choice_of_one_or_none() -> None:
    """P(click) of all and P(none) = 1 / (1 + sum e) sum to one; another item takes from all others alike."""
    u = [[0.3, -1.0, 2.0, 0.1]]
    p = chances(facing("logit", u), EVEN).clicked[0]
    none = 1 / (1 + np.exp(u[0]).sum())
    assert p.sum() + none == pytest.approx(1, abs=1e-15)
    fewer = chances(facing("logit", u, [[True, True, False, True]]), EVEN).clicked[0]
    np.testing.assert_allclose(fewer[[0, 1, 3]] / p[[0, 1, 3]], (fewer[0] / p[0]).repeat(3), rtol=1e-14)


def test_waiting_costs_first_looks() -> None:
    """exp(-impatience * seconds): half a second at impatience 2 leaves 1 / e, at 0 all of them."""
    assert first_look(np.array([0.0, 500.0]), ResponseConfig(impatience=2.0)).tolist() == [1, pytest.approx(np.exp(-1))]
    for way in WAYS:
        late = chances(facing(way, [[1.0, 0.0]], late=500), ResponseConfig(impatience=2.0))
        soon = chances(facing(way, [[1.0, 0.0]]), ResponseConfig(impatience=2.0))
        np.testing.assert_allclose(late.clicked, soon.clicked / np.e, rtol=1e-14)


@settings(deadline=None)  # compiling takes seconds
@given(
    utility=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5),
    base=st.floats(-1e4, 1e4),
    way=st.sampled_from(WAYS),
    luck=st.floats(0, 1, exclude_max=True),
)
def test_no_number_is_too_large(utility: list[float], base: float, way: str, luck: float) -> None:
    """Chances are chances and answers are given, however much or little is liked."""
    config = ResponseConfig(base=base)
    faced = facing(way, [utility])
    with np.errstate(over="ignore"):
        p = chances(faced, config)
        outcomes = respond(faced, config, day=0, luck=np.full((1, draws(len(utility))), luck))
    for table in (p.examined, p.clicked, p.purchased, p.returned):
        assert ((table >= 0) & (table <= 1)).all()
    assert (outcomes.examined | ~outcomes.clicked).all()
    if way == "logit":
        assert p.clicked.sum() <= 1 + 1e-12
        assert outcomes.clicked.sum() <= 1


def answers(way: str, luck: Floats, utility: Floats) -> tuple[Bools, Bools]:
    faced = facing(way, utility.tolist())
    outcomes = respond(faced, EVEN, day=0, luck=luck)
    return outcomes.examined, outcomes.clicked


def test_one_luck_means_the_same_to_all_ways() -> None:
    """Patience reaches as far, an item attracts as it does; a cascade ends with a click, logit clicks once."""
    rng = np.arange(4_000)
    luck, utility = uniforms(1, "luck", rows=rng, n=draws(6)), uniforms(2, "utility", rows=rng, n=6) * 4 - 2
    looks, clicks = answers("position", luck, utility)
    first: Bools = np.cumsum(clicks, axis=1) - clicks == 0
    some, one = answers("cascade", luck, utility)
    assert (some == (looks & first)).all()
    assert (one == (clicks & first)).all()
    between, several = answers("dependent", luck, utility)
    assert ((some <= between) & (between <= looks)).all()
    assert (several == (clicks & between)).all()
    assert (answers("logit", luck, utility)[1].sum(axis=1) <= 1).all()


def test_nobody_s_luck_depends_on_who_else_is_there() -> None:
    """The luck of (row, day, visit, page) is the same alone and in any company, and no two are alike."""
    config = WorldConfig(seed=7)
    asked = Requests(
        day=12,
        n=4,
        user_id=np.array([3, 900, 3, 3, 41]),
        visit=np.array([0, 0, 1, 0, 0]),
        page=np.array([0, 0, 0, 1, 2]),
    )
    whole = luck_of(config, asked, asked.user_id, 4)
    assert whole.shape == (5, draws(4))
    order = np.array([2, 0, 3])
    assert (luck_of(config, asked.take(order), asked.user_id[order], 4) == whole[order]).all()
    other = luck_of(WorldConfig(seed=7, luck=1), asked, asked.user_id, 4)
    assert len(np.unique(np.concatenate([whole, other]))) == 2 * whole.size


def test_rows_that_are_missing_are_not_made_up() -> None:
    """Preferences of another number of ways, waits or utilities than slates are refused, not filled in."""
    faced = facing("cascade", [[0.0], [0.0]])
    whole = {name: getattr(faced, name) for name in ("utility", "patience", "shown", "way", "latency_ms")}
    for name in ("utility", "shown", "way", "latency_ms"):
        with pytest.raises(ConfigError, match=f"rows of {name}: 1"):
            Preferences(**{**whole, name: whole[name][:1]})
    with pytest.raises(ConfigError, match=r"shape of luck: \(2, 1\) .*shape \(2, 2\)"):
        respond(faced, EVEN, day=0, luck=np.zeros((2, 1)))
    assert len(faced.take(np.array([1])).way) == len(faced.take(slice(0, 1)).way) == 1
    assert len(faced.take(np.array([], dtype=np.int64)).way) == 0


def test_attraction_grows_with_utility_as_log_odds_do() -> None:
    """sigmoid(base + U), at the top of a slate."""
    u = np.linspace(-3, 3, 7)
    p = chances(facing("position", u[:, None].tolist()), ResponseConfig(base=-5))
    np.testing.assert_allclose(p.clicked[:, 0], expit(u - 5), rtol=1e-15)
