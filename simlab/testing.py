"""Laws for anyone's own parts: pass a part in, and learn in one sentence which law it breaks, and where.

    check_recommender(model, requests)                    a model that a service can serve
    check_slates(slates, catalogue)                       what may be shown
    check_response(preferences, luck, chances=, respond=) shoppers whose sampler does what their closed form says

Each returns nothing or raises AssertionError. Our own tests run them over every model and response of simlab; a learner
runs the same over a model made in a notebook.

Why laws and not base classes: a part that was written elsewhere has to behave, not to inherit.
"""

from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, cast

import numpy as np

from simlab.recsys.models import KINDS, Model, Recommender, load_model, save_model
from simlab.schema import NEVER, SOURCES, Bools, Catalogue, Floats, Ints, Labels, Outcomes, Requests, Slates
from simlab.streams import stream
from simlab.world.response import Chances, Preferences

LAST_DIGITS = 1e-13
"""By so much, and no more, may a score (as a share of it, above 1) depend on the company: processors sum in different
orders. Ranks hardly hang on it, for they see scores in steps of about 2**-40 of a row's largest, ten times as much."""

STANDARD_ERRORS = 4.0
"""How far a frequency may lie from its probability: a true law fails one time in 16,000."""

ENOUGH = 10.0
"""Variance of a count below which it is too rare for the law of large numbers."""


class ClosedForm(Protocol):
    """The probabilities of looks, clicks and purchases."""

    def __call__(self, preferences: Preferences) -> Chances:
        """Arrays of shape (R, n)."""


class Sampler(Protocol):
    """The answer to slates, as `luck` decides."""

    def __call__(self, preferences: Preferences, *, day: int, luck: Floats) -> Outcomes:
        """Arrays of shape (R, n); `luck` has one row a request."""


def _law(holds: object, sentence: str) -> None:
    if not holds:  # not an assert statement, which python -O takes out
        raise AssertionError(sentence)


def _everywhere(holds: Bools, law: str, *axes: str) -> None:
    """Raises where an element of `holds` is False, naming the first such place along `axes` (rows, columns)."""
    if not np.all(holds):
        places = np.argwhere(~np.asarray(holds))
        where = ", ".join(f"{axis} {index}" for axis, index in zip(axes, places[0], strict=True))
        raise AssertionError(f"{law}: broken at {where}, and at {len(places) - 1} other places")


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
        _law(untouched, f"a model leaves its input alone: requests.{name} was changed")

    shape = (len(requests), model.n_items)
    _law(scores.shape == shape, f"scores have the shape (requests, n_items) = {shape}: found {scores.shape}")
    _law(scores.dtype == np.float64, f"scores are doubles: found {scores.dtype}")
    _everywhere(np.isfinite(scores), "every score is finite", "request", "item")
    fits = knows.shape == shape[:1] and knows.dtype == np.bool_
    _law(fits, f"knows is True or False for each of {len(requests)} requests: found {knows.dtype} {knows.shape}")

    order = stream(0, "check_recommender").permutation(len(requests))
    for law, rows in (
        ("asked again, a model says the same", np.arange(len(requests))),
        ("the order of requests changes nothing", order),
        ("a few requests fare as in the whole company", np.sort(order[: len(order) // 3])),
        ("a request alone fares as in company", order[:1]),
        ("no requests, no scores", order[:0]),
    ):
        part, wanted = before.take(rows), scores[rows]
        again = np.asarray(model.scores(part))
        _law(again.shape == wanted.shape, f"{law}: expected the shape {wanted.shape}, found {again.shape}")
        close = np.abs(again - wanted) <= LAST_DIGITS * np.maximum(1, np.abs(wanted))
        _everywhere(close, f"{law} (scores)", "request", "item")
        _everywhere(np.asarray(model.knows(part.user_id)) == knows[rows], f"{law} (knows)", "request")
    if type(model) in KINDS.values():
        _check_stored(cast(Model, model), before)


def _check_stored(model: Model, requests: Requests) -> None:
    with TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model", {"note": "a card"})
        again, card = load_model(Path(folder) / "model")
    _law(type(again) is type(model), f"a stored model comes back as what it was: found {type(again).__name__}")
    _law(card == {"note": "a card"}, f"a stored model brings its card back: found {card}")
    _law(again.n_items == model.n_items, f"a stored model scores {model.n_items} items: found {again.n_items}")
    same = again.scores(requests) == model.scores(requests)
    _everywhere(same, "a stored model scores the same, bit for bit", "request", "item")
    same = again.knows(requests.user_id) == model.knows(requests.user_id)
    _everywhere(same, "a stored model knows the same users", "request")


def check_slates(slates: Slates, catalogue: Catalogue) -> None:
    """The laws of what may be shown, whoever chose it.

    Only items of the catalogue, on sale on the day; none twice in a slate; nothing that was excluded; a propensity in
    (0, 1] and a source of `SOURCES` for each item shown; a model version and an arm for each slate.
    """
    requests, item_id, shown = slates.requests, slates.item_id, slates.shown
    n_rows, n_items = len(requests), len(catalogue)
    for name in ("item_id", "propensity", "source"):
        found = getattr(slates, name).shape
        _law(found == (n_rows, requests.n), f"{name} has the shape ({n_rows}, {requests.n}): found {found}")
    inside = ~shown | ((item_id >= 0) & (item_id < n_items))
    _everywhere(inside, f"items are those of the catalogue, 0 .. {n_items - 1}", "request", "position")
    on_sale = ~shown | catalogue.on_sale(requests.day)[np.where(shown, item_id, 0)]
    _everywhere(on_sale, f"only what is on sale on day {requests.day} is shown", "request", "position")
    for place in range(1, item_id.shape[1]):
        again = shown[:, place] & (item_id[:, :place] == item_id[:, [place]]).any(axis=1)
        _everywhere(~again, f"no item is twice in a slate (position {place})", "request")
    _check_exclusions(item_id, requests.exclude)
    likely = ~shown | ((slates.propensity > 0) & (slates.propensity <= 1))
    _everywhere(likely, "propensities lie in (0, 1]", "request", "position")
    named = (slates.source >= 0) & (slates.source < len(SOURCES))
    _everywhere(named, f"sources are those of the schema, 0 .. {len(SOURCES) - 1}", "request", "position")
    for what, labels in (("model_version", slates.model_version), ("arm", slates.arm)):
        _check_labels(what, labels, n_rows)


def _check_exclusions(item_id: Ints, exclude: Ints) -> None:
    rows, items = exclude[:, 0], exclude[:, 1]
    for row, item in zip(rows.tolist(), items.tolist(), strict=True):
        _law(item < 0 or item not in item_id[row], f"nothing excluded is shown: broken at request {row}, item {item}")


def _check_labels(what: str, labels: Labels, n_rows: int) -> None:
    _law(len(labels) == n_rows, f"{what} names each of {n_rows} slates: found {len(labels)}")
    _everywhere((labels.codes >= 0) & (labels.codes < len(labels.names)), f"{what} has a word for each code", "request")


def check_response(
    preferences: Preferences, luck: Floats, *, chances: ClosedForm, respond: Sampler, day: int = 0
) -> None:
    """The laws of shoppers' answers: what `respond` draws is what `chances` says.

    Probabilities lie in [0, 1]; who buys has clicked and who clicks has looked, in the closed form and in the draws; at
    each position, looks, clicks and purchases are within 4 standard errors of the closed form; purchases come on or
    after `day`, and only they are rated; and a request is answered by its own row of luck alone, whoever else is there.
    Give `luck` one row of uniforms a request, and thousands of requests.

    >>> from functools import partial
    >>> from simlab.streams import uniforms
    >>> from simlab.world.response import ResponseConfig, chances, draws, respond
    >>> crowd = Preferences(utility=np.ones((9_000, 2)), patience=np.full(9_000, 0.8), shown=np.ones((9_000, 2), bool))
    >>> luck, config = uniforms(1, "luck", rows=np.arange(9_000), n=draws(2)), ResponseConfig(base=0.0)
    >>> check_response(crowd, luck, chances=partial(chances, config=config), respond=partial(respond, config=config))
    """
    expected, before = chances(preferences), deepcopy((preferences, luck))
    _check_chances(expected, preferences.shown)
    outcomes = respond(preferences, day=day, luck=luck)
    untouched = all(
        np.array_equal(old, new, equal_nan=True)
        for old, new in (
            (before[0].utility, preferences.utility),
            (before[0].patience, preferences.patience),
            (before[0].shown, preferences.shown),
            (before[1], luck),
        )
    )
    _law(untouched, "a response leaves its input alone: preferences or luck were changed")
    _check_outcomes(outcomes, preferences.shown, day)
    for name in ("examined", "clicked", "purchased"):
        _check_frequencies(name, getattr(outcomes, name), getattr(expected, name))
    order = stream(0, "check_response").permutation(len(luck))
    for law, rows in (
        ("asked again, shoppers answer the same", np.arange(len(luck))),
        ("the order of requests changes nobody's answer", order),
        ("nobody's answer depends on who else is there", order[: len(order) // 3]),
    ):
        part = Preferences(
            utility=preferences.utility[rows], patience=preferences.patience[rows], shown=preferences.shown[rows]
        )
        again = respond(part, day=day, luck=luck[rows])
        for name in ("examined", "clicked", "purchased", "purchase_day", "rating"):
            same = getattr(again, name) == getattr(outcomes, name)[rows]
            _everywhere(same, f"{law} ({name})", "request", "position")


def _check_chances(expected: Chances, shown: Bools) -> None:
    above, whole = "1", np.ones(shown.shape)
    for name in ("examined", "clicked", "purchased"):
        p = getattr(expected, name)
        _law(p.shape == shown.shape, f"P({name}) has the shape {shown.shape}: found {p.shape}")
        _everywhere((p >= 0) & (p <= 1), f"P({name}) is a probability", "request", "position")
        _everywhere(p <= whole, f"P({name}) is at most P({above})", "request", "position")
        _everywhere(shown | (p == 0), f"P({name}) is 0 where nothing is shown", "request", "position")
        above, whole = name, p


def _check_outcomes(outcomes: Outcomes, shown: Bools, day: int) -> None:
    for name in ("examined", "clicked", "purchased", "purchase_day", "rating"):
        found = getattr(outcomes, name).shape
        _law(found == shown.shape, f"{name} has the shape {shown.shape}: found {found}")
    bought, when, rating = outcomes.purchased, outcomes.purchase_day, outcomes.rating
    for law, holds in (
        ("only what is shown is looked at", shown | ~outcomes.examined),
        ("only what is looked at is clicked", outcomes.examined | ~outcomes.clicked),
        ("only what is clicked is bought", outcomes.clicked | ~bought),
        (f"purchases come on day {day} or later", ~bought | ((when >= day) & (when < NEVER))),
        ("what is not bought is bought NEVER", bought | (when == NEVER)),
        ("only what is bought is rated", bought | (rating == 0)),
        ("ratings are 1 .. 5, or 0 for none", (rating >= 0) & (rating <= 5)),
    ):
        _everywhere(holds, law, "request", "position")


def _check_frequencies(name: str, seen: Bools, expected: Floats) -> None:
    """Each position apart: requests are independent of each other, positions of one slate are not."""
    variance = (expected * (1 - expected)).sum(axis=0)
    surprise = np.abs((seen - expected).sum(axis=0))
    for place in range(expected.shape[1]):
        impossible = (seen[:, place] & (expected[:, place] == 0)) | (~seen[:, place] & (expected[:, place] == 1))
        _everywhere(~impossible, f"{name}: chance 0 never happens and chance 1 always (position {place})", "request")
        if variance[place] >= ENOUGH:
            z = surprise[place] / np.sqrt(variance[place])
            sentence = f"{name} is as frequent as its closed form says: broken at position {place}, {z:.1f}"
            _law(z < STANDARD_ERRORS, f"{sentence} standard errors away")
