"""The inbox says what is wrong with its database, keeps what it acknowledged, and goes on when it can."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from simlab.errors import InboxError
from simlab.recsys.inbox import Inbox
from simlab.recsys.log import EventLog
from simlab.streams import stream
from tests.recsys.killed import helper, told_of
from tests.recsys.posts import event, request_id, slate


@pytest.mark.parametrize(
    "url",
    [
        "",
        "inbox.sqlite",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://h/d",
        "postgresql://h/d",
        "postgresql+asyncpg://h/d",
    ],
)
def test_a_url_of_another_kind_is_refused(url: str, tmp_path: Path) -> None:
    """A database that forgets, or that nobody tried, is no inbox."""
    with pytest.raises(InboxError, match=r"URL of the inbox.*postgresql\+psycopg://"):
        Inbox(url, EventLog(tmp_path))


def test_a_file_by_path_is_the_file_by_url(tmp_path: Path) -> None:
    """The same inbox, in a folder that is made, with signs in its name that mean something in a URL."""
    path, log = tmp_path / "new folder" / "inbox?x=1%20#2.sqlite", EventLog(tmp_path / "log")
    with Inbox(path, log) as inbox:
        inbox.commit([slate(7)], [])
    assert path.exists()
    plain = tmp_path / "inbox.sqlite"
    with Inbox(plain, log) as one, Inbox(f"sqlite:///{plain}", log) as other:
        one.commit([slate(7)], [])
        assert other.next_number(7, 0) == 1


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    """What cannot be reached can be tried again."""
    with pytest.raises(InboxError, match=r"nobody:\*\*\*@") as caught:
        Inbox(f"postgresql+psycopg://nobody:secret@/x?host={tmp_path}", EventLog(tmp_path))
    assert "secret" not in str(caught.value)


OPENED = """
import sys
from pathlib import Path
from simlab.recsys.inbox import Inbox
from simlab.recsys.log import EventLog
sys.stdin.readline()
place = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
with Inbox(place, EventLog(Path(sys.argv[2]))) as inbox:
    print(inbox.day)
"""


def test_workers_that_start_at_once_make_one_inbox(place: str | Path, tmp_path: Path) -> None:
    """Tables and first day are made once, whoever comes first."""
    command = [sys.executable, "-c", OPENED, str(place), str(tmp_path / "log")]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("now\n")
        worker.stdin.flush()
    assert [worker.communicate()[0].strip() for worker in workers] == ["0"] * 4


def test_a_connection_that_is_cut_is_made_again(postgres: str, new_schema: Callable[[], str], tmp_path: Path) -> None:
    """What the server does not acknowledge is not acknowledged; the same call again is kept once."""
    name = {"application_name": "simlab to be cut"}
    url = make_url(new_schema()).update_query_dict(name).render_as_string(hide_password=False)
    with Inbox(url, EventLog(tmp_path / "log")) as inbox:
        inbox.commit([slate(7)], [event("a", request_id(7))])
        engine = create_engine(postgres)
        with engine.begin() as connection:
            cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %(application_name)s"
            assert connection.exec_driver_sql(cut, name).all() == [(True,)]
        engine.dispose()
        with pytest.raises(InboxError, match="nothing is acknowledged"):
            inbox.commit([slate(8)], [event("b", request_id(8))])
        told = [event("a", request_id(7)), event("b", request_id(8))]
        assert [one.outcome for one in inbox.commit([slate(8)], told)[1]] == ["duplicate", "accepted"]


def test_all_connections_that_are_cut_are_noticed_at_once(
    postgres: str, new_schema: Callable[[], str], tmp_path: Path
) -> None:
    """However many were open: one call hears of it, and those after it get new ones."""
    name = {"application_name": "simlab to be cut at once"}
    url = make_url(new_schema()).update_query_dict(name).render_as_string(hide_password=False)
    with Inbox(url, EventLog(tmp_path / "log")) as inbox:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda user: inbox.commit([slate(user)], []), range(200)))
        engine = create_engine(postgres)
        with engine.begin() as connection:
            cut = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %(application_name)s"
            assert len(connection.exec_driver_sql(cut, name).all()) > 1
        engine.dispose()
        with pytest.raises(InboxError, match="nothing is acknowledged"):
            inbox.commit([slate(500)], [])
        for user in range(500, 510):
            assert inbox.commit([slate(user)], [])[0] == [slate(user).body]


FULL = """
import itertools, resource, sys
from pathlib import Path
from simlab.errors import InboxError
from simlab.recsys.inbox import Inbox
from simlab.recsys.log import EventLog
from tests.recsys.posts import event, slate

def refused(do, *args):
    try:
        do(*args)
    except InboxError as error:
        return "try again" in str(error) or "send the same again" in str(error)
    return False

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

limits = resource.getrlimit(resource.RLIMIT_FSIZE)
folder = Path(sys.argv[1])
with Inbox(folder / "inbox.sqlite", EventLog(folder / "log")) as inbox:
    limit(300_000)
    for number in itertools.count():
        row = slate(number)
        told = event(str(number), row.request_id)
        if refused(inbox.commit, [row], [told]):
            break
    assert number > 3
    assert all(refused(inbox.commit, [row], [told]) for _ in range(3))
    assert len(inbox.news(0).heard) == number  # reading needs no room
    limit(limits[0])
    assert inbox.commit([row], [told])[1][0].outcome == "accepted"
    assert [one.user_id for one in inbox.news(0).heard] == list(range(number + 1))
    limit(0)
    assert refused(inbox.close_day, 0)
    limit(limits[0])
    assert inbox.close_day(0)
    assert inbox.log.day(0)[0]["clicked"].to_pylist() == [True, False, False] * (number + 1)
"""


def test_a_disk_that_fills_loses_nothing(tmp_path: Path) -> None:
    """A file-size limit stands for it: what is refused was not acknowledged and is taken when there is room again;
    a day whose move found no room is moved then."""
    said = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert said.stderr == ""


def check_kills(kills: int, place: str | Path, folder: Path) -> None:
    """Kills a process that commits under load, again and again, and starts another one, which goes on.

    All that was acknowledged is there, once and whole. The commit in which it died is whole or not there: sent again,
    it counts once. The log has in the end what was sent, no more and no less.
    """
    rng, first, log = stream(1, "kills", kills), 0, EventLog(folder / "log")
    for _ in range(kills):
        with helper("commit", str(place), str(log.path), str(first)) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(rng.integers(1, 60))]
            process.kill()
            said += process.stdout.readlines()  # what it said before it died
        assert [int(line) for line in said] == list(range(first, first + len(said)))
        first += len(said)
        with Inbox(place, log) as inbox:  # a commit waits until a server has done what the dead process left it to do
            assert {one.outcome for one in inbox.commit([slate(first)], told_of(first))[1]} <= {"accepted", "duplicate"}
            first += 1
            heard = sorted((one.user_id, one.type) for one in inbox.news(0).heard)
            assert heard == [(user, kind) for user in range(first) for kind in ("click", "purchase")]
            assert inbox.counts()[0]["slates"] == first
    with Inbox(place, log) as inbox:
        inbox.close_day(0)
    shown, told = log.day(0)
    assert shown["user_id"].to_pylist() == [user for user in range(first) for _ in range(3)]
    assert shown["clicked"].to_pylist() == [True, False, False] * first
    assert told["impression_id"].to_pylist() == [request_id(user) | 1 for user in range(first)]


def test_what_is_acknowledged_outlives_a_kill(place: str | Path, tmp_path: Path) -> None:
    """A few kills at random moments under load."""
    check_kills(3, place, tmp_path)


@pytest.mark.soak
def test_what_is_acknowledged_outlives_many_kills(place: str | Path, tmp_path: Path) -> None:
    """Fifty of them."""
    check_kills(50, place, tmp_path)
