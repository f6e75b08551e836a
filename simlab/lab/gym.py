"""The shop as a Gymnasium environment: one step is one slate for one request.

    env = gymnasium.make("simlab/Shop-v0", days=7, reward="clicks", world={"n_users": 200})
    envs = gymnasium.make_vec("simlab/Shop-v0", num_envs=64, days=7)

Observation: what the company may know at that moment, nothing of the truth. Action: an item for each position, top
first; a place stays empty where the item is not in the `mask`, or stands higher in the slate. Reward: what the slate
brings in the end; purchases and returns that come days later are counted at once, for the lab knows them. Info: the
expected reward in closed form, that of the best slate, and the regret between them.

Visits come in order of time, the pages of a visit without a break. After each day shoppers change by what happened on
it; an episode is truncated after the last day. `reset(seed=)` draws the luck of an episode; the shop and what is true
on day 0 stay, they come from `ShopConfig.seed`.

Why a vector environment of its own: it answers many requests at array speed. Its parts are desks of one shop that
see the same days and end together. Luck belongs to the visit, so the same slates bring the same clicks at however many
desks. With vectorization_mode "sync" or "async" each part is a shop of its own.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from simlab.errors import SimlabError
from simlab.lab.config import RunConfig
from simlab.lab.oracle import GOALS, Oracle
from simlab.lab.worlds import open_world
from simlab.schema import (
    NEVER,
    NO_ITEM,
    SOURCES,
    Bools,
    Floats,
    History,
    Ints,
    Labels,
    Outcomes,
    Requests,
    Slates,
    join_outcomes,
    join_slates,
)  # fmt: skip
from simlab.settings import choose, from_dict, require
from simlab.world.history import answer
from simlab.world.truth import World, available
from simlab.world.users import MAX_PAGES, MAX_VISITS, PAGE_SECONDS, next_page, visits

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space, create_empty_array
except ImportError as error:
    raise SimlabError("gymnasium", None, "it is not installed: pip install simlab[gym]") from error

Observation = dict[str, Any]
Info = dict[str, Any]

RECENT = 20
"""Clicked items in an observation."""


@dataclass(frozen=True, kw_only=True)
class ShopConfig:
    """Which shop, for how long, and what is to be earned."""

    preset: str = "shop"
    """Name of the world; see simlab.world.presets."""
    days: int = 7
    """Length of an episode, from 1 up."""
    n_positions: int = 10
    """Items in a slate, 1 to 100."""
    world: dict[str, Any] = field(default_factory=dict)
    """Settings of the world to change; names as in WorldConfig."""
    reward: str = "clicks"
    """clicks, purchases, revenue (euros paid) or margin (euros that the shop keeps of what is not given back)."""
    seed: int = 0
    """Of the shop and its shoppers; from 0 to 2**63 - 1."""

    def __post_init__(self) -> None:
        choose("reward", self.reward, dict.fromkeys(GOALS))


@lru_cache(maxsize=2)
def _open(settings: str) -> tuple[World, History]:
    """The world on day 0 and what is known of the days before; remembered, for several environments are made of it."""
    world, history = open_world(from_dict(RunConfig, json.loads(settings)))
    return world, history.known(-1)


class Desks:
    """A shop while it is open: `n` desks, at each one visitor at a time, until the last day is over."""

    def __init__(self, config: ShopConfig, n: int) -> None:
        settings = asdict(config)
        self.n, self.reward, self.days, self.n_positions = n, settings.pop("reward"), config.days, config.n_positions
        self._opened, self.history = _open(json.dumps(settings, sort_keys=True))
        self._n_users, self._n_items = len(self._opened.shoppers), len(self._opened.catalogue)
        self._clicked_before = recent_clicks(self.history, self._n_users)
        self.action_space = spaces.MultiDiscrete([self._n_items] * self.n_positions)
        self.observation_space = self._observation_space()
        self.begin(luck=0)

    def _observation_space(self) -> spaces.Dict:
        items = (NO_ITEM, self._n_items - 1)
        return spaces.Dict(
            {
                "user_id": spaces.Discrete(self._n_users),
                "segment": spaces.Discrete(len(self._opened.shoppers.segment.names)),
                "region": spaces.Discrete(len(self._opened.shoppers.region.names)),
                "day": spaces.Discrete(self.days),
                "second": spaces.Discrete(86_400 + MAX_PAGES * PAGE_SECONDS),
                "visit": spaces.Discrete(MAX_VISITS),
                "page": spaces.Discrete(MAX_PAGES),
                # What can be shown: in the shop today, and not yet in this visit. Empty, as all is 0, if nobody asks.
                "mask": spaces.MultiBinary(self._n_items),
                # The shopper's clicks, also before day 0, the latest last; then the latest slate of this episode.
                "recent": spaces.Box(*items, (RECENT,), np.int64),
                "last_slate": spaces.Box(*items, (self.n_positions,), np.int64),
                "last_clicked": spaces.MultiBinary(self.n_positions),
            }
        )

    def begin(self, luck: int) -> None:
        """A new episode."""
        self.world = replace(self._opened, config=replace(self._opened.config, luck=luck))
        self.oracle = Oracle(self.world)
        self._recent = self._clicked_before.copy()
        self._last_slate = np.full((self._n_users, self.n_positions), NO_ITEM, dtype=np.int64)
        self._last_clicked = np.zeros(self._last_slate.shape, dtype=np.bool_)
        self._visit, self._page = np.full(self.n, -1), np.zeros(self.n, dtype=np.int64)
        self._mask = np.zeros((self.n, self._n_items), dtype=np.bool_)
        self._open_day(0)
        self._call(self.asks)

    def _open_day(self, day: int) -> None:
        state = self.oracle.state(day)
        coming = visits(self.world, day, self.n_positions, state)
        self._coming = coming.take(np.argsort(coming.second, kind="stable"))
        self._here, self._called = available(self.world, state), 0
        self._shown: list[tuple[Slates, Outcomes]] = []

    def _call(self, stays: Bools) -> None:
        """Who `stays` (n,) turns the page, the next visits take the other desks; when all have left, a day is over."""
        self._page = np.where(stays, self._page + 1, 0)
        free = np.flatnonzero(~stays)
        while True:
            come = np.arange(self._called, len(self._coming))[: len(free)]
            self._called += len(come)
            self._visit[free] = -1
            self._visit[free[: len(come)]] = come
            self._mask[free] = self._here & self.asks[free, None]
            if self.asks.any() or self._coming.day == self.days - 1:
                return
            if self._shown:
                slates, outcomes = zip(*self._shown, strict=True)
                self.oracle.move(join_slates(slates), join_outcomes(outcomes))
            self._open_day(self._coming.day + 1)

    @property
    def asks(self) -> Bools:
        """At which desks somebody asks, nowhere when the episode is over; shape (n,)."""
        return np.asarray(self._visit >= 0)

    @property
    def requests(self) -> Requests:
        """What is asked for, in the order of desks."""
        asked, page, here = self._coming.take(self._visit[self.asks]), self._page[self.asks], self._here
        second, exclude = asked.second + PAGE_SECONDS * page, np.argwhere(here & ~self._mask[self.asks])
        return replace(asked, page=page, second=second, exclude=exclude)

    def observe(self) -> Observation:
        """What is known at each desk; arrays of n rows."""
        asked, shoppers = self.requests, self.world.shoppers
        known = {name: getattr(asked, name) for name in ("user_id", "day", "second", "visit", "page")}
        known["mask"] = self._mask[self.asks]
        for name, of_shoppers in (
            ("segment", shoppers.segment.codes),
            ("region", shoppers.region.codes),
            ("recent", self._recent),
            ("last_slate", self._last_slate),
            ("last_clicked", self._last_clicked),
        ):
            known[name] = of_shoppers[asked.user_id]
        seen: Any = create_empty_array(self.observation_space, n=self.n)
        for name, values in known.items():
            seen[name][self.asks] = values
        return dict(seen)

    def serve(self, wanted: Ints) -> tuple[Floats, Info]:
        """Shows the items `wanted` (n, n_positions); the rewards and the truth, 0 where nobody asks; shape (n,)."""
        asks, goal = self.asks, self.reward
        slates = as_slates(self.requests, fill(wanted[asks], self._mask[asks]))
        outcomes = answer(self.world, self.oracle.state(slates.requests.day), slates)
        true = getattr(self.oracle.value(slates), goal)
        best = getattr(self.oracle.value(self.oracle.best(slates.requests, goal)), goal)
        told = np.zeros((4, self.n))
        told[:, asks] = self._earned(slates, outcomes), true, best, best - true
        self._note(slates, outcomes)
        self._call(self._stays(slates))
        return told[0], dict(zip((f"true_{goal}", f"best_{goal}", "regret"), told[1:], strict=True))

    def _earned(self, slates: Slates, outcomes: Outcomes) -> Floats:
        clicks, goods = outcomes.clicks, self.world.catalogue
        item_id = slates.item_id.ravel()[clicks.place]
        euros = clicks.units * self.oracle.state(slates.requests.day).price[item_id]
        worth = {
            "clicks": np.ones(len(item_id)),
            "purchases": clicks.units > 0,
            "revenue": euros,
            "margin": euros * goods.margin[item_id] * (clicks.return_day == NEVER),
        }[self.reward]
        row = clicks.place // self.n_positions
        return np.bincount(row, weights=worth, minlength=len(slates.requests)).astype(np.float64)

    def _note(self, slates: Slates, outcomes: Outcomes) -> None:
        """What the company knows after these slates."""
        user_id = slates.requests.user_id
        for row, place in np.argwhere(outcomes.clicked):
            push(self._recent[user_id[row]], slates.item_id[row, place])
        self._last_slate[user_id], self._last_clicked[user_id] = slates.item_id, outcomes.clicked
        row, place = np.nonzero(slates.shown)
        self._mask[np.flatnonzero(self.asks)[row], slates.item_id[row, place]] = False
        self._shown.append((slates, outcomes))

    def _stays(self, slates: Slates) -> Bools:
        """At which desks the shopper asks for another page; shape (n,)."""
        asked, desk = slates.requests, np.flatnonzero(self.asks)
        who, stays = asked.user_id * 16 + asked.visit, np.zeros(self.n, dtype=np.bool_)
        for page in np.unique(asked.page):
            rows = np.flatnonzero(asked.page == page)
            again = next_page(self.world, as_slates(asked.take(rows), slates.item_id[rows]))
            stays[desk[rows]] = np.isin(who[rows], again.user_id * 16 + again.visit)
        return stays


def recent_clicks(history: History, n_users: int) -> Ints:
    """The last items that each shopper clicked, the latest last; shape (n_users, RECENT)."""
    clicked = history.impressions.filter(history.impressions["clicked"])
    clicked = clicked.sort_by([("day", "ascending"), ("second", "ascending"), ("impression_id", "ascending")])
    recent = np.full((n_users, RECENT), NO_ITEM, dtype=np.int64)
    for user_id, item_id in zip(clicked["user_id"].to_pylist(), clicked["item_id"].to_pylist(), strict=True):
        push(recent[user_id], item_id)
    return recent


def push(recent: Ints, item_id: int) -> None:
    """Puts an item last, and forgets the first."""
    recent[:-1] = recent[1:]
    recent[-1] = item_id


def fill(wanted: Ints, mask: Bools) -> Ints:
    """The slates (R, n) that are shown: nothing where an item is not in the `mask` (R, n_items), or stands higher.

    >>> fill(np.array([[2, 0, 2, 1]]), np.array([[False, True, True]])).tolist()
    [[2, -1, -1, 1]]
    """
    again = np.tril(wanted[:, :, None] == wanted[:, None, :], -1).any(axis=2)
    return np.where(np.take_along_axis(mask, wanted, axis=1) & ~again, wanted, NO_ITEM)


def as_slates(requests: Requests, item_id: Ints) -> Slates:
    """What a learner shows; with what probability is not known."""
    return Slates(
        requests=requests,
        item_id=item_id,
        propensity=np.full(item_id.shape, np.nan),
        source=np.full(item_id.shape, SOURCES.index("model"), dtype=np.int64),
        model_version=Labels.constant("learner", len(requests)),
        arm=Labels.constant("learner", len(requests)),
    )


def checked(action: object, space: gymnasium.Space[Any]) -> Ints:
    """The action as an array. Raises `ConfigError` where it is not in `space`."""
    items = np.asarray(action)
    require("action", action, space.contains(items), f"give an item_id for each position, in {space}")
    return items


class ShopEnv(gymnasium.Env[Observation, Ints]):
    """One desk. Its settings are those of `ShopConfig`; `desks` has the oracle, and the history to learn from."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, **settings: Any) -> None:
        self.desks = Desks(from_dict(ShopConfig, settings), 1)
        self.action_space, self.observation_space = self.desks.action_space, self.desks.observation_space

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Day 0 with new luck; there are no `options`."""
        super().reset(seed=seed)
        self.desks.begin(luck=int(self.np_random.integers(2**31)))
        return self._observe(), {}

    def step(self, action: Ints) -> tuple[Observation, float, bool, bool, Info]:
        """Shows one slate; truncated with the last one of the last day."""
        reward, info = self.desks.serve(checked(action, self.action_space)[None, :])
        over = not self.desks.asks.any()
        return self._observe(), float(reward[0]), False, over, {name: float(value[0]) for name, value in info.items()}

    def _observe(self) -> Observation:
        return {name: part[0] for name, part in self.desks.observe().items()}


class ShopVectorEnv(VectorEnv[Observation, Ints, Any]):
    """`num_envs` desks of one shop. The infos `_<name>` say at which of them somebody asked."""

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        require("num_envs", num_envs, num_envs >= 1, "give a whole number from 1 up")
        self.num_envs, self.desks = num_envs, Desks(from_dict(ShopConfig, settings), num_envs)
        self.single_action_space, self.single_observation_space = self.desks.action_space, self.desks.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        """Day 0 with new luck, that of `ShopEnv` for this seed; there are no `options`."""
        super().reset(seed=seed)
        self.desks.begin(luck=int(self.np_random.integers(2**31)))
        return self.desks.observe(), {}

    def step(self, actions: Ints) -> tuple[Observation, Floats, Bools, Bools, Info]:
        """Shows a slate at each desk; after the end of an episode begins the next one instead."""
        wanted, asks = checked(actions, self.action_space), self.desks.asks
        never = np.zeros(self.num_envs, dtype=np.bool_)
        if not asks.any():
            return self.reset()[0], np.zeros(self.num_envs), never, never.copy(), {}
        reward, info = self.desks.serve(wanted)
        over = np.full(self.num_envs, not self.desks.asks.any())
        return self.desks.observe(), reward, never, over, {**info, **{f"_{name}": asks.copy() for name in info}}


gymnasium.register(
    "simlab/Shop-v0", entry_point="simlab.lab.gym:ShopEnv", vector_entry_point="simlab.lab.gym:ShopVectorEnv"
)
