"""Laws of worlds, and of the parts that move them; simlab.testing offers them beside those of models and responses.

    check_dynamics(move)                       one way in which truth moves
    check_world(world)                         the same in any order, in any pieces, saved in between
    check_growth(config)                       a longer or larger world begins with the shorter or smaller
    check_zero(config, zero, idle=, without=)  a rate of 0 is the behaviour being absent
    check_value(value, world, slates)          an oracle's expectation is the mean of what happens

Why bytes: a difference in the last digit today is another click next week, so "nearly the same" is no law.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from simlab.schema import NEVER, Bools, Floats, Ints, Outcomes, Requests, Slates
from simlab.settings import from_dict, merged
from simlab.streams import stream, uniforms
from simlab.world.birth import OF_STATE, make_world, part
from simlab.world.config import ChangeConfig, LoyaltyConfig, ResponseConfig, RhythmConfig, WorldConfig
from simlab.world.dynamics import PARTS, Part, happened, step
from simlab.world.history import plackett_luce, serve
from simlab.world.response import draws, respond
from simlab.world.snapshot import from_bytes, to_bytes
from simlab.world.truth import Happened, State, World, available, preferences
from simlab.world.users import visits

STANDARD_ERRORS = 4.0
"""How far a mean may lie from its expectation: a true law fails one time in 16,000."""

EVERYTHING = WorldConfig(
    name="everything", n_users=150, n_items=40, history_days=3, new_items_per_week=3, fuss=0.5, budget=0.5,
    complements=0.8, tail=0.1, visits_per_day=0.8,
    response=ResponseConfig(base=-3.0, cascade_share=0.25, dependent_share=0.25, logit_share=0.25, impatience=0.3),
    rhythm=RhythmConfig(yearly=0.3, campaign_day=0, campaign_days=2, campaign_lift=0.5, next_page=0.4),
    loyalty=LoyaltyConfig(pull=1.0, churn=0.2, newcomers_per_week=20),
    change=ChangeConfig(
        shift_day=1, shift_share=0.3, season=0.5, fashion=0.3, boredom=0.1, item_boredom=0.1, influence=0.01,
        price_change=0.1, lifetime_days=20, stock=3, delivery_days=3,
    ),
)  # fmt: skip
"""A small world with every behaviour at once: what holds here holds for what is added to it."""

Tale = dict[str, npt.NDArray[Any]]
"""All that was shown, done and true on a day; rows of slates and of shoppers in the order of their rows of luck."""

_OF_GOODS = ("fashion", "price", "price_index", "stock", "due")
_OF_CLICKS = {"dwell": np.nan, "units": 0, "purchase_day": NEVER, "rating": 0, "rating_day": NEVER, "return_day": NEVER}


def law(holds: object, sentence: str) -> None:
    """Raises `AssertionError` with `sentence` unless it holds; not an assert statement, which python -O takes out."""
    if not holds:
        raise AssertionError(sentence)


def everywhere(holds: Bools, sentence: str, *axes: str) -> None:
    """Raises where an element of `holds` is False, naming the first such place along `axes` (rows, columns)."""
    if not np.all(holds):
        places = np.argwhere(~np.asarray(holds))
        where = ", ".join(f"{axis} {index}" for axis, index in zip(axes, places[0], strict=True))
        raise AssertionError(f"{sentence}: broken at {where}, and at {len(places) - 1} other places")


def ranks(values: Floats) -> Floats:
    """Ranks from -1/2 to 1/2, lowest first, so that a few large values do not outweigh the rest; shape (R,)."""
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / max(len(values), 1) - 0.5
    return rank


def _evenly(world: World, requests: Requests) -> Slates:
    """Slates drawn from all that can be shown, which come the later the more often a shopper visits."""
    here = available(world, world.state)[: int(np.count_nonzero(world.catalogue.launch_day <= requests.day))]
    luck = np.empty((len(requests), len(here)))
    for visit, page in {*zip(requests.visit.tolist(), requests.page.tolist(), strict=True)}:
        at = np.flatnonzero((requests.visit == visit) & (requests.page == page))
        name = (world.config.seed, "laws", requests.day, visit, page)
        luck[at] = uniforms(*name, rows=world.rows[requests.user_id[at]], n=len(here))
    waited = 300 * (1 + requests.visit.astype(np.float64))
    return replace(plackett_luce(here.astype(np.float64), requests, luck=luck), latency_ms=waited)


def day_of(world: World) -> tuple[Slates, Outcomes]:
    """The day on which `world` stands, where slates of 4 are drawn evenly."""
    return serve(world, world.state, visits(world, world.state.day, 4, world.state), partial(_evenly, world))


def live(worlds: Sequence[World], days: int, parts: tuple[Part, ...] = PARTS) -> tuple[list[World], list[Tale]]:
    """The next `days` of a world, in one piece or several, where slates are drawn evenly; and how it stands then."""
    now, tales = list(worlds), []
    for _ in range(days):
        served = [day_of(world) for world in now]
        past = [happened(world, *one) for world, one in zip(now, served, strict=True)]
        sold = np.sum([one.sold for one in past], axis=0)
        slates = [_told(*one) for one in zip(now, served, strict=True)]
        states = [step(w, w.state, replace(one, sold=sold), parts) for w, one in zip(now, past, strict=True)]
        now = [replace(world, state=state) for world, state in zip(now, states, strict=True)]
        tales.append(_tale(now, slates))
    return now, tales


def _told(world: World, served: tuple[Slates, Outcomes]) -> Tale:
    slates, outcomes = served
    asked = slates.requests
    tale: Tale = {"row": world.rows[asked.user_id], "visit": asked.visit, "page": asked.page, "second": asked.second}
    tale |= {"item_id": slates.item_id, "examined": outcomes.examined, "clicked": outcomes.clicked}
    return tale | {name: outcomes.spread(getattr(outcomes.clicks, name), empty) for name, empty in _OF_CLICKS.items()}


def _tale(worlds: Sequence[World], slates: Sequence[Tale]) -> Tale:
    joined = {name: np.concatenate([one[name] for one in slates]) for name in slates[0]}
    order = np.lexsort([joined[name] for name in ("page", "visit", "row")])
    tale = {name: column[order] for name, column in joined.items()}
    rows = np.concatenate([world.rows for world in worlds])
    order = np.argsort(rows)
    tale["state.row"] = rows[order]
    for name in OF_STATE:
        tale[f"state.{name}"] = np.concatenate([getattr(world.state, name) for world in worlds])[order]
    for name in _OF_GOODS:
        tale[f"state.{name}"] = getattr(worlds[0].state, name)
        for world in worlds:
            agreed = getattr(world.state, name).tobytes() == tale[f"state.{name}"].tobytes()
            law(agreed, f"all pieces of a world have the same goods: broken in state.{name}")
    return tale


def _cut(tale: Tale, rows: Ints, n_items: int) -> Tale:
    """What a tale tells of the shoppers who have these `rows` of luck, and of the first goods."""
    kept: dict[str, Any] = dict.fromkeys(tale, np.isin(tale["row"], rows))
    kept |= dict.fromkeys([f"state.{name}" for name in ("row", *OF_STATE)], np.isin(tale["state.row"], rows))
    kept |= dict.fromkeys([f"state.{name}" for name in _OF_GOODS], slice(n_items)) | {"state.fashion": slice(None)}
    return {name: column[kept[name]] for name, column in tale.items()}


def difference(tales: Sequence[Tale], others: Sequence[Tale]) -> str | None:
    """Where two tales of the same days first differ, None where nowhere."""
    for number, (tale, other) in enumerate(zip(tales, others, strict=True)):
        for name, column in tale.items():
            if column.shape != other[name].shape or column.tobytes() != other[name].tobytes():
                return f"broken after {number + 1} days in {name}"
    return None


def _same(sentence: str, tales: Sequence[Tale], others: Sequence[Tale]) -> None:
    where = difference(tales, others)
    law(where is None, f"{sentence}: {where}")


def check_world(world: World, days: int = 6, parts: tuple[Part, ...] = PARTS) -> None:
    """The laws of a world that is lived on for some days, with the dynamics `parts`: the same bytes on every way.

    Lived again it is the same; so it is with shoppers in another order, cut into 1, 2 and 7 pieces that know of each
    other only what was sold, and saved and loaded half way.

    >>> check_world(make_world(EVERYTHING, 1), days=2)
    """
    _, told = live([world], days, parts)
    half = days // 2
    (middle,), _ = live([world], half, parts)
    order = stream(0, "check_world").permutation(len(world.rows))
    order = order[np.argsort(world.shoppers.arrival_day[order], kind="stable")]
    ways = {
        "a world lived again is the same": [world],
        "the order of shoppers changes nothing": [part(world, order)],
    }
    for k in (1, 2, 7):
        ways[f"a world cut into {k} is the same"] = [part(world, order[first::k]) for first in range(k)]
    for sentence, worlds in ways.items():
        _same(sentence, told, live(worlds, days, parts)[1])
    loaded = from_bytes(to_bytes(middle))
    law(to_bytes(loaded) == to_bytes(middle), "a world that was saved and loaded is saved as the same bytes")
    _same("a world that was saved and loaded goes on the same", told[half:], live([loaded], days - half, parts)[1])


def check_growth(config: WorldConfig, days: int = 12, parts: tuple[Part, ...] = PARTS) -> None:
    """A longer simulation begins with the shorter, and nobody's luck changes because others were added.

    The second is tried without limits of stock, through which shoppers do meet. More items leave the first ones as they
    were.
    """
    horizon = max(1, days - config.history_days)
    small = make_world(config, horizon)
    size = (small.rows, len(small.catalogue))
    _, told = live([small], days, parts)
    _, longer = live([make_world(config, horizon + 30)], days, parts)
    _same("a longer simulation begins with the shorter", told, [_cut(tale, *size) for tale in longer])

    config = _with(config, {"change": {"stock": 0}})
    _, told = live([make_world(config, horizon)], days, parts)
    _, larger = live([make_world(replace(config, n_users=config.n_users + 60), horizon)], days, parts)
    _same("more shoppers change nothing for the others", told, [_cut(tale, *size) for tale in larger])

    more = make_world(replace(config, n_items=config.n_items + 25), horizon).items
    for name in ("vector", "odd", "quality", "price_index"):
        same = getattr(more, name)[: size[1]].tobytes() == getattr(small.items, name).tobytes()
        law(same, f"more items leave the first ones as they were: broken in {name}")


def _with(config: WorldConfig, changes: Mapping[str, Any]) -> WorldConfig:
    return from_dict(WorldConfig, merged(asdict(config), changes))


def check_zero(
    config: WorldConfig,
    zero: Mapping[str, Any],
    *,
    idle: Mapping[str, Any] | None = None,
    without: Part | None = None,
    days: int = 6,
) -> None:
    """Settings `zero` take a behaviour out of the world `config`, in which it is there.

    Then the part `without` can be taken out too, and the settings `idle` have nothing to say: the days are the same.
    Both are changes as `simlab.settings.merged` takes them, e.g. {"change": {"boredom": 0.0}}. With neither `without`
    nor `idle` all that is said is that the behaviour is seen: what is left at 0 must be compared with a formula, as
    tests/test_world_laws.py does for utilities, looks, clicks and visits.
    """
    still = _with(config, zero)
    horizon = max(1, days - config.history_days)
    _, told = live([make_world(still, horizon)], days)
    _, lively = live([make_world(config, horizon)], days)
    law(difference(told, lively), f"a behaviour that is there is seen: {dict(zero)} changes nothing in {days} days")
    if without is not None:
        parts = tuple(one for one in PARTS if one is not without)
        law(len(parts) < len(PARTS), "the part that is taken out is one of PARTS")
        _same(f"{dict(zero)} is the part being absent", told, live([make_world(still, horizon)], days, parts)[1])
    if idle:
        _, other = live([make_world(_with(still, idle), horizon)], days)
        _same(f"with {dict(zero)}, {dict(idle)} changes nothing", told, other)


def _photograph(*things: object) -> list[bytes]:
    return [part.tobytes() for thing in things for part in vars(thing).values() if isinstance(part, np.ndarray)]


def _of(past: Happened, rows: Ints, n_users: int) -> Happened:
    """What the shoppers `rows`, numbered anew, did; what was sold is that of all."""
    place = np.full(n_users, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    kept = np.flatnonzero(place[past.user_id] >= 0)
    return replace(_rows(past, kept), user_id=place[past.user_id[kept]])


def _rows(past: Happened, rows: Ints) -> Happened:
    return replace(past, **{name: getattr(past, name)[rows] for name in ("user_id", "item_id", "examined", "clicked")})


def check_dynamics(
    move: Part, world: World | None = None, state: State | None = None, past: Happened | None = None
) -> None:
    """The laws of one way in which truth moves, tried on the morning of `state` after the day `past`.

    By default `world` is EVERYTHING after four days, `state` that of its next morning, and `past` a day in it.
    It leaves its input alone and says the same when asked again; shapes, dtypes and the day stay; nothing becomes NaN,
    and only stock is infinite. A shopper's state moves by that shopper's own doings, whoever else is there, in which
    order they stand and in which order they were served; the goods do not depend on who is there.

    >>> def homesick(world, state, happened):
    ...     return replace(state, taste=0.9 * state.taste + 0.1 * state.home)
    >>> check_dynamics(homesick)
    """
    world = live([make_world(EVERYTHING, 12)], 4)[0][0] if world is None else world
    state = replace(world.state, day=world.state.day + 1) if state is None else state
    past = happened(world, *day_of(world)) if past is None else past
    seen = (world.people, world.items, world.catalogue, state, past)
    before = _photograph(*seen)
    new = move(world, state, past)
    law(before == _photograph(*seen), "a part leaves its input alone: an array was changed")
    law(isinstance(new, State), f"a part returns a State: found {type(new).__name__}")
    law(new.day == state.day, f"a part leaves the day to step: found {new.day}, not {state.day}")
    for field in fields(State):
        old, now = np.asarray(getattr(state, field.name)), np.asarray(getattr(new, field.name))
        fits = old.shape == now.shape and old.dtype == now.dtype
        law(fits, f"{field.name} stays {old.dtype} {old.shape}: found {now.dtype} {now.shape}")
        law(not np.isnan(now).any(), f"nothing becomes NaN: broken in {field.name}")
        law(field.name == "stock" or np.isfinite(now).all(), f"all but stock is finite: broken in {field.name}")

    everybody, n = np.arange(len(world.rows)), len(world.rows)
    order = stream(0, "check_dynamics").permutation(n)
    _moves_alike("asked again, a part does the same", new, (move, world, state, past), everybody)
    served = np.argsort(order[past.user_id], kind="stable")
    _moves_alike(
        "in which order shoppers are served changes nothing", new, (move, world, state, _rows(past, served)), everybody
    )
    if len(past.user_id):
        one = int(past.user_id[0])
        others = _rows(past, np.flatnonzero(past.user_id != one))
        sentence = "when one shopper is served, nobody else's state changes"
        _moves_alike(sentence, new, (move, world, state, others), np.flatnonzero(everybody != one), everybody)
    arrived = order[np.argsort(world.shoppers.arrival_day[order], kind="stable")]
    for sentence, rows in (
        ("nobody's state depends on who else is there", np.sort(order[: n // 3])),
        ("a shopper alone moves as in company", order[:1]),
        ("the order of shoppers changes nothing", arrived),
    ):
        own = part(replace(world, state=state), rows)
        _moves_alike(sentence, new, (move, own, own.state, _of(past, rows, n)), rows)


def _moves_alike(
    sentence: str, new: State, asked: tuple[Part, World, State, Happened], rows: Ints, there: Ints | None = None
) -> None:
    """The shoppers `rows` of the whole, who are all of those asked or `there` among them, have come to the same."""
    move, world, state, past = asked
    again = move(world, state, past)
    for name in (*OF_STATE, *_OF_GOODS):
        wanted, found = getattr(new, name), getattr(again, name)
        if name in OF_STATE:
            wanted, found = wanted[rows], found if there is None else found[rows]
        law(wanted.tobytes() == found.tobytes(), f"{sentence}: broken in {name}")


def check_value(value: Callable[[Slates], Any], world: World, slates: Slates, *, seed: int = 0) -> None:
    """What `value` expects of `slates` is, within 4 standard errors, the mean of what shoppers do with them.

    So it is for slates of which much is expected and of which little, of high and low utility, dear and cheap: what
    differs does not lean on the rank of any of these. An oracle that says the mean of all for each slate is found.
    It has arrays clicks, purchases, revenue, refunds and margin of shape (R,), like `simlab.lab.oracle.Value`. The
    slates are of the day of `world.state`; give tens of thousands. Luck comes from `seed`, one row a slate.
    """
    expected, n = value(slates), slates.item_id.shape[1]
    faced = preferences(world, world.state, slates)
    luck = uniforms(seed, "check_value", rows=np.arange(len(slates.requests)), n=draws(n))
    outcomes = respond(faced, world.config.response, day=world.state.day, luck=luck)
    clicks = outcomes.clicks
    paid = clicks.units * world.state.price[slates.item_id.ravel()[clicks.place]]
    kept = paid * (clicks.return_day == NEVER)
    margin = kept * world.catalogue.margin[slates.item_id.ravel()[clicks.place]]
    seen = {"clicks": np.ones(len(paid)), "purchases": clicks.units > 0, "revenue": paid}
    seen |= {"refunds": paid - kept, "margin": margin}
    causes = {
        "utility": faced.utility.sum(axis=1),
        "prices": (world.state.price[slates.item_id] * faced.shown).sum(axis=1),
    }
    for name, each in seen.items():
        told = np.asarray(getattr(expected, name))
        surprise = np.bincount(clicks.place // n, weights=each, minlength=len(luck)) - told
        error = surprise.std() / np.sqrt(len(surprise))
        sentence = f"the expected {name} are the mean of what happens: broken by {surprise.mean():.3g} a slate"
        law(abs(surprise.mean()) <= STANDARD_ERRORS * error, f"{sentence}, {error:.2g} standard error")
        for why, cause in {"expectation": told, **causes}.items():
            lean = surprise * ranks(cause)
            error = lean.std() / np.sqrt(len(lean))
            sentence = f"the expected {name} are right for low and high {why} alike: broken by {12 * lean.mean():.3g}"
            law(abs(lean.mean()) <= STANDARD_ERRORS * error, f"{sentence} from lowest to highest")
