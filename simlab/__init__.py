"""simlab: a laboratory for the life of a recommender in production.

>>> import simlab
>>> run = simlab.run(days=2, world={"n_users": 50, "n_items": 40, "history_days": 14})
>>> run.metrics[["visits", "true_clicks_per_visit", "best_clicks_per_visit"]].shape
(2, 3)

Why lazily: the command line must answer at once, and a company's server must not load what it does not use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simlab.errors import SimlabError
    from simlab.lab.config import RunConfig
    from simlab.lab.loop import run
    from simlab.lab.oracle import Oracle
    from simlab.lab.run import Run, load_run
    from simlab.recsys.training import TrainingConfig
    from simlab.world.config import WorldConfig

__version__ = "0.3.0"

_HOMES = {
    "Oracle": "simlab.lab.oracle",
    "Run": "simlab.lab.run",
    "RunConfig": "simlab.lab.config",
    "SimlabError": "simlab.errors",
    "TrainingConfig": "simlab.recsys.training",
    "WorldConfig": "simlab.world.config",
    "load_run": "simlab.lab.run",
    "run": "simlab.lab.loop",
}

__all__ = ["Oracle", "Run", "RunConfig", "SimlabError", "TrainingConfig", "WorldConfig", "load_run", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simlab' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
