"""A shop of six items, and rows of the log made by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from simlab.recsys.monitor import VISIT_BITS
from simlab.schema import NEVER, Catalogue, Labels
from simlab.tables import FEEDBACK, IMPRESSIONS

CATALOGUE = Catalogue(
    name=("yo-yo", "duck", "kite", "bear", "comic", "tent"),
    category=Labels.constant("toys", 6),
    brand=Labels.constant("Alder", 6),
    price=np.array([3.0, 10.0, 20.0, 5.0, 8.0, 100.0]),
    margin=np.array([0.8, 0.5, 0.25, 0.4, 0.5, 0.1]),
    launch_day=np.array([-9, -9, -9, -9, 0, 7]),
    retire_day=np.array([2, NEVER, NEVER, NEVER, 40, NEVER]),
)


def impressions(rows: pd.DataFrame) -> pa.Table:
    """IMPRESSIONS of what matters here; the other columns are filled in. `visit` and `page` make the request_id."""
    n = len(rows)
    page = rows["page"].to_numpy() if "page" in rows else np.zeros(n, dtype=np.int64)
    columns: dict[str, Any] = {
        "request_id": (rows["visit"].to_numpy() << VISIT_BITS) | (page << 8),
        "impression_id": (rows["day"].to_numpy() << 32) + np.arange(n),
        "second": np.zeros(n),
        "position": np.zeros(n),
        "propensity": np.ones(n),
        "model_version": ["m1"] * n,
        "arm": ["champion"] * n,
        "source": ["model"] * n,
        "latency_ms": np.ones(n),
        "dwell": np.ones(n),
    } | {str(name): rows[name].to_numpy() for name in rows}
    return pa.table({name: pa.array(columns[name]) for name in IMPRESSIONS.names}).cast(IMPRESSIONS)


def feedback(rows: pd.DataFrame) -> pa.Table:
    """FEEDBACK of rows with all of its columns."""
    return pa.table({name: pa.array(rows[name].to_numpy()) for name in FEEDBACK.names}).cast(FEEDBACK)
