"""A lane: a thread with a queue of its own, which works off together all that waits.

Why it outlives its work's errors: whoever waits in a lane has nobody else. What goes wrong in a batch is told to those
of the batch, and the next is worked off.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from simlab.errors import SimlabError

LOG = logging.getLogger("simlab.serve")

Job = TypeVar("Job")

BATCH = 64
"""Jobs worked off together at most, unless a lane says otherwise."""


class Lane(Generic[Job]):
    """A thread that works off what has been put before it, up to `most` at a time."""

    def __init__(
        self,
        name: str,
        work: Callable[[list[Job]], None],
        failed: Callable[[list[Job], Exception], None],
        most: int = BATCH,
    ) -> None:
        """`failed` hears of the batch in which `work` has raised an error, and of the error."""
        self.name = name
        self._work, self._failed, self._most = work, failed, most
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()
        self._open = True
        self._busy = self._stuck = self._ended = False
        self._thread = self._start()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is worked off."""
        return not (self._busy or self._jobs)

    @property
    def stuck(self) -> bool:
        """Whether its present batch is past a deadline."""
        return self._stuck

    @property
    def dead(self) -> bool:
        """Whether its thread has ended though nobody has closed it."""
        return self._open and not self._thread.is_alive()

    def miss(self) -> None:
        """Says that a deadline has passed: the lane is stuck until its present batch is done."""
        with self._wake:
            self._stuck = self._busy

    def put(self, jobs: Iterable[Job]) -> bool:
        """Puts jobs at the end; returns whether the lane was idle.

        Those that come after it was closed are worked off too: none is lost.
        """
        with self._wake:
            idle = self.idle
            self._jobs.extend(jobs)
            self._wake.notify_all()
            if self._ended:
                self._ended = False
                self._thread = self._start()
        return idle

    def give_way(self, seconds: float) -> None:
        """Waits until all is worked off, for so many seconds at most."""
        with self._wake:
            self._wake.wait_for(lambda: self.idle, seconds)

    def close(self, patience: float = 10.0) -> None:
        """Lets it finish what waits, for so many seconds at most."""
        with self._wake:
            self._open = False
            self._wake.notify_all()
            thread = self._thread
        thread.join(patience)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._open and not self._jobs:
                    self._wake.wait()
                if not self._jobs:
                    self._ended = True  # said while nobody can put anything
                    return
                batch = [self._jobs.popleft() for _ in range(min(self._most, len(self._jobs)))]
                self._busy = True
            try:
                self._work(batch)
            except Exception as error:  # whatever it is, the lane goes on
                self._tell(batch, error)
            finally:
                with self._wake:
                    self._busy = self._stuck = False
                    self._wake.notify_all()

    def _tell(self, batch: list[Job], error: Exception) -> None:
        self._log(error)
        try:
            self._failed(batch, error)
        except Exception as another:  # nobody is left to hear it
            self._log(another)

    def _log(self, error: Exception) -> None:
        line = {"event": "error", "lane": self.name, "error": repr(error)}
        LOG.error(json.dumps(line), exc_info=None if isinstance(error, SimlabError) else error)
