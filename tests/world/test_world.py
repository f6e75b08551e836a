"""A world at its first moment: what it is made of, and what an item is worth to a shopper."""

from dataclasses import fields, replace

import numpy as np
import pytest

from simlab.errors import ConfigError
from simlab.schema import NO_ITEM, Floats, Ints
from simlab.testing import EVERYTHING
from simlab.world.birth import OF_PEOPLE, OF_STATE, make_world, part
from simlab.world.catalogue import CATEGORY_SHARE, PRICE_SPREAD, ranks
from simlab.world.config import ChangeConfig
from simlab.world.presets import preset
from simlab.world.truth import State, World, available, season, utility, utility_of_all
from simlab.world_laws import live

SMALL = preset("shop", n_users=300, n_items=120, history_days=21)


def test_names_are_unique_and_the_giraffe_is_there() -> None:
    """A learner can tell every item from every other."""
    names = make_world(preset("shop"), 365).catalogue.name
    assert len(set(names)) == len(names)
    assert "Giraffe chew toy" in names


def test_items_are_launched_every_week() -> None:
    """n_items are on sale on day 0, five of them new, and five more come on every seventh day."""
    catalogue = make_world(SMALL, 30).catalogue
    assert catalogue.on_sale(0).sum() == SMALL.n_items
    assert {day: int((catalogue.launch_day == day).sum()) for day in (-14, -7, 0, 7, 28)} == dict.fromkeys(
        (-14, -7, 0, 7, 28), 5
    )
    assert catalogue.launch_day.max() == 28


@pytest.mark.parametrize(("n_items", "weekly"), [(1, 5), (3, 1), (500, 0), (40, 100)])
def test_small_catalogues_are_whole_too(n_items: int, weekly: int) -> None:
    """Whatever the numbers, n_items are on sale on day 0 and something was on sale on every day of history."""
    config = preset("shop", n_items=n_items, new_items_per_week=weekly)
    catalogue = make_world(config, 10).catalogue
    assert catalogue.on_sale(0).sum() == n_items
    assert catalogue.on_sale(-config.history_days).sum() >= 1


def test_items_and_tastes_have_the_stated_spreads() -> None:
    """The taste term has standard deviation taste_scale, half of it by category; quality quality_sd; prices 0.35."""
    world = make_world(preset("shop", n_users=4000, n_items=4000, n_dims=64), 1)
    match = world.state.taste @ world.items.vector[:2000].T
    assert abs(match.std() / 2.4 - 1) < 0.1  # as far as 8 segments and 20 categories meet 64 dimensions
    own = world.items.vector * 8 / 2.4
    within = [own[world.catalogue.category.codes == c].var(axis=0).mean() for c in range(20)]
    assert np.mean(within) == pytest.approx(1 - CATEGORY_SHARE, rel=0.02)
    assert abs(world.items.quality.std() / 0.5 - 1) < 4 / np.sqrt(8000)
    assert abs(world.items.price_index.std() - 1) < 4 / np.sqrt(8000)
    ratio = np.log(world.catalogue.price)
    for c in range(20):
        at = world.catalogue.category.codes == c
        slope = np.polyfit(world.items.price_index[at], ratio[at], 1)[0]
        assert slope == pytest.approx(PRICE_SPREAD, abs=0.01)  # cents are rounded
    assert ((world.catalogue.margin >= 0.15) & (world.catalogue.margin <= 0.5)).all()


def test_segments_share_what_they_are_said_to_share() -> None:
    """segment_share of the variance of taste lies between homes; at 0 all have one home, at 1 nothing of their own."""
    world = make_world(preset("shop", n_users=4000, n_items=5, n_dims=64), 1)
    assert (world.state.taste - world.state.home).var() == pytest.approx(0.64, rel=0.02)
    assert world.state.home.var() == pytest.approx(0.36, rel=0.15)  # eight centres of 64 numbers
    assert not make_world(replace(SMALL, segment_share=0.0), 1).state.home.any()
    alone = make_world(replace(SMALL, segment_share=1.0), 1).state
    assert (alone.taste == alone.home).all()


def test_a_tail_makes_few_items_for_everybody() -> None:
    """Ranks 1 to 256 are even: their base-2 logarithm has mean 0 and the skew of a tail; quality falls by `tail`."""
    found = ranks(3, 20_000)
    steps = np.log2(np.arange(1, 257))
    assert abs(found.mean()) < 4 * steps.std() / np.sqrt(20_000)
    assert set(np.round(found, 9)) == set(np.round(steps - steps.mean(), 9))
    plain, tailed = make_world(SMALL, 1).items, make_world(replace(SMALL, tail=0.7), 1).items
    np.testing.assert_allclose(plain.quality - tailed.quality, 0.7 * ranks(0, 120), atol=1e-12)


def test_other_luck_is_another_life_of_the_same_shop() -> None:
    """Goods, people and first tastes are the same bytes; visits, clicks and drift are not."""
    one, other = make_world(EVERYTHING, 8), make_world(replace(EVERYTHING, luck=1), 8)
    for name in ("price", "margin", "launch_day", "retire_day"):
        assert getattr(one.catalogue, name).tobytes() == getattr(other.catalogue, name).tobytes()
    for table in ("items", "people", "state"):
        for field in fields(getattr(one, table)):
            a, b = (np.asarray(getattr(getattr(world, table), field.name)) for world in (one, other))
            assert a.tobytes() == b.tobytes(), field.name
    (a_world,), told = live([one], 5)
    (b_world,), retold = live([other], 5)
    assert told[0]["row"].tobytes() != retold[0]["row"].tobytes()
    for name in ("taste", "present", "fashion", "price"):
        assert getattr(a_world.state, name).tobytes() != getattr(b_world.state, name).tobytes(), name


@pytest.fixture(scope="module")
def lived() -> World:
    (world,), _ = live([make_world(EVERYTHING, 12)], 8)
    return world


def by_hand(world: World, u: int, i: int) -> float:
    """The formula at the head of simlab.world.truth, term by term."""
    config, state, items, people = world.config, world.state, world.items, world.people
    c = world.catalogue.category.codes[i]
    value = state.taste[u] @ items.vector[i] + items.quality[i] + season(world, state.day)[c] + state.fashion[c]
    value -= people.price_sensitivity[u] * state.price_index[i] + state.boredom[u, c]
    value -= state.seen_level[u][state.seen_item[u] == i].sum()
    value += config.fuss * np.sin(state.taste[u] @ items.odd[i])
    value -= config.budget * max(0, np.log(state.price[i]) - people.log_budget[u])
    return float(value + config.complements * (state.wanted[u, 0] == c))


def test_utility_is_the_sum_that_stands_at_the_head_of_truth(lived: World) -> None:
    """Every term, for all shoppers and items of a world with all behaviours; nothing at an empty place."""
    n_users, n_items = len(lived.shoppers), 40
    table = utility_of_all(lived, lived.state, np.arange(n_users), n_items)
    expected = [[by_hand(lived, u, i) for i in range(n_items)] for u in range(n_users)]
    np.testing.assert_allclose(table, expected, atol=1e-6)  # boredom is kept in single precision
    users, items = np.array([5, 0, 149]), np.array([[3, 1], [39, NO_ITEM], [7, 7]])
    few = utility(lived, lived.state, users, items)
    assert few[1, 1] == 0
    assert (few[items >= 0] == table[np.repeat(users, 2).reshape(3, 2)[items >= 0], items[items >= 0]]).all()


@pytest.mark.parametrize(
    ("users", "items", "named"),
    [([-1], [0], "user_id: -1"), ([170], [0], "user_id: 170"), ([0], [-2], "item_id: -2"), ([0], [99], "item_id: 99")],
)
def test_who_or_what_is_not_there_has_no_utility(users: list[int], items: list[int], named: str, lived: World) -> None:
    """The compiled loop would read whatever stands behind the table."""
    with pytest.raises(ConfigError, match=named):
        utility(lived, lived.state, np.array(users), np.array([items]))


def test_a_plain_world_is_worth_the_same_by_its_shorter_way(lived: World) -> None:
    """Where no extra term is there, the loop skips them all."""
    plain = make_world(SMALL, 1)
    people: Ints = np.arange(300)
    table = utility_of_all(plain, plain.state, people, 120)
    expected: Floats = plain.state.taste @ plain.items.vector.T + plain.items.quality
    expected -= plain.people.price_sensitivity[:, None] * plain.items.price_index
    np.testing.assert_allclose(table, expected, atol=1e-12)


def test_what_is_not_on_sale_or_sold_out_is_not_available(lived: World) -> None:
    """Both, and nothing else."""
    on_sale, left = lived.catalogue.on_sale(lived.state.day), lived.state.stock > 0
    assert (available(lived, lived.state) == (on_sale & left)).all()
    assert not left.all()


def test_a_part_of_a_world_knows_all_of_its_shoppers(lived: World) -> None:
    """Every array with a row a shopper is cut: a new one must be named in simlab.world.birth."""
    n = len(lived.rows)
    for table, names in (("people", OF_PEOPLE), ("state", OF_STATE)):
        of_shoppers = {f.name for f in fields(getattr(lived, table)) if len_of(lived, table, f.name) == n}
        assert of_shoppers == set(names)
    few = part(lived, np.array([7, 3]))
    assert few.rows.tolist() == [7, 3]
    assert few.shoppers.segment.words() == [lived.shoppers.segment.words()[row] for row in (7, 3)]
    for name in OF_STATE:
        assert (getattr(few.state, name) == getattr(lived.state, name)[[7, 3]]).all()
    assert len(part(lived, np.empty(0, dtype=np.int64)).rows) == 0


def len_of(world: World, table: str, name: str) -> int:
    value = getattr(getattr(world, table), name)
    return len(value) if isinstance(value, np.ndarray) else -1


@pytest.mark.parametrize(
    ("named", "settings"),
    [("boredom", {"change": ChangeConfig(boredom=0.1)}), ("item_boredom", {"change": ChangeConfig(item_boredom=0.1)}),
     ("complements", {"complements": 0.1})],
)  # fmt: skip
def test_a_behaviour_without_a_place_in_the_state_is_refused(named: str, settings: dict[str, object]) -> None:
    """Settings changed in a world that is made already would write where no memory is."""
    world = make_world(SMALL, 1)
    with pytest.raises(ConfigError, match=f"{named}: 0.1 .*first_state"):
        replace(world, config=replace(SMALL, **settings))  # type: ignore[arg-type]


def test_rows_that_do_not_fit_are_refused() -> None:
    """A world whose tables have another number of shoppers or items is none."""
    world = make_world(SMALL, 1)
    state: State = replace(world.state, taste=world.state.taste[1:])
    with pytest.raises(ConfigError, match="300 shoppers, 120 items"):
        replace(world, state=state)
    with pytest.raises(ConfigError, match="300 shoppers, 120 items"):
        replace(world, items=replace(world.items, quality=world.items.quality[1:]))


def test_an_unknown_preset_or_setting_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigError, match="choose one of: .*shop"):
        preset("shopping")
    with pytest.raises(ConfigError, match="did you mean 'n_users'"):
        preset("shop", n_user=3)
