"""The event log: a folder of Parquet files by day, read with SQL.

    history.parquet                IMPRESSIONS before day 0
    day=00012/impressions.parquet  IMPRESSIONS of the day, as known at its end
    day=00012/feedback.parquet     FEEDBACK that arrived on the day, about earlier impressions

Why purchases lie apart: a file, once written, never changes, so what was known on any day can be asked again later. The
view `impressions` joins them on impression_id, up to the day that is asked for.
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
from simlab.schema import FEEDBACK, IMPRESSIONS, check_columns
from simlab.settings import require

_VIEW = """
create view impressions as
select i.* exclude (purchased, purchase_day, rating),
       coalesce(i.purchase_day, f.purchase_day) is not null as purchased,
       coalesce(i.purchase_day, f.purchase_day) as purchase_day,
       coalesce(i.rating, f.rating) as rating
from (
    select * replace (
        case when purchase_day <= {t} then purchase_day end as purchase_day,
        case when purchase_day <= {t} then rating end as rating
    ) from all_impressions where day <= {t}
) i left join (select * from all_feedback where purchase_day <= {t}) f on i.impression_id = f.impression_id
"""


class EventLog:
    """The log in the folder `path`, which is made when the first rows come."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def days(self) -> list[int]:
        """The live days that have been logged, rising."""
        names = (folder.name for folder in self.path.glob("day=*"))
        return sorted(int(name[4:]) for name in names if re.fullmatch(r"day=([0-9]{5}|[1-9][0-9]{5,})", name))

    def import_history(self, impressions: pa.Table) -> None:
        """Puts the IMPRESSIONS of the days before day 0 into the log, replacing what was imported before."""
        check_columns(impressions, IMPRESSIONS, "history")
        write_bytes(self.path / "history.parquet", parquet_bytes(impressions.select(IMPRESSIONS.names)))

    def append(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Logs a day, whole or not at all. Raises `RunError` where the day has been logged before.

        Raises `DataError` for rows of another day, for purchases that did not come on this one, and for an
        impression_id that comes twice.
        """
        check_columns(impressions, IMPRESSIONS, "impressions")
        check_columns(feedback, FEEDBACK, "feedback")
        _check_day(day, impressions, feedback)
        parts = {"impressions": impressions.select(IMPRESSIONS.names), "feedback": feedback.select(FEEDBACK.names)}
        try:
            write_folder(
                self.path / f"day={day:05d}", {f"{name}.parquet": parquet_bytes(part) for name, part in parts.items()}
            )
        except FileExistsError as error:
            raise RunError("day of the log", day, "it has been logged already: a day is logged once") from error

    def day(self, day: int) -> tuple[pa.Table, pa.Table]:
        """The impressions and the feedback logged on `day`. Raises `RunError` where there is no such day."""
        folder = self.path / f"day={day:05d}"
        if not folder.is_dir():
            raise RunError("day of the log", day, f"the days logged are: {self.days}")
        return _read(folder / "impressions.parquet", IMPRESSIONS), _read(folder / "feedback.parquet", FEEDBACK)

    def sql(self, query: str, until: int | None = None) -> pd.DataFrame:
        """The answer to SQL over the view `impressions`, as known at the end of day `until` (default: the last).

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
            except duckdb.Error as error:
                raise DataError("event log", str(self.path), f"put the file back: {_first_line(error)}") from error
            columns = f"the table is impressions, its columns: {', '.join(IMPRESSIONS.names)}"
            try:
                kinds = [statement.type for statement in connection.extract_statements(query)]
                if kinds != [duckdb.StatementType.SELECT]:
                    raise DataError("SQL query", query, f"the log is only read: give one select; {columns}")
                answer: pd.DataFrame = connection.sql(query).df()
                return answer
            except duckdb.Error as error:
                raise DataError("SQL query", query, f"{_first_line(error)}; {columns}") from error

    def digest(self, until: int | None = None) -> str:
        """SHA-256 over all rows in the order of impression_id, whatever the files look like."""
        rows = self.sql("select * from impressions order by impression_id", until)
        return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()

    def _make_views(self, connection: duckdb.DuckDBPyConnection, until: int | None) -> None:
        days = [day for day in self.days if until is None or day <= until]
        history = self.path / "history.parquet"
        folders = [self.path / f"day={day:05d}" for day in days]
        shown = [*([history] if history.exists() else []), *(folder / "impressions.parquet" for folder in folders)]
        told = [folder / "feedback.parquet" for folder in folders]
        for name, files, empty in (("all_impressions", shown, IMPRESSIONS), ("all_feedback", told, FEEDBACK)):
            if files:
                names = ", ".join(_quoted(file) for file in files)
                connection.execute(
                    f"create view {name} as select * from read_parquet([{names}], hive_partitioning = false)"
                )
            else:
                connection.register(name, empty.empty_table())
        last = until if until is not None else max(days, default=-1)
        connection.execute(_VIEW.format(t=int(last)))


def _check_day(day: int, impressions: pa.Table, feedback: pa.Table) -> None:
    if not (isinstance(day, int | np.integer) and day >= 0):
        raise DataError("day of the log", day, "give a whole number from 0 up")
    columns = (("day", impressions, False), ("purchase_day", impressions, True), ("purchase_day", feedback, False))
    for name, table, may_miss in columns:
        found = pc.min_max(table[name]).as_py().values()
        wrong = [value for value in found if value not in (day, None)]
        if wrong or (table[name].null_count and not may_miss):
            remedy = "log what was shown and what arrived on the day, no more and no less"
            raise DataError(f"{name} in the log of day {day}", wrong[0] if wrong else None, remedy)
    for where, table in (("impressions", impressions), ("feedback", feedback)):
        ids = table["impression_id"]
        if pc.count_distinct(ids).as_py() < len(ids):
            twice = None if ids.null_count else pc.mode(ids)[0]["mode"].as_py()
            raise DataError(f"impression_id in the {where} of day {day}", twice, "log each row once, with its id")


def _quoted(file: Path) -> str:
    """The name of one file as SQL; what DuckDB takes for a pattern in it is put in brackets, where it is a letter."""
    return "'" + re.sub(r"([\[*?])", r"[\1]", str(file.absolute())).replace("'", "''") + "'"


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _read(file: Path, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(file, schema=schema, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError("file of the log", str(file), "it is missing or damaged: put it back") from error
