"""What is posted to the inbox, and what it says of it.

    SlateRow, ShadowRow   a slate as it was answered; scores of a model that nobody saw
    Event ──► Receipt     what a shopper did ──► what became of the news
    News, Heard           what the live service reads back

Why checked when made: many requests share one transaction, so what cannot be kept must be refused before.
"""

import json
import math
import sys
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from simlab.errors import InboxError
from simlab.schema import KINDS, Ints

ATTRIBUTION_DAYS = 60
"""A purchase, rating or return counts for an impression at most so many days old."""

TYPES = ("click", *KINDS)
"""What an event tells."""

SECONDS = 86_400
"""In a day."""

_FIRST_DAY = 1 << 15
_MOST = sys.float_info.max


def first_id(day: int) -> int:
    """All ids of requests and impressions of `day` are from this one up, and below that of the next day.

    >>> first_id(day_of(first_id(-3) + 12345)) == first_id(-3)
    True
    """
    return (day + _FIRST_DAY) << 47


def day_of(impression_id: int) -> int:
    """The day on which it was shown."""
    return (impression_id >> 47) - _FIRST_DAY


Id = TypeVar("Id", int, Ints)


def user_of(impression_id: Id) -> Id:
    """The shopper to whom it was shown."""
    return impression_id >> 16 & 0x7FFF_FFFF


def request_of(impression_id: Id) -> Id:
    """The request_id of its slate."""
    return impression_id & ~0xFF


def _refuse_unless(fits: bool, thing: str, value: object, remedy: str) -> None:
    if not fits:
        raise InboxError(thing, value, remedy)


@dataclass(frozen=True)
class SlateRow:
    """A slate as it was answered. Raises `InboxError` where the request_id does not say this day and user."""

    request_id: int
    day: int
    user_id: int
    second: int
    body: str
    """The JSON text that was answered."""
    tally: tuple[tuple[str, int], ...] = ()
    """What it adds to the day's counts, where it is new: "group word" and a number."""

    def __post_init__(self) -> None:
        says = self.request_id & 0xFF, self.request_id >> 47, user_of(self.request_id)
        fits = says == (0, self.day + _FIRST_DAY, self.user_id)
        _refuse_unless(
            fits, "request_id", self.request_id, "it must say the day and the user: take Requests.request_id"
        )


@dataclass(frozen=True)
class ShadowRow:
    """What a shadow model would have shown: logged, never shown, never learnt from as if it had been."""

    request_id: int
    day: int
    version: str
    items: list[int]
    scores: list[float]


class Content(NamedTuple):
    """All that an event says but its id; None where it does not say."""

    impression_id: int
    type: str
    value: float | None
    time: float | None


@dataclass(frozen=True)
class Event:
    """Something a shopper did with an item shown. Raises `InboxError` for what no inbox can keep."""

    event_id: str
    """Chosen by the sender, 1 to 100 characters; sent again with the same content, an event counts once."""
    impression_id: int
    type: str
    """One of TYPES."""
    value: float
    """Of a click: seconds spent with the item, NaN where that is not measured; else euros, or stars 1 to 5."""
    time: float
    """Seconds since the start of day 0 by the sender's clock; NaN where it does not say."""

    def __post_init__(self) -> None:
        name = self.event_id
        fits = 0 < len(name) <= 100 and name.isprintable()  # a lone surrogate or a zero byte fits no database
        _refuse_unless(fits, "event_id", name, "give 1 to 100 printable characters")
        _refuse_unless(self.type in TYPES, "type", self.type, f"give one of: {', '.join(TYPES)}")
        _refuse_unless(0 <= self.impression_id < 1 << 63, "impression_id", self.impression_id, "give what was answered")
        least, most = (1, 5) if self.type == "rating" else (0, _MOST)
        fits = least <= self.value <= most or (self.type == "click" and self.value != self.value)
        _refuse_unless(
            fits, f"value of a {self.type}", self.value, "give stars from 1 to 5, or seconds or euros from 0"
        )
        _refuse_unless(not abs(self.time) > _MOST, "time", self.time, "give seconds, or leave it out")

    @property
    def content(self) -> Content:
        """What it tells: the same event has the same content whenever it is sent."""
        return Content(
            self.impression_id,
            self.type,
            None if math.isnan(self.value) else float(self.value),
            None if math.isnan(self.time) else float(self.time),
        )


@dataclass(frozen=True)
class Receipt:
    """What became of an event; all three are final, there is no need to send it again."""

    event_id: str
    outcome: Literal["accepted", "duplicate", "dead"]
    reason: str = ""
    """Why it is dead."""


@dataclass(frozen=True)
class Heard:
    """An event that was accepted, with what it is about."""

    seq: int
    """Rises with every event."""
    user_id: int
    item_id: int
    type: str
    value: float
    day: int
    """On which it arrived."""
    model_version: str
    """That chose the item."""
    impression_id: int


@dataclass(frozen=True)
class News:
    """What the live service must know before it answers."""

    day: int
    """The open day."""
    unavailable: frozenset[int]
    """Items that cannot be delivered today."""
    heard: list[Heard]
    """Of the open day, and of the day that is moving, in order of `seq`."""
    moving: int | None
    """The day that is closed and perhaps not yet in the log."""
    seq: int
    """All events up to this number are told."""


class Shown(NamedTuple):
    """What an event is about: an item in a slate."""

    item_id: int
    second: int
    model_version: str


def shown_at(position: int, body: str) -> Shown | None:
    """What an answered slate shows at a position; None where there is nothing."""
    answer = json.loads(body)
    items = [item["item_id"] for item in answer["items"] if item["position"] == position]
    return Shown(items[0], answer["second"], answer["model_version"]) if items else None
