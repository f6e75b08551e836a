"""What tests post to an inbox: answered slates and events, made by hand or from a day in the world."""

import json

import numpy as np

from simlab.recsys.inbox import Event, SlateRow
from simlab.recsys.letters import SECONDS, first_id
from simlab.schema import NO_ITEM, SOURCES, Outcomes, Slates
from simlab.tables import History


def request_id(user_id: int, number: int = 0, day: int = 0) -> int:
    return first_id(day) | user_id << 16 | number << 8


def slate(user_id: int, number: int = 0, day: int = 0, n: int = 3, version: str = "m0") -> SlateRow:
    """A slate of items 10, 11, ... that user 7 of the tests might get, at 1 o'clock."""
    items = [{"item_id": 10 + p, "position": p, "propensity": 0.5, "source": "model"} for p in range(n)]
    answer = {"second": 3600, "model_version": version, "arm": "champion", "latency_ms": 1.5, "items": items}
    return SlateRow(request_id(user_id, number, day), day, user_id, 3600, json.dumps(answer))


def event(name: str, about: int, kind: str = "click", value: float = 2.0, time: float = float("nan")) -> Event:
    return Event(name, about, kind, value, time)


def answered(slates: Slates) -> list[SlateRow]:
    """The slates of a day as the service answers them."""
    asked, rows = slates.requests, []
    for row, ids in enumerate(asked.request_id.tolist()):
        shown = zip(slates.item_id[row].tolist(), slates.propensity[row].tolist(), slates.source[row].tolist())
        items = [
            {
                "item_id": item,
                "position": p,
                "propensity": None if chance != chance else chance,
                "source": SOURCES[code],
            }
            for p, (item, chance, code) in enumerate(shown)
            if item != NO_ITEM
        ]
        answer = {
            "second": int(asked.second[row]),
            "model_version": slates.model_version.words()[row],
            "arm": slates.arm.words()[row],
            "latency_ms": float(slates.latency_ms[row]),
            "items": items,
        }
        rows.append(SlateRow(ids, asked.day, int(asked.user_id[row]), int(asked.second[row]), json.dumps(answer)))
    return rows


def clicks_on(slates: Slates, outcomes: Outcomes) -> list[Event]:
    row, position = np.divmod(outcomes.clicks.place, slates.item_id.shape[1])
    ids = (slates.requests.request_id[row] | position).tolist()
    return [Event(f"{one}-click", one, "click", dwell, 0.0) for one, dwell in zip(ids, outcomes.clicks.dwell.tolist())]


def told_on(day: int, history: History) -> list[Event]:
    """What arrives on `day`."""
    rows = [row for row in history.feedback.to_pylist() if row["day"] == day]
    return [
        Event(f"{row['impression_id']}-{row['kind']}", row["impression_id"], row["kind"], row["value"], day * SECONDS)
        for row in rows
    ]
