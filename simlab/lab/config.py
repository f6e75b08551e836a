"""What a run is: every setting that decides its outcome. The same settings give the same run, bit for bit."""

from dataclasses import dataclass, field, replace
from typing import Any

from simlab.recsys.retrain import parse_policy
from simlab.recsys.training import TrainingConfig
from simlab.settings import require
from simlab.world.presets import preset
from simlab.world.truth import WorldConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Which shop, for how long, and how its recommender is kept."""

    preset: str = "shop"
    """Name of the world; see simlab.world.presets."""
    data: str = "shop"
    """Historical data: "shop" is the preset's own, the name of a real data set calibrates the world to it."""
    days: int = 60
    """Live days, from 1 up."""
    retrain: str = "scheduled:14"
    """When to learn again: "never" or "scheduled:N" (every N days)."""
    seed: int = 0
    """Of the world, its luck and the training."""
    n_positions: int = 10
    """Items in a slate, 1 to 100."""
    world: dict[str, Any] = field(default_factory=dict)
    """Settings of the world to change, e.g. {"n_users": 200, "drift": 0.0}; names as in WorldConfig."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How models are trained."""

    def __post_init__(self) -> None:
        require("days", self.days, 1 <= self.days <= 10_000, "give a whole number from 1 to 10000")
        require("n_positions", self.n_positions, 1 <= self.n_positions <= 100, "give a whole number from 1 to 100")
        require("seed", self.seed, self.seed >= 0, "give a whole number from 0 up")
        parse_policy(self.retrain)
        require(
            "world", self.world, "seed" not in self.world, "give the seed of the run instead: it is the world's too"
        )
        items = self.world_config().n_items
        fits = self.n_positions <= items
        require("n_positions", self.n_positions, fits, f"the catalogue has {items} items: give at most as many")

    def world_config(self) -> WorldConfig:
        """The settings of the world, changes and seed applied."""
        return preset(self.preset, **{**self.world, "seed": self.seed})

    def training_config(self) -> TrainingConfig:
        """The settings of training, with the seed of the run."""
        return replace(self.training, seed=self.seed)
