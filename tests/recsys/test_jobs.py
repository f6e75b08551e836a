"""What waits at the counter: time runs from its coming, and it is told once."""

import asyncio

import pytest

from simlab.recsys.jobs import PATIENCE, Ask, raiser, setter


def test_time_runs_from_the_coming() -> None:
    """A lower rung is asked before the deadline, as it needs time too; below zero it is late."""

    async def main() -> tuple[float, float]:
        future = asyncio.get_running_loop().create_future()
        ask = Ask(
            user_id=1, n=3, exclude=[], day=None, number=None, second=0, latency_ms=None, deadline_ms=1e6, answer=future
        )
        before = ask.left()
        ask.arrived -= 900
        return before, ask.left()

    before, after = asyncio.run(main())
    assert 0 < before <= PATIENCE * 1000
    assert after < 0


def test_who_waits_is_told_once() -> None:
    """The first word counts, be it an answer or an error."""

    async def main() -> None:
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
        for tell in (
            setter(first, 1),
            raiser(first, ValueError()),
            raiser(second, ValueError("no")),
            setter(second, 2),
        ):
            tell()
        assert await first == 1
        with pytest.raises(ValueError, match="no"):
            await second

    asyncio.run(main())
