"""Intake: what of a day's tables, as they came, is fit to be logged.

Why the log is not simply what came: whoever reads it later, a report or a training, relies on its columns, on days
that are what they say, and on rows that are there once. What came is looked at first (simlab.recsys.quality), for here
faults become gaps: a column that is missing is empty in the log, and nobody who reads the log sees why.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlab.schema import KINDS
from simlab.tables import FEEDBACK, IMPRESSIONS

_NOTHING = {"clicked": False}
"""What stands for a value that did not come; elsewhere it is null."""

_IDS = ("request_id", "impression_id", "day", "user_id", "item_id", "position")
"""A row of the log without one of them says nothing."""


def admit(day: int, impressions: pa.Table, feedback: pa.Table, n_items: int) -> tuple[pa.Table, pa.Table]:
    """The rows of `day` as IMPRESSIONS and FEEDBACK, each once, the first copy; without rows that say nothing, or are
    of none of the `n_items` goods.

    >>> shown, heard = admit(3, pa.table({"impression_id": [1, 1]}), pa.table({"kind": ["gift"]}), 9)
    >>> shown.num_rows, heard.num_rows, shown.schema == IMPRESSIONS, heard.schema == FEEDBACK
    (0, 0, True, True)
    """
    shown = _once(_of_goods(_of_day(_as(impressions, IMPRESSIONS), day, _IDS), n_items), ["impression_id"])
    heard = _of_goods(_of_day(_as(feedback, FEEDBACK), day, ("impression_id", "item_id", "kind", "value")), n_items)
    known = pc.is_in(heard["kind"].cast(pa.string()), pa.array(KINDS))
    return shown, _once(heard.filter(known), ["impression_id", "kind"])


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of `schema`; one that is missing, there twice or of no such type is empty."""
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        column = None
        if table.column_names.count(field.name) == 1:
            column = _cast(table[field.name], field.type)
        if column is None:
            empty = _NOTHING.get(field.name)
            column = pa.array([empty] * table.num_rows, pa.bool_()) if empty is not None else _nulls(table, field.type)
        columns.append(column)
    return pa.table(columns, schema=schema)


def _nulls(table: pa.Table, kind: pa.DataType) -> pa.Array:
    return (
        pa.nulls(table.num_rows, pa.string()).dictionary_encode().cast(kind)
        if _is_label(kind)
        else pa.nulls(table.num_rows, kind)
    )


def _is_label(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind))


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return column if column.type == kind else column.cast(kind)
    except pa.ArrowException:
        return _one_by_one(column, kind)


def _one_by_one(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """Whole numbers that fit into `kind`, empty where one does not; None where there are none to be had."""
    if not (pa.types.is_integer(kind) and pa.types.is_signed_integer(column.type)):
        return None
    most = 2 ** (kind.bit_width - 1) - 1
    fits = pc.and_(pc.less_equal(column, most), pc.greater_equal(column, -most - 1))
    return pc.if_else(pc.fill_null(fits, False), column, None).cast(kind)


def _of_goods(table: pa.Table, n_items: int) -> pa.Table:
    item_id = table["item_id"].to_numpy()
    sold = (item_id >= 0) & (item_id < n_items)
    return table if sold.all() else table.filter(pa.array(sold))


def _of_day(table: pa.Table, day: int, needed: tuple[str, ...]) -> pa.Table:
    """The rows of `day` in which nothing of what is `needed` is empty."""
    keep = pc.equal(table["day"], day)
    for name in needed:
        keep = pc.and_(keep, pc.is_valid(table[name]))
    return table.filter(pc.fill_null(keep, False))


def _once(table: pa.Table, names: list[str]) -> pa.Table:
    """The first of the rows that are equal in `names`."""
    ids = table["impression_id"].to_numpy()
    if len(ids) == 0 or (names == ["impression_id"] and bool((np.diff(ids) > 0).all())):  # as a service writes them
        return table
    key = table.select(names).to_pandas().astype({name: str for name in names if name == "kind"})
    again = key.duplicated().to_numpy()
    return table.filter(pa.array(~np.asarray(again))) if again.any() else table
