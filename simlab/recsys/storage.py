"""The tables of the inbox, on SQLite and PostgreSQL alike, and the door to them.

Why no wider abstraction: both take the same statements, so what is tested on one is what runs on the other.
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    ClauseElement,
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from simlab.errors import InboxError

_ID = BigInteger().with_variant(Integer(), "sqlite")  # 64 bits in both; on SQLite it is then the row's own key
_METADATA = MetaData()

STATE = Table(
    "state",
    _METADATA,
    Column("only", Integer, primary_key=True, autoincrement=False),  # the table has one row, 0
    Column("day", Integer, nullable=False),  # that is open
    Column("moving", Integer),  # the day that is closed and perhaps not yet in the log
    Column("seq", _ID, nullable=False),  # the highest given to an event
    Column("unavailable", Text, nullable=False),  # items, as JSON
)

SLATES = Table(
    "slates",
    _METADATA,
    Column("number", _ID, primary_key=True),  # as they come, so that rows are added at the end, whatever their ids
    Column("request_id", _ID, nullable=False, unique=True),
    Column("second", Integer, nullable=False),
    Column("body", Text, nullable=False),
)

SHADOWS = Table(
    "shadow_slates",
    _METADATA,
    Column("request_id", _ID, primary_key=True, autoincrement=False),
    Column("version", String, primary_key=True),
    Column("items", Text, nullable=False),
    Column("scores", Text, nullable=False),
)

EVENTS = Table(
    "events",
    _METADATA,
    Column("event_id", String, primary_key=True),
    Column("seq", _ID, nullable=False),
    Column("day", Integer, nullable=False),  # on which it arrived
    Column("impression_id", _ID, nullable=False),
    Column("type", String, nullable=False),
    Column("value", Double),  # null where it is not measured
    Column("time", Double),
    Column("item_id", Integer, nullable=False),
    Column("second", Integer, nullable=False),  # when the item was shown
    Column("model_version", String, nullable=False),
    UniqueConstraint("impression_id", "type"),
    Index("events_of_a_day", "day", "seq"),
)

DEAD = Table(
    "dead_letters",
    _METADATA,
    Column("event_id", String, primary_key=True),
    Column("content", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("day", Integer, nullable=False),
    Column("seq", _ID, nullable=False, index=True),
)

COUNTS = Table(
    "counts",
    _METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("name", String, primary_key=True),
    Column("n", _ID, nullable=False),
)

_SET_UP = {
    "sqlite": ("pragma synchronous = full",),
    "postgresql": (
        "set lock_timeout = '10s'",
        "set synchronous_commit = on",
        "set enable_seqscan = off",  # all is found by a key, also before the server has counted its rows
        "set jit = off",
    ),
}

_BEGIN = {"sqlite": "begin immediate", "postgresql": "select pg_advisory_xact_lock(4)"}

_AT_ONCE = 5000
"""Values in one statement; SQLite takes 32766."""


def opened(place: str | Path) -> Engine:
    """A pool of connections to the file or the database. Raises `InboxError` for a URL of another kind."""
    try:
        url = URL.create("sqlite", database=str(place)) if isinstance(place, Path) else make_url(place)
    except ArgumentError:
        url = URL.create("nothing")
    kind = url.get_backend_name()
    in_file = kind == "sqlite" and url.database not in (None, "", ":memory:")
    if not in_file and url.drivername != "postgresql+psycopg":
        raise InboxError(
            "URL of the inbox", str(place), "give a path, sqlite:///FILE or postgresql+psycopg://SERVER/DB"
        )
    if in_file:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"paramstyle": "named"} if in_file else {}  # `run` gives parameters by name
    engine = create_engine(url, connect_args={"timeout" if in_file else "connect_timeout": 10}, **options)

    def set_up(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        if in_file:
            _write_ahead(cursor)
        for statement in _SET_UP[kind]:
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Turns a file to write-ahead logging; SQLite itself does not wait while another process does so."""
    for left in reversed(range(1000)):
        try:
            cursor.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(0.01)


def make_tables(connection: Connection) -> None:
    """Makes the tables that are missing; who comes at the same time waits until this transaction ends."""
    connection.exec_driver_sql(_BEGIN[connection.dialect.name])
    _METADATA.create_all(connection)


@contextlib.contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """What is written in it is on the disk when it ends, or else it raises `InboxError`; then it can be tried again.

    A server that goes away in the very moment may have kept it: who sends the same again is told.
    """
    assert engine.dialect.loaded_dbapi is not None
    drivers_own: type[Exception] = engine.dialect.loaded_dbapi.Error
    try:
        with engine.begin() as connection:
            try:
                yield connection
            except drivers_own as error:
                ours: Any = error
                gone = engine.dialect.is_disconnect(ours, connection.connection.dbapi_connection, None)
                connection.invalidate(error)  # whatever is wrong with it, the next transaction gets another
                if gone:
                    engine.dispose()  # a server that has gone has left all of them
                raise
    except (SQLAlchemyError, drivers_own) as error:
        place = engine.url.render_as_string(hide_password=True)
        remedy = f"send the same again: nothing is acknowledged ({str(error).splitlines()[0]})"
        raise InboxError("inbox", place, remedy) from error


def run(connection: Connection, statement: ClauseElement, *rows: Mapping[str, Any]) -> Any:
    """The driver's cursor after it has executed a statement with `rows` as its parameters, one after another.

    Why not `connection.execute`: for what every slate needs, the general way takes ten times as long.
    """
    cursor = connection.connection.cursor()
    text = _text(statement, connection.dialect)
    if len(rows) > 1:
        cursor.executemany(text, rows)
    else:
        cursor.execute(text, *rows)
    return cursor


@lru_cache
def _text(statement: ClauseElement, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))


def rows_of(connection: Connection, statement: Select[Any], values: Sequence[int | str]) -> list[Sequence[Any]]:
    """The rows of a statement with `in (values)`, asked for in parts that every database takes."""
    parts = [values[first : first + _AT_ONCE] for first in range(0, len(values), _AT_ONCE)]
    return [row for part in parts for row in connection.execute(statement, {"values": part})]
