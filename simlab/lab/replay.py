"""What happened on a day, told again from the log alone: shoppers who are shown the same do the same.

Why: luck has names, so a world needs no diary. The slates in the log and the luck of their requests say what every
shopper did and felt, also what no company can see. A run that was stopped goes on from there; so do its branches.
"""

import numpy as np
import pyarrow as pa

from simlab.lab.oracle import Journal
from simlab.recsys.log import EventLog
from simlab.schema import NO_ITEM, SOURCES, Labels, Requests, Slates
from simlab.world.dynamics import happened
from simlab.world.history import answer
from simlab.world.truth import Happened, State, World


def slates_of(impressions: pa.Table, day: int, n: int) -> Slates:
    """The slates of `n` places that the IMPRESSIONS of `day` tell of, in the order of request_id.

    Slates of nothing left no rows and are not here. Who chose the items is not told: it moves no shopper.
    """
    request_id, first, row = np.unique(impressions["request_id"].to_numpy(), return_index=True, return_inverse=True)
    item_id = np.full((len(request_id), n), NO_ITEM, dtype=np.int64)
    item_id[row, impressions["position"].to_numpy()] = impressions["item_id"].to_numpy()
    return Slates(
        requests=Requests(
            day=day,
            user_id=impressions["user_id"].to_numpy()[first].astype(np.int64),
            visit=(request_id >> 12) & 15,
            page=(request_id >> 8) & 15,
            second=impressions["second"].to_numpy()[first].astype(np.int64),
            n=n,
        ),
        item_id=item_id,
        propensity=np.ones(item_id.shape),
        source=np.full(item_id.shape, SOURCES.index("history"), dtype=np.int64),
        model_version=Labels.constant("log", len(request_id)),
        arm=Labels.constant("log", len(request_id)),
        latency_ms=impressions["latency_ms"].to_numpy()[first].astype(np.float64),
    )


def journal(world: World, log: EventLog, n: int) -> Journal:
    """What the shoppers of `world` did with the slates of `n` places in `log`."""

    def read(state: State) -> Happened:
        slates = slates_of(log.day(state.day)[0], state.day, n)
        return happened(world, slates, answer(world, state, slates))

    return read
