"""Mishaps: what can befall models, what answers, goods and people; see simlab.lab.incidents."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simlab.lab.loop import Ring, retrain
from simlab.recsys.models import FactorModel
from simlab.recsys.policies import Decision, Never, RetrainPolicy
from simlab.recsys.succession import Attempt, succeed
from simlab.schema import SOURCES, Bools, Ints, Labels, Requests, Slates
from simlab.streams import stream
from simlab.world.truth import World

if TYPE_CHECKING:
    from simlab.lab.watched import Watched


@dataclass(frozen=True)
class _Frozen:
    """Trains when its policy says so, from the goods of an earlier day."""

    ring: Ring
    policy: RetrainPolicy
    day: int

    def decide(self, day: int, last_trained: int, facts: Any) -> Decision:
        """Never yes: where it would be, it has trained already."""
        told = self.policy.decide(day, last_trained, facts)
        if told.retrain:
            ring, world = self.ring, self.ring.world
            goods, people = world.catalogue.launched_by(self.day), world.shoppers.arrived_by(day)
            attempt = Attempt(day=day, reason=told.reason, training=ring.config.training_config())
            if succeed(ring.log, ring.registry, goods, people, attempt):
                ring.last_trained = day
        return Decision(retrain=False, reason=told.reason)


def freeze(shop: "Watched", day: int) -> None:
    """From now on training knows the goods of this day alone."""
    shop.ring.policy = _Frozen(shop.ring, shop.ring.policy, day)


def stop_training(shop: "Watched", day: int) -> None:
    """Nothing is trained any more, and nothing says so."""
    shop.ring.policy = Never()


def promote_wrong(shop: "Watched", day: int) -> None:
    """The champion with each item's vector in the next item's row."""
    registry = shop.ring.registry
    model, card = registry.load(str(registry.alias("champion")))
    if isinstance(model, FactorModel):
        model = replace(model, item_vector=np.roll(model.item_vector, 1, axis=0), item_bias=np.roll(model.item_bias, 1))
    registry.register(model, f"hotfix-day{day:05d}", card)
    registry.promote(f"hotfix-day{day:05d}", day=day, actor="somebody", reason="hotfix")


def misread(requests: Requests, shop: "Watched") -> Slates:
    """Everybody gets the slate of the next shopper."""
    shop.misread, n = 1, len(shop.ring.world.shoppers.arrived_by(requests.day))
    user_id = np.where(requests.user_id < n, (requests.user_id + 1) % n, requests.user_id)
    return replace(shop.plain(replace(requests, user_id=user_id)), requests=requests)


def release(shop: "Watched", day: int) -> None:
    """The shop's first model that has learnt long enough."""
    ring = shop.ring
    ring.config = replace(ring.config, training=replace(ring.config.training, epochs=10))
    retrain(ring, day, "release: more epochs")


def hurt(requests: Requests, shop: "Watched") -> Slates:
    """Shoppers of one segment get goods at random."""
    slates, people = shop.plain(requests), shop.ring.world.shoppers
    rows = np.flatnonzero(people.segment.codes[np.minimum(requests.user_id, len(people) - 1)] == 1)
    return at_random(slates, rows, offered(shop), seed=shop.seed)


def no_rungs(requests: Requests, shop: "Watched") -> Slates:
    """A seventh of the shoppers, and all whom no model knows, get the first goods of the catalogue."""
    slates = shop.plain(requests)
    fallen = np.array([word.startswith("fallback") for word in slates.model_version.words()])
    return static(slates, np.flatnonzero(fallen | (requests.user_id % 7 == 0)), offered(shop))


def sold_out(shop: "Watched", here: Bools) -> Bools:
    """The eighth of the goods that was shown most in the fortnight before is gone."""
    assert shop.incident is not None
    day = shop.incident.day
    rows = shop.ring.log.sql(
        f"select item_id, count(*) as n from impressions where day between {day - 14} and {day - 1}"
        " group by all order by n desc, item_id",
        until=day - 1,
    )
    gone = rows["item_id"].to_numpy()[: len(here) // 8]
    return here & ~np.isin(np.arange(len(here)), gone)


def wave(world: World, day: int) -> World:
    """All who would arrive later arrive on `day`."""
    people = world.shoppers
    return replace(world, shoppers=replace(people, arrival_day=np.minimum(people.arrival_day, day)))


def offered(shop: "Watched") -> Ints:
    """What can be shown today, in the order of the catalogue."""
    return np.flatnonzero(shop.here)


def at_random(slates: Slates, rows: Ints, items: Ints, *, seed: int) -> Slates:
    """Other items in `rows`, drawn from `items`; the rows still name the model."""
    rng, item_id = stream(seed, "at random", slates.requests.day), slates.item_id.copy()
    n = item_id.shape[1]
    if len(items) >= n and len(rows):
        luck = rng.random((len(rows), len(items)))
        item_id[rows] = items[np.argsort(luck, axis=1)[:, :n]]
    return replace(slates, item_id=item_id)


def static(slates: Slates, rows: Ints, items: Ints) -> Slates:
    """In `rows` the first of `items`, by the lowest rung."""
    item_id, source, codes = slates.item_id.copy(), slates.source.copy(), slates.model_version.codes.copy()
    names, n = slates.model_version.names, slates.item_id.shape[1]
    if len(items) >= n:
        item_id[rows], source[rows] = items[:n], SOURCES.index("fallback")
        codes[rows] = names.index("fallback-static")
    return replace(slates, item_id=item_id, source=source, model_version=Labels(codes=codes, names=names))
