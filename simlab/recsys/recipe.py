"""The recipe of a training: which algorithm, what it learns from, how, and what of the log's habits is undone.

Ways to learn again, all of them settings:

    full or warm        warm_epochs goes on from the champion's vectors, see simlab.recsys.hybrid
    window              window_days: the last days alone (sliding), or None for all of the log (expanding)
    forgetting          half_life: an old click counts less
    debiasing           what is shown more, or higher, is clicked more: see simlab.recsys.debias
    negatives           what counts as not wanted: anything unclicked, or what was passed over on the way to a click

What they are worth: true clicks a visit of days 14 to 69 as a share of those of the plain full training, and true
margin likewise, which swings more, for it hangs on few items; trained every 14 days, 1,000 shoppers, seeds 1 and 2.

                                      shop                          position-heavy
                                      clicks          margin        clicks          margin
    full, window of 90 days           100 %, 100 %    100 %, 100 %  100 %, 100 %    100 %, 100 %
    warm_epochs=3                      98 %,  98 %    100 %,  96 %  100 %, 100 %    103 %,  99 %
    warm_epochs=3, window_days=14      89 %,  89 %     89 %,  88 %
    window_days=28                     89 %,  89 %     94 %,  87 %   84 %,   --     85 %,   --
    window_days=None                   99 %,  99 %    100 %,  94 %  101 %,   --    101 %,   --
    half_life=14                      100 %, 100 %    104 %,  95 %   93 %,   --     89 %,   --
    debias="propensity"                97 %,  97 %     98 %,  95 %
    debias="position"                  98 %, 100 %    104 %,  97 %   98 %,  98 %     96 %, 101 %
    negatives="skipped"               108 %, 110 %    112 %, 120 %   97 %,  98 %    106 %, 112 %
    skipped and warm_epochs=3         108 %, 112 %    116 %, 122 %

So a warm start costs three tenths of the passes and next to nothing else; what is passed over teaches most; and here
debiasing does not pay: a sixth to two thirds of the effective sample size go, and slates that are personal have their
best items at the top for good reason.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from simlab.errors import ConfigError
from simlab.settings import check_types, choose, require
from simlab.streams import stream

ALGORITHMS = ("lightfm", "als", "popularity", "segment", "random")

SIGNALS = ("clicked", "purchased")

NEGATIVES = ("unclicked", "skipped")

DEBIAS = ("none", "propensity", "position")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained."""

    algorithm: str = "lightfm"
    """lightfm, als, popularity, segment (popularity by kind of household) or random."""
    n_components: int = 16
    """Dimensions of the factors, from 1 up. More can say more and need more data."""
    epochs: int = 10
    """Passes over the data, from 1 up."""
    learning_rate: float = 0.07
    """LightFM: how far one click moves the vector of an item, above 0."""
    features: bool = True
    """LightFM: whether to learn also from what is public of items and shoppers, which helps where there is no data."""
    confidence: float = 3.0
    """ALS: how much surer one click makes us that an item is liked, 0 being no surer than its absence; above 0."""
    regularization: float = 10.0
    """ALS: how strongly factors are pulled to 0, from 0 up. More helps where there is little data."""
    signal: str = "clicked"
    """What counts as liking: clicked or purchased."""
    window_days: int | None = 90
    """Only the last so many days are learnt from, from 1 up; None learns from all of the log."""
    half_life: float | None = None
    """Days after which a click counts half, above 0; None lets all days of the window count alike."""
    warm_epochs: int | None = None
    """LightFM: passes that go on from the champion's vectors, from 0 (nothing is learnt but who is new) up; None starts
    from nothing, with `epochs`. Without a champion of as many components it starts from nothing too."""
    negatives: str = "unclicked"
    """LightFM: unclicked (WARP: whatever somebody has not clicked may be worse than what they have) or skipped
    (logistic loss: not wanted is what was not clicked above a click in the same slate)."""
    debias: str = "none"
    """none, propensity (a click weighs 1 / P(the item was shown there)) or position (1 / P(the place is looked at))."""
    max_weight: float = 10.0
    """With debias: no click weighs more than this before all are divided by their mean; from 1 (all alike) up."""
    seed: int = 0
    """Of everything random in training, from 0 to 2**63 - 1, which is what a model file can hold."""

    def __post_init__(self) -> None:
        check_types(self)
        choose("algorithm", self.algorithm, dict.fromkeys(ALGORITHMS))
        for name, known in (("signal", SIGNALS), ("negatives", NEGATIVES), ("debias", DEBIAS)):
            choose(name, getattr(self, name), dict.fromkeys(known))
        for name in ("n_components", "epochs"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "give a whole number from 1 up")
        days, warm = self.window_days, self.warm_epochs
        require("window_days", days, days is None or days >= 1, "give a whole number from 1 up, or None for all days")
        require("warm_epochs", warm, warm is None or warm >= 0, "give a whole number from 0 up, or None")
        require("max_weight", self.max_weight, self.max_weight >= 1, "give a number from 1 up")
        for name in ("learning_rate", "confidence"):
            require(name, getattr(self, name), getattr(self, name) > 0, "give a number above 0")
        require("regularization", self.regularization, self.regularization >= 0, "give a number from 0 up")
        require("half_life", self.half_life, self.half_life is None or self.half_life > 0, "give days above 0, or None")
        require("seed", self.seed, 0 <= self.seed < 2**63, "give a whole number from 0 to 2**63 - 1")


@contextmanager
def diverging(config: TrainingConfig, kind: type[Exception], *names: str) -> Iterator[None]:
    """Turns a library's word for numbers that grew beyond bounds into a `ConfigError` that names the settings."""
    try:
        with np.errstate(all="ignore"):
            yield
    except kind as error:
        values = ", ".join(f"{name} {getattr(config, name)}" for name in names)
        raise ConfigError(f"training of {config.algorithm}", values, f"give less extreme ones ({error})") from error


def seed_of(config: TrainingConfig) -> int:
    """The seed that a library is given."""
    return int(stream(config.seed, "training", config.algorithm).integers(2**32))
