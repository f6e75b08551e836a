"""Offline evaluation: how well a model foretells what people went on to choose, judged on data it has not seen.

Why by time: a model in production knows the past and is judged by the future. A random split lets it peek at the
future, and flatters it.

Why it is not the truth: people could choose only among what they were shown. What an old policy hid counts here as
not liked, so a model that finds it is punished. The lab knows better; a company does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from simlab.errors import DataError
from simlab.recsys.log import EventLog
from simlab.recsys.metrics import coverage, gini, ndcg_at_k, precision_at_k, recall_at_k
from simlab.recsys.models import Recommender
from simlab.recsys.retrieval import best_items
from simlab.recsys.training import Interactions, TrainingConfig, fit, interactions
from simlab.schema import NEVER, NO_ITEM, Bools, Catalogue, Floats, Ints, Requests, Shoppers
from simlab.settings import require


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a model may learn from, and what it is judged by."""

    seen: Interactions
    held_out: Interactions
    first_day: int = -NEVER
    """First day of what is held out."""
    day: int = NEVER
    """Last day of what is held out: items that were on sale on any of its days can be recommended."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Means over the users who chose anything in the days held out, each beside its standard error over users."""

    n_users: int
    """Users the means are taken over; with none, they are NaN."""
    recall: float
    recall_error: float
    ndcg: float
    ndcg_error: float
    precision: float
    precision_error: float
    coverage: float
    """Share of the items on sale that anybody is recommended."""
    gini: float
    """How unequally the recommendations are spread over the items on sale."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The marks of one model, as a whole and in parts."""

    k: int
    """Length of the lists; fewer than asked for where fewer items are on sale."""
    overall: Marks
    by_segment: dict[str, Marks]
    new_users: Marks
    """Of users of whom nothing had been seen."""
    new_items: Marks
    """Counting only items of which nothing had been seen: are they found among all, and how many are recommended?"""

    def table(self) -> pd.DataFrame:
        """One row a group of users, and new items last."""
        parts = {"all": self.overall, **self.by_segment, "new users": self.new_users, "new items": self.new_items}
        return pd.DataFrame([asdict(marks) for marks in parts.values()], index=pd.Index(parts, name="group"))


def split_by_time(
    log: EventLog, *, config: TrainingConfig, day: int, holdout_days: int = 14, without: Sequence[str] = ()
) -> Split:
    """What is known at the start of `day`, the last `holdout_days` days held out.

    What is seen is what a training with `config` on the first day held out would have known. Rows that the versions
    `without` showed are in neither part.
    """
    require("holdout_days", holdout_days, holdout_days >= 1, "give a whole number from 1 up")
    later = plainly(config, holdout_days)
    return Split(
        seen=interactions(log, config=config, day=day - holdout_days, without=without),
        held_out=interactions(log, config=later, day=day, without=without),
        first_day=day - holdout_days,
        day=day - 1,
    )


def plainly(config: TrainingConfig, days: int) -> TrainingConfig:
    """The settings under which the last `days` are judged: what was chosen counts as it is, however it is learnt."""
    return replace(config, window_days=days, half_life=None, debias="none", negatives="unclicked")


def split_by_user_time(user_id: Ints, item_id: Ints, time: Ints | Floats, *, share: float = 0.2) -> Split:
    """Each user's last `share` of events held out, rounded down; events at one time stay in the order given.

    >>> user_id, item_id = np.array([0, 0, 0, 1]), np.array([5, 6, 7, 8])
    >>> split_by_user_time(user_id, item_id, np.array([3, 1, 2, 9]), share=0.5).held_out.item_id.tolist()
    [5]
    """
    require("share held out", share, 0 < share < 1, "give a share in (0, 1)")
    order = np.lexsort((time, user_id))
    user, item = user_id[order].astype(np.int64), item_id[order].astype(np.int64)
    counts = np.bincount(user)
    place = np.arange(len(user)) - (np.cumsum(counts) - counts)[user]
    # 0.2 * 5 may come out a digit below 1
    later = place >= (counts - np.floor(counts * share + 1e-9))[user]
    seen, held_out = (
        Interactions(user_id=user[rows], item_id=item[rows], weight=np.ones(int(rows.sum())))
        for rows in (~later, later)
    )
    return Split(seen=seen, held_out=held_out)


def evaluate(
    model: Recommender,
    split: Split,
    catalogue: Catalogue,
    shoppers: Shoppers,
    *,
    k: int = 10,
    exclude_seen: bool = False,
) -> Evaluation:
    """The marks of `model` for lists of `k`, ranked among all that is on sale; any choice held out is relevant.

    Lists are of all that is on sale where that is less than `k`. What the model cannot score, being launched after its
    training, it does not recommend, and what it then lacks in a list counts against it.
    With `exclude_seen` nobody is recommended what they chose before, nor is it counted: right for films, which are
    seen once; wrong for a shop, where people come back for nappies. The model is judged alone, without the fallback
    that a service has for users it does not know.
    Raises `DataError` where nothing is held out.
    """
    n_users, n_items = len(shoppers), len(catalogue)
    seen, relevant = _matrix(split.seen, n_users, n_items), _matrix(split.held_out, n_users, n_items)
    if exclude_seen:
        relevant = sparse.csr_array(relevant > relevant.multiply(seen))
    users = np.flatnonzero(_counts(relevant, axis=1))
    if len(users) == 0:
        raise DataError("interactions held out", 0, "hold out more days, or take a longer log")
    relevant = relevant[users]
    on_sale: Bools = (catalogue.launch_day <= split.day) & (split.first_day < catalogue.retire_day)
    k = min(k, max(1, int(on_sale.sum())))
    ranked = top_lists(model, users, k, split.day, on_sale, seen if exclude_seen else None)
    lists = _Lists(ranked, relevant, on_sale)
    segment = shoppers.segment.codes[users]
    new_item = _counts(seen, axis=0) == 0
    of_new = _Lists(lists.ranked, sparse.csr_array(relevant.multiply(new_item[None, :])), on_sale & new_item)
    return Evaluation(
        k=k,
        overall=_marks(lists, np.ones(len(users), dtype=np.bool_), k),
        by_segment={name: _marks(lists, segment == code, k) for code, name in enumerate(shoppers.segment.names)},
        new_users=_marks(lists, _counts(seen, axis=1)[users] == 0, k),
        new_items=_marks(of_new, _counts(of_new.relevant, axis=1) > 0, k),
    )


def compare(
    models: Mapping[str, Recommender],
    split: Split,
    catalogue: Catalogue,
    shoppers: Shoppers,
    *,
    k: int = 10,
    exclude_seen: bool = False,
) -> pd.DataFrame:
    """The overall marks of several models, one row each, in the order given; settings as in `evaluate`."""
    marks = [
        asdict(evaluate(model, split, catalogue, shoppers, k=k, exclude_seen=exclude_seen).overall)
        for model in models.values()
    ]
    return pd.DataFrame(marks, index=pd.Index(models, name="model"))


def backtest(
    log: EventLog, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig, day: int, holdout_days: int = 14
) -> Evaluation:
    """How a model of these settings would have done, had it been trained `holdout_days` before `day`; see `relearn`."""
    split = split_by_time(log, config=config, day=day, holdout_days=holdout_days)
    return relearn(split, catalogue, shoppers, config=config)


def relearn(split: Split, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig) -> Evaluation:
    """How a model of these settings does that learns from what is seen in `split`.

    It knows the items launched and the shoppers arrived by then, and is judged by lists of 10, or of all that is on
    sale, where that is less. Users that the shop does not know are left out.
    """
    goods, people = catalogue.launched_by(split.first_day), shoppers.arrived_by(split.first_day)
    known = replace(split, seen=split.seen.of_shoppers(len(people)), held_out=split.held_out.of_shoppers(len(shoppers)))
    return evaluate(fit(known.seen, goods, people, config=config), known, catalogue, shoppers)


class _Lists(NamedTuple):
    """Lists of some users, one row each, and what they are judged by."""

    ranked: Ints
    relevant: sparse.csr_array
    items: Bools
    """Items over which coverage and Gini are taken; shape (n_items,)."""


def _matrix(data: Interactions, n_users: int, n_items: int) -> sparse.csr_array:
    """Where anything was chosen; shape (n_users, n_items)."""
    data.check(n_users, n_items)
    chosen = data.weight > 0  # and not passed over
    pairs = (data.user_id[chosen], data.item_id[chosen])
    table = sparse.csr_array((np.ones(len(pairs[0]), dtype=np.bool_), pairs), (n_users, n_items))
    table.sum_duplicates()
    return table


def _counts(table: sparse.csr_array, axis: int) -> Ints:
    return np.asarray(table.astype(np.int64).sum(axis=axis)).ravel()


def top_lists(
    model: Recommender, users: Ints, k: int, day: int, on_sale: Bools, seen: sparse.csr_array | None = None
) -> Ints:
    """The top `k` of each user among the items on sale that the model can score, then `NO_ITEM`; (len(users), k).

    Items that a user has `seen`, of shape (n_users, n_items), are left out.
    """
    n_items = min(model.n_items, len(on_sale))
    allowed = np.zeros(model.n_items, dtype=np.bool_)
    allowed[:n_items] = on_sale[:n_items]
    ranked = np.full((len(users), k), NO_ITEM)
    k = min(k, int(allowed.sum()))
    if k > 0:
        met = sparse.csr_array((len(users), len(on_sale))) if seen is None else seen[users]
        exclude = np.column_stack(met.nonzero()).astype(np.int64)
        requests = Requests(day=day, user_id=users, visit=np.zeros(len(users), dtype=np.int64), n=k, exclude=exclude)
        ranked[:, :k] = best_items(model, requests, allowed)
    return ranked


def _marks(lists: _Lists, rows: Bools, k: int) -> Marks:
    ranked, relevant = lists.ranked[rows], lists.relevant[rows]
    items = ranked[ranked != NO_ITEM]
    place = np.cumsum(lists.items) - 1  # among the items counted
    shown = place[items[lists.items[items]]]
    n_items, nothing = int(lists.items.sum()), float("nan")
    means = {}
    for name, metric in (("recall", recall_at_k), ("ndcg", ndcg_at_k), ("precision", precision_at_k)):
        means[name], means[f"{name}_error"] = _mean(metric(ranked, relevant, k))
    return Marks(
        n_users=len(ranked),
        coverage=coverage(shown, n_items) if n_items and len(ranked) else nothing,
        gini=gini(np.bincount(shown, minlength=n_items)) if n_items else nothing,
        **means,
    )


def _mean(values: Floats) -> tuple[float, float]:
    """The mean and its standard error; NaN where there are too few values."""
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    return mean, float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
