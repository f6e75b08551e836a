"""The event log: a folder of Parquet files by day, read with SQL.

    history.parquet                IMPRESSIONS before day 0
    history_feedback.parquet       FEEDBACK before day 0
    day=00012/impressions.parquet  IMPRESSIONS of the day
    day=00012/feedback.parquet     FEEDBACK that arrived on the day, about its impressions and earlier ones

SQL sees two views, as known at the end of the day that is asked for: `feedback`, the FEEDBACK rows so far, and
`impressions`, the IMPRESSIONS rows so far with what came of each, joined on impression_id:

    purchased, purchase_day, revenue   whether and when it was bought; euros paid, 0 where it was not
    rating, rating_day                 stars; null where none is given
    returned, return_day               whether and when the goods came back; revenue stays what was paid

Why two tables: a file, once written, never changes, so what was known on any day can be asked again later.
"""

import hashlib
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simlab.errors import DataError, RunError
from simlab.files import parquet_bytes, write_bytes
from simlab.recsys.folders import write_folder
from simlab.schema import KINDS, NEVER
from simlab.settings import require
from simlab.tables import FEEDBACK, IMPRESSIONS, History, check_columns

_VIEWS = """
create view feedback as select * from all_feedback where day <= {t};
create view impressions as
select i.*, purchase_day is not null as purchased, purchase_day, coalesce(paid, 0.0) as revenue,
       rating, rating_day, return_day is not null as returned, return_day
from (select * from all_impressions where day <= {t}) i left join (
    select impression_id,
           min(day) filter (kind = 'purchase') as purchase_day, sum(value) filter (kind = 'purchase') as paid,
           min(day) filter (kind = 'rating') as rating_day, min(value) filter (kind = 'rating') as rating,
           min(day) filter (kind = 'return') as return_day
    from feedback group by impression_id
) f on i.impression_id = f.impression_id
"""

CAME = ("purchased", "purchase_day", "revenue", "rating", "rating_day", "returned", "return_day")
"""Columns of the view `impressions` that IMPRESSIONS does not have."""

_COLUMNS = (
    f"the tables are impressions ({', '.join((*IMPRESSIONS.names, *CAME))}) and feedback ({', '.join(FEEDBACK.names)})"
)


class EventLog:
    """The log in the folder `path`, which is made when the first rows come."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def days(self) -> list[int]:
        """The live days that have been logged, rising."""
        names = (folder.name for folder in self.path.glob("day=*"))
        return sorted(int(name[4:]) for name in names if re.fullmatch(r"day=([0-9]{5}|[1-9][0-9]{5,})", name))

    def import_history(self, history: History) -> None:
        """Puts what is known before day 0, `history.known(-1)`, into the log, replacing what was imported before.

        Raises `DataError` for rows of later days and for rows that come twice.
        """
        impressions, feedback = _checked("history", history.impressions, history.feedback)
        write_bytes(self.path / "history_feedback.parquet", parquet_bytes(feedback))
        write_bytes(self.path / "history.parquet", parquet_bytes(impressions))  # last: where it is, both are

    def append(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Logs a day: what was shown on it, and all that arrived on it; whole or not at all.

        Raises `RunError` where the day has been logged before, and `DataError` for rows of another day and for rows
        that come twice: an impression_id, or two of a kind about one impression.
        """
        if not (isinstance(day, int | np.integer) and day >= 0):
            raise DataError("day of the log", day, "give a whole number from 0 up")
        parts = zip(("impressions", "feedback"), _checked(f"day {day}", impressions, feedback, first=day, last=day))
        try:
            write_folder(
                self.path / f"day={day:05d}", {f"{name}.parquet": parquet_bytes(table) for name, table in parts}
            )
        except FileExistsError as error:
            raise RunError("day of the log", day, "it has been logged already: a day is logged once") from error

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The IMPRESSIONS and the FEEDBACK logged on `day`. Raises `RunError` where there is no such day."""
        folder = self.path / f"day={day:05d}"
        if not folder.is_dir():
            raise RunError("day of the log", day, f"the days logged are: {self.days}")
        return _read(folder / "impressions.parquet", IMPRESSIONS), _read(folder / "feedback.parquet", FEEDBACK)

    def sql(self, query: str, until: int | None = None) -> pd.DataFrame:
        """The answer to SQL over the views, as known at the end of day `until` (default: the last).

        Rows come in the order that the query asks for. Raises `DataError` for SQL that cannot be answered, and for a
        file that cannot be read; `ConfigError` for a query that is no text and a day that is no number.
        """
        require("SQL query", query, isinstance(query, str), "give one select as text")
        require("until", until, until is None or isinstance(until, int | np.integer), "give a day or None")
        # one thread: rows without an order by come the same way every time
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": 1,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            try:
                self._make_views(connection, until)
                folders = f"{_quoted(self.path)}, {_quoted(self.path, pattern=False)}"
                connection.execute(f"set allowed_directories = [{folders}]")  # a query reads the log, and nothing else
                connection.execute("set enable_external_access = false")
            except duckdb.Error as error:
                raise DataError("event log", str(self.path), f"put the file back: {_first_line(error)}") from error
            try:
                kinds = [statement.type for statement in connection.extract_statements(query)]
                if kinds != [duckdb.StatementType.SELECT]:
                    raise DataError("SQL query", query, f"the log is only read: give one select; {_COLUMNS}")
                answer: pd.DataFrame = connection.sql(query).df()
                return answer
            except duckdb.Error as error:
                raise DataError("SQL query", query, f"{_first_line(error)}; {_COLUMNS}") from error

    def digest(self, until: int | None = None) -> str:
        """SHA-256 over all rows of both tables in the order of impression_id, whatever the files look like."""
        whole = hashlib.sha256()
        for query in (
            f"select {', '.join(IMPRESSIONS.names)} from impressions order by impression_id",
            "select * from feedback order by impression_id, kind, day",
        ):
            whole.update(pd.util.hash_pandas_object(self.sql(query, until), index=False).to_numpy().tobytes())
        return whole.hexdigest()

    def _make_views(self, connection: duckdb.DuckDBPyConnection, until: int | None) -> None:
        days = [day for day in self.days if until is None or day <= until]
        folders = [self.path / f"day={day:05d}" for day in days]
        imported = (self.path / "history.parquet").exists()
        for name, before, empty in (
            ("impressions", "history", IMPRESSIONS),
            ("feedback", "history_feedback", FEEDBACK),
        ):
            files = [
                *([self.path / f"{before}.parquet"] * imported),
                *(folder / f"{name}.parquet" for folder in folders),
            ]
            if files:
                names = ", ".join(_quoted(file) for file in files)
                connection.execute(
                    f"create view all_{name} as select * from read_parquet([{names}], hive_partitioning = false)"
                )
            else:
                connection.register(f"all_{name}", empty.empty_table())
        last = until if until is not None else max(days, default=-1)
        connection.execute(_VIEWS.format(t=int(last)))


def _checked(
    where: str, impressions: pa.Table, feedback: pa.Table, *, first: int = -NEVER, last: int = -1
) -> tuple[pa.Table, pa.Table]:
    """The columns of the schema. Raises unless all rows are of the days `first` .. `last`, and each is there once."""
    for name, table, schema in (("impressions", impressions, IMPRESSIONS), ("feedback", feedback, FEEDBACK)):
        check_columns(table, schema, f"{name} of {where}")
        days = table["day"]
        wrong = [day for day in pc.min_max(days).as_py().values() if day is not None and not first <= day <= last]
        if wrong or days.null_count:
            remedy = "log what was shown and what arrived on these days, no more and no less"
            raise DataError(f"day in the {name} of {where}", wrong[0] if wrong else None, remedy)
    words = feedback["kind"].cast(pa.string())
    for word in pc.unique(words).to_pylist():
        if word not in KINDS:
            raise DataError(f"kind in the feedback of {where}", word, f"give one of: {', '.join(KINDS)}")
    _check_once(f"impressions of {where}", impressions["impression_id"])
    for kind in KINDS:
        _check_once(f"{kind}s of {where}", feedback["impression_id"].filter(pc.equal(words, kind)))
    return impressions.select(IMPRESSIONS.names), feedback.select(FEEDBACK.names)


def _check_once(where: str, ids: pa.ChunkedArray) -> None:
    rising = not ids.null_count and bool(np.all(np.diff(ids.to_numpy()) > 0))  # as they come from the ring
    if not rising and (ids.null_count or pc.count_distinct(ids).as_py() < len(ids)):
        twice = None if ids.null_count else pc.mode(ids)[0]["mode"].as_py()
        raise DataError(f"impression_id in the {where}", twice, "log each row once, with its id")


def _quoted(file: Path, *, pattern: bool = True) -> str:
    """The name of one file as SQL; what DuckDB takes for a pattern in it is put in brackets, where it is a letter."""
    name = str(file.absolute())
    return "'" + (re.sub(r"([\[*?])", r"[\1]", name) if pattern else name).replace("'", "''") + "'"


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _read(file: Path, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(file, schema=schema, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError("file of the log", str(file), "it is missing or damaged: put it back") from error
