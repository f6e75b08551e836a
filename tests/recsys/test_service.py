"""What the service promises to shoppers, whichever model it holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.errors import ConfigError, ModelError
from simlab.recsys.models import FactorModel, PopularityModel, RandomModel, Recommender
from simlab.recsys.service import FALLBACK, Service
from simlab.schema import NEVER, NO_ITEM, SOURCES, Catalogue, Ints, Labels, Requests, Slates
from simlab.streams import stream
from simlab.testing import check_slates

N_ITEMS, N_USERS = 30, 25


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


POPULAR = PopularityModel(score=np.arange(22, dtype=np.float64))


def factors(n_items: int = 26) -> FactorModel:
    """As ALS leaves them: users without data are not known. It has seen the first 26 items."""
    rng = stream(1, "test service")
    return FactorModel(
        user_vector=rng.normal(size=(N_USERS, 4)),
        item_vector=rng.normal(size=(n_items, 4)),
        item_bias=rng.normal(size=n_items),
        known=np.arange(N_USERS) % 3 > 0,
    )


def a_service(model: Recommender | None) -> Service:
    service = Service(a_catalogue(), POPULAR)
    if model is not None:
        service.deploy(model, "m1")
    return service


MODELS: dict[str, Recommender | None] = {
    "none": None,
    "random": RandomModel(seed=1, n_items=N_ITEMS),
    "popularity": PopularityModel(score=-np.arange(N_ITEMS, dtype=np.float64)),
    "factor": factors(),
}


@st.composite
def requests(draw: st.DrawFn) -> Requests:
    """Any visits, known users or not, on any day; exclusions may leave too few items."""
    rng = stream(draw(st.integers(0, 10_000)), "requests")
    n_rows, pairs = draw(st.integers(0, 12)), draw(st.sampled_from([0, 5, 150]))
    rows = rng.integers(0, max(n_rows, 1), pairs if n_rows else 0)
    return Requests(
        day=draw(st.integers(0, 40)),
        user_id=rng.integers(0, N_USERS + 5, n_rows),
        visit=rng.integers(0, 3, n_rows),
        n=draw(st.integers(1, 22)),
        exclude=np.column_stack([rows, rng.integers(NO_ITEM, N_ITEMS, len(rows))]),
    )


def visits(*user_id: int, n: int = 3, day: int = 0) -> Requests:
    return Requests(
        day=day, user_id=np.array(user_id, dtype=np.int64), visit=np.zeros(len(user_id), dtype=np.int64), n=n
    )


def sources(slates: Slates) -> list[list[str]]:
    return [[SOURCES[code] for code in row] for row in slates.source.tolist()]


@pytest.mark.parametrize("name", MODELS)
@given(asked=requests())
@settings(max_examples=60, deadline=None)
def test_slates_are_lawful(name: str, asked: Requests) -> None:
    """Never an excluded item or one not on sale, none twice; a place is empty only when nothing is left for it."""
    service = a_service(MODELS[name])
    slates = service.recommend(asked)
    check_slates(slates, service.catalogue)
    for row in range(len(asked)):
        model = MODELS[name] if slates.source[row, 0] == SOURCES.index("model") else POPULAR
        assert model is not None
        offered = set(np.flatnonzero(service.catalogue.on_sale(asked.day)[: model.n_items]).tolist())
        offered -= set(asked.exclude[asked.exclude[:, 0] == row, 1].tolist())
        assert slates.shown[row].sum() == min(asked.n, len(offered))


@pytest.mark.parametrize("name", MODELS)
@given(asked=requests(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_slate_depends_on_its_own_request_alone(name: str, asked: Requests, data: st.DataObject) -> None:
    """In any order, and whoever else asks, everybody gets the same slate from the same source."""
    service = a_service(MODELS[name])
    whole = service.recommend(asked)
    rows: Ints = np.array(data.draw(st.permutations(range(len(asked)))), dtype=np.int64)
    rows = rows[: data.draw(st.integers(0, len(rows)))]
    part = service.recommend(asked.take(rows))
    np.testing.assert_array_equal(part.item_id, whole.item_id[rows])
    np.testing.assert_array_equal(part.source, whole.source[rows])


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
    assert slates.item_id[1:].tolist() == [[20, 19, 18]] * 2
    assert slates.item_id[0].tolist() != [20, 19, 18]


def test_before_the_first_model_everybody_gets_what_is_popular() -> None:
    """Also those whom the fallback "knows": no model is credited."""
    slates = a_service(None).recommend(visits(1, 2))
    assert sources(slates) == [["fallback"] * 3] * 2
    assert slates.item_id.tolist() == [[20, 19, 18]] * 2
    assert slates.model_version.words() == [FALLBACK] * 2


def test_a_model_that_does_not_fit_is_refused_and_the_old_one_goes_on() -> None:
    """More items than the catalogue has: the error names the version; slates stay the same."""
    service = a_service(factors())
    before = service.recommend(visits(1, 2))
    with pytest.raises(ModelError, match="items of m2: 31 .* catalogue has 30 items"):
        service.deploy(RandomModel(seed=1, n_items=N_ITEMS + 1), "m2")
    assert service.version == "m1"
    np.testing.assert_array_equal(service.recommend(visits(1, 2)).item_id, before.item_id)


def test_a_fallback_that_does_not_fit_is_refused() -> None:
    """It would fail at the first shopper whom nobody knows."""
    with pytest.raises(ModelError, match="items of the fallback: 31"):
        Service(a_catalogue(), PopularityModel(score=np.ones(N_ITEMS + 1)))


def test_another_model_takes_over_at_once() -> None:
    """From the deployment on, all slates are the new model's, and say so."""
    service = a_service(factors())
    service.deploy(PopularityModel(score=-np.arange(N_ITEMS, dtype=np.float64)), "m2")
    slates = service.recommend(visits(1, 3))
    assert slates.item_id.tolist() == [[0, 1, 2]] * 2
    assert slates.model_version.words() == ["m2", "m2"]


def test_what_the_model_has_not_seen_is_not_shown() -> None:
    """Items launched after the training are on sale, and wait for the next model."""
    service = a_service(PopularityModel(score=np.arange(22, dtype=np.float64)))
    assert service.catalogue.on_sale(30).all()
    assert service.recommend(visits(0, day=30)).item_id.max() == 21


@pytest.mark.parametrize(("name", "n_items"), [("none", 22), ("random", 30), ("factor", 26)])
def test_a_slate_ends_where_nothing_is_left(name: str, n_items: int) -> None:
    """On day 0, 21 items are on sale: longer slates end in empty places, and what no model knows is refused."""
    service = a_service(MODELS[name])
    assert service.recommend(visits(1, n=n_items)).shown.tolist() == [[True] * 21 + [False] * (n_items - 21)]
    with pytest.raises(ConfigError, match=f"items in a slate: {n_items + 1} .* knows {n_items} items"):
        service.recommend(visits(1, n=n_items + 1))


def test_nobody_asks() -> None:
    """No requests, no slates, no error: a day without visits is a day."""
    slates = a_service(factors()).recommend(visits())
    assert slates.item_id.shape == (0, 3)
    check_slates(slates, a_catalogue())
