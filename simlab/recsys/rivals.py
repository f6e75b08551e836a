"""Rivals: a challenger beside the champion on the same days, offline and on what chance has shown.

    offline       nDCG of their lists on what people chose
    by chance     clicks of a place that is filled from their lists, from places that chance has filled (SNIPS)

Why the home disadvantage: what people chose they chose from the champion's slates. A rival's finds that were never
shown count as not liked, so that offline the champion wins at home against its equals and betters. Where chance has
filled places, both play away: a row counts for either by 1 / P(it was shown), whatever the champion thinks of it.

What it cannot see: items that chance could not have shown, below the champion's candidates for exploration. What a
rival would show of these counts neither for nor against it, so look at `covered`: a rival of nothing but such items but
one is judged by that one.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from simlab.recsys.debias import inverse
from simlab.recsys.evaluation import plainly, top_lists
from simlab.recsys.interactions import interactions
from simlab.recsys.log import EventLog
from simlab.recsys.metrics import ndcg_at_k
from simlab.recsys.models import Model, Recommender
from simlab.recsys.monitor import VISIT_BITS
from simlab.recsys.offpolicy import Estimate, difference, effective_size, ips, snips
from simlab.recsys.recipe import TrainingConfig
from simlab.recsys.registry import Registry
from simlab.recsys.training import fit
from simlab.schema import GUESTS, NO_ITEM, Bools, Catalogue, Floats, Ints, Shoppers


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """On what rivals are compared."""

    first: int
    """First day; none of the models may have learnt from it."""
    last: int
    known: int
    """What came of it is judged as known on the morning of this day."""
    signal: str = "clicked"
    """What counts as success: clicked or purchased."""
    k: int = 10
    """Length of the lists."""
    clip: float = 10_000.0
    """No row of chance weighs more than this."""

    def on_sale(self, catalogue: Catalogue) -> Bools:
        """What could be shown from the first to the last day; shape (n_items,)."""
        return np.asarray(catalogue.on_sale(self.first) & catalogue.on_sale(self.last))


class Models(NamedTuple):
    """Who is judged: none of them has learnt from the days of the judgement that are `since` or later."""

    challenger: Recommender
    champion: Recommender
    popularity: Recommender
    since: int


@dataclass(frozen=True, kw_only=True)
class Offline:
    """nDCG by user on what was chosen from the champion's slates, and differences to the challenger's."""

    users: int
    challenger: float
    champion: float
    popularity: float
    over_champion: Estimate
    over_popularity: Estimate


@dataclass(frozen=True, kw_only=True)
class OffPolicy:
    """Successes of a place that is filled by chance from a model's list, from rows that chance has placed."""

    rows: int
    challenger: float
    champion: float
    popularity: float
    over_champion: Estimate
    over_popularity: Estimate
    challenger_ips: float
    """The same by IPS, where what chance could not have shown counts as worth nothing: a lower bound."""
    covered: float
    """Share of the challenger's list that chance could have shown: its weights add up to so much of the champion's."""
    effective: float
    """Rows of equal weight that a model's are worth, of the model for which it is least."""


@dataclass(frozen=True, kw_only=True)
class Home:
    """How much better the challenger is than the champion, as shares of the champion's figure."""

    plain: Estimate
    """Offline, on data that the champion has made."""
    corrected: Estimate
    """On what chance has shown."""


def rivals(
    log: EventLog, registry: Registry, catalogue: Catalogue, shoppers: Shoppers, *, config: TrainingConfig, first: int
) -> Models:
    """Who is judged on the days from `first` on: a model of the settings `config` and popularity, trained the day
    before, and the champion as it is; of the days that it has learnt from nothing is judged.

    Raises `DataError` where there is nothing to learn from.
    """
    goods, people, without = catalogue.launched_by(first), shoppers.arrived_by(first), registry.quarantined()
    champion, card = registry.load(registry.alias("champion") or "")
    counting = replace(config, algorithm="popularity", debias="none")
    made: list[Model] = []
    for settings in (config, counting):
        data = interactions(log, config=settings, day=first, without=without).of_shoppers(len(people))
        made.append(fit(data, goods, people, config=settings, previous=champion))
    return Models(made[0], champion, made[1], max(first, int(card["trained_day"])))


def home_disadvantage(
    log: EventLog, models: Models, catalogue: Catalogue, shoppers: Shoppers, grounds: Grounds
) -> Home:
    """By how much the challenger is better on the champion's data as they are, and by how much on what chance showed.

    Between equals the first is below 0, the more the less they would show the same; the second is around 0.
    """
    offline = compare_offline(log, models, catalogue, shoppers, grounds)
    return home_of(offline, compare_by_chance(log, models, catalogue, grounds))


def compare_offline(
    log: EventLog, models: Models, catalogue: Catalogue, shoppers: Shoppers, grounds: Grounds
) -> Offline:
    """nDCG@k on what users chose, differences paired by user, with 95 % intervals."""
    plain = plainly(TrainingConfig(signal=grounds.signal), grounds.last - grounds.first + 1)
    chosen = interactions(log, config=plain, day=grounds.last + 1, known=grounds.known).of_shoppers(len(shoppers))
    users, row = np.unique(chosen.user_id, return_inverse=True)
    shape = (len(users), len(catalogue))
    relevant = sparse.csr_array((np.ones(len(chosen)), (row, chosen.item_id)), shape).astype(np.bool_)
    on_sale = grounds.on_sale(catalogue)
    k = max(1, min(grounds.k, int(on_sale.sum())))
    ndcg = [ndcg_at_k(top_lists(one, users, k, grounds.last, on_sale), relevant, k) for one in models[:3]]
    means = [float(values.mean()) if len(users) else float("nan") for values in ndcg]
    over = [_paired(ndcg[0] - other) for other in ndcg[1:]]
    return Offline(
        users=len(users),
        challenger=means[0],
        champion=means[1],
        popularity=means[2],
        over_champion=over[0],
        over_popularity=over[1],
    )


def compare_by_chance(log: EventLog, models: Models, catalogue: Catalogue, grounds: Grounds) -> OffPolicy:
    """What places earn that are filled by chance with what a model has for them: at place p its ranks p+1 .. p+k.

    w = [item is one of these] / P(it was shown there), clipped, over the rows of slates that chance had a hand in; the
    value of a model is sum(w r) / sum(w). All are asked about the same places, so that high ones favour none.

    Why ranks and not the k best that are left: above a place stand the champion's best, so that the champion would be
    asked for its second best there, and the rival for its best.
    """
    rows = log.sql(
        f"""select user_id, item_id, request_id >> {VISIT_BITS} as visit, propensity::double as p,
                   ({grounds.signal})::int::double as r
            from (select *, min(propensity) over (partition by request_id) as least from impressions
                  where day between {grounds.first} and {grounds.last} and user_id < {GUESTS})
            where least < 1
            order by request_id, position""",
        until=grounds.known - 1,
    )
    weight = inverse(rows["p"].to_numpy(np.float64), grounds.clip)
    outcome, user_id = rows["r"].to_numpy(np.float64), rows["user_id"].to_numpy(np.int64)
    on_sale = grounds.on_sale(catalogue)
    weights = [weight * _listed(one, rows, grounds, on_sale) for one in models[:3]]
    challenger, champion, popularity = (snips(one, outcome) for one in weights)
    over = [difference((weights[0], other), outcome, user_id) for other in weights[1:]]
    return OffPolicy(
        rows=len(rows),
        challenger=challenger,
        champion=champion,
        popularity=popularity,
        over_champion=over[0],
        over_popularity=over[1],
        challenger_ips=ips(weights[0], outcome) / grounds.k,
        covered=float(weights[0].sum() / weights[1].sum()) if weights[1].sum() > 0 else float("nan"),
        effective=min(effective_size(one) for one in weights),
    )


def _listed(model: Recommender, rows: pd.DataFrame, grounds: Grounds, on_sale: Bools) -> Bools:
    """Whether each row's item is one of those that the model has for its place; rows in the order shown."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.bool_)
    users, user = np.unique(rows["user_id"].to_numpy(np.int64), return_inverse=True)
    place = rows.groupby("visit").cumcount().to_numpy(np.int64)
    length = max(1, min(grounds.k + int(place.max()), int(on_sale[: model.n_items].sum())))
    lists = top_lists(model, users, length, grounds.last, on_sale)
    rank = _ranks(lists, user, rows["item_id"].to_numpy(np.int64), len(on_sale))
    return np.asarray((rank < length) & (place <= rank) & (rank < place + grounds.k))


def _ranks(lists: Ints, row: Ints, item_id: Ints, n_items: int) -> Ints:
    """The place of each item in its row of `lists`, the length of the lists where it has none; shape of `item_id`."""
    n_rows, length = lists.shape
    key = np.where(lists == NO_ITEM, -1, np.arange(n_rows)[:, None] * n_items + lists).ravel()
    order = np.argsort(key, kind="stable")
    wanted = row * n_items + item_id
    found = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(key) - 1)]
    return np.asarray(np.where(key[found] == wanted, found % length, length))


def _paired(gap: Floats) -> Estimate:
    if len(gap) < 2:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return Estimate.around(float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap))))


def home_of(offline: Offline, by_chance: OffPolicy) -> Home:
    """Both differences as shares of what the champion has."""

    def share(of: Estimate, whole: float) -> Estimate:
        return Estimate(*(part / whole if whole > 0 else float("nan") for part in of))

    return Home(
        plain=share(offline.over_champion, offline.champion),
        corrected=share(by_chance.over_champion, by_chance.champion),
    )
