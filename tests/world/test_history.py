"""What the old policy logged: true propensities, lawful slates, and feedback that comes of clicks."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from simlab.schema import NO_ITEM, Requests
from simlab.streams import uniforms
from simlab.tables import FEEDBACK, IMPRESSIONS, History
from simlab.testing import EVERYTHING
from simlab.world.birth import make_world
from simlab.world.history import POSITIONS, make_history, plackett_luce, serve
from simlab.world.truth import World
from simlab.world.users import visits
from simlab.world_laws import day_of

CONFIG = replace(EVERYTHING, n_users=400, history_days=21)


@pytest.fixture(scope="module")
def made() -> tuple[World, History]:
    return make_history(make_world(CONFIG, 30))


def test_the_old_policy_logs_true_propensities() -> None:
    """Over 40,000 slates the first item, and the second given the first, are as frequent as their propensities say."""
    weight = np.array([5.0, 3.0, 1.0, 1.0])
    rows = np.arange(40_000)
    requests = Requests(day=0, user_id=rows, visit=np.zeros_like(rows), n=2)
    slates = plackett_luce(weight, requests, luck=uniforms(3, "test", rows=rows, n=4))
    share = np.bincount(slates.item_id[:, 0]) / len(rows)
    p = weight / weight.sum()
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / len(rows))).all()
    assert (slates.propensity[:, 0] == p[slates.item_id[:, 0]]).all()
    first = slates.item_id[:, 0]
    second = slates.item_id[first == 0, 1]
    q = weight[1:] / weight[1:].sum()
    np.testing.assert_allclose(slates.propensity[first == 0, 1], q[second - 1])
    seen = np.bincount(second, minlength=4)[1:] / len(second)
    assert (np.abs(seen - q) < 4 * np.sqrt(q * (1 - q) / len(second))).all()
    assert (slates.item_id[:, 0] != slates.item_id[:, 1]).all()


def test_what_weighs_nothing_or_is_excluded_is_not_shown() -> None:
    """Slates end in NO_ITEM where too little is left, with nothing at all too."""
    asked = Requests(day=0, user_id=np.arange(3), visit=np.zeros(3, np.int64), n=3, exclude=np.array([[1, 0], [1, 3]]))
    far = replace(asked, exclude=np.array([[1, 0], [1, 3], [0, NO_ITEM], [2, 9]]))  # of items that are not there
    luck = uniforms(3, "test", rows=np.arange(3), n=4)
    slates = plackett_luce(np.array([1.0, 0.0, 2.0, 1.0]), asked, luck=luck)
    assert (plackett_luce(np.array([1.0, 0.0, 2.0, 1.0]), far, luck=luck).item_id == slates.item_id).all()
    assert slates.item_id[1].tolist() == [2, NO_ITEM, NO_ITEM]
    assert slates.propensity[1].tolist() == [1, 1, 1]
    assert set(slates.item_id[[0, 2]].ravel().tolist()) == {0, 2, 3}
    assert (plackett_luce(np.zeros(4), asked, luck=luck).item_id == NO_ITEM).all()


def test_history_is_a_whole_log_of_the_days_before(made: tuple[World, History]) -> None:
    """Every day of history, in the one schema, with propensities, no item twice in a slate nor out of its time."""
    world, shown = made[0], made[1].impressions
    assert shown.schema.equals(IMPRESSIONS)
    assert world.state.day == 0
    assert sorted(pc.unique(shown["day"]).to_pylist()) == list(range(-21, 0))
    assert len(pc.unique(shown["impression_id"])) == shown.num_rows
    assert shown["propensity"].null_count == 0
    low, high = pc.min_max(shown["propensity"]).as_py().values()
    assert low > 0
    assert high <= 1
    item_id, day = shown["item_id"].to_numpy(), shown["day"].to_numpy()
    assert (world.catalogue.launch_day[item_id] <= day).all()
    assert (day < world.catalogue.retire_day[item_id]).all()
    assert shown["position"].to_numpy().max() == POSITIONS - 1
    visit = shown["request_id"].to_numpy() & ~np.int64(15 << 8)  # pages show other items
    assert len(np.unique(np.column_stack([visit, item_id]), axis=0)) == shown.num_rows
    assert ((shown["second"].to_numpy() >= 0) & (shown["second"].to_numpy() < 86_400)).all()
    assert (shown["dwell"].is_valid().to_numpy() == shown["clicked"].to_numpy()).all()


def test_feedback_comes_of_clicks_in_order_of_days(made: tuple[World, History]) -> None:
    """Each row belongs to a clicked impression and comes on its day or later, of each kind once, some after day -1."""
    history = made[1]
    told = history.feedback
    assert told.schema.equals(FEEDBACK)
    assert (np.diff(told["day"].to_numpy()) >= 0).all()
    shown = history.impressions.select(["impression_id", "item_id", "day", "clicked"]).rename_columns(
        ["impression_id", "shown", "shown_day", "clicked"]
    )
    joined = told.join(shown, "impression_id", join_type="left outer")
    assert joined["clicked"].null_count == 0
    assert pc.all(joined["clicked"]).as_py()
    assert (joined["item_id"].to_numpy() == joined["shown"].to_numpy()).all()
    assert (joined["day"].to_numpy() >= joined["shown_day"].to_numpy()).all()
    pairs = told.group_by(["impression_id", "kind"]).aggregate([("value", "count")])
    assert set(pairs["value_count"].to_pylist()) == {1}
    assert pc.max(told["day"]).as_py() >= 0
    known = history.known(-1)
    assert pc.max(known.feedback["day"]).as_py() < 0
    assert known.impressions.num_rows == history.impressions.num_rows


def of_kind(told: pa.Table, kind: str) -> dict[int, tuple[int, float]]:
    rows = told.filter(pc.equal(told["kind"], kind))
    values = zip(rows["day"].to_pylist(), rows["value"].to_pylist(), strict=True)
    return dict(zip(rows["impression_id"].to_pylist(), values, strict=True))


def test_only_what_was_bought_is_rated_or_given_back(made: tuple[World, History]) -> None:
    """On the day of the purchase or later; what is given back is what was paid; stars are 1 to 5."""
    bought, rated, back = (of_kind(made[1].feedback, kind) for kind in ("purchase", "rating", "return"))
    assert rated
    assert back
    for impression_id, (day, stars) in rated.items():
        assert day >= bought[impression_id][0]
        assert stars in {1, 2, 3, 4, 5}
    for impression_id, (day, euros) in back.items():
        assert day >= bought[impression_id][0]
        assert euros == bought[impression_id][1] > 0


def test_history_is_made_again_the_same_and_with_other_luck_another() -> None:
    """The same bytes; other luck, other shoppers come."""
    config = replace(CONFIG, n_users=60, history_days=5)
    one, again, other = (make_history(make_world(replace(config, luck=luck), 9)) for luck in (0, 0, 1))
    assert one[1].impressions.equals(again[1].impressions)
    assert one[1].feedback.equals(again[1].feedback)
    assert one[0].state.taste.tobytes() == again[0].state.taste.tobytes()
    assert not one[1].impressions["user_id"].equals(other[1].impressions["user_id"])


def test_popular_items_are_shown_more(made: tuple[World, History]) -> None:
    """In the last week, items that were clicked on most before it are drawn most: weights are sqrt(clicks + 1)."""
    shown = made[1].impressions.to_pandas()
    early, late = shown[shown["day"] < -7], shown[(shown["day"] >= -7) & (shown["position"] == 0)]
    clicks = early.groupby("item_id")["clicked"].sum().reindex(range(40), fill_value=0)
    here = made[0].catalogue.on_sale(-7) & made[0].catalogue.on_sale(-1)
    first = late.groupby("item_id").size().reindex(range(40), fill_value=0)
    assert np.corrcoef(np.sqrt(clicks[here[:40]] + 1), first[here[:40]])[0, 1] > 0.5


def test_a_day_without_anything_to_show_is_a_day() -> None:
    """All is sold out: shoppers come, see nothing, turn no empty pages into clicks, and the day goes by."""
    world = make_world(replace(CONFIG, rhythm=replace(CONFIG.rhythm, next_page=0.5)), 1)
    empty = replace(world, state=replace(world.state, stock=np.zeros(len(world.catalogue))))
    slates, outcomes = day_of(empty)
    assert len(slates.requests) > 0
    assert not slates.shown.any()
    assert not outcomes.examined.any()
    assert len(outcomes.clicks.place) == 0


def test_pages_of_a_visit_show_other_items(made: tuple[World, History]) -> None:
    """`serve` asks for pages until shoppers have seen enough, and answers all of them."""
    world = made[0]
    slates, outcomes = day_of(world)
    first = visits(world, 0, 4, world.state)
    assert (slates.requests.request_id[: len(first)] == first.request_id).all()
    assert slates.requests.page.max() > 1
    assert outcomes.clicked.shape == slates.item_id.shape
    none = replace(
        first, user_id=first.user_id[:0], visit=first.visit[:0], page=first.page[:0], second=first.second[:0]
    )
    nobody = serve(
        world, world.state, none, lambda requests: plackett_luce(np.ones(9), requests, luck=np.empty((0, 9)))
    )
    assert nobody[0].item_id.shape == (0, 4)
