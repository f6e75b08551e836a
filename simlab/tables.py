"""The two tables that are written down, and how slates and what came of them are put into them.

    IMPRESSIONS   one row for each item shown, with the click, historical and live alike
    FEEDBACK      one row for each purchase, rating and return, on the day on which it arrives

What can be known at the end of a day t is a function of (log, t): the rows of both with day <= t.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from simlab.errors import ConfigError
from simlab.schema import KINDS, NEVER, SOURCES, Floats, Labels, Outcomes, Slates

_LABEL = pa.dictionary(pa.int8(), pa.string())

IMPRESSIONS = pa.schema(
    [
        ("request_id", pa.int64()),
        ("impression_id", pa.int64()),
        ("day", pa.int32()),
        ("second", pa.int32()),  # of the day, when the slate was asked for
        ("user_id", pa.int32()),
        ("item_id", pa.int32()),
        ("position", pa.int16()),
        ("propensity", pa.float32()),  # P(this item here | who asked, items above) to 2e-6 of it, null where unknown
        ("model_version", _LABEL),
        ("arm", _LABEL),
        ("source", _LABEL),
        ("latency_ms", pa.float32()),  # how long the shopper waited for the slate
        ("clicked", pa.bool_()),
        ("dwell", pa.float32()),  # seconds spent with the item after a click, null where that is not measured
    ]
)

FEEDBACK = pa.schema(
    [
        ("impression_id", pa.int64()),
        ("item_id", pa.int32()),
        ("kind", _LABEL),  # one of KINDS
        ("day", pa.int32()),  # on which it arrives
        ("value", pa.float64()),  # euros paid, stars 1..5, euros given back
    ]
)


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything that was shown, and all that came of it in the end."""

    impressions: pa.Table
    """IMPRESSIONS."""
    feedback: pa.Table
    """FEEDBACK."""

    def known(self, day: int) -> "History":
        """What can be known of it at the end of `day`."""
        return History(
            impressions=self.impressions.filter(pc.less_equal(self.impressions["day"], day)),
            feedback=self.feedback.filter(pc.less_equal(self.feedback["day"], day)),
        )


def _dictionary(labels: Labels, repeat: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(labels.codes.astype(np.int8), repeat)), pa.array(labels.names, pa.string())
    )


def _short(propensity: Floats) -> npt.NDArray[np.float32]:
    """Rounded to 18 binary digits: an error of at most 2e-6 of it, for files a sixth smaller."""
    bits = propensity.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(16)) & np.uint32(0xFFFFFFE0)).view(np.float32)


def to_impressions(slates: Slates, outcomes: Outcomes) -> pa.Table:
    """The IMPRESSIONS rows of slates."""
    requests = slates.requests
    n_rows, n = slates.item_id.shape
    request_id = np.repeat(requests.request_id, n)
    position = np.tile(np.arange(n, dtype=np.int16), n_rows)
    dwell = outcomes.spread(outcomes.clicks.dwell.astype(np.float32), np.nan).ravel()
    columns = [
        pa.array(request_id),
        pa.array(request_id | position),
        pa.array(np.full(n_rows * n, requests.day, dtype=np.int32)),
        pa.array(np.repeat(requests.second.astype(np.int32), n)),
        pa.array(np.repeat(requests.user_id.astype(np.int32), n)),
        pa.array(slates.item_id.ravel().astype(np.int32)),
        pa.array(position),
        pa.array(_short(slates.propensity.ravel()), from_pandas=True),
        _dictionary(slates.model_version, n),
        _dictionary(slates.arm, n),
        pa.DictionaryArray.from_arrays(pa.array(slates.source.ravel().astype(np.int8)), pa.array(SOURCES, pa.string())),
        pa.array(np.repeat(slates.latency_ms.astype(np.float32), n)),
        pa.array(outcomes.clicked.ravel()),
        pa.array(dwell, from_pandas=True),
    ]
    table = pa.table(columns, schema=IMPRESSIONS)
    shown = slates.shown.ravel()
    return table if shown.all() else table.filter(pa.array(shown))


def to_feedback(slates: Slates, outcomes: Outcomes, price: Floats) -> pa.Table:
    """The FEEDBACK rows that will ever come of slates, in order of day; `price` is what items cost, (n_items,)."""
    clicks, n = outcomes.clicks, slates.item_id.shape[1]
    row, position = np.divmod(clicks.place, n)
    item_id = slates.item_id[row, position]
    euros = clicks.units * price[item_id]
    told = [
        (clicks.purchase_day, euros),
        (np.where(clicks.rating > 0, clicks.rating_day, NEVER), clicks.rating.astype(np.float64)),
        (clicks.return_day, euros),
    ]
    day = np.concatenate([when for when, _ in told])
    comes = np.flatnonzero(day != NEVER)
    order = comes[np.argsort(day[comes], kind="stable")]
    place, kind = order % max(len(row), 1), order // max(len(row), 1)
    columns = [
        pa.array(slates.requests.request_id[row[place]] | position[place]),
        pa.array(item_id[place].astype(np.int32)),
        pa.DictionaryArray.from_arrays(pa.array(kind.astype(np.int8)), pa.array(KINDS, pa.string())),
        pa.array(day[order].astype(np.int32)),
        pa.array(np.concatenate([value for _, value in told])[order]),
    ]
    return pa.table(columns, schema=FEEDBACK)


def check_columns(table: pa.Table, expected: pa.Schema, where: str) -> None:
    """Raises `ConfigError` naming the first column of `expected` that `table` lacks or has with another type."""
    for wanted in expected:
        if wanted.name not in table.column_names:
            raise ConfigError(f"{where}, columns", table.column_names, f"add the column {wanted.name}")
        found = table.schema.field(wanted.name).type
        if found != wanted.type:
            raise ConfigError(f"{where}, column {wanted.name}", str(found), f"store it as {wanted.type}")
