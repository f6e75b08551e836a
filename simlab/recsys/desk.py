"""What the routes share: the counter of the application, answers as JSON, the server's log, and the time of day.

The log has one JSON object a line, for what changes: opening, closing, traffic, days, errors. Slates and events are in
the inbox, and need no line.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request, Response

from simlab.recsys.counter import Counter

LOG = logging.getLogger("simlab.serve")


def wall_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)  # noqa: TID251  the edge of the house: from here on, time is an argument


def say(event: str, **facts: object) -> None:
    """One line of the server's log."""
    LOG.info(json.dumps({"event": event, "time": wall_clock().isoformat(timespec="milliseconds"), **facts}))


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in ASCII, so that no word of a request is too odd to be told back."""
    return Response(json.dumps(value), status, headers, media_type="application/json")


async def counter_of(request: Request) -> Counter:
    """The counter of the application that was asked."""
    counter: Counter = request.app.state.counter
    return counter


Desk = Annotated[Counter, Depends(counter_of)]
