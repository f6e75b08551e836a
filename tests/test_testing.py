"""The public laws: every part of simlab keeps them, and each bites on a part that was broken on purpose."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from simlab.recsys.models import KINDS, FactorModel, Model, PopularityModel, RandomModel, SegmentModel
from simlab.recsys.service import Service
from simlab.schema import NEVER, NO_ITEM, Bools, Catalogue, Floats, Ints, Labels, Outcomes, Requests, Slates
from simlab.streams import stream, uniforms
from simlab.testing import check_propensities, check_recommender, check_response, check_slates
from simlab.world.birth import make_world
from simlab.world.config import ResponseConfig
from simlab.world.history import plackett_luce
from simlab.world.presets import preset
from simlab.world.response import WAYS, Chances, Preferences, ResponseModel, chances, draws, respond

N_ITEMS, N_USERS = 37, 50


def some_requests(n: int = 4) -> Requests:
    """Sixty visits, some of one user, some of users beyond the models' tables, some with exclusions."""
    rng = stream(1, "test requests")
    return Requests(
        day=3,
        user_id=rng.integers(0, N_USERS + 10, 60),
        visit=rng.integers(0, 3, 60),
        n=n,
        exclude=np.column_stack([rng.integers(0, 60, 40), rng.integers(0, N_ITEMS, 40)]),
    )


def some_factors() -> FactorModel:
    rng = stream(2, "test factors")
    return FactorModel(
        user_vector=rng.normal(size=(N_USERS, 16)),
        item_vector=rng.normal(size=(N_ITEMS, 16)),
        item_bias=rng.normal(size=N_ITEMS),
        known=rng.random(N_USERS) < 0.8,
    )


MODELS: dict[str, Model] = {
    "random": RandomModel(seed=5, n_items=N_ITEMS),
    "popularity": PopularityModel(score=np.arange(N_ITEMS, dtype=np.float64)),
    "segment": SegmentModel(
        score=stream(3, "test segments").random((3, N_ITEMS)), segment=np.arange(N_USERS, dtype=np.int64) % 3
    ),
    "factor": some_factors(),
}


def test_every_kind_of_model_is_tried() -> None:
    """A kind that is added to simlab is added here."""
    assert MODELS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_keeps_the_laws(kind: str) -> None:
    """Finite, repeatable, independent of order and company, the same after storing."""
    check_recommender(MODELS[kind], some_requests())


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A model made of two functions, to be broken one at a time."""

    score: Callable[[Requests], Floats]
    know: Callable[[Ints], Bools]

    @property
    def n_items(self) -> int:
        return N_ITEMS

    def scores(self, requests: Requests) -> Floats:
        return self.score(requests)

    def knows(self, user_id: Ints) -> Bools:
        return self.know(user_id)


def fair(requests: Requests) -> Floats:
    return np.outer(requests.user_id + 1.0, np.arange(N_ITEMS))


def everybody(user_id: Ints) -> Bools:
    return np.ones(len(user_id), dtype=bool)


def with_a_hole(requests: Requests) -> Floats:
    table = fair(requests)
    table[7:8, 3] = np.nan
    return table


def greedy(requests: Requests) -> Floats:
    table = fair(requests)
    requests.user_id[:] = 0
    return table


def counting() -> Callable[[Requests], Floats]:
    calls: list[int] = []

    def score(requests: Requests) -> Floats:
        calls.append(1)
        return fair(requests) + len(calls)

    return score


BROKEN_SCORES: dict[str, Callable[[Requests], Floats]] = {
    "shape": lambda requests: fair(requests)[:, 1:],
    "doubles": lambda requests: fair(requests).astype(np.float32),
    "finite: broken at request 7, item 3": with_a_hole,
    "requests.user_id was changed": greedy,
    "asked again": counting(),
    "the order of requests": lambda requests: fair(requests) + np.arange(len(requests))[:, None],
    "a few requests fare as in the whole": lambda requests: fair(requests) + len(requests),
    "a request alone": lambda requests: fair(requests) + (len(requests) == 1),
    "no requests, no scores": lambda requests: fair(requests) if len(requests) else np.empty((0, 1)),
}


@pytest.mark.parametrize("law", BROKEN_SCORES)
def test_broken_scores_are_found(law: str) -> None:
    """Each way of scoring wrongly fails the law it breaks, which is named."""
    check_recommender(Odd(score=fair, know=everybody), some_requests())
    with pytest.raises(AssertionError, match=law):
        check_recommender(Odd(score=BROKEN_SCORES[law], know=everybody), some_requests())


@pytest.mark.parametrize(
    ("law", "know"),
    [
        ("knows is True or False for each", lambda user_id: np.ones(len(user_id))),
        ("knows is True or False for each", lambda user_id: np.ones(1, dtype=bool)),
        (r"the order of requests changes nothing \(knows\)", lambda user_id: np.arange(len(user_id)) > 5),
        (r"a request alone fares as in company \(knows\)", lambda user_id: np.full(len(user_id), len(user_id) > 1)),
    ],
)
def test_a_broken_knows_is_found(law: str, know: Callable[[Ints], Bools]) -> None:
    """It has one True or False a request, by the user alone."""
    with pytest.raises(AssertionError, match=law):
        check_recommender(Odd(score=fair, know=know), some_requests())


@dataclass(frozen=True, kw_only=True)
class Doubling(PopularityModel):
    """Made again from what is stored, it doubles its scores once more."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "score", 2 * self.score)


def test_what_does_not_survive_storing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new kind that comes back from its file as something else fails, with the first place that differs."""
    monkeypatch.setitem(KINDS, "doubling", Doubling)
    with pytest.raises(
        AssertionError, match="a stored model scores the same, bit for bit: broken at request 0, item 1"
    ):
        check_recommender(Doubling(score=np.arange(N_ITEMS, dtype=np.float64)), some_requests())


def a_catalogue(n_items: int = N_ITEMS, n_later: int = 5) -> Catalogue:
    """Items of one price; the last `n_later` are launched on day 9."""
    return Catalogue(
        name=tuple(f"item {i}" for i in range(n_items)),
        category=Labels.constant("toys", n_items),
        brand=Labels.constant("Alder", n_items),
        price=np.ones(n_items),
        margin=np.full(n_items, 0.3),
        launch_day=np.where(np.arange(n_items) < n_items - n_later, -5, 9),
        retire_day=np.full(n_items, NEVER),
    )


def some_slates() -> Slates:
    service = Service(a_catalogue(), PopularityModel(score=np.arange(N_ITEMS, dtype=np.float64)))
    service.deploy(some_factors(), "factor-1")
    return service.recommend(some_requests())


def test_the_service_and_the_old_shop_show_lawful_slates() -> None:
    """Both are tried, with exclusions, users no model knows, and slates that run out of items."""
    check_slates(some_slates(), a_catalogue())
    few = Service(a_catalogue(3, 0), PopularityModel(score=np.ones(3)))
    crowded = replace(some_requests(3), exclude=np.array([[4, 0], [4, 2]]))
    assert NO_ITEM in few.recommend(crowded).item_id
    check_slates(few.recommend(crowded), a_catalogue(3, 0))
    world = make_world(preset("shop", n_users=80, n_items=40), 1)
    requests = replace(some_requests(), exclude=np.empty((0, 2), dtype=np.int64))
    luck = uniforms(1, "old shop", rows=np.arange(60), n=40)
    check_slates(plackett_luce(np.ones(40), requests, luck=luck), world.catalogue)


def changed(table: Any, row: int, position: int, value: float) -> Any:
    copy = table.copy()
    copy[row, position] = value
    return copy


@pytest.mark.parametrize(
    ("law", "field", "value"),
    [
        ("items are those of the catalogue, .*: broken at request 2, position 1", "item_id", N_ITEMS),
        ("items are those of the catalogue", "item_id", -2),
        ("only what is on sale on day 3 .*: broken at request 2, position 1", "item_id", N_ITEMS - 1),
        (r"propensities lie in \(0, 1\]: broken at request 2, position 1", "propensity", 0.0),
        ("propensities lie in", "propensity", 1.5),
        ("propensities lie in", "propensity", np.nan),
        ("sources are those of the schema", "source", 4),
        ("sources are those of the schema", "source", -1),
    ],
)
def test_a_broken_place_of_a_slate_is_found(law: str, field: str, value: float) -> None:
    """One place out of 240 is enough, and it is named."""
    slates = some_slates()
    with pytest.raises(AssertionError, match=law):
        check_slates(replace(slates, **{field: changed(getattr(slates, field), 2, 1, value)}), a_catalogue())


def test_an_item_shown_twice_is_found() -> None:
    """Repeats are named by position and request; empty places may repeat."""
    slates = some_slates()
    twice = changed(slates.item_id, 2, 3, slates.item_id[2, 0])
    with pytest.raises(AssertionError, match=r"twice in a slate \(position 3\): broken at request 2"):
        check_slates(replace(slates, item_id=twice), a_catalogue())
    check_slates(replace(slates, item_id=np.full_like(slates.item_id, NO_ITEM)), a_catalogue())


def test_an_excluded_item_is_found() -> None:
    """What was excluded for one request may be shown to others, and an empty place is no item."""
    slates = some_slates()
    item = int(slates.item_id[5, 2])
    unwanted = replace(slates.requests, exclude=np.array([[5, NO_ITEM], [5, item]]))
    with pytest.raises(AssertionError, match=f"nothing excluded is shown: broken at request 5, item {item}"):
        check_slates(replace(slates, requests=unwanted), a_catalogue())


def test_slates_of_another_shape_or_without_words_are_found() -> None:
    """Every column covers every slate."""
    slates = some_slates()
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("item_id has the shape", {"item_id": slates.item_id[:, 1:]}),
        ("propensity has the shape", {"propensity": slates.propensity[1:]}),
        ("model_version names each of 60", {"model_version": Labels.constant("m", 59)}),
        ("arm has a word", {"arm": Labels(codes=np.ones(60, dtype=np.int64), names=("champion",))}),
    )
    for law, change in changes:
        with pytest.raises(AssertionError, match=law):
            check_slates(replace(slates, **change), a_catalogue())


ALIKE = np.arange(20_000)


def old_slates(weight: Floats, n: int, exclude: Ints | None = None) -> Slates:
    """Slates of the old shop for 20,000 shoppers who all may see the same."""
    nothing = np.empty((0, 2), dtype=np.int64)
    asked = Requests(day=0, user_id=ALIKE, visit=0 * ALIKE, n=n, exclude=nothing if exclude is None else exclude)
    return plackett_luce(weight, asked, luck=uniforms(6, "test policy", rows=ALIKE, n=len(weight)))


def random_slates() -> Slates:
    """Slates of a random model in a service, also for 20,000."""
    service = Service(a_catalogue(5, 0), PopularityModel(score=np.ones(5)))
    service.deploy(RandomModel(seed=3, n_items=5), "random")
    return service.recommend(Requests(day=0, user_id=ALIKE, visit=0 * ALIKE, n=3))


def test_every_policy_that_draws_knows_how_likely_its_slates_are() -> None:
    """Noisy popularity and the random model: all 60 slates of 3 of 5 items, weights 0, exclusions, none left."""
    check_propensities(old_slates(np.array([5.0, 3.0, 1.0, 1.0, 0.5]), 3))
    check_propensities(old_slates(np.array([5.0, 0.0, 1.0, 1.0]), 4))
    check_propensities(old_slates(np.ones(4), 2, np.column_stack([ALIKE, 0 * ALIKE + 2])))
    check_propensities(random_slates())


def test_propensities_never_exceed_one() -> None:
    """The last of ten items is certain; what is left of a sum of ten roots may be 3e-15 too little."""
    slates = old_slates(np.sqrt(np.arange(1.0, 11)), 10)
    assert slates.propensity.max() == 1
    assert np.abs(slates.propensity[:, -1] - 1).max() < 1e-13


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        (r"propensities lie in \(0, 1\]", lambda p: p * 2),
        ("propensities sum to 1, .* position 0, 0.95 seen", lambda p: p * 0.95),
        ("propensities sum to at most 1: found 1.2", lambda p: np.minimum(p * 1.2, 1)),
        ("go on with the same propensities", lambda p: p * np.linspace(0.9, 1, len(p))[:, None]),
        ("item . comes as often as its propensity says", lambda p: np.broadcast_to([1 / 3, 1 / 2], p.shape)),
    ],
)
def test_wrong_propensities_are_found(sentence: str, change: Callable[[Floats], Floats]) -> None:
    """Not probabilities, not of sum one, not the same, not those of the draw."""
    slates = old_slates(np.array([0.35, 0.35, 0.3]), 2)
    check_propensities(slates)
    with pytest.raises(AssertionError, match=sentence):
        check_propensities(replace(slates, propensity=change(slates.propensity)))


def test_an_item_that_was_kept_back_is_found() -> None:
    """A policy that says every item has a chance, and never shows one of them."""
    slates = old_slates(np.ones(4), 1)
    kept = np.flatnonzero(slates.item_id[:, 0] != 2)
    fewer = replace(
        slates,
        requests=slates.requests.take(kept),
        latency_ms=slates.latency_ms[kept],
        **{name: getattr(slates, name)[kept] for name in ("item_id", "propensity", "source")},
    )
    with pytest.raises(AssertionError, match="propensities sum to 1, .* position 0, 0.75 seen"):
        check_propensities(fewer)


def drawn(weight: Floats, seed: int, n: int = 2) -> Slates:
    """Slates of the old shop for 5,000 shoppers, with other luck for each seed."""
    rows = ALIKE[:5_000]
    asked = Requests(day=0, user_id=rows, visit=0 * rows, n=n)
    return plackett_luce(weight, asked, luck=uniforms(seed, "test many items", rows=rows, n=len(weight)))


def as_if(weight: Floats, slates: Slates, replaced: bool = False) -> Slates:
    """The same slates with the propensities of a policy of other weights, or one that puts back what it drew."""
    shown = weight[slates.item_id]
    left = weight.sum() - (0 if replaced else np.cumsum(shown, axis=1) - shown)
    return replace(slates, propensity=shown / left)


@pytest.mark.parametrize("n_items", [4, 40, 200])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_right_policies_of_any_number_of_items_pass_and_wrong_ones_do_not(n_items: int, power: float) -> None:
    """Twenty seeds each, even, uneven and very uneven: a tenth too much or too little, another item's, another's."""
    weight = np.arange(1.0, n_items + 1) ** -power
    for seed in range(20):
        check_propensities(drawn(weight, seed))
    slates = drawn(weight, 20)
    p = slates.propensity
    wrong = [replace(slates, propensity=p * 0.9), replace(slates, propensity=np.minimum(p * 1.1, 1))]
    if power > 0:
        wrong += [as_if(np.roll(weight, 1), slates), as_if(np.ones(n_items), slates)]
    for one in wrong:
        with pytest.raises(AssertionError, match="propensit"):
            check_propensities(one)


def test_what_is_too_small_is_found_below_beginnings_that_hardly_repeat() -> None:
    """Four of 40 items: as if drawn ones were put back, at most 8 % too small, and only from the second place on."""
    slates = drawn(np.ones(40), 1, n=4)
    check_propensities(slates)
    with pytest.raises(AssertionError, match="propensities are not too small: broken at position 1"):
        check_propensities(as_if(np.ones(40), slates, replaced=True))
    one_item = np.where(slates.item_id == 7, 0.5, 1.0)
    one_item[:, :3] = 1
    with pytest.raises(AssertionError, match="propensity of item 7 is not too small: broken at position 3"):
        check_propensities(replace(slates, propensity=slates.propensity * one_item))


def test_a_right_policy_in_which_some_items_never_follow_others_passes() -> None:
    """The second item is of the other half; the propensities know it."""
    luck = uniforms(4, "test halves", rows=ALIKE, n=2)
    first = (luck[:, 0] * 40).astype(np.int64)
    second = (luck[:, 1] * 20).astype(np.int64) + np.where(first < 20, 20, 0)
    slates = replace(old_slates(np.ones(40), 2), item_id=np.column_stack([first, second]))
    check_propensities(replace(slates, propensity=np.tile([1 / 40, 1 / 20], (len(ALIKE), 1))))
    with pytest.raises(AssertionError, match="position 1"):
        check_propensities(replace(slates, propensity=np.tile([1 / 40, 1 / 39], (len(ALIKE), 1))))


def as_model(chances: Callable[..., Chances], respond: Callable[..., Outcomes]) -> ResponseModel:
    """A response model of somebody's own."""
    return cast(ResponseModel, SimpleNamespace(chances=chances, respond=respond))


CONFIG = ResponseConfig(
    base=-0.5, purchase_base=-0.2, purchase_scale=0.6, rating_share=0.7, return_share=0.9, satisfied_base=0.5,
    impatience=0.4,
)  # fmt: skip
N_ROWS, N = 20_000, 4

Respond = Callable[[Preferences, Outcomes], Outcomes]


def a_crowd(ways: tuple[int, ...] = (0, 1, 2, 3), n_rows: int = N_ROWS, seed: int = 3) -> tuple[Preferences, Floats]:
    rng = stream(seed, "test crowd")
    crowd = Preferences(
        utility=rng.normal(0, 1.5, (n_rows, N)),
        patience=rng.uniform(0.6, 1.0, n_rows),
        shown=rng.random((n_rows, N)) < 0.95,
        way=rng.choice(ways, n_rows),
        latency_ms=rng.uniform(0, 1000, n_rows),
    )
    return crowd, uniforms(seed, "test luck", rows=np.arange(n_rows), n=draws(N))


def tried(change: Respond | None = None, form: Callable[[Chances], Chances] | None = None) -> None:
    """Runs the laws over simlab's own response, whose outcomes or closed form were changed."""

    def closed(preferences: Preferences) -> Chances:
        p = chances(preferences, CONFIG)
        return form(p) if form else p

    def sampled(preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        outcomes = respond(preferences, CONFIG, day=day, luck=luck)
        return change(preferences, outcomes) if change else outcomes

    crowd, luck = a_crowd()
    check_response(as_model(closed, sampled), crowd, luck, day=3)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_choose_keeps_the_laws(way: str) -> None:
    """Looks, clicks, purchases and returns of 20,000 slates by each way, as they are written in `world.response`."""
    crowd, luck = a_crowd((WAYS.index(way),))
    check_response(as_model(partial(chances, config=CONFIG), partial(respond, config=CONFIG)), crowd, luck, day=3)


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_choose_keeps_the_laws_of_a_million(way: str) -> None:
    """A million slates by each way: what is one per cent off is found."""
    crowd, luck = a_crowd((WAYS.index(way),), 1_000_000, seed=8)
    check_response(as_model(partial(chances, config=CONFIG), partial(respond, config=CONFIG)), crowd, luck, day=3)


def test_shoppers_of_all_ways_side_by_side_keep_the_laws() -> None:
    """And so do those whose settings are all at their ends."""
    tried()
    crowd, luck = a_crowd()
    for config in (
        ResponseConfig(purchase_share=0, dwell_seconds=0),
        ResponseConfig(base=30.0, same_day=1, max_delay=0, rating_share=1, return_share=1, another_unit=0),
    ):
        closed, sampled = partial(chances, config=config), partial(respond, config=config)
        check_response(as_model(closed, sampled), crowd, luck)


@pytest.mark.parametrize(
    ("sentence", "form"),
    [
        (r"P\(clicked\) is a probability", lambda p: replace(p, clicked=p.clicked * 3)),
        (r"P\(clicked\) is at most P\(examined\)", lambda p: replace(p, clicked=(p.clicked + 9) / 10)),
        (r"P\(purchased\) is at most P\(clicked\)", lambda p: replace(p, purchased=p.examined)),
        (r"P\(returned\) is at most P\(purchased\)", lambda p: replace(p, returned=p.clicked)),
        (r"P\(examined\) is 0 where nothing is shown", lambda p: replace(p, examined=np.ones_like(p.examined))),
        (r"P\(purchased\) has the shape", lambda p: replace(p, purchased=p.purchased[:, 1:])),
        (
            "clicked is as frequent .* position 0",
            lambda p: replace(p, clicked=p.clicked * 0.9, purchased=p.purchased / 2, returned=p.returned / 4),
        ),
        ("purchased is as frequent", lambda p: replace(p, purchased=p.purchased * 0.9, returned=p.returned * 0.9)),
        ("returned is as frequent", lambda p: replace(p, returned=p.returned * 0.85)),
        ("chance 0 never happens", lambda p: replace(p, purchased=p.purchased * 0, returned=p.returned * 0)),
    ],
)
def test_a_broken_closed_form_is_found(sentence: str, form: Callable[[Chances], Chances]) -> None:
    """Formulas that are no probabilities, or 5 % wrong, or of another model."""
    with pytest.raises(AssertionError, match=sentence):
        tried(form=form)


def test_who_clicks_once_at_most_clicks_once_at_most() -> None:
    """P(none) is what is left to one: 2.5 % too few at each place are seen in their sum."""
    logit, luck = a_crowd((WAYS.index("logit"),))
    closed, sampled = partial(chances, config=CONFIG), partial(respond, config=CONFIG)

    def fewer(preferences: Preferences) -> Chances:
        p = closed(preferences)
        return replace(p, clicked=p.clicked * 0.975, purchased=p.purchased * 0.975, returned=p.returned * 0.975)

    with pytest.raises(AssertionError, match="by logit no click is as frequent as is left to one"):
        check_response(as_model(fewer, sampled), logit, luck)


@pytest.mark.parametrize(("base", "sentence"), [(-5.0, "there is one click at most"), (3.0, "sums to at most 1")])
def test_those_who_choose_one_and_click_on_two_are_found(base: float, sentence: str) -> None:
    """Shoppers by logit who are answered for as if by position."""
    crowd, luck = a_crowd((WAYS.index("logit"),))
    config = replace(CONFIG, base=base)

    def by_position(preferences: Preferences) -> Preferences:
        return replace(preferences, way=np.zeros_like(preferences.way))

    def closed(preferences: Preferences) -> Chances:
        return chances(by_position(preferences), config)

    def sampled(preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        return respond(by_position(preferences), config, day=day, luck=luck)

    with pytest.raises(AssertionError, match=sentence):
        check_response(as_model(closed, sampled), crowd, luck)


def backwards(preferences: Preferences) -> Preferences:
    return replace(preferences, utility=-preferences.utility)


def the_same_for_all(preferences: Preferences) -> Preferences:
    """Everybody as impatient as the mean, who waits as long."""
    patience, waited = preferences.patience.mean(), preferences.latency_ms.mean()
    n = len(preferences.patience)
    return replace(preferences, patience=np.full(n, patience), latency_ms=np.full(n, waited))


@pytest.mark.parametrize(
    ("sentence", "taken_as"),
    [
        ("examined .* for low and high its own chance alike", the_same_for_all),
        ("clicked is as frequent .* for low and high its own chance alike", backwards),
    ],
)
def test_a_sampler_that_is_right_in_the_mean_only_is_found(
    sentence: str, taken_as: Callable[[Preferences], Preferences]
) -> None:
    """Where utilities are symmetric around a chance of a half, as many answer by -utility; nobody is like the mean."""
    crowd, luck = a_crowd((WAYS.index("position"),))
    config = replace(CONFIG, base=0.0)
    closed = partial(chances, config=config)

    def sampled(preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        return respond(taken_as(preferences), config, day=day, luck=luck)

    check_response(as_model(closed, partial(respond, config=config)), crowd, luck)
    with pytest.raises(AssertionError, match=sentence):
        check_response(as_model(closed, sampled), crowd, luck)


def test_a_closed_form_that_says_the_mean_for_all_is_found() -> None:
    """It fits itself; utility tells that it is wrong."""
    crowd, luck = a_crowd((WAYS.index("position"),))
    crowd = replace(crowd, shown=np.ones_like(crowd.shown))

    def closed(preferences: Preferences) -> Chances:
        p = chances(preferences, CONFIG)
        return Chances(**{name: np.broadcast_to(what.mean(axis=0), what.shape) for name, what in vars(p).items()})

    with pytest.raises(AssertionError, match="for low and high .* alike"):
        check_response(as_model(closed, partial(respond, config=CONFIG)), crowd, luck)


def test_answers_of_another_type_are_found() -> None:
    """A sentence, where a learner's own model gives a table or nothing."""
    crowd, luck = a_crowd()
    closed, sampled = partial(chances, config=CONFIG), partial(respond, config=CONFIG)
    for sentence, model in (
        ("gives Chances: found dict", as_model(lambda p: vars(closed(p)), sampled)),  # type: ignore[arg-type, return-value]
        ("gives Outcomes: found NoneType", as_model(closed, lambda p, day, luck: None)),  # type: ignore[arg-type, return-value]
    ):
        with pytest.raises(AssertionError, match=sentence):
            check_response(model, crowd, luck)


def with_clicks(outcomes: Outcomes, **columns: Any) -> Outcomes:
    return replace(outcomes, clicks=replace(outcomes.clicks, **columns))


def someone_else_decides(preferences: Preferences, outcomes: Outcomes) -> Outcomes:
    """Who comes right after an impatient shopper gives the rating 1."""
    impatient = np.roll(preferences.patience, 1) < 0.8
    clicks = outcomes.clicks
    return with_clicks(outcomes, rating=np.where((clicks.rating > 0) & impatient[clicks.place // N], 1, clicks.rating))


def short_sighted(preferences: Preferences, outcomes: Outcomes) -> Outcomes:
    """Below the top, only what will be clicked is looked at."""
    return replace(outcomes, examined=np.where(np.arange(N) == 0, outcomes.examined, outcomes.clicked))


def shifted(name: str, days: int) -> Respond:
    """What comes some days earlier or later than it should."""

    def change(preferences: Preferences, outcomes: Outcomes) -> Outcomes:
        when = getattr(outcomes.clicks, name)
        return with_clicks(outcomes, **{name: np.where(when == NEVER, NEVER, when + days)})

    return change


def every(name: str, value: int) -> Respond:
    """The same for every click."""

    def change(preferences: Preferences, outcomes: Outcomes) -> Outcomes:
        return with_clicks(outcomes, **{name: np.full_like(getattr(outcomes.clicks, name), value)})

    return change


@pytest.mark.parametrize(
    ("sentence", "change"),
    [
        ("only what is shown is looked at", lambda p, o: replace(o, examined=np.ones_like(o.examined))),
        ("only what is looked at is clicked", lambda p, o: replace(o, examined=np.zeros_like(o.examined))),
        ("a row for each True in clicked", lambda p, o: replace(o, clicked=o.examined)),
        ("a row for each True in clicked", lambda p, o: with_clicks(o, place=o.clicks.place[::-1])),
        ("clicks.rating has the shape", lambda p, o: with_clicks(o, rating=o.clicks.rating[1:])),
        ("examined has the shape", lambda p, o: replace(o, examined=o.examined[1:])),
        ("time spent is positive", every("dwell", 0)),
        ("units are counted from 0", every("units", -1)),
        ("purchases come on day 3 or later", shifted("purchase_day", -1)),
        ("what is not bought is bought NEVER", every("purchase_day", 5)),
        ("only what is bought is rated", every("rating", 3)),
        (r"ratings are 1 \.\. 5", lambda p, o: with_clicks(o, rating=o.clicks.rating * 2)),
        ("ratings come on the day of the purchase or later", shifted("rating_day", -1)),
        ("what is rated is rated some day", every("rating_day", NEVER)),
        ("only what is bought is given back", every("return_day", 3)),
        ("returns come on the day of the purchase or later", shifted("return_day", -1)),
        ("examined is as frequent .* position 1", short_sighted),
        ("the order of requests changes nobody's answer", someone_else_decides),
    ],
)
def test_a_broken_sampler_is_found(sentence: str, change: Respond) -> None:
    """Answers out of order, out of range, out of time, too rare, or decided by someone else's row."""
    with pytest.raises(AssertionError, match=sentence):
        tried(change)


def test_luck_of_its_own_and_meddling_are_found() -> None:
    """A sampler that draws for itself answers otherwise when asked again; one that writes into its input is caught."""
    crowd, luck = a_crowd()
    rng = stream(5, "a hidden generator")

    def drawing(preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        return respond(preferences, CONFIG, day=day, luck=rng.random(luck.shape))

    def meddling(preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        preferences.latency_ms[:] += 1
        return respond(preferences, CONFIG, day=day, luck=luck)

    closed = partial(chances, config=CONFIG)
    with pytest.raises(AssertionError, match="asked again, shoppers answer the same"):
        check_response(as_model(closed, drawing), crowd, luck)
    with pytest.raises(AssertionError, match="leaves its input alone"):
        check_response(as_model(closed, meddling), crowd, luck)


def test_a_crowd_answers_as_each_of_them_would() -> None:
    """A sampler that looks at how many are there breaks the law of company, though order does not matter to it."""
    crowd, luck = a_crowd()

    def herding(preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        outcomes = respond(preferences, CONFIG, day=day, luck=luck)
        return outcomes if len(luck) == N_ROWS else with_clicks(outcomes, dwell=outcomes.clicks.dwell + 1)

    with pytest.raises(AssertionError, match=r"who else is there \(dwell\)"):
        check_response(as_model(partial(chances, config=CONFIG), herding), crowd, luck)
