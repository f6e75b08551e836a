"""The laws of worlds: simlab's own keep them with every behaviour on, and each bites on what was broken on purpose."""

from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from scipy.stats import poisson

from simlab import world_laws
from simlab.errors import ConfigError
from simlab.lab.oracle import GOALS, Oracle, Value
from simlab.schema import Floats, Slates
from simlab.settings import from_dict, merged
from simlab.streams import stream, uniforms
from simlab.testing import EVERYTHING, check_dynamics, check_growth, check_value, check_world, check_zero
from simlab.world import birth, truth, users
from simlab.world import response as answers
from simlab.world.assortment import fashions, prices, stock
from simlab.world.birth import make_world
from simlab.world.calibrate import CalibrationConfig, calibrate
from simlab.world.config import ResponseConfig, WorldConfig
from simlab.world.dynamics import PARTS, Part, happened
from simlab.world.loyalty import loyalty
from simlab.world.memory import bore, recover, want
from simlab.world.organic import organic_choices
from simlab.world.presets import CALIBRATED, PRESETS, preset
from simlab.world.response import first_look
from simlab.world.snapshot import from_bytes, to_bytes
from simlab.world.tastes import drift, influence, shift
from simlab.world.truth import Happened, State, World, preferences, season
from simlab.world_laws import day_of, live

Change = dict[str, Any]


@pytest.fixture(scope="module")
def lived() -> World:
    """A world after a week in which everything has begun to move."""
    (world,), _ = live([make_world(EVERYTHING, 12)], 7)
    return world


def tried(move: Part, world: World, day: int = 5) -> None:
    check_dynamics(move, world, replace(world.state, day=day), happened(world, *day_of(world)))


def test_a_whole_world_keeps_the_laws() -> None:
    """Lived again, permuted, in pieces, saved half way, prolonged and enlarged: the same bytes of twelve days."""
    check_world(make_world(EVERYTHING, 12), days=12)
    check_growth(EVERYTHING, days=12)


def test_a_world_of_one_shopper_and_one_item_keeps_the_laws() -> None:
    """Nobody in most pieces, nothing left to show on most pages."""
    check_world(make_world(replace(EVERYTHING, n_users=1, n_items=1, n_dims=1), 6), days=6)
    check_growth(replace(EVERYTHING, n_users=1, n_items=1, n_dims=1), days=6)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - set(CALIBRATED)))
def test_every_named_world_keeps_the_laws(name: str) -> None:
    """A small one of each kind."""
    config = preset(name, n_users=60, n_items=30, history_days=3)
    check_world(make_world(config, 4), days=4)
    check_growth(config, days=4)


def test_a_calibrated_world_keeps_the_laws() -> None:
    """One fitted to what the shoppers of another chose."""
    source = make_world(preset("shop", n_users=80, n_items=40), 1)
    seen = organic_choices(source, np.full(80, 6), seed=1)
    check_world(calibrate(seen, config=CalibrationConfig(n_dims=3)), days=4)


def any_settings(rng: np.random.Generator) -> Change:
    """Those of EVERYTHING, of which many are 0, 1, less, or far more, where that may be."""
    settings = asdict(EVERYTHING)
    for part in (settings, *(value for value in settings.values() if isinstance(value, dict))):
        for name, value in part.items():
            if isinstance(value, int | float) and name != "n_users":
                part[name] = type(value)([value, value, 0, 1, value / 7, 7 * value][rng.integers(6)])
                try:
                    from_dict(WorldConfig, settings)
                except ConfigError:
                    part[name] = value
    return settings


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(60))
def test_any_world_keeps_the_laws(seed: int) -> None:
    """Sixty worlds of random settings; no slate of theirs is better than the best by any goal."""
    config = from_dict(WorldConfig, any_settings(stream(seed, "any world")))
    check_world(make_world(config, 9), days=9)
    check_growth(config, days=9)
    (world,), _ = live([make_world(config, 9)], 9)
    slates, _ = day_of(world)
    oracle = Oracle(world)
    for goal in GOALS:
        best = getattr(oracle.value(oracle.best(slates.requests, goal)), goal)
        assert (best >= getattr(oracle.value(slates), goal) * (1 - 1e-9)).all(), goal


@pytest.mark.parametrize("move", PARTS, ids=lambda part: part.__name__)
def test_every_part_of_dynamics_keeps_the_laws(move: Part, lived: World) -> None:
    """Each on a day on which it does something."""
    day = {"shift": EVERYTHING.change.shift_day}.get(move.__name__, 5)  # type: ignore[attr-defined]
    tried(move, lived, day)
    after = move(lived, replace(lived.state, day=day), happened(lived, *day_of(lived)))
    changed = [f.name for f in fields(State) if np.any(getattr(after, f.name) != getattr(lived.state, f.name))]
    assert changed != ["day"]


def by_taste(change: Callable[[World, State, Happened], Any]) -> Part:
    """A part that adds something to taste."""
    return lambda world, state, past: replace(state, taste=state.taste + change(world, state, past))


def counting() -> Part:
    calls: list[int] = []

    def move(world: World, state: State, past: Happened, /) -> State:
        calls.append(1)
        return replace(state, taste=state.taste + len(calls))

    return move


def meddling(world: World, state: State, past: Happened, /) -> State:
    state.taste[:] += 0.1
    return state


def last_served(world: World, state: State, past: Happened, /) -> State:
    taste = state.taste.copy()
    taste[past.user_id[-1:]] += 1
    return replace(state, taste=taste)


def word_of_mouth(world: World, state: State, past: Happened, /) -> State:
    """Whoever hears of a click by anybody is the happier."""
    return replace(state, satisfaction=state.satisfaction + past.clicked.sum())


BROKEN_PARTS: dict[str, Part] = {
    "leaves its input alone": meddling,
    "leaves the day to step: found 6": lambda world, state, past: replace(state, day=state.day + 1),
    r"boredom stays float32 .*: found float64": lambda world, state, past: replace(
        state, boredom=state.boredom.astype(np.float64)
    ),
    r"taste stays float64 .*: found": lambda world, state, past: replace(state, taste=state.taste[1:]),
    "nothing becomes NaN: broken in taste": by_taste(lambda world, state, past: np.nan),
    "all but stock is finite: broken in fashion": lambda world, state, past: replace(
        state, fashion=state.fashion + np.inf
    ),
    "asked again, a part does the same: broken in taste": counting(),
    "in which order shoppers are served changes nothing": last_served,
    "nobody else's state changes: broken in satisfaction": word_of_mouth,
    "the order of shoppers changes nothing": by_taste(lambda world, state, past: (np.diff(world.rows) < 0).sum()),
    "who else is there: broken in taste": by_taste(lambda world, state, past: len(state.taste)),
    "nobody's state depends on who else is there: broken in home": lambda world, state, past: replace(
        state, home=state.home + 0.01 * (state.taste.mean(axis=0) - state.taste)
    ),
    "a part returns a State: found NoneType": lambda world, state, past: cast(State, None),
    "who else is there: broken in price": lambda world, state, past: replace(
        state, price=state.price + state.present.sum()
    ),
    "a shopper alone moves as in company": by_taste(lambda world, state, past: float(len(state.taste) == 1)),
}


@pytest.mark.parametrize("sentence", BROKEN_PARTS)
def test_a_broken_part_is_found(sentence: str, lived: World) -> None:
    """Each fails the law that it breaks, which is named."""
    with pytest.raises(AssertionError, match=sentence):
        tried(BROKEN_PARTS[sentence], from_bytes(to_bytes(lived)))  # a copy, for the meddler


def test_a_part_is_tried_on_a_day_of_everything_unless_told_otherwise() -> None:
    """With nothing but the part: simlab's own keep the laws, a crowd that moves together does not."""
    for move in PARTS:
        check_dynamics(move)
    with pytest.raises(AssertionError, match="nobody's state depends on who else is there: broken in taste"):
        check_dynamics(by_taste(lambda world, state, past: 0.01 * (state.taste.mean(axis=0) - state.taste)))
    with pytest.raises(AssertionError, match="nobody else's state changes: broken in satisfaction"):
        check_dynamics(word_of_mouth)


def with_a_diary() -> Part:
    """A part that keeps a memory of its own, which no file holds."""
    seen: set[int] = set()

    def move(world: World, state: State, past: Happened, /) -> State:
        if state.day == 1 - EVERYTHING.history_days:
            seen.clear()
        seen.add(state.day)
        return replace(state, taste=state.taste + 0.01 * len(seen))

    return move


@pytest.mark.parametrize(
    ("sentence", "move"),
    [
        ("lived again is the same: broken after 1 days in state.taste", counting()),
        ("the order of shoppers", by_taste(lambda world, state, past: np.arange(len(state.taste))[:, None])),
        ("cut into 2 is the same: broken after 1 days in", by_taste(lambda world, state, past: past.clicked.mean())),
        (
            "all pieces of a world have the same goods: broken in state.fashion",
            lambda world, state, past: replace(state, fashion=state.fashion + past.clicked.sum()),
        ),
        ("goes on the same: broken after 1 days in state.taste", with_a_diary()),
    ],
)
def test_a_world_with_a_broken_part_is_found(sentence: str, move: Part) -> None:
    """The law is named, the day, and where the difference shows first."""
    with pytest.raises(AssertionError, match=sentence):
        check_world(make_world(EVERYTHING, 6), parts=(*PARTS, move))


def test_a_file_that_rounds_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back from a file is saved as the same bytes."""

    def rounded(data: bytes) -> World:
        world = from_bytes(data)
        return replace(world, state=replace(world.state, taste=world.state.taste.round(9)))

    monkeypatch.setattr(world_laws, "from_bytes", rounded)
    with pytest.raises(AssertionError, match="saved and loaded is saved as the same bytes"):
        check_world(make_world(EVERYTHING, 1), days=2)


def test_a_world_that_knows_its_end_or_its_size_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tastes that follow the number of items ever launched, or of shoppers, or quality around the mean of all."""
    with pytest.raises(AssertionError, match="a longer simulation begins with the shorter: broken after 1 days in"):
        check_growth(EVERYTHING, 2, (*PARTS, by_taste(lambda world, state, past: 0.01 * len(world.catalogue))))
    with pytest.raises(AssertionError, match="more shoppers change nothing for the others: broken after 1 days in"):
        check_growth(EVERYTHING, 2, (*PARTS, by_taste(lambda world, state, past: 0.01 * (world.config.n_users > 150))))

    def centred(config: WorldConfig, horizon: int) -> World:
        world = make_world(config, horizon)
        middle = world.items.quality[: config.n_items].mean()
        return replace(world, items=replace(world.items, quality=world.items.quality - middle))

    monkeypatch.setattr(world_laws, "make_world", centred)
    with pytest.raises(AssertionError, match="more items leave the first ones as they were: broken in quality"):
        check_growth(EVERYTHING, 2)


def test_newcomers_whose_luck_hangs_on_the_number_of_shoppers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were their rows to follow those of the first, each would be another person in a larger world."""
    monkeypatch.setattr(users, "luck_rows", lambda config, n: np.arange(n))
    monkeypatch.setattr(birth, "luck_rows", lambda config, n: np.arange(n))
    with pytest.raises(AssertionError, match="more shoppers change nothing for the others"):
        check_growth(EVERYTHING, 12)


def change(**settings: Any) -> Change:
    return {"change": settings}


def response(**settings: Any) -> Change:
    return {"response": settings}


def rhythm(**settings: Any) -> Change:
    return {"rhythm": settings}


BUYING: Change = {
    "purchase_base": 2.0, "purchase_scale": 1.0, "another_unit": 0.7, "same_day": 0.1,
    "rating_share": 1.0, "return_share": 1.0,
}  # fmt: skip
RATING: Change = {"rating_scale": 1.0, "rating_cuts": (0, 1, 2, 3), "rating_same_day": 0.1, "rating_max_delay": 2}
RETURNING: Change = {"return_scale": 1.0, "return_same_day": 0.9, "return_max_delay": 2}

ZEROS: list[tuple[Change, Change, Part | None]] = [
    ({"drift": 0}, {}, drift),
    (change(shift_share=0), change(shift_day=2), shift),
    (change(influence=0), {}, influence),
    (change(boredom=0), {}, None),
    (change(item_boredom=0), {}, None),
    (change(boredom=0, item_boredom=0), change(recovery=0.9), bore),
    (change(boredom=0, item_boredom=0), {}, recover),
    ({"complements": 0}, {}, want),
    ({"loyalty": {"pull": 0}}, {}, None),
    ({"loyalty": {"churn": 0}}, {}, None),
    ({"loyalty": {"pull": 0, "churn": 0}}, {"loyalty": {"learning": 0.9}}, loyalty),
    ({"loyalty": {"newcomers_per_week": 0}}, {}, None),
    (change(fashion=0), change(fashion_memory=0.1), fashions),
    (change(price_change=0), change(price_sd=1.0), prices),
    (change(price_sd=0), change(price_change=1.0), prices),
    (change(stock=0), change(delivery_days=2), stock),
    (change(lifetime_days=0), {}, None),
    (change(season=0), {}, None),
    ({**change(season=0), **rhythm(yearly=0)}, rhythm(year_days=30), None),
    (rhythm(yearly=0), {}, None),
    (rhythm(weekly=0), {}, None),
    (rhythm(campaign_days=0), rhythm(campaign_day=-1, campaign_lift=3), None),
    (rhythm(campaign_lift=0), rhythm(campaign_day=-1, campaign_days=9), None),
    (rhythm(next_page=0), {}, None),
    (response(cascade_share=0), {}, None),
    (response(dependent_share=0), response(satisfied_base=3.0, satisfied_scale=2.0), None),
    (response(logit_share=0), {}, None),
    (response(impatience=0), {}, None),
    (response(dwell_seconds=0), response(dwell_scale=1.0, dwell_sd=2.0), None),
    (response(purchase_share=0), response(**BUYING, **RATING, **RETURNING), None),
    ({**response(purchase_share=0), **change(stock=0)}, response(max_delay=3), None),
    (response(another_unit=0), {}, None),
    (response(rating_share=0), response(**RATING), None),
    (response(return_share=0), response(**RETURNING), None),
    *(({name: 0}, {}, None) for name in ("fuss", "budget", "tail", "price_sensitivity", "quality_sd", "taste_scale")),
    ({"new_items_per_week": 0}, {}, None),
    ({"segment_share": 0}, {}, None),
]

ALWAYS_THERE = {
    "name", "seed", "luck", "n_users", "n_items", "n_dims", "history_days", "patience", "visits_per_day", "base",
}  # fmt: skip
"""Settings that are no rates."""


@pytest.mark.parametrize(("zero", "idle", "without"), ZEROS, ids=lambda value: str(getattr(value, "__name__", value)))
def test_a_rate_of_zero_is_the_behaviour_being_absent(zero: Change, idle: Change, without: Part | None) -> None:
    """And what says how the behaviour goes has nothing to say then."""
    slow = any(name in str(zero) for name in ("newcomers", "lifetime", "new_items"))
    check_zero(EVERYTHING, zero, idle=idle, without=without, days=12 if slow else 6)


def names(settings: object) -> set[str]:
    """Names of the settings at the ends of a tree."""
    if not isinstance(settings, dict):
        return set()
    return {end for name, value in settings.items() for end in (names(value) if isinstance(value, dict) else {name})}


def test_every_setting_and_every_part_is_tried_at_zero() -> None:
    """A behaviour that is added to the world is added to ZEROS."""
    tried_settings = set().union(*(names(zero) | names(idle) for zero, idle, _ in ZEROS))
    assert tried_settings | ALWAYS_THERE == names(asdict(WorldConfig()))
    assert {part for _, _, part in ZEROS if part is not None} == set(PARTS)


@pytest.mark.parametrize(
    ("sentence", "zero", "idle", "without"),
    [
        ("seen: .* changes nothing in 6 days", rhythm(weekly=EVERYTHING.rhythm.weekly), {}, None),
        ("is the part being absent: broken after . days in state.stock", change(price_change=0), {}, stock),
        (r"with .*, .*recovery.* changes nothing: broken after", change(boredom=0), change(recovery=0.9), None),
        ("the part that is taken out is one of PARTS", change(boredom=0), {}, meddling),
    ],
)
def test_a_zero_that_is_none_is_found(sentence: str, zero: Change, idle: Change, without: Part | None) -> None:
    """A behaviour nobody sees, another's part, settings that still have something to say."""
    with pytest.raises(AssertionError, match=sentence):
        check_zero(EVERYTHING, zero, idle=idle, without=without)


STILL = from_dict(WorldConfig, merged(asdict(EVERYTHING), {
    **dict.fromkeys(("quality_sd", "tail", "fuss", "budget", "complements", "price_sensitivity"), 0),
    **change(**dict.fromkeys(("season", "fashion", "boredom", "item_boredom", "stock", "lifetime_days"), 0)),
    **rhythm(weekly=0, yearly=0, campaign_lift=0, next_page=0),
    "loyalty": {"pull": 0, "churn": 0},
    **response(
        impatience=0, another_unit=0, return_share=0, cascade_share=0, dependent_share=0, logit_share=0, base=-1,
    ),
}))  # fmt: skip
"""EVERYTHING with what is added to taste, attention and visits at 0."""


def check_still(settings: Change) -> None:
    """A world of STILL and `settings`, after five days, against a few lines of NumPy that know of no behaviour."""
    (world,), tales = live([make_world(from_dict(WorldConfig, merged(asdict(STILL), settings)), 12)], 5)
    state, config, (slates, outcomes) = world.state, world.config, day_of(world)
    user_id, item_id = slates.requests.user_id, slates.item_id
    wanted = np.einsum("rd,rnd->rn", state.taste[user_id], world.items.vector[item_id]) + world.items.quality[item_id]
    faced = preferences(world, state, slates)
    np.testing.assert_allclose(faced.utility, wanted, rtol=0, atol=1e-12, err_msg="utility")
    assert config.quality_sd or not world.items.quality.any(), "quality"

    looked = world.people.patience[user_id][:, None] ** np.arange(4)
    clicked = looked / (1 + np.exp(-config.response.base - wanted))
    found = world.response.chances(faced)
    assert slates.latency_ms.min() >= 300, "nobody waits"
    np.testing.assert_allclose(found.examined, looked, rtol=0, atol=1e-12, err_msg="looks")
    np.testing.assert_allclose(found.clicked, clicked, rtol=0, atol=1e-12, err_msg="clicks")
    assert not found.returned.any(), "returns"
    assert outcomes.clicks.units.max() == 1, "units"

    assert not any(tale["page"].any() for tale in tales), "pages"
    assert state.present.all(), "churn"
    here = world.shoppers.arrival_day <= state.day
    luck = uniforms(config.seed, "visits", config.luck, state.day, rows=world.rows, n=1)[:, 0]
    count = np.where(here, np.minimum(poisson.ppf(luck, world.people.activity), 5), 0)
    assert (np.bincount(user_id, minlength=len(count)) == count).all(), "visits"
    assert not state.fashion.any(), "fashion"


@pytest.mark.parametrize("settings", [{}, {"quality_sd": 0.5, "tail": 0.1}])
def test_a_world_without_behaviours_is_taste_patience_and_activity(settings: Change) -> None:
    """Utility is taste . vector + quality, P(look) patience ** p, visits Poisson with mean activity; to 1e-12."""
    check_still(settings)


@pytest.mark.parametrize(
    ("what", "settings"),
    [
        *(("utility", {name: 0.3}) for name in ("fuss", "budget", "complements", "price_sensitivity")),
        *(("utility", change(**{name: 0.1})) for name in ("season", "fashion", "boredom", "item_boredom")),
        ("looks", response(impatience=0.01)),
        *(("looks", response(**{f"{way}_share": 0.2})) for way in ("cascade", "dependent", "logit")),
        ("units", response(another_unit=0.5)),
        ("returns", response(return_share=0.1)),
        *(("visits", settings) for settings in (rhythm(weekly=2), rhythm(yearly=0.9), {"loyalty": {"pull": 2.0}})),
        ("pages", rhythm(next_page=0.1)),
        ("churn", {"loyalty": {"churn": 0.1}}),
    ],
)
def test_each_behaviour_that_is_there_is_seen_in_the_reference(what: str, settings: Change) -> None:
    """A little of any one of them breaks the line that it should break."""
    with pytest.raises(AssertionError, match=what):
        check_still(settings)


def test_a_behaviour_that_comes_back_at_zero_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seasons that add 2 and a wait that halves looks, exactly where their rates are 0; check_zero finds neither."""

    def two(world: World, day: int) -> Floats:
        return season(world, day) if world.config.change.season > 0 else np.full(len(world.items.season_peak), 2.0)

    def half(latency_ms: Floats, config: ResponseConfig) -> Floats:
        return first_look(latency_ms, config) * (0.5 if config.impatience == 0 else 1.0)

    for module, name, fault, what in ((truth, "season", two, "utility"), (answers, "first_look", half, "looks")):
        with monkeypatch.context() as broken:
            broken.setattr(module, name, fault)
            with pytest.raises(AssertionError, match=what):
                check_still({})


@pytest.mark.parametrize("name", ["clicks", "purchases", "revenue", "refunds", "margin"])
def test_an_oracle_that_is_wrong_by_a_part_is_found(name: str, lived: World) -> None:
    """40,000 slates tell a fifth more from the truth, in each value, where much is bought and given back."""
    often = replace(EVERYTHING.response, base=-1.0, purchase_base=2.0, return_share=1.0)
    world = replace(lived, config=replace(EVERYTHING, response=often))
    slates = many(world)
    check_value(Oracle(world).value, world, slates)

    def wrong(slates: Slates) -> Any:
        value = Oracle(world).value(slates)
        return replace(value, **{name: 1.2 * getattr(value, name)})

    with pytest.raises(AssertionError, match=f"the expected {name} are the mean of what happens: broken by -"):
        check_value(wrong, world, slates)


def test_an_oracle_that_knows_the_mean_only_is_found(lived: World) -> None:
    """The mean of all slates for each of them, and twice as far from it as the truth."""
    often = replace(EVERYTHING.response, base=-1.0, purchase_base=2.0, return_share=1.0)
    world = replace(lived, config=replace(EVERYTHING, response=often))
    slates = many(world)

    def around_the_mean(share: float) -> Callable[[Slates], Any]:
        def value(slates: Slates) -> Any:
            right = vars(Oracle(world).value(slates))
            return Value(**{name: what.mean() + share * (what - what.mean()) for name, what in right.items()})

        return value

    check_value(around_the_mean(1), world, slates)
    for share, why in ((0, "utility"), (2, "expectation"), (0.9, "expectation")):
        with pytest.raises(AssertionError, match=f"the expected clicks are right for low and high {why} alike"):
            check_value(around_the_mean(share), world, slates)


def many(world: World, n: int = 40_000) -> Slates:
    """A day's slates, again and again."""
    slates, _ = day_of(world)
    rows = np.resize(np.arange(len(slates.requests)), n)
    return replace(
        slates,
        requests=replace(
            slates.requests, exclude=slates.requests.exclude[:0],
            **{name: getattr(slates.requests, name)[rows] for name in ("user_id", "visit", "page", "second")},
        ),
        latency_ms=slates.latency_ms[rows],
        **{name: getattr(slates, name)[rows] for name in ("item_id", "propensity", "source")},
    )  # fmt: skip


def test_the_world_of_everything_has_everything() -> None:
    """No rate of EVERYTHING is 0, so that a new one is switched on here."""
    resting = {end for end, value in ends(EVERYTHING).items() if value == 0}
    assert resting <= {"seed", "luck", "campaign_day", "satisfied_base"}


def ends(config: object) -> dict[str, Any]:
    assert is_dataclass(config)
    found: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        found |= ends(value) if is_dataclass(value) else {field.name: value}
    return found
