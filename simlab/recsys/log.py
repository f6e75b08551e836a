"""The event log: a folder of Parquet files by day, read with SQL.

    history.parquet                IMPRESSIONS before day 0
    day=00012/impressions.parquet  IMPRESSIONS of the day, as known at its end
    day=00012/feedback.parquet     FEEDBACK that arrived on the day, about earlier impressions

Why purchases lie apart: a file, once written, never changes, so what was known on any day can be asked again later. The
view `impressions` joins them on impression_id, up to the day that is asked for.
"""

import hashlib
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simlab.errors import DataError, RunError
from simlab.files import draft_of, parquet_bytes, write_bytes
from simlab.schema import FEEDBACK, IMPRESSIONS, check_columns

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
        return sorted(int(folder.name[4:]) for folder in self.path.glob("day=*"))

    def import_history(self, impressions: pa.Table) -> None:
        """Puts the IMPRESSIONS of the days before day 0 into the log, replacing what was imported before."""
        check_columns(impressions, IMPRESSIONS, "history")
        write_bytes(self.path / "history.parquet", parquet_bytes(impressions.select(IMPRESSIONS.names)))

    def append(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        """Logs a day, whole or not at all. Raises `RunError` where the day has been logged before."""
        check_columns(impressions, IMPRESSIONS, "impressions")
        check_columns(feedback, FEEDBACK, "feedback")
        for name, table in (("day", impressions), ("purchase_day", impressions), ("purchase_day", feedback)):
            latest = pc.max(table[name]).as_py()
            if latest is not None and latest > day:
                raise DataError(
                    f"{name} in the log of day {day}", latest, "log what is known at the end of the day only"
                )
        folder = self.path / f"day={day:05d}"
        draft = draft_of(folder)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        (draft / "impressions.parquet").write_bytes(parquet_bytes(impressions.select(IMPRESSIONS.names)))
        (draft / "feedback.parquet").write_bytes(parquet_bytes(feedback.select(FEEDBACK.names)))
        try:
            draft.rename(folder)
        except OSError as error:
            shutil.rmtree(draft)
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
        file that cannot be read.
        """
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
                names = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
                connection.execute(
                    f"create view {name} as select * from read_parquet([{names}], hive_partitioning = false)"
                )
            else:
                connection.register(name, empty.empty_table())
        last = until if until is not None else max(days, default=-1)
        connection.execute(_VIEW.format(t=int(last)))


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _read(file: Path, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(file, schema=schema, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise DataError("file of the log", str(file), "it is missing or damaged: put it back") from error
