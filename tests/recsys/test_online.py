"""Laws of real time: what shoppers have just done, in closed form; and chance that knows its probabilities."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import ConfigError
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel
from simlab.recsys.online import EXPLORATIONS, Act, Live, OnlineConfig, explore
from simlab.schema import GUESTS, NO_ITEM, SOURCES, Bools, Floats, Ints, Labels, Requests, Slates
from simlab.settings import from_dict
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS, History
from simlab.testing import check_propensities

N_ITEMS, N_USERS = 12, 6

STEP = 2.0**-16


def factors(d: int = 3) -> FactorModel:
    """As training leaves them, on the grid; the last user was never learnt."""
    rng = stream(1, "test online", d)

    def grid(*shape: int) -> Floats:
        return np.rint(rng.normal(size=shape) * 2**16) / 2**16

    known = np.arange(N_USERS) < N_USERS - 1
    return FactorModel(user_vector=grid(N_USERS, d), item_vector=grid(N_ITEMS, d), item_bias=grid(N_ITEMS), known=known)


def after(config: OnlineConfig, *acts: tuple[int, int, str, int]) -> Live:
    live = Live(config)
    live.hear([Act(*act) for act in acts])
    return live


def people(*user_id: int) -> Ints:
    return np.array(user_id, dtype=np.int64)


CLICKS = st.lists(st.integers(0, N_ITEMS - 1), max_size=12)


@given(
    d=st.integers(1, 6), items=CLICKS, fold_in=st.floats(0.01, 10), ridge=st.floats(0.01, 100), user=st.integers(0, 7)
)
@settings(max_examples=60, deadline=None)
def test_fold_in_is_the_ridge_regression(d: int, items: list[int], fold_in: float, ridge: float, user: int) -> None:
    """vector + (V'V + ridge I)^-1 V' (fold_in, ...), V = clicked - mean item; the oracle is numpy.linalg.solve.

    So for users that the model knows, does not know, and has no row for: they begin at zero. On the grid of 2**-16.
    """
    model = factors(d)
    live = after(OnlineConfig(fold_in=fold_in, ridge=ridge), *((user, item, "click", 0) for item in items))
    vector, fresh = live.fold(model, people(user), 0, 0)
    v = model.item_vector[items] - model.item_vector.mean(axis=0)
    begin = model.user_vector[user] if user < N_USERS else np.zeros(d)
    wanted = begin + np.linalg.solve(v.T @ v + ridge * np.eye(d), v.T @ np.full(len(items), fold_in))
    np.testing.assert_allclose(vector[0], wanted, rtol=0, atol=0.51 * STEP)
    assert fresh.tolist() == [len(items) > 0]
    assert (vector / STEP == np.rint(vector / STEP)).all()


@given(items=CLICKS, data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_of_clicks_does_not_matter(items: list[int], data: st.DataObject) -> None:
    """But for rounding: at most one step of the grid."""
    shuffled = data.draw(st.permutations(items))
    config = OnlineConfig(fold_in=1.0, ridge=0.5)
    one, other = (
        after(config, *((1, item, "click", 0) for item in order)).fold(factors(), people(1), 0, 0)[0]
        for order in (items, shuffled)
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=STEP)


def test_a_fold_depends_on_the_users_own_clicks_alone() -> None:
    """Whoever else asks or clicks, in any order, the vector is the same, bit for bit; the model stays as it was."""
    clicks = [(user, item, "click", 0) for user, item in [(0, 3), (1, 5), (0, 4), (9, 1), (1, 5), (2, 0)]]
    config, model = OnlineConfig(fold_in=2.0, ridge=1.0), factors()
    before = model.user_vector.copy()
    everybody, fresh = after(config, *clicks).fold(model, people(0, 1, 2, 3, 9, GUESTS), 0, 0)
    assert fresh.tolist() == [True, True, True, False, True, False]
    for place, user in enumerate((0, 1, 2, 3, 9, GUESTS)):
        own = after(config, *(click for click in clicks if click[0] == user))
        alone = own.fold(model, people(user), 0, 0)[0]
        np.testing.assert_array_equal(alone[0], everybody[place])
    np.testing.assert_array_equal(everybody[3], model.user_vector[3])
    np.testing.assert_array_equal(model.user_vector, before)


def test_a_click_moves_towards_what_was_clicked() -> None:
    """The score of what was clicked rises, at most by fold_in over the average item, and by more with less ridge."""
    model, gains = factors(), []
    centred = model.item_vector - model.item_vector.mean(axis=0)
    for ridge in (100.0, 10.0, 1.0, 1e-6):
        vector, _ = after(OnlineConfig(fold_in=0.5, ridge=ridge), (0, 4, "click", 0)).fold(model, people(0), 0, 0)
        gains.append(float((vector[0] - model.user_vector[0]) @ centred[4]))
    assert 0 < gains[0] < gains[1] < gains[2] < gains[3]
    assert gains[3] == pytest.approx(0.5, abs=1e-3)


def test_without_fold_in_nothing_moves() -> None:
    """Zero is the batch service: vectors are the model's, and nobody becomes known."""
    vector, fresh = after(OnlineConfig(), (0, 4, "click", 0)).fold(factors(), people(0, 9), 0, 0)
    np.testing.assert_array_equal(vector, factors().vectors(people(0, 9)))
    assert not fresh.any()


@pytest.mark.parametrize(
    ("when", "since", "memory_days", "counts"),
    [
        (14, 14, 28, True),  # the model of day 14 has learnt from the days before
        (13, 14, 28, False),
        (20, 0, 28, True),
        (13, 0, 7, True),  # seven days ago
        (12, 0, 7, False),
        (19, 0, 1, True),
        (18, 0, 1, False),
    ],
)
def test_only_clicks_that_the_model_has_not_learnt_from_count(
    when: int, since: int, memory_days: int, counts: bool
) -> None:
    """On day 20: clicks since its training day, and of the last `memory_days`."""
    live = after(OnlineConfig(fold_in=1.0, memory_days=memory_days), (0, 4, "click", when))
    vector, fresh = live.fold(factors(), people(0), 20, since)
    assert fresh.tolist() == [counts]
    assert (vector == factors().user_vector[0]).all() == (not counts)


def test_items_that_the_model_does_not_know_move_nobody() -> None:
    """Launched after its training: there is no vector to go towards."""
    live = after(OnlineConfig(fold_in=1.0), (0, N_ITEMS, "click", 0), (8, N_ITEMS + 5, "click", 0))
    vector, fresh = live.fold(factors(), people(0, 8), 0, 0)
    assert not fresh.any()
    np.testing.assert_array_equal(vector, factors().vectors(people(0, 8)))


def test_other_events_move_nobody() -> None:
    """What was bought was clicked before; ratings and returns are for the next training."""
    live = after(OnlineConfig(fold_in=1.0), *((0, 4, kind, 0) for kind in ("purchase", "rating", "return")))
    assert not live.fold(factors(), people(0), 0, 0)[1].any()


@pytest.mark.parametrize(("days", "left"), [(0, []), (1, [10]), (3, [10, 11, 12])])
def test_what_was_bought_is_held_back_for_so_many_days(days: int, left: list[int]) -> None:
    """The day of the purchase is the first of them, and the last is day + days - 1; by row, for whoever asks."""
    live = after(OnlineConfig(suppress_days=days), (3, 7, "purchase", 10), (3, 8, "click", 10))
    held = [day for day in range(10, 15) if len(live.bought(people(5, 3), day))]
    assert held == left
    assert live.bought(people(5, 3), 10).tolist() == ([[1, 7]] if days else [])
    assert live.bought(people(), 10).shape == live.bought(people(5), 10).shape == (0, 2)


def test_bought_again_is_held_back_anew() -> None:
    """The last purchase counts; each item has its own days."""
    live = after(OnlineConfig(suppress_days=2), *((0, item, "purchase", day) for item, day in [(7, 1), (8, 1), (7, 3)]))
    assert sorted(live.bought(people(0), 2)[:, 1].tolist()) == [7, 8]
    assert live.bought(people(0), 4).tolist() == [[0, 7]]


SHOWN = [
    # (impression_id, day, user, item, version, clicked, day of purchase)
    (1, -2, 0, 3, None, True, None),
    (2, -1, 0, 4, "old", True, -1),
    (3, 0, 1, 5, "bad", True, 0),
    (4, 0, 1, 6, "old", False, None),
    (5, 0, 2, 5, "bad", True, 1),
    (6, 1, 2, 7, "old", True, 1),
    (7, 1, 0, 8, "old", True, None),
    (8, 1, GUESTS, 8, "old", True, None),
    (9, 1, 0, 2, "bad", False, None),
]


def a_log(path: Path, without: tuple[str, ...] = ()) -> EventLog:
    """History and two days, less what some versions have shown."""
    log, rows = EventLog(path), [row for row in SHOWN if row[4] not in without]

    def shown(days: range) -> pa.Table:
        usual = {"second": 0, "position": 0, "arm": "champion", "source": "model"}
        names = ("impression_id", "day", "user_id", "item_id", "model_version", "clicked")
        told = [{**usual, **dict(zip(names, row)), "request_id": 256 * row[0]} for row in rows if row[1] in days]
        return pa.Table.from_pylist(told, schema=IMPRESSIONS)

    def bought(days: range) -> pa.Table:
        told = [
            {"impression_id": row[0], "item_id": row[3], "kind": "purchase", "day": row[6], "value": 2.0}
            for row in rows
            if row[6] in days
        ]
        return pa.Table.from_pylist(told, schema=FEEDBACK)

    log.import_history(History(impressions=shown(range(-9, 0)), feedback=bought(range(-9, 0))))
    for day in (0, 1):
        log.append(day, shown(range(day, day + 1)), bought(range(day, day + 1)))
    return log


EVERYBODY = people(0, 1, 2, 3, GUESTS)

LISTENING = OnlineConfig(fold_in=1.0, ridge=1.0, suppress_days=3, memory_days=3, exploration="thompson")


def known_by(live: Live, day: int) -> tuple[list[Any], list[Any], list[Any]]:
    """All that a live memory tells: who moved where, pairs held back, and how often items were shown."""
    vector, fresh = live.fold(factors(), EVERYBODY, day, -9)
    return (
        [vector.tolist(), fresh.tolist()],
        sorted(live.bought(EVERYBODY, day).tolist()),
        np.trim_zeros(live.shown, "b").tolist(),
    )


def test_a_process_that_starts_again_knows_what_it_knew(tmp_path: Path) -> None:
    """From the log, what was heard as it came: clicks, purchases that came later, and how often items were shown."""
    live = Live(LISTENING)
    live.open_day(a_log(tmp_path / "log"), 2)
    heard = Live(LISTENING)
    heard.hear([Act(row[2], row[3], "click", row[1]) for row in SHOWN if row[5]])
    heard.hear([Act(row[2], row[3], "purchase", row[6]) for row in SHOWN if row[6] is not None])
    folded, bought, shown = known_by(live, 2)
    assert (folded, bought) == known_by(heard, 2)[:2]
    assert bought == [[1, 5], [2, 5], [2, 7]]  # that of day -1 is over
    assert shown == [0, 0, 1, 0, 1, 2, 1, 1, 2]  # of days -1, 0 and 1


def test_the_future_is_not_known(tmp_path: Path) -> None:
    """A day begins with what was known then, whatever has been logged since."""
    live = Live(LISTENING)
    live.open_day(a_log(tmp_path / "log"), 1)
    assert known_by(live, 1)[1] == [[0, 4], [1, 5]]
    assert known_by(live, 1)[0][1] == [True, True, True, False, False]


def test_what_is_in_quarantine_leaves_no_trace(tmp_path: Path) -> None:
    """As if the version had never shown anything: neither clicks, nor purchases, nor counts. Rows without one stay."""
    live, clean = Live(LISTENING), Live(LISTENING)
    live.hear([Act(1, 5, "click", 0), Act(1, 5, "purchase", 0)])  # heard before the verdict
    live.open_day(a_log(tmp_path / "log"), 1, ("bad", "worse"))
    clean.open_day(a_log(tmp_path / "clean", without=("bad",)), 1)
    assert known_by(live, 1) == known_by(clean, 1)
    vector, fresh = live.fold(factors(), people(0, 1), 1, -9)
    assert fresh.tolist() == [True, False]
    both = after(LISTENING, (0, 3, "click", -2), (0, 4, "click", -1)).fold(factors(), people(0), 1, -9)[0]
    np.testing.assert_array_equal(vector[0], both[0])


def test_who_does_not_listen_reads_no_log(tmp_path: Path) -> None:
    """Without any of real time's parts, opening a day costs nothing and is lawful before there is a log."""
    for exploration in ("none", "epsilon"):
        config = OnlineConfig(exploration=exploration)
        assert not config.listens
        Live(config).open_day(EventLog(tmp_path / "nothing"), 0)
    heeding = ({"fold_in": 0.1}, {"suppress_days": 1}, {"exploration": "thompson"})
    assert all(from_dict(OnlineConfig, settings).listens for settings in heeding)


def visitors(n_rows: int, n: int, visit: int = 0, page: int = 0, day: int = 0) -> Requests:
    same = np.ones(n_rows, dtype=np.int64)
    return Requests(day=day, user_id=np.arange(n_rows), visit=visit * same, page=page * same, n=n)


def explored(config: OnlineConfig, score: Floats, asked: Requests, shown: Floats | None = None) -> Slates:
    """Slates from candidates 10, 11, ... that all score alike."""
    table = np.tile(score, (len(asked), 1))
    item_id = np.tile(10 + np.arange(len(score)), (len(asked), 1))
    item_id, propensity, chance = explore(
        config, item_id, table, np.zeros(0) if shown is None else shown, asked, seed=1
    )
    return Slates(
        requests=asked,
        item_id=item_id,
        propensity=propensity,
        source=np.where(chance, SOURCES.index("exploration"), SOURCES.index("model")),
        model_version=Labels.constant("m1", len(asked)),
        arm=Labels.constant("champion", len(asked)),
    )


EPSILON = OnlineConfig(exploration="epsilon", epsilon=0.5)
THOMPSON = OnlineConfig(exploration="thompson")
SCORES = np.array([2.0, 1.5, 1.4, 0.5, 0.0, -1.0])
TIMES = np.append(np.zeros(10), [10.0, 400.0, 0.0, 50.0, 0.0, 3.0])


@pytest.mark.parametrize("config", [EPSILON, replace(EPSILON, epsilon=1.0), THOMPSON, replace(THOMPSON, width=3.0)])
def test_propensities_are_how_often_it_happens(config: OnlineConfig) -> None:
    """The laws of a policy that draws, over thousands of slates at three places; nothing twice in a slate."""
    slates = explored(config, SCORES, visitors(8_000, 3), TIMES)
    check_propensities(slates)
    assert all(len(set(row)) == 3 for row in slates.item_id.tolist())


@pytest.mark.parametrize("config", [EPSILON, replace(EPSILON, epsilon=1.0), replace(THOMPSON, width=3.0)])
def test_propensities_of_a_place_sum_to_one(config: OnlineConfig) -> None:
    """Over the candidates that are left, after each beginning: 20,000 slates of three items see all there are."""
    slates = explored(config, np.array([1.0, 0.9, 0.8]), visitors(20_000, 3))
    for place in range(3):
        _, begun = np.unique(slates.item_id[:, :place], axis=0, return_inverse=True)
        for group in range(begun.max() + 1):
            rows = begun.ravel() == group
            items, first = np.unique(slates.item_id[rows, place], return_index=True)
            assert len(items) == 3 - place
            assert slates.propensity[rows, place][first].sum() == pytest.approx(1, abs=1e-12)


def test_epsilon_deals_out_what_it_says() -> None:
    """P = (1 - epsilon) [best left] + epsilon / number left, and what is not the best left is there by chance."""
    slates = explored(EPSILON, SCORES, visitors(500, 3))
    for row, chance in zip(slates.item_id.tolist(), slates.source.tolist(), strict=True):
        left = list(range(10, 16))
        for item, lucky in zip(row, chance, strict=True):
            assert SOURCES[lucky] == ("model" if item == left[0] else "exploration")
            left.remove(item)
    first = slates.item_id[:, 0] == 10
    np.testing.assert_allclose(slates.propensity[:, 0], np.where(first, 0.5 + 0.5 / 6, 0.5 / 6), rtol=1e-12)
    second = slates.item_id[:, 1] == np.where(first, 11, 10)
    np.testing.assert_allclose(slates.propensity[:, 1], np.where(second, 0.5 + 0.5 / 5, 0.5 / 5), rtol=1e-12)


def test_without_epsilon_the_ranking_stays() -> None:
    """0 leaves nothing to chance: the candidates in their order, for certain."""
    slates = explored(replace(EPSILON, epsilon=0.0), SCORES, visitors(50, 6))
    assert (slates.item_id == np.arange(10, 16)).all()
    assert (slates.propensity == 1).all()
    assert (slates.source == SOURCES.index("model")).all()


@pytest.mark.parametrize(("width", "seed"), [(1.0, 0), (1.0, 1), (0.2, 2), (3.0, 3)])
def test_thompson_draws_as_often_as_an_item_is_the_best(width: float, seed: int) -> None:
    """The oracle draws the scores: the share of 400,000 draws in which an item is the best of those left.

    At the first place, and at the second after the most frequent beginning; within 4 standard errors of the oracle.
    """
    rng = stream(seed, "thompson oracle")
    score, shown = np.sort(rng.normal(size=7))[::-1].copy(), np.append(np.zeros(10), rng.integers(0, 300, 7) * 1.0)
    slates = explored(replace(THOMPSON, width=width), score, visitors(4_000, 2), shown)
    sd = width * np.std(score) * np.maximum(0.25, 1 / np.sqrt(1 + shown[10:] / 50))
    draws = score + sd * rng.normal(size=(400_000, 7))
    top = int(np.bincount(slates.item_id[:, 0]).argmax()) - 10
    for place, left in ((0, np.ones(7, dtype=np.bool_)), (1, np.arange(7) != top)):
        share = np.bincount(np.where(left, draws, -np.inf).argmax(axis=1), minlength=7) / len(draws)
        rows = np.ones(4_000, dtype=np.bool_) if place == 0 else slates.item_id[:, 0] == 10 + top
        items, first = np.unique(slates.item_id[rows, place], return_index=True)
        p = slates.propensity[rows, place][first]
        error = np.sqrt(share[items - 10] * (1 - share[items - 10]) / len(draws)) + 1e-5
        assert (np.abs(p - share[items - 10]) < 4 * error).all()
        assert share[items - 10].sum() > 0.99


def test_being_shown_makes_surer() -> None:
    """The item behind the best is tried less often, the more often both were shown; never quite never."""
    tried = []
    for times in (0.0, 50.0, 5_000.0):
        shown = np.append(np.zeros(10), np.full(6, times))
        slates = explored(THOMPSON, SCORES, visitors(4_000, 1), shown)
        tried.append(float((slates.item_id[:, 0] != 10).mean()))
    assert tried[0] > tried[1] > tried[2] > 0


@pytest.mark.parametrize("config", [EPSILON, THOMPSON])
@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_luck_is_the_shoppers_own(config: OnlineConfig, data: st.DataObject, seed: int) -> None:
    """In any order and company the same slate; each visit and page has luck of its own, whichever else is asked for."""
    rng = stream(seed, "company")
    n_rows = 20
    asked = Requests(
        day=3,
        user_id=rng.integers(0, 1 << 31, n_rows),
        visit=rng.integers(0, 3, n_rows),
        page=rng.integers(0, 3, n_rows),
        n=2,
    )
    item_id, score = rng.permuted(np.tile(np.arange(9), (n_rows, 1)), axis=1), rng.normal(size=(n_rows, 9))
    whole = explore(config, item_id, score, TIMES, asked, seed=5)
    rows = np.array(data.draw(st.permutations(range(n_rows))))[: data.draw(st.integers(1, n_rows))]
    part = explore(config, item_id[rows], score[rows], TIMES, asked.take(rows), seed=5)
    for one, other in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, other[rows])


def test_every_visit_has_other_luck() -> None:
    """Another visit, page, day or seed: half of the slates differ, as they do between unrelated draws."""
    score, item_id = np.zeros((2_000, 2)), np.tile(np.arange(2), (2_000, 1))
    config = replace(EPSILON, epsilon=1.0)
    first = explore(config, item_id, score, np.zeros(2), visitors(2_000, 1), seed=1)[0]
    others = [
        explore(config, item_id, score, np.zeros(2), visitors(2_000, 1, **where), seed=1)[0]
        for where in ({"visit": 1}, {"page": 1}, {"day": 1})
    ]
    others.append(explore(config, item_id, score, np.zeros(2), visitors(2_000, 1), seed=2)[0])
    for other in others:
        assert abs(float((first != other).mean()) - 0.5) < 4 * 0.5 / np.sqrt(2_000)


@given(
    data=st.data(),
    exploration=st.sampled_from(["epsilon", "thompson"]),
    n=st.integers(1, 8),
    m=st.integers(0, 8),
    scale=st.sampled_from([0.0, 1e-9, 1.0, 1e9]),
)
@settings(max_examples=100, deadline=None)
def test_any_candidates_make_a_lawful_slate(
    data: st.DataObject, exploration: str, n: int, m: int, scale: float
) -> None:
    """Ties, scores of any size, no or few candidates: each shown once, places without one empty, P in (0, 1]."""
    left = np.array(data.draw(st.lists(st.integers(0, m), min_size=5, max_size=5)))
    score = scale * np.array(data.draw(st.lists(st.integers(-3, 3), min_size=5 * m, max_size=5 * m))).reshape(5, m)
    item_id = np.where(np.arange(m) < left[:, None], np.arange(m), NO_ITEM)
    width = data.draw(st.sampled_from([0.2, 1.0, 20.0]))
    config = OnlineConfig(exploration=exploration, epsilon=data.draw(st.floats(0, 1)), width=width)
    shown = np.array(data.draw(st.lists(st.integers(0, 10**6), max_size=m)), dtype=np.float64)
    items, propensity, chance = explore(config, item_id, score, shown, visitors(5, n), seed=1)
    there: Bools = items != NO_ITEM
    np.testing.assert_array_equal(there, np.arange(n) < np.minimum(left, n)[:, None])
    for row in range(5):
        seen = items[row, there[row]].tolist()
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(left[row]))
    assert ((propensity > 0) & (propensity <= 1 + 1e-12)).all()
    assert not chance[~there].any()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fold_in", -0.1),
        ("fold_in", float("nan")),
        ("ridge", 0.0),
        ("memory_days", 0),
        ("suppress_days", -1),
        ("suppress_days", 1.5),
        ("exploration", "thomson"),
        ("epsilon", -0.1),
        ("epsilon", 1.1),
        ("candidates", 0),
        ("candidates", 1001),
        ("width", 0.1),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: object) -> None:
    """Each setting is checked when it is made, and named."""
    with pytest.raises(ConfigError) as caught:
        from_dict(OnlineConfig, {**asdict(OnlineConfig()), setting: value})
    assert caught.value.thing.removeprefix("OnlineConfig.") == setting


def test_every_exploration_has_a_test() -> None:
    """None is added without its laws."""
    assert EXPLORATIONS == ("none", "epsilon", "thompson")
