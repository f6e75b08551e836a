"""A PostgreSQL of the tests' own, and inboxes on it and on SQLite."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from tests.recsys.counters import furnish

Place = Callable[[], str | Path]


def programs() -> Path | None:
    """Where the newest of Debian's PostgreSQLs is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parents[1].name))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server: that of SIMLAB_POSTGRES_URL, or one started here, reached by a socket in its own folder."""
    if "SIMLAB_POSTGRES_URL" in os.environ:
        yield os.environ["SIMLAB_POSTGRES_URL"]
        return
    where = programs()
    if where is None:
        told = "there is no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql, or set SIMLAB_POSTGRES_URL"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    folder = Path(tempfile.mkdtemp(prefix="simlab-pg-", dir="/tmp"))  # short: names of sockets have at most 107 letters
    try:
        as_postgres = []
        if os.geteuid() == 0:  # a server does not run as root
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            as_postgres = ["runuser", "-u", "postgres", "--"]
        data, log = str(folder / "data"), str(folder / "log")

        def run(*command: str) -> None:
            with (folder.parent / f"{folder.name}.out").open("ab") as out:  # a pipe would be held by the server
                subprocess.run([*as_postgres, *command], check=True, stdout=out, stderr=out, cwd="/")

        initdb, pg_ctl = str(where / "initdb"), str(where / "pg_ctl")
        run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        run(pg_ctl, "-D", data, "-l", log, "-w", "-o", settings, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.out").unlink(missing_ok=True)


@pytest.fixture
def new_schema(request: pytest.FixtureRequest, postgres: str) -> Iterator[Callable[[], str]]:
    """Makes URLs of the server, each with an empty schema of its own, that is gone in the end."""
    url, schemas = make_url(postgres), list[str]()
    engine = create_engine(url)

    def made() -> str:
        schemas.append(f"simlab_{os.getpid()}_{abs(hash(request.node.nodeid))}_{len(schemas)}")
        with engine.begin() as connection:
            connection.exec_driver_sql(f"create schema {schemas[-1]}")
        there = url.update_query_dict({"options": f"-csearch_path={schemas[-1]}"})
        return there.render_as_string(hide_password=False)

    yield made
    for schema in schemas:  # one by one: a transaction holds a lock on every table it drops
        with engine.begin() as connection:
            connection.exec_driver_sql(f"drop schema {schema} cascade")
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Makes places for inboxes, each new and empty: files, or schemas of the server."""
    if request.param == "postgresql":
        schema: Place = request.getfixturevalue("new_schema")
        return schema
    numbers = itertools.count()
    return lambda: tmp_path / f"inbox{next(numbers)}.sqlite"


@pytest.fixture
def place(new_place: Place) -> str | Path:
    """A new and empty place for one inbox."""
    return new_place()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop of tests.recsys.counters."""
    return furnish(tmp_path)
