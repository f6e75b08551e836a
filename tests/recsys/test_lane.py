"""A lane: all that is put into it is worked off, in order and together, whatever goes wrong."""

import logging
import threading

import pytest

from simlab.errors import InboxError
from simlab.recsys.lane import Lane

PATIENCE = 60


class Work:
    """Notes its batches; it waits for `go`, and raises what `error` says."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.failed: list[tuple[list[int], str]] = []
        self.begun, self.go, self.done = threading.Event(), threading.Event(), threading.Event()
        self.go.set()
        self.error: BaseException | None = None

    def __call__(self, batch: list[int]) -> None:
        self.begun.set()
        assert self.go.wait(PATIENCE)
        self.batches.append(batch)
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.done.set()

    def fail(self, batch: list[int], error: Exception) -> None:
        self.failed.append((batch, str(error)))
        self.done.set()


def test_what_waits_is_worked_off_together_and_in_order() -> None:
    """At most so many at a time."""
    work = Work()
    work.go.clear()
    lane = Lane("test", work, work.fail, most=3)
    lane.put([0])
    assert work.begun.wait(PATIENCE)
    lane.put([1, 2])
    lane.put([3, 4])
    assert len(lane) == 4
    work.go.set()
    lane.close()
    assert work.batches == [[0], [1, 2, 3], [4]]


def test_a_lane_is_stuck_while_a_batch_is_past_its_deadline() -> None:
    """Only then: an idle lane is not, and neither is one that has come back."""
    work = Work()
    lane = Lane("test", work, work.fail)
    lane.miss()
    told = [lane.stuck]
    work.go.clear()
    lane.put([0])
    assert work.begun.wait(PATIENCE)
    told.append(lane.stuck)
    lane.miss()
    told.append(lane.stuck)
    work.go.set()
    lane.close()
    assert [*told, lane.stuck] == [False, False, True, False]


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), InboxError("disk", "full", "make room")])
def test_an_error_is_told_to_its_batch_and_the_lane_goes_on(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """It is in the log, a bug with all of it; the next batch is worked off."""
    work = Work()
    work.error = error
    with caplog.at_level(logging.ERROR, "simlab.serve"):
        lane = Lane("scribe", work, work.fail)
        lane.put([0])
        assert work.done.wait(PATIENCE)
        assert not lane.dead
        lane.put([1])
        lane.close()
    assert (work.batches, work.failed) == ([[0], [1]], [([0], str(error))])
    (record,) = caplog.records
    assert '"lane": "scribe"' in record.getMessage()
    assert (record.exc_info is None) == isinstance(error, InboxError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nothing_ends_a_lane_but_what_ends_a_thread() -> None:
    """Whoever would hear of the error may raise one too; and where the thread is dead all the same, it is told."""
    work, deaf = Work(), threading.Event()

    def fail(batch: list[int], error: Exception) -> None:
        deaf.set()
        raise error

    work.error = ZeroDivisionError()
    lane = Lane("test", work, fail)
    lane.put([0])
    assert deaf.wait(PATIENCE)
    lane.put([1])
    assert work.done.wait(PATIENCE)
    before = lane.dead
    work.error = SystemExit()
    lane.put([2])
    for thread in threading.enumerate():
        if thread.name == "test":
            thread.join(PATIENCE)
    assert (before, lane.dead) == (False, True)
    assert work.batches == [[0], [1], [2]]


def test_what_comes_after_the_closing_is_not_lost() -> None:
    """A version's lane is closed when the version is retired, and somebody may be on the way to it."""
    work = Work()
    lane = Lane("test", work, work.fail)
    lane.close()
    for job in range(3):
        work.done.clear()
        lane.put([job])
        assert work.done.wait(PATIENCE)
    lane.close()
    assert work.batches == [[0], [1], [2]]
    assert not lane.dead


def test_put_says_whether_the_lane_was_idle() -> None:
    """One that works, or has something waiting, is not."""
    work = Work()
    work.go.clear()
    lane = Lane("test", work, work.fail)
    idle = [lane.put([0])]
    assert work.begun.wait(PATIENCE)
    idle.append(lane.put([1]))
    work.go.set()
    lane.give_way(PATIENCE)
    assert [*idle, lane.idle] == [True, False, True]
    lane.close()


def test_giving_way_ends_with_the_work_or_with_patience() -> None:
    """While the work takes longer, whoever gives way goes on, and the lane too."""
    work = Work()
    lane = Lane("test", work, work.fail)
    lane.give_way(PATIENCE)
    work.go.clear()
    lane.put([0])
    lane.give_way(0.01)
    before = list(work.batches)
    work.go.set()
    lane.give_way(PATIENCE)
    assert (before, work.batches) == ([], [[0]])
    lane.close()
