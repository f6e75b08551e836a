"""Laws of offline evaluation: splits lose nothing and peek at nothing, marks agree with other people's code."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightfm import LightFM
from lightfm import evaluation as theirs
from scipy import sparse

from simlab.errors import ConfigError, DataError
from simlab.recsys.evaluation import Split, backtest, compare, evaluate, split_by_time, split_by_user_time
from simlab.recsys.log import EventLog
from simlab.recsys.metrics import auc
from simlab.recsys.models import FactorModel, PopularityModel, RandomModel
from simlab.recsys.training import Interactions, TrainingConfig, fit
from simlab.schema import (
    NEVER,
    Bools,
    Catalogue,
    Floats,
    Ints,
    Labels,
    Requests,
    Shoppers,
    codes_of,
)
from simlab.streams import stream
from simlab.tables import FEEDBACK, IMPRESSIONS, History


def catalogue_of(n: int, launch_day: Ints | None = None, retire_day: Ints | None = None) -> Catalogue:
    """Items without a difference."""
    return Catalogue(
        name=tuple(f"item {number}" for number in range(n)),
        category=Labels.constant("toys", n),
        brand=Labels.constant("Alder", n),
        price=np.full(n, 10.0),
        margin=np.full(n, 0.3),
        launch_day=np.full(n, -100) if launch_day is None else launch_day,
        retire_day=np.full(n, NEVER) if retire_day is None else retire_day,
    )


def shoppers_of(segments: list[str], arrival_day: Ints | None = None) -> Shoppers:
    """Shoppers who differ in their segment alone."""
    n = len(segments)
    return Shoppers(
        segment=codes_of(segments),
        region=Labels.constant("north", n),
        arrival_day=np.full(n, -100) if arrival_day is None else arrival_day,
    )


def rows(*pairs: tuple[int, int]) -> Interactions:
    """One row for each (user, item)."""
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Interactions(user_id=table[:, 0], item_id=table[:, 1], weight=np.ones(len(table)))


def rows_of(liked: Bools) -> Interactions:
    """One row for each pair in the table `liked`."""
    return rows(*((int(user), int(item)) for user, item in np.argwhere(liked)))


@dataclass(frozen=True)
class Table:
    """A model that is its scores; shape (n_users, n_items)."""

    table: Floats

    @property
    def n_items(self) -> int:
        return len(self.table.T)

    def knows(self, user_id: Ints) -> Bools:
        return np.ones(len(user_id), dtype=bool)

    def scores(self, requests: Requests) -> Floats:
        return self.table[requests.user_id]


def clicks(events: list[tuple[int, int, int]]) -> pa.Table:
    """IMPRESSIONS, all clicked, of (day, user_id, item_id)."""
    usual: dict[str, Any] = {"second": 0, "position": 0, "model_version": "old", "arm": "history", "source": "history"}
    return pa.Table.from_pylist(
        [
            {"request_id": n, "impression_id": n, "day": day, "user_id": user, "item_id": item, "clicked": True} | usual
            for n, (day, user, item) in enumerate(events)
        ],
        schema=IMPRESSIONS,
    )


def history(events: list[tuple[int, int, int]]) -> History:
    """A past of clicks that led to nothing."""
    return History(impressions=clicks(events), feedback=FEEDBACK.empty_table())


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_marks_agree_with_lightfm(exclude_seen: bool) -> None:
    """references.md, Ranking and catalogue: precision, recall and AUC of `lightfm.evaluation` on the same split."""
    rng = stream(1, "agreement")
    chosen = rng.random((70, 90)) < 0.15
    held_out = chosen & (rng.random(chosen.shape) < 0.3)
    seen = chosen & ~held_out
    train, test = (sparse.csr_matrix(table.astype(np.float32)) for table in (seen, held_out))
    known = {"train_interactions": train} if exclude_seen else {}
    trained = LightFM(no_components=6, loss="warp", random_state=1).fit(sparse.coo_matrix(train), epochs=3)
    item_bias, item_vector = trained.get_item_representations()
    _, user_vector = trained.get_user_representations()
    model = FactorModel(
        user_vector=user_vector.astype(np.float64),
        item_vector=item_vector.astype(np.float64),
        item_bias=item_bias.astype(np.float64),
        known=np.ones(70, dtype=np.bool_),
    )
    split = Split(seen=rows_of(seen), held_out=rows_of(held_out))
    for k in (1, 5, 20):
        marks = evaluate(model, split, catalogue_of(90), shoppers_of(["a"] * 70), k=k, exclude_seen=exclude_seen)
        precision, recall = (
            getattr(theirs, name)(trained, test, k=k, **known) for name in ("precision_at_k", "recall_at_k")
        )
        assert marks.overall.n_users == len(precision)
        assert marks.overall.precision == pytest.approx(precision.mean(), abs=1e-6)
        assert marks.overall.recall == pytest.approx(recall.mean(), abs=1e-6)
        assert marks.overall.recall_error == pytest.approx(recall.std(ddof=1) / np.sqrt(len(recall)), abs=1e-6)
    table = model.scores(Requests(day=0, user_id=np.arange(70), visit=np.zeros(70, dtype=np.int64), n=1))
    ours = auc(table, held_out, seen if exclude_seen else None)
    np.testing.assert_allclose(ours[held_out.any(axis=1)], theirs.auc_score(trained, test, **known), atol=1e-6)


@given(seed=st.integers(0, 1000), share=st.floats(0.05, 0.95))
def test_a_split_by_time_within_users_loses_nothing_and_peeks_at_nothing(seed: int, share: float) -> None:
    """Every event is on one side; none held out is earlier than one of the user's seen; each user's share is kept."""
    rng = stream(seed, "events")
    n = int(rng.integers(1, 200))
    user_id, time = rng.integers(0, 12, n), rng.integers(0, 30, n)
    split = split_by_user_time(user_id, np.arange(n), time, share=share)
    assert sorted([*split.seen.item_id, *split.held_out.item_id]) == list(range(n))
    for user in range(12):
        seen = split.seen.item_id[split.seen.user_id == user]
        held_out = split.held_out.item_id[split.held_out.user_id == user]
        assert {*user_id[seen], *user_id[held_out]} <= {user}
        assert len(held_out) == int(np.floor((len(seen) + len(held_out)) * share + 1e-9))
        if len(seen) and len(held_out):
            assert time[seen].max() <= time[held_out].min()


def test_a_share_is_not_lost_to_the_last_digit() -> None:
    """0.3 of ten events is three, though 10 * 0.3 may not be a whole number in binary."""
    for n, share in ((10, 0.3), (100, 0.29), (10, 0.7)):
        user_id = np.zeros(n, dtype=np.int64)
        assert len(split_by_user_time(user_id, user_id, np.arange(n), share=share).held_out) == round(n * share)


def test_a_split_by_time_is_the_past_and_the_days_after(tmp_path: Path) -> None:
    """Seen is the window that ends where the days held out begin; together they miss nothing of the window."""
    log = EventLog(tmp_path / "log")
    log.import_history(history([(-day, day, day % 3) for day in range(1, 31)]))
    split = split_by_time(log, config=TrainingConfig(window_days=20, half_life=2.0), day=0, holdout_days=7)
    assert sorted(split.held_out.user_id.tolist()) == list(range(1, 8))
    assert sorted(split.seen.user_id.tolist()) == list(range(8, 28))
    assert split.held_out.weight.tolist() == [1.0] * 7
    assert (split.first_day, split.day) == (-7, -1)
    with pytest.raises(ConfigError, match="holdout_days"):
        split_by_time(log, config=TrainingConfig(), day=0, holdout_days=0)


def test_a_split_leaves_out_what_is_in_quarantine(tmp_path: Path) -> None:
    """In neither part is there a row that the versions named have shown."""
    log = EventLog(tmp_path / "log")
    log.import_history(history([(-day, day, 0) for day in range(1, 21)]))
    (shown,) = log.sql("select distinct model_version from impressions")["model_version"]
    split = split_by_time(log, config=TrainingConfig(), day=0, holdout_days=7, without=("another",))
    assert (len(split.seen), len(split.held_out)) == (13, 7)
    split = split_by_time(log, config=TrainingConfig(), day=0, holdout_days=7, without=(shown,))
    assert (len(split.seen), len(split.held_out)) == (0, 0)


def test_perfect_and_useless_models() -> None:
    """A model that scores what is held out highest has all marks 1, one that scores it lowest has all marks 0."""
    held_out = np.zeros((6, 30), dtype=np.bool_)
    held_out[np.arange(6)[:, None], stream(1, "held").permuted(np.tile(np.arange(30), (6, 1)), axis=1)[:, :5]] = True
    split = Split(seen=rows(), held_out=rows_of(held_out))
    goods, people = catalogue_of(30), shoppers_of(["a", "b"] * 3)
    for sign, mark in ((1.0, 1.0), (-1.0, 0.0)):
        found = evaluate(Table(sign * held_out.astype(np.float64)), split, goods, people, k=5)
        for marks in (found.overall, found.by_segment["a"], found.by_segment["b"], found.new_users, found.new_items):
            assert (marks.recall, marks.ndcg, marks.precision) == (mark, mark, mark)
            assert (marks.recall_error, marks.ndcg_error) == (0.0, 0.0)


def test_segments_and_newcomers_are_parts_of_the_whole() -> None:
    """Each group holds its own users; recall of all is the mean of the segments', weighted by users."""
    rng = stream(4, "groups")
    chosen = rng.random((40, 25)) < 0.2
    seen: Bools = chosen.copy()
    held_out: Bools = rng.random((40, 25)) < 0.1
    seen[30:], seen[:, 20:] = False, False
    people = shoppers_of([*["a"] * 10, *["b"] * 30])
    split = Split(seen=rows_of(seen), held_out=rows_of(held_out))
    found = evaluate(RandomModel(seed=1, n_items=25), split, catalogue_of(25), people, k=5)
    judged: Bools = np.asarray(held_out.any(axis=1))
    assert found.overall.n_users == judged.sum()
    assert found.by_segment["a"].n_users == judged[:10].sum()
    assert found.new_users.n_users == (judged & ~seen.any(axis=1)).sum() > 0
    assert found.new_items.n_users == held_out[:, ~seen.any(axis=0)].any(axis=1).sum() > 0
    total = sum(marks.recall * marks.n_users for marks in found.by_segment.values())
    assert found.overall.recall == pytest.approx(total / found.overall.n_users)
    assert list(found.table().index) == ["all", "a", "b", "new users", "new items"]
    assert found.table().loc["b", "recall"] == found.by_segment["b"].recall


def test_new_items_are_sought_among_all() -> None:
    """Popularity does not find what nobody has met; a model that puts a new item first does, as its coverage says."""
    split = Split(seen=rows((0, 0), (1, 1), (1, 0)), held_out=rows((0, 3), (1, 3), (0, 1)))
    goods, people = catalogue_of(5), shoppers_of(["a", "a"])
    popular = evaluate(
        fit(split.seen, goods, people, config=TrainingConfig(algorithm="popularity")), split, goods, people, k=2
    )
    assert (popular.new_items.recall, popular.new_items.coverage) == (0.0, 0.0)
    assert popular.new_items.n_users == 2
    finder = Table(np.array([[0, 1, 0, 2, 0], [0, 1, 0, 2, 0]], dtype=np.float64))
    found = evaluate(finder, split, goods, people, k=1)
    assert (found.new_items.recall, found.new_items.coverage, found.new_items.gini) == (1.0, 1 / 3, 2 / 3)
    assert (found.overall.recall, found.overall.coverage, found.overall.gini) == (0.75, 0.2, 0.8)


def test_seen_items_are_left_out_where_asked() -> None:
    """With `exclude_seen` no seen item takes a place nor counts; without, it does both: people buy again."""
    split = Split(seen=rows((0, 0), (0, 1)), held_out=rows((0, 0), (0, 2)))
    model = PopularityModel(score=np.array([3.0, 2.0, 1.0, 0.0]))
    goods, people = catalogue_of(4), shoppers_of(["a"])
    again = evaluate(model, split, goods, people, k=1).overall
    assert (again.recall, again.precision) == (0.5, 1.0)
    once = evaluate(model, split, goods, people, k=1, exclude_seen=True).overall
    assert (once.recall, once.precision) == (1.0, 1.0)
    everything = Split(seen=split.seen, held_out=split.seen)
    with pytest.raises(DataError, match="held out"):
        evaluate(model, everything, goods, people, k=1, exclude_seen=True)


def test_only_what_is_on_sale_is_recommended() -> None:
    """An item launched after the days held out takes no place and is no part of the catalogue that is covered."""
    goods = catalogue_of(4, launch_day=np.array([-9, -9, -1, 5]))
    split = Split(seen=rows((0, 0)), held_out=rows((0, 2), (0, 0)), day=-1)
    rising = PopularityModel(score=np.arange(4.0))
    marks = evaluate(rising, split, goods, shoppers_of(["a"]), k=1).overall
    assert (marks.recall, marks.coverage) == (0.5, 1 / 3)
    older = evaluate(replace(rising, score=np.arange(2.0)), split, goods, shoppers_of(["a"]), k=1).overall
    assert (older.recall, older.coverage) == (0.0, 1 / 3)  # trained before item 2 was there


@pytest.mark.parametrize(
    ("retired", "recall", "coverage"), [(-8, 0.0, 1 / 3), (-7, 0.0, 1 / 3), (-6, 1.0, 1 / 4), (NEVER, 1.0, 1 / 4)]
)
def test_what_was_retired_before_is_not_recommended(retired: int, recall: float, coverage: float) -> None:
    """An item that was on sale on any day held out may be recommended: the best one here, if it is there on day -7."""
    goods = catalogue_of(4, retire_day=np.array([NEVER, retired, NEVER, NEVER]))
    model = PopularityModel(score=np.array([1.0, 2.0, 0.0, 0.0]))
    split = Split(seen=rows((0, 1)), held_out=rows((0, 1)), first_day=-7, day=-1)
    marks = evaluate(model, split, goods, shoppers_of(["a"]), k=1).overall
    assert (marks.recall, marks.coverage) == (recall, coverage)
    whenever = replace(split, first_day=-NEVER, day=NEVER)  # of events without days
    assert evaluate(model, whenever, goods, shoppers_of(["a"]), k=1).overall.recall == 1.0


def test_models_side_by_side() -> None:
    """`compare` is `evaluate` for each model, in the order given; the learnt one is above the baselines."""
    liked = (np.arange(60)[:, None] + np.arange(40)) % 2 == 0
    held_out = liked & (stream(1, "held out").random(liked.shape) < 0.25)
    split = Split(seen=rows_of(liked & ~held_out), held_out=rows_of(held_out))
    goods, people = catalogue_of(40), shoppers_of(["a"] * 60)
    names = ("random", "popularity", "als", "lightfm")
    models = {
        name: fit(split.seen, goods, people, config=TrainingConfig(algorithm=name, n_components=4, epochs=30))
        for name in names
    }
    table = compare(models, split, goods, people, k=3, exclude_seen=True)
    assert tuple(table.index) == names
    assert (table.loc[["als", "lightfm"], "precision"] > 0.95).all()
    assert (table.loc[["random", "popularity"], "precision"] < 0.4).all()
    alone = evaluate(models["als"], split, goods, people, k=3, exclude_seen=True).overall
    assert table.loc["als", "ndcg"] == alone.ndcg


def test_more_users_than_fit_in_a_block_make_no_difference() -> None:
    """A million scores or so are made at once; every user gets the list of their own row."""
    n, n_items = 5000, 300
    item = np.arange(n) % n_items
    best = Table(np.eye(n_items)[item])
    split = Split(seen=rows(), held_out=Interactions(user_id=np.arange(n), item_id=item, weight=np.ones(n)))
    assert evaluate(best, split, catalogue_of(n_items), shoppers_of(["a"] * n), k=1).overall.recall == 1.0


def test_a_backtest_trains_on_the_past_alone(tmp_path: Path) -> None:
    """It equals splitting, training on what was seen and judging, step by step; the live days change nothing."""
    rng = stream(5, "backtest")
    events = [(-1 - int(day), int(user), int(item)) for day, user, item in rng.integers(0, [40, 30, 20], (400, 3))]
    log = EventLog(tmp_path / "log")
    log.import_history(history(events))
    goods, people = catalogue_of(20), shoppers_of(["a"] * 30)
    config = TrainingConfig(epochs=2, window_days=20)
    found = backtest(log, goods, people, config=config, day=0, holdout_days=10)
    split = split_by_time(log, config=config, day=0, holdout_days=10)
    expected = evaluate(fit(split.seen, goods, people, config=config), split, goods, people)
    pd.testing.assert_frame_equal(found.table(), expected.table(), check_exact=True)
    log.append(0, clicks([(0, 1, 1), (0, 2, 3)]), FEEDBACK.empty_table())
    again = backtest(log, goods, people, config=config, day=0, holdout_days=10)
    pd.testing.assert_frame_equal(found.table(), again.table(), check_exact=True)


def test_a_backtest_knows_no_item_before_its_launch(tmp_path: Path) -> None:
    """An item launched in the days held out is chosen there, is on sale, and cannot have been recommended."""
    log = EventLog(tmp_path / "log")
    log.import_history(history([(-9, user, user % 2) for user in range(8)] + [(-2, user, 2) for user in range(8)]))
    goods = catalogue_of(3, launch_day=np.array([-50, -50, -3]))
    for algorithm in ("popularity", "random"):
        config = TrainingConfig(algorithm=algorithm)
        found = backtest(log, goods, shoppers_of(["a"] * 8), config=config, day=0, holdout_days=7)
        assert (found.k, found.overall.recall, found.overall.coverage) == (3, 0.0, 2 / 3)


@pytest.mark.parametrize(("arrival", "precision"), [(-7, 1.0), (-6, 0.5)])
def test_a_backtest_knows_no_shopper_before_the_arrival(arrival: int, precision: float, tmp_path: Path) -> None:
    """Segment a likes even items, b odd ones. Of two who were there when it was trained, though without a click, the
    model knows what their segments like; those who came later get the same list, in which each item suits one of them.
    """
    log = EventLog(tmp_path / "log")
    liked = [(user, item) for user in range(62) for item in range(40) if (user + item) % 2 == 0]
    log.import_history(history([(-9 if user < 60 else -2, user, item) for user, item in liked]))
    people = shoppers_of(["a", "b"] * 31, arrival_day=np.array([-50] * 60 + [arrival] * 2))
    found = backtest(log, catalogue_of(40), people, config=TrainingConfig(), day=0, holdout_days=7)
    assert (found.new_users.n_users, found.new_users.precision) == (2, precision)


def test_a_list_is_no_longer_than_the_shop() -> None:
    """With four items on sale, ten of them means four; a model that can score one of them fills a quarter."""
    goods = catalogue_of(5, launch_day=np.array([-9, -9, -9, -9, 5]))
    split = Split(seen=rows(), held_out=rows((0, 0), (1, 1)), day=-1)
    people = shoppers_of(["a", "a"])
    found = evaluate(PopularityModel(score=np.arange(4.0)), split, goods, people)
    assert (found.k, found.overall.recall, found.overall.precision) == (4, 1.0, 0.25)
    short = evaluate(PopularityModel(score=np.ones(1)), split, goods, people)
    assert (short.k, short.overall.recall, short.overall.precision) == (4, 0.5, 0.125)
    nothing = evaluate(PopularityModel(score=np.ones(0)), split, goods, people)
    assert (nothing.overall.recall, nothing.overall.coverage) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("split", "thing"),
    [
        (Split(seen=rows((0, 0)), held_out=rows()), "interactions held out"),
        (Split(seen=rows((0, 0)), held_out=rows((0, 9))), "interactions, item_id"),
        (Split(seen=rows((7, 0)), held_out=rows((0, 0))), "interactions, user_id"),
    ],
)
def test_data_that_cannot_be_judged_is_refused(split: Split, thing: str) -> None:
    """Nothing held out, or rows of unknown users and items, is named."""
    with pytest.raises(DataError) as caught:
        evaluate(RandomModel(seed=1, n_items=4), split, catalogue_of(4), shoppers_of(["a"] * 3), k=2)
    assert caught.value.thing == thing
