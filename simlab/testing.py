"""Laws for anyone's own parts: pass a part in, and learn in one sentence which law it breaks, and where.

    check_recommender(model, requests)                    a model that a service can serve
    check_slates(slates, catalogue)                       what may be shown
    check_propensities(slates)                            a policy that knows how likely its slates are
    check_response(model, preferences, luck)              shoppers whose sampler does what their closed form says

and those of simlab.world_laws: check_dynamics, check_world, check_growth, check_zero, check_value.

Each returns nothing or raises AssertionError. Our own tests run them over every part of simlab; a learner runs the same
over a part made in a notebook. EVERYTHING is a small world with every behaviour, to try it in.

Why laws and not base classes: a part that was written elsewhere has to behave, not to inherit.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from scipy.special import ndtr, ndtri

from simlab.recsys.models import KINDS, Model, Recommender, load_model, save_model
from simlab.schema import (
    NEVER,
    NO_ITEM,
    SOURCES,
    Bools,
    Catalogue,
    Clicks,
    Floats,
    Ints,
    Labels,
    Outcomes,
    Requests,
    Slates,
)
from simlab.streams import stream
from simlab.world.response import WAYS, Chances, Preferences, ResponseModel
from simlab.world_laws import (
    EVERYTHING,
    STANDARD_ERRORS,
    check_dynamics,
    check_growth,
    check_value,
    check_world,
    check_zero,
    everywhere,
    law,
    ranks,
)

__all__ = [
    "EVERYTHING",
    "check_dynamics",
    "check_growth",
    "check_propensities",
    "check_recommender",
    "check_response",
    "check_slates",
    "check_value",
    "check_world",
    "check_zero",
]

LAST_DIGITS = 1e-13
"""By so much, and no more, may a score (as a share of it, above 1) depend on the company: processors sum in different
orders. Ranks hardly hang on it, for they see scores in steps of about 2**-40 of a row's largest, ten times as much."""

ENOUGH = 10.0
"""Variance of a count below which it is too rare for the law of large numbers."""


def check_recommender(model: Recommender, requests: Requests) -> None:
    """The laws of a `Recommender`, tried on `requests` (best with several visits, and users it does not know).

    Scores are finite doubles of shape (R, n_items) and `knows` says yes or no for each request; both are the same when
    asked again, in another order, for a few requests or for one; requests stay as they were; a model of a kind that can
    be stored (`KINDS`) scores the same, bit for bit, after it was stored and loaded.

    >>> from simlab.recsys.models import PopularityModel
    >>> nobody = np.empty(0, dtype=np.int64)
    >>> check_recommender(PopularityModel(score=np.ones(3)), Requests(day=0, user_id=nobody, visit=nobody, n=1))
    """
    before = deepcopy(requests)
    scores, knows = np.array(model.scores(requests)), np.array(model.knows(requests.user_id))
    for name in ("user_id", "visit", "exclude"):
        untouched = np.array_equal(getattr(requests, name), getattr(before, name))
        law(untouched, f"a model leaves its input alone: requests.{name} was changed")

    shape = (len(requests), model.n_items)
    law(scores.shape == shape, f"scores have the shape (requests, n_items) = {shape}: found {scores.shape}")
    law(scores.dtype == np.float64, f"scores are doubles: found {scores.dtype}")
    everywhere(np.isfinite(scores), "every score is finite", "request", "item")
    fits = knows.shape == shape[:1] and knows.dtype == np.bool_
    law(fits, f"knows is True or False for each of {len(requests)} requests: found {knows.dtype} {knows.shape}")

    order = stream(0, "check_recommender").permutation(len(requests))
    for sentence, rows in (
        ("asked again, a model says the same", np.arange(len(requests))),
        ("the order of requests changes nothing", order),
        ("a few requests fare as in the whole company", np.sort(order[: len(order) // 3])),
        ("a request alone fares as in company", order[:1]),
        ("no requests, no scores", order[:0]),
    ):
        part, wanted = before.take(rows), scores[rows]
        again = np.asarray(model.scores(part))
        law(again.shape == wanted.shape, f"{sentence}: expected the shape {wanted.shape}, found {again.shape}")
        close = np.abs(again - wanted) <= LAST_DIGITS * np.maximum(1, np.abs(wanted))
        everywhere(close, f"{sentence} (scores)", "request", "item")
        everywhere(np.asarray(model.knows(part.user_id)) == knows[rows], f"{sentence} (knows)", "request")
    if type(model) in KINDS.values():
        _check_stored(cast(Model, model), before)


def _check_stored(model: Model, requests: Requests) -> None:
    with TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model", {"note": "a card"})
        again, card = load_model(Path(folder) / "model")
    law(type(again) is type(model), f"a stored model comes back as what it was: found {type(again).__name__}")
    law(card == {"note": "a card"}, f"a stored model brings its card back: found {card}")
    law(again.n_items == model.n_items, f"a stored model scores {model.n_items} items: found {again.n_items}")
    same = again.scores(requests) == model.scores(requests)
    everywhere(same, "a stored model scores the same, bit for bit", "request", "item")
    same = again.knows(requests.user_id) == model.knows(requests.user_id)
    everywhere(same, "a stored model knows the same users", "request")


def check_slates(slates: Slates, catalogue: Catalogue) -> None:
    """The laws of what may be shown, whoever chose it.

    Only items of the catalogue, on sale on the day; none twice in a slate; nothing that was excluded; a propensity in
    (0, 1] and a source of `SOURCES` for each item shown; a model version and an arm for each slate.
    """
    requests, item_id, shown = slates.requests, slates.item_id, slates.shown
    n_rows, n_items = len(requests), len(catalogue)
    for name in ("item_id", "propensity", "source"):
        found = getattr(slates, name).shape
        law(found == (n_rows, requests.n), f"{name} has the shape ({n_rows}, {requests.n}): found {found}")
    inside = ~shown | ((item_id >= 0) & (item_id < n_items))
    everywhere(inside, f"items are those of the catalogue, 0 .. {n_items - 1}", "request", "position")
    on_sale = ~shown | catalogue.on_sale(requests.day)[np.where(shown, item_id, 0)]
    everywhere(on_sale, f"only what is on sale on day {requests.day} is shown", "request", "position")
    for place in range(1, item_id.shape[1]):
        again = shown[:, place] & (item_id[:, :place] == item_id[:, [place]]).any(axis=1)
        everywhere(~again, f"no item is twice in a slate (position {place})", "request")
    _check_exclusions(item_id, requests.exclude)
    likely = ~shown | ((slates.propensity > 0) & (slates.propensity <= 1))
    everywhere(likely, "propensities lie in (0, 1]", "request", "position")
    named = (slates.source >= 0) & (slates.source < len(SOURCES))
    everywhere(named, f"sources are those of the schema, 0 .. {len(SOURCES) - 1}", "request", "position")
    for what, labels in (("model_version", slates.model_version), ("arm", slates.arm)):
        _check_labels(what, labels, n_rows)


def _check_exclusions(item_id: Ints, exclude: Ints) -> None:
    rows, items = exclude[:, 0], exclude[:, 1]
    for row, item in zip(rows.tolist(), items.tolist(), strict=True):
        law(item < 0 or item not in item_id[row], f"nothing excluded is shown: broken at request {row}, item {item}")


def _check_labels(what: str, labels: Labels, n_rows: int) -> None:
    law(len(labels) == n_rows, f"{what} names each of {n_rows} slates: found {len(labels)}")
    everywhere((labels.codes >= 0) & (labels.codes < len(labels.names)), f"{what} has a word for each code", "request")


def check_propensities(slates: Slates) -> None:
    """The propensities of a policy that draws, whatever it draws from, and how many items it has.

    Give thousands of slates for requests that are alike in all but luck. Read one after another, at each position:

        steady      after the same items above, an item has the same propensity each time; those seen sum to 1 at most
        seen again  what is drawn was drawn before, after the same items, as often as the propensities of all that was
                    drawn before say (so what is missing to 1 is what still appears)
        frequent    once drawn after some items, an item comes there as often as its propensity says
        not small   the sum of 1 / propensity of an item is at most the number of slates that could still show it

    The first is exact. In the others the next draw has that expectation whatever came before, so that sums over all
    slates are tried within the standard errors of `_limit`. They hold for every right policy, also where some items
    never follow others. Found: propensities that are too small at any position, and any that are too large where
    beginnings repeat, so at the top. Not found: too large ones below so many different beginnings that each comes once
    or twice. Ask for fewer items then.

    >>> from simlab.streams import uniforms
    >>> from simlab.world.history import plackett_luce
    >>> rows = np.arange(5_000)
    >>> asked = Requests(day=0, user_id=rows, visit=0 * rows, n=2)
    >>> check_propensities(plackett_luce(np.ones(40), asked, luck=uniforms(1, "law", rows=rows, n=40)))
    """
    likely = ~slates.shown | ((slates.propensity > 0) & (slates.propensity <= 1))
    everywhere(likely, "propensities lie in (0, 1]", "request", "position")
    for place in range(slates.item_id.shape[1]):
        _, group = np.unique(slates.item_id[:, :place], axis=0, return_inverse=True)
        _check_next(slates.item_id[:, place], slates.propensity[:, place], group.ravel(), place)
        _check_inverse(slates, place)


def _check_next(item_id: Ints, propensity: Floats, group: Ints, place: int) -> None:
    """What stood next at `place`; slates of one `group` began alike."""
    order = np.argsort(group, kind="stable")
    item_id, propensity, group = item_id[order], propensity[order], group[order]
    width = int(item_id.max(initial=0)) + 2
    pair, first, which = np.unique(group * width + item_id + 1, return_index=True, return_inverse=True)
    p, of, item, where = propensity[first], pair // width, pair % width - 1, f"at position {place}"
    steady = np.abs(propensity - p[which]) <= LAST_DIGITS
    law(steady.all(), f"slates that began alike go on with the same propensities: broken {where}")
    total, size = np.bincount(of, weights=p), np.bincount(group)
    law(
        total.max(initial=0) <= 1 + width * LAST_DIGITS,
        f"propensities sum to at most 1: found {total.max():.6g} {where}",
    )

    fresh = np.zeros(len(group), dtype=np.bool_)
    fresh[first] = True
    before = np.cumsum(propensity * fresh) - propensity * fresh
    start = np.cumsum(size) - size
    mass = np.clip(before - before[start][group], 0, 1)  # of all that was drawn before
    z = (~fresh - mass).sum() / np.sqrt(max((mass * (1 - mass)).sum(), ENOUGH))
    sentence = f"propensities sum to 1, what was drawn comes again {z:+.1f} standard errors more often than they say"
    law(abs(z) < STANDARD_ERRORS, f"{sentence}: broken {where}, {total.mean():.6g} seen")

    left = size[of] - 1 - (first - start[of])
    again = np.bincount(which) - 1
    surprise, variance = (np.bincount(item + 1, weights=w) for w in (again - left * p, left * p * (1 - p)))
    z = np.abs(surprise) / np.sqrt(np.maximum(variance, ENOUGH))
    worst = int(np.argmax(z))
    sentence = f"item {worst - 1} comes as often as its propensity says: broken {where}"
    law(z[worst] < _limit(len(z)), f"{sentence}, {z[worst]:.1f} standard errors away")


def _check_inverse(slates: Slates, place: int) -> None:
    """Sums of 1 / propensity at `place`, of each item and of all, from the slate after its tenth on."""
    item_id, p = slates.item_id[:, place], slates.propensity[:, place]
    items, n_times = np.unique(item_id[item_id != NO_ITEM], return_counts=True)
    rows, of_all = np.arange(len(p)), np.zeros(len(p))
    for item in items[n_times > ENOUGH].tolist():
        shown = item_id == item
        later = rows > np.flatnonzero(shown)[int(ENOUGH) - 1]
        open_to = later & (slates.item_id[:, :place] != item).all(axis=1)
        open_to[slates.requests.exclude[slates.requests.exclude[:, 1] == item, 0]] = False
        weight = (shown & later) / p
        of_all += weight - open_to
        sum_, spread, n = weight.sum(), (weight * np.maximum(weight - 1, 0)).sum(), open_to.sum()
        variance = spread * n / max(sum_, 1.0)  # of as many draws as there should be
        z = (sum_ - n) / np.sqrt(max(variance, ENOUGH * (sum_ / max(shown[later].sum(), 1)) ** 2))
        sentence = f"the propensity of item {item} is not too small: broken at position {place}, its inverses sum to"
        law(z < _limit(len(items)), f"{sentence} {sum_:.6g} in {n} slates, {z:.1f} standard errors too much")
    error = of_all.std() * np.sqrt(len(p)) + LAST_DIGITS * len(p) * max(len(items), 1)
    z = of_all.sum() / error
    sentence = f"propensities are not too small: broken at position {place}, their inverses sum to"
    law(z < STANDARD_ERRORS, f"{sentence} {of_all.mean():.3g} a slate too much, {z:.1f} standard errors")


def _limit(n: int) -> float:
    """How many standard errors the largest of `n` may lie away, so that they fail together as often as one at 4."""
    return float(-ndtri(ndtr(-STANDARD_ERRORS) / n))


def check_response(model: ResponseModel, preferences: Preferences, luck: Floats, *, day: int = 0) -> None:
    """The laws of shoppers' answers: what `model.respond` draws is what `model.chances` says.

    Probabilities lie in [0, 1]; who gives back has bought, who buys has clicked and who clicks has looked, in formulas
    and in draws; at each position, looks, clicks, purchases and returns are within 4 standard errors of the
    closed form, and what differs from it leans on nothing: not on the closed form itself, the utility there, patience
    or waiting time (each as a rank), so that no group of requests gets more and another less than it says; shoppers
    who choose one item at most (cascade, logit) choose none as often as is left to one; what follows a click comes in
    order of time; and a request is answered by its own row of luck alone, whoever else is
    there. Give `luck` one row of uniforms a request, and thousands of requests.

    >>> from simlab.streams import uniforms
    >>> from simlab.world.config import ResponseConfig
    >>> from simlab.world.response import FourWays, draws
    >>> crowd = Preferences(utility=np.ones((9_000, 2)), patience=np.full(9_000, 0.8), shown=np.ones((9_000, 2), bool))
    >>> luck = uniforms(1, "luck", rows=np.arange(9_000), n=draws(2))
    >>> check_response(FourWays(config=ResponseConfig(base=0.0)), crowd, luck)
    """
    expected, before = model.chances(preferences), deepcopy((preferences, luck))
    law(isinstance(expected, Chances), f"chances(preferences) gives Chances: found {type(expected).__name__}")
    _check_chances(expected, preferences.shown)
    outcomes = model.respond(preferences, day=day, luck=luck)
    law(isinstance(outcomes, Outcomes), f"respond(preferences) gives Outcomes: found {type(outcomes).__name__}")
    untouched = np.array_equal(before[1], luck) and all(
        np.array_equal(old, vars(preferences)[name], equal_nan=True) for name, old in vars(before[0]).items()
    )
    law(untouched, "a response leaves its input alone: preferences or luck were changed")
    _check_outcomes(outcomes, preferences.shown, day)
    returned = outcomes.spread(outcomes.clicks.return_day != NEVER, False)
    causes = {"utility": np.apply_along_axis(ranks, 0, preferences.utility)}
    causes |= {"patience": ranks(preferences.patience), "waiting time": ranks(preferences.latency_ms)}
    seen = {"examined": outcomes.examined, "clicked": outcomes.clicked, "purchased": outcomes.purchased}
    for name, what in {**seen, "returned": returned}.items():
        _check_frequencies(name, what, getattr(expected, name), causes)
    _check_single(preferences.way, outcomes.clicked, expected.clicked)
    order = stream(0, "check_response").permutation(len(luck))
    for sentence, rows in (
        ("asked again, shoppers answer the same", np.arange(len(luck))),
        ("the order of requests changes nobody's answer", order),
        ("nobody's answer depends on who else is there", order[: len(order) // 3]),
    ):
        again = model.respond(preferences.take(rows), day=day, luck=luck[rows])
        for name, what in (("examined", outcomes.examined), ("clicked", outcomes.clicked)):
            everywhere(getattr(again, name) == what[rows], f"{sentence} ({name})", "request", "position")
        for field in fields(Clicks)[1:]:
            one, other = (o.spread(getattr(o.clicks, field.name), 0) for o in (outcomes, again))
            same = (other == one[rows]) | ((other != other) & (one != one)[rows])
            everywhere(same, f"{sentence} ({field.name})", "request", "position")


def _check_chances(expected: Chances, shown: Bools) -> None:
    above, whole = "1", np.ones(shown.shape)
    for name in ("examined", "clicked", "purchased", "returned"):
        p = getattr(expected, name)
        law(p.shape == shown.shape, f"P({name}) has the shape {shown.shape}: found {p.shape}")
        everywhere((p >= 0) & (p <= 1), f"P({name}) is a probability", "request", "position")
        everywhere(p <= whole, f"P({name}) is at most P({above})", "request", "position")
        everywhere(shown | (p == 0), f"P({name}) is 0 where nothing is shown", "request", "position")
        above, whole = name, p


def _check_outcomes(outcomes: Outcomes, shown: Bools, day: int) -> None:
    for name in ("examined", "clicked"):
        found = getattr(outcomes, name).shape
        law(found == shown.shape, f"{name} has the shape {shown.shape}: found {found}")
    everywhere(shown | ~outcomes.examined, "only what is shown is looked at", "request", "position")
    everywhere(outcomes.examined | ~outcomes.clicked, "only what is looked at is clicked", "request", "position")
    clicks, place = outcomes.clicks, np.flatnonzero(outcomes.clicked)
    law(np.array_equal(clicks.place, place), "clicks has a row for each True in clicked, in the same order")
    for field in fields(Clicks):
        found = getattr(clicks, field.name).shape
        law(found == place.shape, f"clicks.{field.name} has the shape {place.shape}: found {found}")
    bought, when, rated = clicks.units > 0, clicks.purchase_day, clicks.rating > 0
    back = clicks.return_day != NEVER
    for sentence, holds in (
        ("time spent is positive, or NaN", (clicks.dwell > 0) | np.isnan(clicks.dwell)),
        ("units are counted from 0", clicks.units >= 0),
        (f"purchases come on day {day} or later", ~bought | ((when >= day) & (when < NEVER))),
        ("what is not bought is bought NEVER", bought | (when == NEVER)),
        ("only what is bought is rated", bought | ~rated),
        ("ratings are 1 .. 5, or 0 for none", (clicks.rating >= 0) & (clicks.rating <= 5)),
        ("ratings come on the day of the purchase or later", ~rated | (clicks.rating_day >= when)),
        ("what is rated is rated some day, and what is not NEVER", rated == (clicks.rating_day != NEVER)),
        ("only what is bought is given back", bought | ~back),
        ("returns come on the day of the purchase or later", ~back | (clicks.return_day >= when)),
    ):
        everywhere(holds, sentence, "click")


def _check_frequencies(name: str, seen: Bools, expected: Floats, causes: Mapping[str, Floats]) -> None:
    """Each position apart: requests are independent of each other, positions of one slate are not."""
    sentence = f"{name} is as frequent as its closed form says"
    for place in range(expected.shape[1]):
        p, surprise = expected[:, place], seen[:, place] - expected[:, place]
        impossible = (seen[:, place] & (p == 0)) | (~seen[:, place] & (p == 1))
        everywhere(~impossible, f"{name}: chance 0 never happens and chance 1 always (position {place})", "request")
        _check_count(sentence, seen[:, place], p, place)
        spread = p * (1 - p)
        if spread.sum() < ENOUGH:
            continue
        for why, lean in {"its own chance": ranks(p), **causes}.items():
            rank = lean if lean.ndim == 1 else lean[:, place]
            z = rank @ surprise / np.sqrt(spread @ rank**2)
            where = f"broken at position {place}, {z:+.1f} standard errors"
            law(abs(z) < STANDARD_ERRORS, f"{sentence} for low and high {why} alike: {where}")


def _check_single(way: Ints, clicked: Bools, expected: Floats) -> None:
    """P(a click at some position) + P(none) = 1 for those who click once at most."""
    rows = np.flatnonzero(np.isin(way, [WAYS.index("cascade"), WAYS.index("logit")]))
    once = expected[rows].sum(axis=1)
    everywhere(once <= 1 + LAST_DIGITS, "P(click) of who clicks once at most sums to at most 1", "such request")
    everywhere(clicked[rows].sum(axis=1) <= 1, "by cascade and logit there is one click at most", "such request")
    for kind in np.unique(way[rows]).tolist():
        at = way[rows] == kind
        sentence = f"by {WAYS[kind]} no click is as frequent as is left to one"
        _check_count(sentence, ~clicked[rows[at]].any(axis=1), np.clip(1 - once[at], 0, 1), None)


def _check_count(sentence: str, seen: Bools, expected: Floats, place: int | None) -> None:
    """The number of times something happened, where that is not too rare for the law of large numbers."""
    variance = float((expected * (1 - expected)).sum())
    if variance >= ENOUGH:
        z = abs(float((seen - expected).sum())) / np.sqrt(variance)
        where = "" if place is None else f" at position {place},"
        law(z < STANDARD_ERRORS, f"{sentence}: broken{where} {z:.1f} standard errors away")
