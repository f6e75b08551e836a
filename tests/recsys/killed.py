"""Processes of the tests that work on an inbox until they are killed: python -m tests.recsys.killed WHAT ...

commit PLACE LOG FIRST    posts slates FIRST, FIRST + 1, ... with events, and says each number that is acknowledged
close                     for each line "K PLACE LOG" it reads, closes day 0 in a process that is killed before the
                          K-th line of simlab's own code; says how that ended
day PLACE LOG             closes day 0 after it is told to
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from simlab.recsys import closing, folders, inbox, log, storage
from simlab.recsys.inbox import Event, Inbox
from simlab.recsys.log import EventLog
from tests.recsys.posts import event, slate

TRACED = {str(module.__file__) for module in (closing, folders, inbox, log, storage)} | {
    str(Path(str(log.__file__)).parents[1] / "files.py")
}


Worker = subprocess.Popen[str]


@contextlib.contextmanager
def helper(*what: str) -> Iterator[Worker]:
    """Such a process, killed in the end."""
    command = [sys.executable, "-m", "tests.recsys.killed", *what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def opened(place: str, folder: str) -> Inbox:
    return Inbox(place if "://" in place else Path(place), EventLog(Path(folder)))


def told_of(number: int) -> list[Event]:
    """What is posted with slate `number`: of itself, and of the one before, part of it for the second time."""
    ids = [slate(user).request_id for user in (number, max(number - 1, 0))]
    return [
        event(f"{number}-a", ids[0], time=float(number)),
        event(f"{number}-b", ids[0] | 1, "purchase", 5.0),
        event(f"{max(number - 1, 0)}-a", ids[1], time=float(max(number - 1, 0))),
    ]


def commit(place: str, folder: str, first: str) -> None:
    with opened(place, folder) as inbox:
        for number in count(int(first)):
            receipts = inbox.commit([slate(number)], told_of(number))[1]
            assert all(receipt.outcome != "dead" for receipt in receipts)
            print(number, flush=True)


def kill_before_line(k: int) -> None:
    """Lets this process be killed before the k-th line of the traced modules from now on."""
    lines = count(1)

    def trace(frame: FrameType, what: str, _: Any) -> Any:
        if frame.f_code.co_filename not in TRACED:
            return None
        if what == "line" and next(lines) == k:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def close() -> None:
    for line in sys.stdin:
        k, place, folder = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            with opened(place, folder) as inbox:
                kill_before_line(int(k))
                inbox.close_day(0)
                sys.settrace(None)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def day(place: str, folder: str) -> None:
    with opened(place, folder) as inbox:
        print("ready", flush=True)
        sys.stdin.readline()
        inbox.close_day(0)


if __name__ == "__main__":
    what: dict[str, Callable[..., None]] = {"commit": commit, "close": close, "day": day}
    what[sys.argv[1]](*sys.argv[2:])
