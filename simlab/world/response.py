"""How shoppers answer a slate. Every probability stands in closed form beside its sampler; the oracle uses the same.

A shopper whose slate came after s seconds looks at it at all with P = exp(-impatience * s). An item of utility U that
is looked at attracts with a = sigmoid(base + U). What happens then depends on the shopper's way to choose:

    position    looks on with probability patience, click or not          Richardson et al., WWW 2007
    cascade     looks on with probability patience unless clicked         Craswell et al., WSDM 2008
    dependent   looks on with probability patience unless a click has satisfied, P = sigmoid(satisfied_base +
                satisfied_scale * U)                                      Chapelle and Zhang, WWW 2009 (DBN)
    logit       sees the whole slate and clicks one item or none          McFadden 1974
                P(clicks i) = e_i / (1 + sum of e_j),  e = exp(base + U)

The first three are one walk down the slate, with P(satisfied | clicked) s = 0, 1 or that sigmoid:

    P(looks at p + 1) = P(looks at p) * patience * (1 - a_p s_p)

What follows a click stands in simlab.world.aftermath. Why one walk: shoppers of all ways stand side by side in one
world, and a model of position bias that fits some of them is wrong about the others.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import expit

from simlab.compiled import compiled
from simlab.schema import Bools, Floats, Ints, Outcomes, Requests
from simlab.settings import require
from simlab.streams import uniforms
from simlab.world.aftermath import after_clicks, purchase_chances, return_chances
from simlab.world.config import ResponseConfig, WorldConfig

WAYS = ("position", "cascade", "dependent", "logit")
"""How shoppers choose; `PeopleTruth.way` is an index into these."""

_CASCADE, _DEPENDENT, _LOGIT = 1, 2, 3

_MOST = 600.0
"""Log-odds beyond which nothing grows."""


def _nothing() -> Floats:
    return np.empty(0)


def _no_ways() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What decides the answers to R slates of n places."""

    utility: Floats
    """Shape (R, n)."""
    patience: Floats
    """Shape (R,)."""
    shown: Bools
    """Where there is an item at all; shape (R, n)."""
    way: Ints = field(default_factory=_no_ways)
    """Index into WAYS, shape (R,); by default all look by position."""
    latency_ms: Floats = field(default_factory=_nothing)
    """How long they waited, shape (R,); by default not at all."""

    def __post_init__(self) -> None:
        n_rows = len(self.patience)
        if len(self.way) == 0:
            object.__setattr__(self, "way", np.zeros(n_rows, dtype=np.int64))
        if len(self.latency_ms) == 0:
            object.__setattr__(self, "latency_ms", np.zeros(n_rows))
        for name in ("utility", "shown", "way", "latency_ms"):
            n = len(getattr(self, name))
            require(f"rows of {name}", n, n == n_rows, f"there are {n_rows} slates: give one row for each")

    def take(self, rows: Ints | slice) -> "Preferences":
        """Those of some slates."""
        return Preferences(
            utility=self.utility[rows],
            patience=self.patience[rows],
            shown=self.shown[rows],
            way=self.way[rows],
            latency_ms=self.latency_ms[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Chances:
    """Probabilities, each of shape (R, n), unconditional: `clicked` is P(examined and clicked)."""

    examined: Floats
    clicked: Floats
    purchased: Floats
    returned: Floats


def first_look(latency_ms: Floats, config: ResponseConfig) -> Floats:
    """P(the slate is looked at at all) after a wait, any shape."""
    return np.asarray(np.exp(-config.impatience * latency_ms / 1000))


def stops(utility: Floats, way: Ints, config: ResponseConfig) -> Floats:
    """P(looks no further | clicked), by way; both of one shape. Those who see the whole slate have seen all: 0."""
    satisfied = expit(config.satisfied_base + config.satisfied_scale * utility)
    return np.where(way == _CASCADE, 1.0, np.where(way == _DEPENDENT, satisfied, 0.0))


def attraction(utility: Floats, config: ResponseConfig) -> Floats:
    """e = exp(base + U), any shape; at most exp(600), so that sums of it stay finite."""
    return np.asarray(np.exp(np.minimum(config.base + utility, _MOST)))


def chances(preferences: Preferences, config: ResponseConfig) -> Chances:
    """The closed form of looks, clicks, purchases and returns."""
    utility, shown, way = preferences.utility, preferences.shown, preferences.way
    attracts = expit(config.base + utility) * shown
    on = preferences.patience[:, None] * (1 - attracts * stops(utility, way[:, None], config))
    looks = np.ones(utility.shape)
    looks[:, 1:] = np.cumprod(on[:, :-1], axis=1)
    chooses = way == _LOGIT
    pull = attraction(utility[chooses], config) * shown[chooses]
    looks[chooses] = 1
    attracts[chooses] = pull / (1 + pull.sum(axis=1, keepdims=True))
    examined = first_look(preferences.latency_ms, config)[:, None] * looks * shown
    clicked = examined * attracts
    purchased = clicked * purchase_chances(utility, config)
    returned = purchased * return_chances(utility, config)
    return Chances(examined=examined, clicked=clicked, purchased=purchased, returned=returned)


def draws(n: int) -> int:
    """Uniforms that the answer to one slate of `n` positions uses."""
    return 1 + n


def respond(preferences: Preferences, config: ResponseConfig, *, day: int, luck: Floats) -> Outcomes:
    """The answer to slates shown on `day`, decided by `luck`: uniforms of shape (R, draws(n)), one row a request.

    The first uniform of a row says how far patience reaches, or what is chosen by logit; the others belong to the
    places: whether the item attracts, and all that follows the click.
    """
    wanted = (len(preferences.patience), draws(preferences.utility.shape[1]))
    require("shape of luck", luck.shape, luck.shape == wanted, f"give uniforms of shape {wanted}")
    rows = _Rows(
        utility=preferences.utility,
        shown=preferences.shown,
        way=preferences.way,
        patience=preferences.patience,
        glance=first_look(preferences.latency_ms, config),
        luck=luck,
    )
    rates = (float(config.base), float(config.satisfied_base), float(config.satisfied_scale))
    examined, clicked = _answer(rows, rates)
    place = np.flatnonzero(clicked)
    row, position = np.divmod(place, max(clicked.shape[1], 1))
    clicks = after_clicks(place, preferences.utility[row, position], config, day=day, luck=luck[row, 1 + position])
    return Outcomes(examined=examined, clicked=clicked, clicks=clicks)


class _Rows(NamedTuple):
    utility: Floats
    shown: Bools
    way: Ints
    patience: Floats
    glance: Floats
    luck: Floats


@compiled
def _answer(rows: _Rows, rates: tuple[float, float, float]) -> tuple[Bools, Bools]:
    """Looks and clicks of every row, top first."""
    n_rows, n = rows.utility.shape
    examined, clicked = np.zeros((n_rows, n), dtype=np.bool_), np.zeros((n_rows, n), dtype=np.bool_)
    for row in range(n_rows):
        if rows.way[row] == _LOGIT:
            _choose(rows, row, rates[0], examined, clicked)
        else:
            _walk(rows, row, rates, examined, clicked)
    return examined, clicked


@compiled
def _walk(rows: _Rows, row: int, rates: tuple[float, float, float], examined: Bools, clicked: Bools) -> None:
    base, satisfied_base, satisfied_scale = rates
    reach, luck, way = rows.glance[row], rows.luck[row], rows.way[row]
    for place in range(rows.utility.shape[1]):
        if luck[0] >= reach:
            return
        reach *= rows.patience[row]
        if not rows.shown[row, place]:
            continue
        examined[row, place] = True
        u = rows.utility[row, place]
        attracts = 1 / (1 + np.exp(-base - u))
        if luck[1 + place] >= attracts:
            continue
        clicked[row, place] = True
        left = luck[1 + place] / attracts  # uniform again, given the click
        if way == _CASCADE:
            return
        if way == _DEPENDENT and left < 1 / (1 + np.exp(-satisfied_base - satisfied_scale * u)):
            return


@compiled
def _choose(rows: _Rows, row: int, base: float, examined: Bools, clicked: Bools) -> None:
    luck, glance = rows.luck[row, 0], rows.glance[row]
    if luck >= glance:
        return
    total = 1.0
    for place in range(rows.utility.shape[1]):
        if rows.shown[row, place]:
            examined[row, place] = True
            total += np.exp(min(base + rows.utility[row, place], _MOST))
    left = luck / glance * total - 1  # uniform again, given the look; the first part of it is "none"
    for place in range(rows.utility.shape[1]):
        if left < 0:
            return
        if rows.shown[row, place]:
            left -= np.exp(min(base + rows.utility[row, place], _MOST))
            clicked[row, place] = left < 0


class ResponseModel(Protocol):
    """How shoppers answer slates: a law in closed form, and the sampler of the same law."""

    def chances(self, preferences: Preferences, /) -> Chances:
        """Arrays of shape (R, n)."""

    def respond(self, preferences: Preferences, /, *, day: int, luck: Floats) -> Outcomes:
        """The answers to slates shown on `day`; `luck` has one row of uniforms a request."""


@dataclass(frozen=True, kw_only=True)
class FourWays:
    """The response of simlab's shoppers, each in a way of WAYS."""

    config: ResponseConfig

    def chances(self, preferences: Preferences, /) -> Chances:
        """As `chances` says."""
        return chances(preferences, self.config)

    def respond(self, preferences: Preferences, /, *, day: int, luck: Floats) -> Outcomes:
        """As `respond` does."""
        return respond(preferences, self.config, day=day, luck=luck)


def luck_of(config: WorldConfig, requests: Requests, rows: Ints, n: int) -> Floats:
    """The luck of requests for `n` items: by the shoppers' `rows`, the day, visit and page; shape (R, draws(n))."""
    luck = np.empty((len(requests), draws(n)))
    turn = requests.visit * 16 + requests.page
    for number in np.unique(turn).tolist():
        at = np.flatnonzero(turn == number)
        name = ("response", config.luck, requests.day, *divmod(number, 16))
        luck[at] = uniforms(config.seed, *name, rows=rows[at], n=draws(n))
    return luck
