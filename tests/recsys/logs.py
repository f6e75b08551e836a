"""Logs made of columns, and a shop in which all items and all shoppers are alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from simlab.recsys.log import EventLog
from simlab.schema import Catalogue, Labels, Shoppers
from simlab.tables import FEEDBACK, IMPRESSIONS, History


def log_of(path: Path, **columns: Any) -> EventLog:
    """A log of day -1 with the given columns, one row each; the others are filled in."""
    n = len(columns["item_id"])
    usual: dict[str, Any] = {
        "request_id": np.arange(n) << 12,
        "impression_id": np.arange(n) << 12,
        "day": np.full(n, -1),
        "second": np.zeros(n),
        "user_id": np.zeros(n),
        "position": np.zeros(n),
        "propensity": np.full(n, np.nan),
        "model_version": np.full(n, "old"),
        "arm": np.full(n, "history"),
        "source": np.full(n, "history"),
        "latency_ms": np.zeros(n),
        "clicked": np.ones(n, dtype=np.bool_),
        "dwell": np.full(n, np.nan),
    }
    arrays = [
        pa.array({**usual, **columns}[field.name], from_pandas=True).cast(
            field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        )
        for field in IMPRESSIONS
    ]
    made = [
        array.dictionary_encode().cast(field.type) if pa.types.is_dictionary(field.type) else array
        for array, field in zip(arrays, IMPRESSIONS, strict=True)
    ]
    log = EventLog(path / "log")
    table = pa.Table.from_arrays(made, schema=IMPRESSIONS)
    log.import_history(History(impressions=table, feedback=FEEDBACK.empty_table()))
    return log


def goods_of(n: int) -> Catalogue:
    """Items that are all alike."""
    return Catalogue(
        name=tuple(str(number) for number in range(n)),
        category=Labels.constant("toys", n),
        brand=Labels.constant("Alder", n),
        price=np.full(n, 10.0),
        margin=np.full(n, 0.3),
        launch_day=np.full(n, -9),
        retire_day=np.full(n, 999),
    )


def people_of(n: int) -> Shoppers:
    """Shoppers who are all alike."""
    return Shoppers(segment=Labels.constant("a", n), region=Labels.constant("north", n), arrival_day=np.full(n, -99))


PEOPLE = people_of(50)
