"""What a run is: every setting that decides its outcome. The same settings give the same run, bit for bit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from simlab.datasets.shelf import SHOP, SOURCES
from simlab.errors import ConfigError
from simlab.recsys.gates import GATES
from simlab.recsys.online import OnlineConfig
from simlab.recsys.retrain import parse_policy
from simlab.recsys.training import TrainingConfig
from simlab.settings import check_types, choose, from_dict, require
from simlab.world.calibrate import CalibrationConfig
from simlab.world.config import WorldConfig
from simlab.world.presets import CALIBRATED, preset


class Fixed(dict[str, Any]):
    """A dict, and in JSON the same as one, that does not change once it is made; the mappings in it are copied."""

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        given = dict(values).items()
        super().__init__({name: Fixed(part) if isinstance(part, Mapping) else part for name, part in given})

    def __reduce__(self) -> tuple[Any, ...]:  # copies and pickles are made at once, not name by name
        return Fixed, (dict(self),)

    def _refuse(self, *_: object, **__: object) -> Any:
        raise ConfigError("settings of the world", dict(self), "these are fixed: make another RunConfig")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = setdefault = clear = _refuse


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Which shop, for how long, and how its recommender is kept."""

    preset: str = "shop"
    """Name of the world, see simlab.world.presets; or a world file (.npz) made by simlab world fit."""
    data: str = "shop"
    """Historical data: "shop" is the preset's own, the name of a real data set calibrates the world to it."""
    days: int = 60
    """Live days, from 1 up."""
    retrain: str = "scheduled:14"
    """When to learn again: "never", "scheduled:14" (every 14 days), "on-volume:50000", "on-staleness:0.2", "on-drop",
    "on-drift" or several with | between them; settings as in "on-drop:cooldown=7", see simlab.recsys.retrain."""
    gate: str = "none"
    """What a new model must pass before it is promoted: none, strict (surely no worse, else the champion stays),
    lenient (not surely worse) or canary (what is not surely worse goes on to a canary); see simlab.recsys.gates. A
    gate sees what exploration has shown: without online.exploration, strict promotes nothing."""
    seed: int = 0
    """Of the world, its luck and the training; from 0 to 2**63 - 1."""
    n_positions: int = 10
    """Items in a slate, 1 to 100."""
    latency_ms: float = 0.0
    """How long shoppers wait for a slate; it costs looks where shoppers are impatient."""
    segments: bool = True
    """Whether shoppers whom no model knows get what is popular in their segment; else what is popular with all."""
    online: OnlineConfig = field(default_factory=OnlineConfig)
    """What is decided in real time, between trainings."""
    world: dict[str, Any] = field(default_factory=dict)
    """Settings of the world to change, e.g. {"n_users": 200, "drift": 0.0}; names as in WorldConfig, with real data
    as in CalibrationConfig. With real data n_users is a sample, of all users where there are not so many."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How models are trained."""

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "world", Fixed(self.world))
        if self.data == SHOP and self.preset in CALIBRATED:
            object.__setattr__(self, "data", CALIBRATED[self.preset])
        choose("data set", self.data, SOURCES)
        require("days", self.days, 1 <= self.days <= 10_000, "give a whole number from 1 to 10000")
        require("n_positions", self.n_positions, 1 <= self.n_positions <= 100, "give a whole number from 1 to 100")
        require("latency_ms", self.latency_ms, self.latency_ms >= 0, "give milliseconds from 0 up")
        require("seed", self.seed, 0 <= self.seed < 2**63, "give a whole number from 0 to 2**63 - 1")
        parse_policy(self.retrain)
        choose("gate", self.gate, GATES)
        require(
            "world",
            dict(self.world),
            "seed" not in self.world,
            "give the seed of the run instead: it is the world's too",
        )
        if self.data == SHOP and not self.stored:
            items = self.world_config().n_items
            fits = self.n_positions <= items
            require("n_positions", self.n_positions, fits, f"the catalogue has {items} items: give at most as many")
        elif self.data != SHOP:
            choose("preset", self.preset, {**dict.fromkeys(CALIBRATED), SHOP: None})
            self.calibration_config()

    @property
    def stored(self) -> bool:
        """Whether the world is read from a file."""
        return Path(self.preset).suffix == ".npz"

    def world_config(self) -> WorldConfig:
        """The settings of the world of data "shop", changes and seed applied."""
        return preset(self.preset, **{**self.world, "seed": self.seed})

    def calibration_config(self) -> CalibrationConfig:
        """The settings of the world fitted to real data, changes and seed applied; n_users is not one of them."""
        known = ["n_users", *(part.name for part in fields(CalibrationConfig) if part.name != "seed")]
        for name in self.world:
            choose(f"setting of a world fitted to {self.data}", name, dict.fromkeys(known, 1))
        changes = dict(self.world)
        n = changes.pop("n_users", 2)
        fits = isinstance(n, int) and not isinstance(n, bool) and n >= 2
        require("n_users", n, fits, "give a whole number from 2 up")
        return from_dict(CalibrationConfig, {**changes, "seed": self.seed})

    def training_config(self) -> TrainingConfig:
        """The settings of training, with the seed of the run."""
        return replace(self.training, seed=self.seed)
