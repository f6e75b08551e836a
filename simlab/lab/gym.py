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

from typing import Any

import numpy as np

from simlab.errors import SimlabError
from simlab.lab.desks import RECENT, Desks, Info, Observation, ShopConfig
from simlab.schema import NO_ITEM, Bools, Floats, Ints
from simlab.settings import from_dict, require
from simlab.world.users import DAY_SECONDS, MAX_PAGES, MAX_VISITS, PAGE_SECONDS

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise SimlabError("gymnasium", None, "it is not installed: pip install simlab[gym]") from error


def observation_space(desks: Desks) -> spaces.Dict:
    """Of one desk."""
    items = (NO_ITEM, desks.n_items - 1)
    return spaces.Dict(
        {
            "user_id": spaces.Discrete(len(desks.world.shoppers)),
            "segment": spaces.Discrete(len(desks.world.shoppers.segment.names)),
            "region": spaces.Discrete(len(desks.world.shoppers.region.names)),
            "day": spaces.Discrete(desks.days),
            "second": spaces.Discrete(DAY_SECONDS + MAX_PAGES * PAGE_SECONDS),
            "visit": spaces.Discrete(MAX_VISITS),
            "page": spaces.Discrete(MAX_PAGES),
            # What can be shown: in the shop today, and not yet in this visit. Empty, as all is 0, if nobody asks.
            "mask": spaces.MultiBinary(desks.n_items),
            # The shopper's clicks, also before day 0, the latest last; then the latest slate of this episode.
            "recent": spaces.Box(*items, (RECENT,), np.int64),
            "last_slate": spaces.Box(*items, (desks.n_positions,), np.int64),
            "last_clicked": spaces.MultiBinary(desks.n_positions),
        }
    )


def action_space(desks: Desks) -> spaces.MultiDiscrete:
    """Of one desk."""
    return spaces.MultiDiscrete([desks.n_items] * desks.n_positions)


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
        self.action_space, self.observation_space = action_space(self.desks), observation_space(self.desks)

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
        self.single_action_space, self.single_observation_space = (
            action_space(self.desks),
            observation_space(self.desks),
        )
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
