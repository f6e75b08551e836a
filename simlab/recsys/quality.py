"""Data quality: whether the tables of a day can be believed, asked before anything is computed from them.

    columns      missing, of another type, not known
    volume       nothing came, or a small part of what usually comes: a dead pipeline is an alarm, not a green light
    rows         of another day, there twice, about what nobody was shown, values that cannot be
    propensity   laws that hold whatever model served, see `check_day`

Why rules are SQL: each is one line that names its columns, so a column that is missing stops the rules that need it and
no others, and the finding about the column names them. Empty places, rows of another day and second copies are laid
aside before the rest is looked at: one fault is one finding. Silence proves nothing: rules know what cannot be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlab.recsys.rules import Known, Rule, Severity, of_feedback, of_impressions
from simlab.schema import Catalogue
from simlab.tables import FEEDBACK, IMPRESSIONS

_DEAD, _ALIVE = 20, 100
"""Rows expected, from which on none is an error (by Poisson's law once in e^20 days) and a fifth of them a warning."""

_RARE_CLICKS = 0.005
"""Click rate of a poor shop, where no days tell another."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong in the data of a day."""

    check: str
    """Which check found it."""
    severity: Severity
    """An error is a fault; a warning may have a lawful cause."""
    day: int
    count: int
    """Rows concerned."""
    share: float
    """Of all that were looked at."""
    evidence: str
    """One sentence: the numbers, and the first example."""
    look: str
    """Where to look first."""


@dataclass(frozen=True, kw_only=True)
class Usual:
    """Rows of a usual day; None where there are no days to tell."""

    impressions: float | None = None
    clicks: float | None = None
    feedback: float | None = None


def usual(days: Sequence[Mapping[str, float]]) -> Usual:
    """The median of earlier days, as `monitor.daily_metrics` counts them. Leave out days that were found dead.

    >>> usual([{"impressions": n, "clicks": 2, "purchases": 1, "ratings": 0, "returns": 0} for n in (0, 90, 100)])
    Usual(impressions=90.0, clicks=2.0, feedback=1.0)
    """
    if not days:
        return Usual()
    parts = {"impressions": ("impressions",), "clicks": ("clicks",), "feedback": ("purchases", "ratings", "returns")}
    counts = {name: [sum(day[part] for part in those) for day in days] for name, those in parts.items()}
    return Usual(**{name: float(np.median(values)) for name, values in counts.items()})


def missing_days(days: Sequence[int], until: int) -> Finding | None:
    """The days 0 .. `until` that are not among the logged `days`; None where all are there.

    >>> missing_days([0, 1, 4], until=5).evidence
    '3 of the days 0 .. 5 are not in the log; the first: day 2'
    """
    missing = sorted(set(range(until + 1)) - set(days))
    if not missing:
        return None
    evidence = f"{len(missing)} of the days 0 .. {until} are not in the log; the first: day {missing[0]}"
    size = len(missing), until + 1
    return finding("missing_days", "error", missing[0], size, evidence, "the job that closes days; the log's folder")


def check_day(
    day: int,
    impressions: pa.Table,
    feedback: pa.Table,
    catalogue: Catalogue,
    *,
    usual: Usual | None = None,
    known: Known | None = None,
) -> list[Finding]:
    """What is wrong with the IMPRESSIONS and FEEDBACK of `day`, as they came; nothing where all is well.

    `catalogue` is that of the day (`launched_by`). Propensities P are checked by their laws. A slate is chosen from m
    items, of which k = m - position are left at a position:

        nothing left to chance    P = 1
        random versions           P = 1 / k                   m is whole, and one for the whole slate
        exploration by epsilon    P = epsilon / k             the same, and k >= 2
        any exploration           E[1(item in S) / P] = number of items in S

    The last is what inverse propensity weighting rests on (Horvitz and Thompson, JASA 1952). With S = all it is the
    mean of 1/P, which should be k: the lines above say so row by row, and for Thompson's rare items the mean of a day
    tells nothing. With S = the best left, drawn in the rows of source "model", the sum of 1/P over the N rows of a
    position is N, by Bernstein's inequality with probability 1 - 2 e^-L within

        N -+ (L b/3 + sqrt((L b/3)^2 + 2 L V)),        L = 20,  q = 1 - epsilon + epsilon / m,  b = 1/q,  V = N (1-q)/q

    Where q has no such bound, b = max 1/P and V = sum of (1-P) / P^2 are those seen, and only too much is wrong.
    """
    known, tables = known or Known(), {"impressions": impressions, "feedback": feedback}
    readable = {name: _readable(table, _SCHEMAS[name]) for name, table in tables.items()}
    shown = known.impression_id if "impression_id" in readable["impressions"].column_names else None
    if shown is not None:
        shown = np.append(shown, readable["impressions"]["impression_id"].drop_null())
    rules = {"impressions": of_impressions(day, catalogue, known), "feedback": of_feedback(day, shown)}
    findings = [found for name in tables for found in _columns(day, name, tables[name], rules[name])]
    findings += _volumes(day, readable["impressions"], readable["feedback"], usual or Usual())
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        goods = {"item_id": np.arange(len(catalogue)), "price": catalogue.price, "on_sale": catalogue.on_sale(day)}
        connection.register("goods", pa.table(goods))
        connection.register("shown", pa.table({"impression_id": np.empty(0, np.int64) if shown is None else shown}))
        for name, table in readable.items():
            findings += _by_rules(connection, day, (name, table), rules[name])
    return findings


def finding(check: str, severity: Severity, day: int, size: tuple[int, float], evidence: str, look: str) -> Finding:
    """A finding about `size`: so many rows, of so many that were looked at."""
    count, share = size[0], size[0] / max(size[1], 1)
    return Finding(check=check, severity=severity, day=day, count=count, share=share, evidence=evidence, look=look)


def _wrong(table: pa.Table, wanted: pa.Field) -> str | None:
    """What is wrong with a column; None where it can be read."""
    times = table.column_names.count(wanted.name)
    if times != 1:
        return "there more than once" if times else "missing"
    kind = table.schema.field(wanted.name).type
    return None if kind == wanted.type else f"of type {kind}, not {wanted.type}"


def _readable(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns that are as they should be, and the number of the row; labels as words."""
    fields = [field for field in schema if _wrong(table, field) is None]
    columns = {field.name: table[field.name] for field in fields}
    words = {name: column.cast(pa.string()) for name, column in columns.items() if pa.types.is_dictionary(column.type)}
    return pa.table({"row": pa.array(np.arange(table.num_rows)), **columns, **words})


def _columns(day: int, name: str, table: pa.Table, rules: list["Rule"]) -> Iterator[Finding]:
    size, look = (table.num_rows, table.num_rows), "what was released last of the writer"
    for wanted in _SCHEMAS[name]:
        wrong = _wrong(table, wanted)
        if wrong is not None:
            waits = [rule.check for rule in rules if wanted.name in rule.needs]
            waits += ["no_clicks"] * (wanted.name == "clicked")
            evidence = f"{name}: the column {wanted.name} is {wrong}; not checked: {', '.join(waits) or 'nothing else'}"
            yield finding("schema", "error", day, size, evidence, look)
    for extra in dict.fromkeys(table.column_names):
        if extra not in _SCHEMAS[name].names:
            yield finding("schema", "warning", day, size, f"{name}: the column {extra} is not known", look)


def _volumes(day: int, impressions: pa.Table, feedback: pa.Table, usual: Usual) -> Iterator[Finding]:
    n = impressions.num_rows
    rate = usual.clicks / usual.impressions if usual.clicks and usual.impressions else _RARE_CLICKS
    some = _DEAD if usual.impressions is None else usual.impressions  # a day without any is never passed over
    counts = [("impressions", n, max(some, 1.0)), ("feedback", feedback.num_rows, usual.feedback or 0.0)]
    if "clicked" in impressions.column_names:
        counts.append(("clicks", pc.sum(impressions["clicked"]).as_py() or 0, rate * n))
    for name, rows, expected in counts:
        dead = rows == 0 and (expected >= _DEAD or name == "impressions")
        if dead or (expected >= _ALIVE and rows < expected / 5):
            severity: Severity = "error" if dead and expected >= _DEAD else "warning"
            evidence = f"{rows} {name} came, where about {expected:.0f} were to be expected"
            look = f"the pipeline that brings {name}: is it alive?"
            yield finding(f"{'no' if dead else 'few'}_{name}", severity, day, (rows, expected), evidence, look)


_SCHEMAS = {"impressions": IMPRESSIONS, "feedback": FEEDBACK}
_ASIDE = ("another_day", "duplicate_impression", "duplicate_feedback")


def _by_rules(
    connection: duckdb.DuckDBPyConnection, day: int, named: tuple[str, pa.Table], rules: list[Rule]
) -> Iterator[Finding]:
    name, table = named
    goods = "left join goods using (item_id)" if "item_id" in table.column_names else ""
    connection.register("given", table)
    connection.execute(f"create or replace table rows as select * from given {goods}")
    gaps = [c for c in table.column_names if c not in ("propensity", "dwell") and table[c].null_count]
    null = Rule(
        "null", " or ".join(f"{column} is null" for column in gaps), "who writes this", shows="row as row_number"
    )
    able = [rule for rule in rules if rule.needs <= {*table.column_names}] + [null] * bool(gaps)
    aside = [rule for rule in able if rule.check in _ASIDE]
    for group in filter(None, [*([rule] for rule in aside), [rule for rule in able if rule not in aside]]):
        columns = ", ".join(f"{rule.sql} as _{k}" for k, rule in enumerate(group))
        sums = ", ".join(f"count_if(_{k})" for k in range(len(group)))
        (counts,) = connection.sql(f"select {sums} from (select {columns} from rows)").fetchall()
        for rule, count in zip(group, counts):
            if count:
                said = f"{count} of {table.num_rows} rows where {rule.says or rule.sql}"
                evidence = f"{name}: {said}; the first: {_first(connection, rule, table)}"
                yield finding(rule.check, rule.severity, day, (count, table.num_rows), evidence, rule.look)
                if rule in aside:
                    flagged = f"select *, {rule.sql} as _wrong from rows"
                    kept = f"select * exclude _wrong from ({flagged}) where _wrong is not true"
                    connection.execute(f"create or replace table rows as {kept}")


def _first(connection: duckdb.DuckDBPyConnection, rule: Rule, table: pa.Table) -> str:
    """What the first row is that breaks `rule`."""
    shows = rule.shows or ", ".join(c for c in table.column_names if c in {*rule.needs, "impression_id"})
    query = f"from (select {shows}, row as _row, {rule.sql} as _wrong from rows) where _wrong order by _row limit 1"
    answer = connection.sql(query)
    names, (row,) = answer.columns, answer.fetchall()
    values = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in row]
    return ", ".join(f"{name} {value}" for name, value in zip(names[:-2], values))
