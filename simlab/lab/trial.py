"""Trials of the canary's judge: a shop in which the newcomer's worth is known, because it was planted.

    worse     the champion with the order of its scores turned round
    equal     the champion under another name
    better    the shop's first personal model, where the champion shows everybody what is popular: some 70 % more clicks

Why planted: in a company nobody knows whether a canary that was sent home deserved it. Here each trial has shoppers of
the same tastes and other luck, and other shoppers are dealt to the canary, so that a hundred trials tell how often the
judge is wrong.
"""

import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from threadpoolctl import threadpool_limits

from simlab.files import temporary_folder, write_bytes
from simlab.lab.config import RunConfig
from simlab.lab.loop import Ring, open_ring, run_day
from simlab.recsys.canary import CanaryConfig, Verdict, advance
from simlab.recsys.models import FactorModel, Model
from simlab.recsys.traffic import Change
from simlab.settings import choose
from simlab.world.snapshot import to_bytes

PLANTED = ("worse", "equal", "better")

SHOP = RunConfig(
    days=90, retrain="never", seed=4, world={"n_users": 2000, "n_items": 100, "history_days": 28}, n_positions=5
)
"""Small, but five in a hundred of its shoppers are enough to begin with."""


@dataclass(frozen=True)
class Trial:
    """What became of a planted canary."""

    path: Path
    """Of the run's folder."""
    verdicts: list[Verdict]
    """One each morning; the last one ended the trial."""

    @property
    def outcome(self) -> str:
        """promote, rollback or pause; wait or step where the days were over."""
        return self.verdicts[-1].outcome


def planted_canary(seed: int, planted: str, config: CanaryConfig | None = None) -> Trial:
    """Starts a canary that is `planted` on day 0 and turns the ring until the judge has decided.

    `seed` is that of the shoppers' luck and of who is dealt to whom; history and models are the same in every trial.
    """
    choose("what to plant", planted, dict.fromkeys(PLANTED))
    config, ring = config or CanaryConfig(), _shop(seed)
    champion, version = ring.registry.alias("champion"), f"{planted}-{seed}"
    assert champion is not None
    model, card = ring.registry.load(champion)
    ring.registry.register(_reversed(model) if planted == "worse" else model, version, card)
    if planted == "better":
        popular = ring.registry.alias("fallback")
        assert popular is not None
        ring.registry.promote(popular, day=0, actor="trial", reason="planted: what is popular, for everybody")
    start = Change(
        action="canary", version=version, share=config.steps[0], day=0, actor="trial", reason=f"planted: {planted}"
    )
    ring.registry.change(start)
    verdicts: list[Verdict] = []
    with threadpool_limits(1, "blas"):
        for day in range(SHOP.days):
            run_day(ring, day)
            verdict = advance(ring.log, ring.registry, day + 1, config)
            assert verdict is not None
            verdicts.append(verdict)
            if verdict.outcome in ("promote", "rollback", "pause"):
                break
    return Trial(ring.path, verdicts)


def _reversed(model: Model) -> Model:
    assert isinstance(model, FactorModel)
    return replace(model, user_vector=-model.user_vector, item_bias=-model.item_bias)


@cache
def _opened() -> Ring:
    """The shop on day 0, with its history and its champion; made once a process."""
    return open_ring(SHOP, Path(mkdtemp(dir=temporary_folder())))


def _shop(luck: int) -> Ring:
    """A copy of the shop in which shoppers have other luck from day 0 on."""
    opened = _opened()
    path = Path(mkdtemp(dir=temporary_folder())) / "run"
    shutil.copytree(opened.path, path)
    world = replace(opened.world, config=replace(opened.world.config, luck=luck))
    write_bytes(path / "truth" / "world.npz", to_bytes(world))
    return open_ring(SHOP, path)
