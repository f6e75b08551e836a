"""What the service promises to shoppers, whichever models it holds and whoever they are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import ConfigError, ModelError
from simlab.recsys.models import FactorModel, PopularityModel, RandomModel, Recommender, SegmentModel
from simlab.recsys.online import Act, OnlineConfig
from simlab.recsys.registry import Registry
from simlab.recsys.service import FALLBACKS, RUNGS, Served, Service, at_work, load, rung_of
from simlab.recsys.traffic import ARMS, Traffic, arms
from simlab.schema import NEVER, NO_ITEM, SOURCES, Bools, Catalogue, Floats, Ints, Labels, Requests, Shoppers, Slates
from simlab.streams import stream
from simlab.testing import check_propensities, check_slates

N_ITEMS, N_USERS = 30, 25

SEGMENT, POPULAR, STATIC = FALLBACKS


def a_catalogue() -> Catalogue:
    """Twenty items from the beginning, and one more every third day; item 4 is retired on day 31."""
    return Catalogue(
        name=tuple(f"item {i}" for i in range(N_ITEMS)),
        category=Labels.constant("toys", N_ITEMS),
        brand=Labels.constant("Alder", N_ITEMS),
        price=np.ones(N_ITEMS),
        margin=np.full(N_ITEMS, 0.3),
        launch_day=np.maximum(3 * (np.arange(N_ITEMS) - 20), -9),
        retire_day=np.where(np.arange(N_ITEMS) == 4, 31, NEVER),
    )


FALLBACK = PopularityModel(score=np.arange(22, dtype=np.float64))
"""Best are 20, 19, 18, ... on day 0."""

KINDS = SegmentModel(score=np.array([np.arange(24), -np.arange(24)]) % 17 * 1.0, segment=np.arange(20) % 2)
"""It has heard of users 0 .. 19."""


def factors(n_items: int = 26, n_users: int = N_USERS) -> FactorModel:
    """As ALS leaves them: users without data are not known. It has seen the first 26 items."""
    rng = stream(1, "test service")
    return FactorModel(
        user_vector=rng.normal(size=(n_users, 4)),
        item_vector=rng.normal(size=(n_items, 4)),
        item_bias=rng.normal(size=n_items),
        known=np.arange(n_users) % 3 > 0,
    )


def favouring(item_id: int, n_items: int = N_ITEMS) -> PopularityModel:
    """All think alike: this item first, then those before it."""
    return PopularityModel(score=np.arange(n_items, dtype=np.float64) + 100 * (np.arange(n_items) == item_id))


@dataclass(frozen=True)
class Raising:
    """A model with a fault in one of its parts."""

    fault: str
    n_items: int = 26

    def knows(self, user_id: Ints) -> Bools:
        if self.fault == "knows":
            raise ValueError("knows nothing of itself")
        return np.ones(len(user_id), dtype=np.bool_)

    def scores(self, requests: Requests) -> Floats:
        if self.fault == "scores":
            raise ZeroDivisionError("no score")
        return np.zeros((len(requests), self.n_items))


MODELS: dict[str, Recommender | None] = {
    "none": None,
    "random": RandomModel(seed=1, n_items=N_ITEMS),
    "popularity": PopularityModel(score=-np.arange(N_ITEMS, dtype=np.float64)),
    "segment": KINDS,
    "factor": factors(),
    "empty": PopularityModel(score=np.empty(0)),
    "factors of nobody": factors(n_users=0),
    "raising": Raising("scores"),
}

ONLINE = {
    "batch": OnlineConfig(),
    "real time": OnlineConfig(fold_in=1.0, ridge=1.0, suppress_days=3),
    "epsilon": OnlineConfig(exploration="epsilon", epsilon=0.3, candidates=8),
    "thompson": OnlineConfig(exploration="thompson", fold_in=1.0, suppress_days=3),
}


def a_service(model: Recommender | None, online: OnlineConfig | None = None, segment: bool = False) -> Service:
    service = Service(a_catalogue(), FALLBACK, segment=KINDS if segment else None, online=online)
    if model is not None:
        service.deploy(model, "m1")
    return service


def in_four_arms(models: dict[str, Served] | None = None, online: OnlineConfig | None = None) -> Service:
    """A canary with a third of the shoppers, and a third for the baseline; whom the models favour tells them apart."""
    service = Service(a_catalogue(), FALLBACK, segment=KINDS, online=online)
    traffic = Traffic(champion="old", canary="new", canary_share=0.33, salt="s", shadow="dark")
    some = {"old": Served(favouring(3), 0), "new": Served(favouring(7), 0), "dark": Served(favouring(9), 0)}
    service.route(traffic, some if models is None else models)
    return service


@st.composite
def requests(draw: st.DrawFn, most: int = N_ITEMS) -> Requests:
    """Any visits, known users or not, on any day; exclusions may leave too few items."""
    rng = stream(draw(st.integers(0, 10_000)), "requests")
    n_rows, pairs = draw(st.integers(0, 12)), draw(st.sampled_from([0, 5, 150]))
    rows = rng.integers(0, max(n_rows, 1), pairs if n_rows else 0)
    return Requests(
        day=draw(st.integers(0, 40)),
        user_id=rng.integers(0, N_USERS + 5, n_rows),
        visit=rng.integers(0, 3, n_rows),
        page=rng.integers(0, 2, n_rows),
        n=draw(st.integers(1, most)),
        exclude=np.column_stack([rows, rng.integers(NO_ITEM, N_ITEMS, len(rows))]),
    )


def visits(*user_id: int, n: int = 3, day: int = 0) -> Requests:
    return Requests(
        day=day, user_id=np.array(user_id, dtype=np.int64), visit=np.zeros(len(user_id), dtype=np.int64), n=n
    )


def sources(slates: Slates) -> list[list[str]]:
    return [[SOURCES[code] for code in row] for row in slates.source.tolist()]


def same(one: Slates, other: Slates) -> None:
    """All that a row says is the same."""
    for name in ("item_id", "propensity", "source"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.model_version.words() == other.model_version.words()
    assert one.arm.words() == other.arm.words()


def first_rung(model: Recommender | None, asked: Requests, row: int) -> tuple[str, int]:
    """The oracle: which version answers a request, by the rule of the ladder, and how many items it has to offer."""
    static = PopularityModel(score=np.zeros(N_ITEMS))
    rungs = [("m1", model), (SEGMENT, KINDS), (POPULAR, FALLBACK), (STATIC, static)]
    gone = set(asked.exclude[asked.exclude[:, 0] == row, 1].tolist())
    answered = STATIC, 0
    for version, rung in rungs:
        if rung is None or isinstance(rung, Raising) or asked.n > rung.n_items:
            continue
        user_id = int(asked.user_id[row])
        if isinstance(rung, FactorModel | SegmentModel) and user_id >= (N_USERS if version == "m1" else 20):
            continue
        if isinstance(rung, FactorModel) and (len(rung.known) == 0 or user_id % 3 == 0):
            continue
        offered = set(np.flatnonzero(a_catalogue().on_sale(asked.day)[: rung.n_items]).tolist()) - gone
        if offered:
            return version, len(offered)
    return answered


@pytest.mark.parametrize("name", [name for name in MODELS if name != "segment"])
@given(asked=requests())
@settings(max_examples=60, deadline=None)
def test_slates_are_lawful_and_from_the_first_rung_that_has_something_to_say(name: str, asked: Requests) -> None:
    """Never an excluded item or one not on sale, none twice; a place is empty only when nothing is left for it."""
    service = a_service(MODELS[name], segment=True)
    slates = service.recommend(asked)
    check_slates(slates, service.catalogue)
    for row, version in enumerate(slates.model_version.words()):
        expected, offered = first_rung(MODELS[name], asked, row)
        assert version == expected
        assert slates.shown[row].sum() == min(asked.n, offered)
        word = "model" if version == "m1" else "fallback"
        assert set(np.array(SOURCES)[slates.source[row, slates.shown[row]]].tolist()) <= {word}


@pytest.mark.parametrize("online", ONLINE)
@pytest.mark.parametrize("name", ["none", "random", "popularity", "factor", "raising", "four arms"])
@given(asked=requests(), data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_slate_depends_on_its_own_request_alone(name: str, online: str, asked: Requests, data: st.DataObject) -> None:
    """In any order, and whoever else asks, everybody gets the same slate from the same source."""
    service = in_four_arms(online=ONLINE[online]) if name == "four arms" else a_service(MODELS[name], ONLINE[online])
    heard = [(1, 5, "click"), (3, 2, "click"), (3, 8, "purchase"), (N_USERS + 2, 9, "click"), (4, 1, "purchase")]
    service.live.hear([Act(user_id, item_id, kind, asked.day) for user_id, item_id, kind in heard])
    whole = service.recommend(asked)
    check_slates(whole, service.catalogue)
    rows: Ints = np.array(data.draw(st.permutations(range(len(asked)))), dtype=np.int64)
    rows = rows[: data.draw(st.integers(0, len(rows)))]
    part = service.recommend(asked.take(rows))
    for field in ("item_id", "source", "propensity"):
        np.testing.assert_array_equal(getattr(part, field), getattr(whole, field)[rows])
    words = whole.model_version.words()
    assert part.model_version.words() == [words[row] for row in rows]
    np.testing.assert_array_equal(part.arm.codes, whole.arm.codes[rows])


def test_the_best_come_first() -> None:
    """Popularity, worked by hand: the highest score first, without what is excluded or not launched yet."""
    service = a_service(PopularityModel(score=np.arange(N_ITEMS, dtype=np.float64)))
    asked = replace(visits(4, 4, day=3), exclude=np.array([[1, 20], [1, 5]]))
    slates = service.recommend(asked)
    assert slates.item_id.tolist() == [[21, 20, 19], [21, 19, 18]]
    assert slates.model_version.words() == ["m1", "m1"]
    assert slates.arm.words() == ["champion", "champion"]
    assert (slates.propensity == 1).all()


def test_who_is_not_known_gets_what_is_popular() -> None:
    """Known to the model, without data, and unheard of: the last two get the fallback's slate, and it says so."""
    service = a_service(factors())
    slates = service.recommend(visits(1, 3, N_USERS + 2))
    assert sources(slates) == [["model"] * 3, ["fallback"] * 3, ["fallback"] * 3]
    assert slates.model_version.words() == ["m1", POPULAR, POPULAR]
    assert slates.item_id[1:].tolist() == [[20, 19, 18]] * 2
    assert slates.item_id[0].tolist() != [20, 19, 18]


def test_who_is_not_known_gets_what_is_popular_among_their_kind() -> None:
    """The segment stands above the popular: users of two kinds without data get two slates, a stranger the popular."""
    slates = a_service(factors(), segment=True).recommend(visits(1, 3, 6, N_USERS + 2))
    assert slates.model_version.words() == ["m1", SEGMENT, SEGMENT, POPULAR]
    assert slates.item_id[1:].tolist() == [[1, 18, 2], [16, 15, 14], [20, 19, 18]]


def test_before_the_first_model_everybody_gets_what_is_popular() -> None:
    """Also those whom the fallback "knows": no model is credited."""
    slates = a_service(None).recommend(visits(1, 2))
    assert sources(slates) == [["fallback"] * 3] * 2
    assert slates.item_id.tolist() == [[20, 19, 18]] * 2
    assert slates.model_version.words() == [POPULAR] * 2
    assert slates.arm.words() == ["champion"] * 2


@pytest.mark.parametrize(
    ("model", "fails"),
    [
        (None, False),
        (PopularityModel(score=np.empty(0)), False),
        (PopularityModel(score=np.ones(2)), False),
        (factors(n_users=0), False),
        (Raising("knows"), True),
        (Raising("scores"), True),
    ],
)
def test_what_no_model_can_tell_a_lower_rung_does(model: Recommender | None, fails: bool) -> None:
    """Missing, empty, too small for the slate, without users, or raising: all get an answer and no model is credited.

    The shopper's arm is kept, and what was raised is counted.
    """
    service = in_four_arms({} if model is None else {"old": Served(model, 0), "new": Served(model, 0)})
    asked = visits(*range(N_USERS))
    slates = service.recommend(asked)
    assert slates.model_version.words() == [SEGMENT] * 20 + [POPULAR] * 5
    assert sources(slates) == [["fallback"] * 3] * N_USERS
    assert (slates.propensity == 1).all()
    assert {rung_of(version) for version in slates.model_version.words()} == {"segment", "popular"}
    np.testing.assert_array_equal(slates.arm.codes, arms(asked.user_id, service.traffic))
    assert set(service.failures) == ({"old", "new"} if fails else set())
    check_slates(slates, service.catalogue)


def test_a_raising_canary_harms_nobody_elses_slates() -> None:
    """The champion's shoppers, in the same batch, get the champion's slates."""
    asked = visits(*range(N_USERS))
    whole = in_four_arms().recommend(asked)
    models = {"old": Served(favouring(3), 0), "new": Served(Raising("scores"), 0)}
    slates = in_four_arms(models).recommend(asked)
    others = whole.arm.codes != ARMS.index("canary")
    assert 0 < others.sum() < N_USERS
    np.testing.assert_array_equal(slates.item_id[others], whole.item_id[others])
    assert set(np.array(slates.model_version.words())[~others]) <= set(FALLBACKS)


@pytest.mark.parametrize(("n", "rung", "shown"), [(22, 1, 21), (23, 0, 23), (24, 0, 23), (25, 2, 25)])
def test_a_slate_longer_than_a_rung_knows_items_falls_further(n: int, rung: int, shown: int) -> None:
    """Segments know 24 items, the popular 22: whoever is asked for more passes it on. Item 4 is retired."""
    slates = a_service(None, segment=rung != 1).recommend(visits(1, n=n, day=40))
    assert slates.model_version.words() == [FALLBACKS[rung]]
    assert slates.shown.sum() == shown
    check_slates(slates, a_catalogue())


def test_the_static_rung_shows_goods_in_the_order_of_their_numbers() -> None:
    """The last resort needs nothing that could be missing."""
    slates = a_service(None).recommend(visits(1, n=25, day=40))
    assert slates.item_id.tolist() == [[i for i in range(26) if i != 4]]
    assert slates.model_version.words() == [STATIC]


def test_rungs_have_names_that_rows_say() -> None:
    """A version is a model's, so the first rung's, unless it is one of the fallbacks'."""
    assert [rung_of(version) for version in ("m1", *FALLBACKS)] == list(RUNGS)
    assert rung_of("fallback-day00000") == "personal"


def test_without_time_for_the_model_a_lower_rung_answers() -> None:
    """personal=False passes the first rung over, for all, and keeps the arm; no model is asked."""
    service, asked = in_four_arms({"old": Served(Raising("scores"), 0)}), visits(*range(N_USERS))
    slates = service.recommend(asked, personal=False)
    assert set(slates.model_version.words()) == {SEGMENT, POPULAR}
    np.testing.assert_array_equal(slates.arm.codes, arms(asked.user_id, service.traffic))
    assert not service.failures


def test_a_model_that_does_not_fit_is_refused_and_the_old_one_goes_on() -> None:
    """More items than the catalogue has: the error names the version; slates stay the same."""
    service = a_service(factors())
    before = service.recommend(visits(1, 2))
    with pytest.raises(ModelError, match="items of m2: 31 .* catalogue has 30 items"):
        service.deploy(RandomModel(seed=1, n_items=N_ITEMS + 1), "m2")
    assert service.traffic.champion == "m1"
    same(service.recommend(visits(1, 2)), before)


def test_a_route_with_one_model_that_does_not_fit_is_refused_as_a_whole() -> None:
    """Not even the good one among them is taken."""
    service = a_service(factors())
    models = {"a": Served(favouring(1), 0), "b": Served(RandomModel(seed=1, n_items=N_ITEMS + 1), 0)}
    with pytest.raises(ModelError, match="items of b: 31"):
        service.route(Traffic(champion="a", challenger="b", challenger_share=0.5), models)
    assert (service.traffic, set(service.models)) == (Traffic(champion="m1"), {"m1"})


@pytest.mark.parametrize(
    ("parts", "thing"),
    [
        ({"fallback": PopularityModel(score=np.ones(N_ITEMS + 1))}, "items of the fallback: 31"),
        (
            {"segment": SegmentModel(score=np.ones((2, N_ITEMS + 1)), segment=np.zeros(3, dtype=np.int64))},
            "segments: 31",
        ),
    ],
)
def test_a_fallback_that_does_not_fit_is_refused(parts: dict[str, Recommender], thing: str) -> None:
    """It would fail at the first shopper whom nobody knows."""
    make: Callable[..., Service] = Service
    with pytest.raises(ModelError, match=thing):
        make(a_catalogue(), **{"fallback": FALLBACK, **parts})


def test_another_model_takes_over_at_once() -> None:
    """From the deployment on, all slates are the new model's, and say so."""
    service = a_service(factors())
    service.deploy(PopularityModel(score=-np.arange(N_ITEMS, dtype=np.float64)), "m2")
    slates = service.recommend(visits(1, 3))
    assert slates.item_id.tolist() == [[0, 1, 2]] * 2
    assert slates.model_version.words() == ["m2", "m2"]


@dataclass(frozen=True)
class Swapping:
    """A model during whose work somebody else changes the traffic."""

    service: Service
    n_items: int = N_ITEMS

    def knows(self, user_id: Ints) -> Bools:
        return np.ones(len(user_id), dtype=np.bool_)

    def scores(self, requests: Requests) -> Floats:
        self.service.deploy(favouring(1), "later")
        return favouring(3).scores(requests)


def test_traffic_changes_as_a_whole() -> None:
    """A batch that has begun is answered by the old traffic to its end, the next one by the new: never half of each."""
    service = in_four_arms()
    asked, expected = visits(*range(N_USERS)), service.recommend(visits(*range(N_USERS)))
    assert set(expected.model_version.words()) == {"old", "new"}
    service.route(service.traffic, {**service.models, "old": Served(Swapping(service), 0)})
    same(service.recommend(asked), expected)
    after = service.recommend(asked)
    assert (set(after.model_version.words()), set(after.arm.words())) == ({"later"}, {"champion"})
    assert (after.item_id[:, 0] == 1).all()


def test_each_arm_is_answered_by_its_version() -> None:
    """Canary by the canary, baseline and champion by the champion, challenger by the challenger; arms are sticky."""
    asked = visits(*range(N_USERS))
    slates = in_four_arms().recommend(asked)
    told = set(zip(slates.arm.words(), slates.model_version.words(), slates.item_id[:, 0].tolist(), strict=True))
    assert told == {("champion", "old", 3), ("baseline", "old", 3), ("canary", "new", 7)}
    same(in_four_arms().recommend(asked), slates)

    service = a_service(None)
    traffic = Traffic(champion="a", challenger="b", challenger_share=0.4, salt="t")
    service.route(traffic, {"a": Served(favouring(1), 0), "b": Served(favouring(2), 0)})
    slates = service.recommend(asked)
    told = set(zip(slates.arm.words(), slates.model_version.words(), slates.item_id[:, 0].tolist(), strict=True))
    assert told == {("champion", "a", 1), ("challenger", "b", 2)}
    np.testing.assert_array_equal(slates.arm.codes, arms(asked.user_id, traffic))


def test_a_shadow_is_never_shown_and_changes_nothing() -> None:
    """Slates are the same with and without it, also when it raises; what it would show is told apart, with scores."""
    asked = visits(*range(N_USERS))
    service, without = in_four_arms(), in_four_arms()
    without.route(replace(without.traffic, shadow=None), without.models)
    before = without.recommend(asked)
    assert without.shadow(asked) is None
    told = service.shadow(asked)
    assert told is not None
    item_id, score = told
    assert item_id.tolist() == [[9, 20, 19]] * N_USERS
    assert score.tolist() == [[109.0, 20.0, 19.0]] * N_USERS
    same(service.recommend(asked), before)

    service.route(service.traffic, {**service.models, "dark": Served(Raising("scores"), 0)})
    with pytest.raises(ZeroDivisionError):
        service.shadow(asked)
    same(service.recommend(asked), before)
    assert not service.failures


def test_a_shadow_tells_as_much_as_it_knows() -> None:
    """A shadow of few items tells of those; places for which nothing is left are empty, and have no score."""
    service, asked = in_four_arms(), replace(visits(1, 2, n=10), exclude=np.array([[0, 2]]))
    service.route(service.traffic, {**service.models, "dark": Served(favouring(0, n_items=3), 0)})
    told = service.shadow(asked)
    assert told is not None
    assert told[0].tolist() == [[0, 1, NO_ITEM], [0, 2, 1]]
    assert np.isnan(told[1]).tolist() == [[False, False, True], [False] * 3]
    service.route(service.traffic, {**service.models, "dark": Served(PopularityModel(score=np.empty(0)), 0)})
    told = service.shadow(asked)
    assert told is not None
    assert (told[0].shape, told[1].shape) == ((2, 0), (2, 0))


def test_what_was_just_bought_is_not_offered_again() -> None:
    """By no rung, for the days of the setting, to that shopper alone; without the setting it is offered at once."""
    for days, shown in ((2, [False, False, True]), (0, [True, True, True])):
        service = in_four_arms(online=OnlineConfig(suppress_days=days))
        service.live.hear([Act(2, 20, "purchase", 0), Act(22, 20, "purchase", 0), Act(5, 19, "click", 0)])
        for rungs in (True, False):
            slates = [service.recommend(visits(2, 22, 5, n=21, day=day), personal=rungs) for day in range(3)]
            for user in (0, 1):
                assert [20 in one.item_id[user] for one in slates] == shown
            assert all(20 in one.item_id[2] and 19 in one.item_id[2] for one in slates)


def test_a_click_changes_the_next_slate() -> None:
    """Fold-in within the same visit: what resembles the clicked item comes up, for that shopper alone."""
    axes = FactorModel(
        user_vector=np.zeros((3, 2)),
        item_vector=np.where(np.arange(26)[:, None] < 13, [1.0, 0.0], [0.0, 1.0]),
        item_bias=-np.arange(26) / 100,
        known=np.array([True, True, False]),
    )
    service = a_service(axes, OnlineConfig(fold_in=1.0, ridge=1.0))
    asked = visits(0, 1, 2, 7)
    before = service.recommend(asked)
    assert before.item_id[:2].tolist() == [[0, 1, 2]] * 2
    assert before.model_version.words() == ["m1", "m1", POPULAR, POPULAR]
    service.live.hear([Act(0, 15, "click", 0), Act(7, 15, "click", 0)])
    after = service.recommend(asked)
    assert after.item_id[[0, 3]].tolist() == [[13, 14, 15]] * 2
    assert after.model_version.words() == ["m1", "m1", POPULAR, "m1"]  # a stranger is one no longer
    np.testing.assert_array_equal(after.item_id[1:3], before.item_id[1:3])


@pytest.mark.parametrize("exploration", ["epsilon", "thompson"])
def test_explored_slates_say_how_likely_they_were(exploration: str) -> None:
    """The laws of propensities, over the whole way through the service; what came by chance says so."""
    config = OnlineConfig(exploration=exploration, epsilon=0.4, candidates=5)
    service = a_service(PopularityModel(score=np.sqrt(np.arange(N_ITEMS))), config)
    slates = service.recommend(visits(*range(6_000), n=2))
    check_slates(slates, service.catalogue)
    check_propensities(slates)
    assert set(np.unique(slates.item_id)) == {16, 17, 18, 19, 20}
    lucky = slates.source[:, 0] == SOURCES.index("exploration")
    np.testing.assert_array_equal(lucky, slates.item_id[:, 0] != 20)
    assert set(slates.model_version.words()) == {"m1"}


@pytest.mark.parametrize("exploration", ["epsilon", "thompson"])
def test_lower_rungs_and_random_models_do_not_explore(exploration: str) -> None:
    """A fallback's slate is certain; a random model's is chance already, and keeps its own propensities."""
    config = OnlineConfig(exploration=exploration, epsilon=1.0)
    slates = a_service(None, config).recommend(visits(*range(50)))
    assert (slates.item_id == [20, 19, 18]).all()
    assert (slates.propensity == 1).all()
    chance = a_service(MODELS["random"], config).recommend(visits(*range(50)))
    same(chance, a_service(MODELS["random"]).recommend(visits(*range(50))))
    assert chance.propensity[0].tolist() == [1 / 21, 1 / 20, 1 / 19]


def test_what_the_model_has_not_seen_is_not_shown() -> None:
    """Items launched after the training are on sale, and wait for the next model."""
    service = a_service(PopularityModel(score=np.arange(22, dtype=np.float64)))
    assert service.catalogue.on_sale(30).all()
    assert service.recommend(visits(0, day=30)).item_id.max() == 21


def test_what_cannot_be_delivered_is_shown_by_no_rung() -> None:
    """Also where the list is of a day with fewer items."""
    available = np.arange(25) % 2 == 0
    for model in MODELS.values():
        slates = a_service(model, segment=True).recommend(visits(1, 3, 28, n=12, day=40), available)
        assert not (slates.shown & (slates.item_id < 25) & (slates.item_id % 2 == 1)).any()
        assert slates.shown[:, 0].all()


def test_nothing_is_left_for_anybody() -> None:
    """An empty shop is no error: slates are empty, and the last rung has said so."""
    for model in MODELS.values():
        slates = a_service(model, segment=True).recommend(visits(1, 3, 28), np.zeros(N_ITEMS, dtype=np.bool_))
        assert not slates.shown.any()
        assert slates.model_version.words() == [STATIC] * 3
        check_slates(slates, a_catalogue())


@pytest.mark.parametrize(("name", "n_items"), [("none", 22), ("random", 30), ("factor", 26)])
def test_a_slate_ends_where_nothing_is_left(name: str, n_items: int) -> None:
    """On day 0, 21 items are on sale: longer slates end in empty places, and more than the catalogue is refused."""
    service = a_service(MODELS[name])
    slates = service.recommend(visits(1, n=n_items))
    assert slates.shown.tolist() == [[True] * 21 + [False] * (n_items - 21)]
    assert slates.model_version.words() == [POPULAR if name == "none" else "m1"]
    assert service.recommend(visits(1, n=N_ITEMS)).shown.tolist() == [[True] * 21 + [False] * 9]
    with pytest.raises(ConfigError, match="items in a slate: 31 .* catalogue has 30 items"):
        service.recommend(visits(1, n=N_ITEMS + 1))


def test_a_new_day_brings_items_and_people() -> None:
    """The segment of a newcomer is known from their first day on, and what is launched can be shown."""
    goods = a_catalogue()
    kinds = SegmentModel(score=KINDS.score[:, :22], segment=KINDS.segment[:2])
    service = Service(goods.launched_by(3), FALLBACK, segment=kinds)
    assert service.recommend(visits(1, 7)).model_version.words() == [SEGMENT, POPULAR]
    words = Labels(codes=np.arange(8) % 2, names=("a", "b"))
    people = Shoppers(segment=words, region=words, arrival_day=np.zeros(8, dtype=np.int64))
    with pytest.raises(ModelError, match="items of new: 30"):
        service.deploy(favouring(22), "new")
    service.new_day(goods.launched_by(40), people)
    assert len(service.catalogue) == N_ITEMS
    assert service.recommend(visits(1, 7)).model_version.words() == [SEGMENT, SEGMENT]
    service.deploy(favouring(22), "new")
    assert service.recommend(visits(1, day=6)).item_id[0, 0] == 22


def test_nobody_asks() -> None:
    """No requests, no slates, no error: a day without visits is a day."""
    for online in ONLINE.values():
        for model in MODELS.values():
            slates = a_service(model, online, segment=True).recommend(visits())
            assert slates.item_id.shape == (0, 3)
            check_slates(slates, a_catalogue())


@dataclass(frozen=True)
class Odd:
    """A model whose scores of every third shopper are no numbers."""

    odd: float
    n_items: int = 26

    def knows(self, user_id: Ints) -> Bools:
        return np.ones(len(user_id), dtype=np.bool_)

    def scores(self, requests: Requests) -> Floats:
        scores = np.tile(np.arange(float(self.n_items)), (len(requests), 1))
        scores[requests.user_id % 3 == 0] = self.odd
        return scores


@pytest.mark.parametrize("online", ONLINE.values(), ids=ONLINE)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_slate_of_no_numbers_is_answered_by_the_next_rung(odd: float, online: OnlineConfig) -> None:
    """It is the model's failure, and its own: other slates of the same batch are shown, and all can be logged."""
    sick = replace(factors(), known=np.ones(N_USERS, dtype=np.bool_), user_vector=factors().user_vector.copy())
    sick.user_vector[::3] = odd
    users = np.arange(12)
    asked = Requests(day=9, user_id=users, visit=np.zeros(12, dtype=np.int64), n=3)
    for model in (Odd(odd), sick):
        service = a_service(model, online, segment=True)
        with np.errstate(invalid="ignore"):
            slates = service.recommend(asked)
        lower = np.array([word in FALLBACKS for word in slates.model_version.words()])
        np.testing.assert_array_equal(lower, users % 3 == 0)
        assert np.isfinite(slates.propensity).all()
        assert (slates.item_id != NO_ITEM).all()
        assert service.failures["m1"] == 1
        check_slates(slates, a_catalogue())


def test_a_rehearsal_is_not_seen() -> None:
    """The model has been asked, few and many at once; traffic and failures are as before; a misfit raises."""
    service, asked = a_service(favouring(3)), list[int]()

    class Noting(Odd):
        def scores(self, requests: Requests) -> Floats:
            asked.append(len(requests))
            raise ZeroDivisionError

    service.rehearse("m2", Served(Noting(0.0), 9), 9)
    assert set(asked) == {1, 16}
    assert (service.traffic.champion, list(service.models), service.failures) == ("m1", ["m1"], {})
    with pytest.raises(ModelError, match="items of m3: 31"):
        service.rehearse("m3", Served(favouring(3, N_ITEMS + 1), 9), 9)


def test_models_are_read_once(tmp_path: Path) -> None:
    """What traffic needs is loaded from the registry, what is at work is kept as it is, and what is missing raises."""
    registry = Registry(tmp_path / "models")
    for name in ("a", "b", "c"):
        registry.register(favouring(1), name, {"trained_day": 14})
    assert load(registry, "a").trained_day == 14
    now = {"a": Served(favouring(1), 14)}
    found = at_work(registry, Traffic(champion="a", canary="b", canary_share=0.1, shadow="c"), now)
    assert list(found) == ["a", "b", "c"]
    assert found["a"] is now["a"]
    assert at_work(registry, Traffic(), now) == {}
    with pytest.raises(ModelError, match="model version: 'z'"):
        at_work(registry, Traffic(champion="a", shadow="z"), now)
