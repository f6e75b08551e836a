"""What is said over HTTP: the bodies of requests, checked and bounded, and the text of an answer.

Ids of requests and impressions have 63 bits, more than JavaScript's numbers hold, so they travel as decimal words.
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from simlab.recsys.service import rung_of
from simlab.schema import NO_ITEM, SOURCES, Slates

MAX_EVENTS = 1000
MAX_EXCLUDED = 1000
MAX_BODY = 1 << 20
"""Bytes of a request."""

DEADLINE_MS = 200.0


class Body(BaseModel):
    """A body with nothing unknown in it; numbers are finite and of their type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Context(Body):
    """What a caller knows of the visit. With `visit` and `page`, the same request again gets the same answer."""

    day: int | None = Field(default=None, ge=0, le=2**15 - 1, description="the open day, to be refused on any other")
    visit: int | None = Field(default=None, ge=0, le=15, description="number of the shopper's visit on this day")
    page: int | None = Field(default=None, ge=0, le=15, description="number of the slate within the visit")
    second: int | None = Field(
        default=None, ge=0, le=86_399, description="second of the day, by default of the server's clock"
    )
    latency_ms: float | None = Field(
        default=None, ge=0, le=1e6, description="how long the shopper waits, by default measured"
    )


class Recommend(Body):
    """Who asks for a slate."""

    user_id: int = Field(ge=0, lt=2**31)
    n: int = Field(default=10, ge=1, le=100, description="items wanted")
    exclude: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(
        default=[], max_length=MAX_EXCLUDED, description="item_ids not to show"
    )
    context: Context = Field(default_factory=Context)
    deadline_ms: float = Field(default=DEADLINE_MS, ge=1, le=60_000, description="then a lower rung answers")


def _whole(value: object) -> object:
    """A whole number that was written as a word, as JavaScript must."""
    return int(value) if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit() else value


class EventBody(Body):
    """Something a shopper did with an item shown."""

    event_id: str = Field(min_length=1, max_length=100, description="of the sender; sent again, it counts once")
    impression_id: Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**63)]
    type: Literal["click", "purchase", "rating", "return"]
    value: float | None = Field(default=None, description="seconds spent after a click; euros; stars from 1 to 5")
    time: float | None = Field(default=None, description="seconds since the start of day 0, by the sender's clock")


class Feedback(Body):
    """A batch of events."""

    events: list[EventBody] = Field(min_length=1, max_length=MAX_EVENTS)


class Deploy(Body):
    """A change of traffic: see simlab.recsys.traffic.Change."""

    action: Literal["promote", "challenger", "canary", "shadow", "pause", "resume", "end", "rollback"]
    version: str | None = Field(default=None, max_length=100)
    alias: Literal["champion", "challenger", "canary", "shadow"] | None = None
    share: float | None = None
    steps: list[float] = Field(default=[], max_length=20, description="shares that a canary climbs")
    actor: str = Field(default="control room", max_length=100)
    reason: str = Field(max_length=1000, pattern=r"\S", description="not blank: the history is read by others")


class OpenDay(Body):
    """What cannot be delivered on the open day."""

    day: int = Field(ge=0, lt=2**15)
    unavailable: list[Annotated[int, Field(ge=0)]] = Field(default=[], max_length=1_000_000)


class CloseDay(Body):
    """Which day is over."""

    day: int = Field(ge=0, lt=2**15)


def answers(slates: Slates) -> list[str]:
    """The JSON text that answers each request; written out, as a general encoder takes three times as long."""
    asked = slates.requests
    columns = (
        asked.request_id.tolist(),
        asked.user_id.tolist(),
        asked.second.tolist(),
        slates.model_version.words(),
        slates.arm.words(),
        slates.latency_ms.tolist(),
        zip(slates.item_id.tolist(), slates.propensity.tolist(), slates.source.tolist(), strict=True),
    )
    told = []
    for number, user_id, second, version, arm, latency, row in zip(*columns, strict=True):
        rung = rung_of(version)
        items = ", ".join(
            f'{{"item_id": {item_id}, "position": {position}, "impression_id": "{number | position}", '
            f'"propensity": {propensity!r}, "source": "{SOURCES[source]}"}}'
            for position, (item_id, propensity, source) in enumerate(zip(*row))
            if item_id != NO_ITEM
        )
        told.append(
            f'{{"request_id": "{number}", "day": {asked.day}, "second": {second}, "user_id": {user_id}, '
            f'"arm": "{arm}", "model_version": {json.dumps(version)}, "rung": "{rung}", '
            f'"source": "{"model" if rung == "personal" else "fallback"}", "latency_ms": {latency!r}, '
            f'"items": [{items}]}}'
        )
    return told
