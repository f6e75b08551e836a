"""The control room over HTTP: what it shows, and what it does for those who have the token, and for nobody else."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from simlab.recsys.control import ADMIN as ROUTES
from simlab.recsys.control import Room
from simlab.recsys.traffic import ARMS, arms
from tests.recsys.shop import ADMIN, DAY, N_USERS, TOKEN, Shop, served

BODIES = {
    "/admin/deploy": {"action": "shadow", "version": "m2", "reason": "to see"},
    "/admin/day": {"day": DAY, "unavailable": [0]},
    "/admin/close-day": {"day": DAY},
}
"""A lawful body for each admin route."""


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Each test its own, with two more models."""
    with served(tmp_path_factory) as shop:
        shop.register("m2", [5, 6, 7])
        shop.register("m3", [8, 9, 10])
        yield shop


def deploy(shop: Shop, action: str, version: str | None = None, **more: Any) -> dict[str, Any]:
    """The answer to a change that is taken."""
    body = {"action": action, "reason": f"to {action}", "actor": "Ada", **more}
    answer = shop.admin("deploy", **(body if version is None else {**body, "version": version}))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def answered(shop: Shop, user_id: int = 3) -> tuple[str, str]:
    answer = shop.ask(user_id)
    return answer["arm"], answer["model_version"]


def refused(answer: httpx.Response, status: int) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    told: dict[str, str] = answer.json()
    assert set(told) == {"error", "field"}
    return told


def test_no_admin_route_opens_without_the_token(shop: Shop) -> None:
    """Without one, with a wrong one, part of it or another scheme: 401 on every route there is, and nothing happens.

    Before the body is looked at, so that nobody learns what would be taken.
    """
    paths = {path for path in shop.client.get("/openapi.json").json()["paths"] if path.startswith("/admin")}
    assert paths == {getattr(route, "path", None) for route in ROUTES.routes} == set(BODIES)
    before = shop.counter.registry.history(), shop.counter.inbox.day
    keys = (
        "",
        "wrong",
        TOKEN,
        f"Basic {TOKEN}",
        f"bearer {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        "Bearer",
    )
    for path, body in BODIES.items():
        for headers in ({}, *({"Authorization": key} for key in keys), {"Authorization": b"Bearer \xe9\xff"}):
            for content in (body, {}):
                answer = shop.client.post(path, json=content, headers=headers)  # type: ignore[arg-type]
                assert refused(answer, 401)["error"].startswith("the admin routes open with the token")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in answer.text
    assert (shop.counter.registry.history(), shop.counter.inbox.day) == before
    for path, body in BODIES.items():
        assert shop.client.post(path, json=body, headers=ADMIN).status_code == 200


def test_a_change_of_traffic_is_a_row_and_answers_the_next_request(shop: Shop) -> None:
    """Who, when, why and on which evidence; at once; and said again on the same day it changes nothing."""
    old = shop.champion
    n_rows = shop.counter.registry.last_row()
    told = deploy(shop, "promote", "m2")
    row = told["row"]
    assert row == shop.counter.registry.history()[-1]
    assert (row["action"], row["version"], row["day"], row["actor"]) == ("promote", "m2", DAY, "Ada")
    assert (row["reason"], row["evidence"]) == ("to promote", {"by": "http"})
    assert datetime.fromisoformat(row["time"]).tzinfo is not None
    assert (told["traffic"]["champion"], told["refused"]) == ("m2", "")
    assert answered(shop) == ("champion", "m2")
    assert deploy(shop, "promote", "m2")["row"] is None
    assert deploy(shop, "rollback")["traffic"]["quarantined"] == ["m2"]
    assert answered(shop) == ("champion", old)
    assert shop.counter.registry.last_row() == n_rows + 2


def test_a_canary_goes_through_all_its_states(shop: Shop) -> None:
    """Start, pause, resume, another share, end; then a challenger, and a shadow: each shows in the next answers."""
    old = shop.champion
    everybody = np.arange(N_USERS)
    for action, version, more in (
        ("canary", "m2", {"share": 0.3}),
        ("pause", None, {}),
        ("resume", None, {}),
        ("canary", "m2", {"share": 0.5}),
    ):
        traffic = deploy(shop, action, version, **more)["traffic"]
        assert (traffic["canary"], traffic["canary_paused"]) == ("m2", action == "pause")
        arm = arms(everybody, shop.counter.registry.traffic())
        for name, expected in (("canary", "m2"), ("baseline", old)):
            user_id = int(np.flatnonzero(arm == ARMS.index(name))[0])
            assert answered(shop, user_id) == (name, expected)
    assert deploy(shop, "end")["traffic"]["canary"] is None
    assert answered(shop) == ("champion", old)
    climbing = deploy(shop, "canary", "m3", steps=[0.1, 0.4])["traffic"]
    assert (climbing["canary_share"], climbing["canary_steps"]) == (0.1, [0.1, 0.4])
    assert deploy(shop, "rollback")["traffic"]["quarantined"] == ["m3"]
    deploy(shop, "promote", "m3")
    deploy(shop, "promote", old)  # out of quarantine

    deploy(shop, "challenger", "m3", share=0.4)
    arm = arms(everybody, shop.counter.registry.traffic())
    assert answered(shop, int(np.flatnonzero(arm == ARMS.index("challenger"))[0])) == ("challenger", "m3")
    traffic = deploy(shop, "shadow", "m2")["traffic"]
    assert (traffic["shadow"], traffic["challenger"]) == ("m2", "m3")
    assert deploy(shop, "end", alias="challenger")["traffic"]["challenger"] is None
    assert deploy(shop, "end", alias="shadow")["traffic"]["shadow"] is None
    actions = [row["action"] for row in shop.counter.registry.history()]
    told = "canary pause resume canary end canary rollback promote promote challenger shadow end end"
    assert actions[-13:] == told.split()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"action": "promote"}, "model version"),
        ({"action": "promote", "version": "m9"}, "the registry holds"),
        ({"action": "promote", "version": "../m2"}, "the registry holds"),
        ({"action": "promote", "version": "\u0000"}, "the registry holds"),
        ({"action": "promote", "version": "m2", "alias": "canary"}, "alias to promote"),
        ({"action": "canary", "version": "m2", "share": 0.6}, "share of the canary"),
        ({"action": "canary", "version": "m2", "share": -1}, "share of the canary"),
        ({"action": "challenger", "version": "m2"}, "share of the challenger"),
        ({"action": "pause"}, "there is no canary"),
        ({"action": "end"}, "there is none now"),
        ({"action": "rollback"}, "no earlier version"),
        ({"action": "rollback", "alias": "shadow"}, "shown to nobody"),
    ],
)
def test_what_makes_no_sense_now_is_a_conflict(change: dict[str, Any], word: str, shop: Shop) -> None:
    """409 with the remedy; no row, and the traffic goes on."""
    before = shop.counter.registry.history()
    told = refused(shop.admin("deploy", reason="to see", **change), 409)
    assert word in told["error"]
    assert told["field"]
    assert shop.counter.registry.history() == before
    assert answered(shop)[0] == "champion"


def test_a_damaged_model_gets_no_traffic(shop: Shop) -> None:
    """It is refused before there is a row."""
    (Path(shop.config.run) / "models" / "m2" / "arrays.npz").write_bytes(b"nothing")
    before = shop.counter.registry.history()
    assert "checksum" in refused(shop.admin("deploy", action="promote", version="m2", reason="to see"), 409)["error"]
    assert shop.counter.registry.history() == before


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("deploy", {"action": "explode", "reason": "why not"}, "action"),
        ("deploy", {"action": "pause"}, "reason"),
        ("deploy", {"action": "pause", "reason": ""}, "reason"),
        ("deploy", {"action": "pause", "reason": " \n\u00a0"}, "reason"),
        ("deploy", {"action": "promote", "version": "m2", "reason": "r", "day": 5}, "day"),
        ("day", {}, "day"),
        ("day", {"day": DAY, "unavailable": ["a"]}, "unavailable.0"),
        ("close-day", {}, "day"),
        ("close-day", {"day": -1}, "day"),
    ],
)
def test_a_wrong_body_is_named(route: str, body: dict[str, Any], field: str, shop: Shop) -> None:
    """422, like everywhere."""
    assert refused(shop.admin(route, **body), 422)["field"] == field


def test_what_cannot_be_delivered_is_not_shown(shop: Shop) -> None:
    """From the next request on; of another day than the open one it is a conflict."""
    first = shop.ask(3)["items"][0]["item_id"]
    assert shop.admin("day", day=DAY, unavailable=[first, 10**30]).json() == {"day": DAY}
    assert first not in [item["item_id"] for item in shop.ask(3, 100)["items"]]
    assert "open day is" in refused(shop.admin("day", day=DAY + 1, unavailable=[]), 409)["error"]
    assert shop.admin("day", day=DAY).status_code == 200
    assert shop.ask(3)["items"][0]["item_id"] == first


def test_a_day_is_closed_once(shop: Shop) -> None:
    """It goes into the log with all that was answered and clicked; the next opens; again it says that it was before."""
    answers = [shop.ask(user_id) for user_id in range(5)]
    shop.tell(("a", answers[0]["items"][1]["impression_id"], "click"), value=3.0)
    assert shop.admin("close-day", day=DAY).json() == {"closed": True, "day": DAY + 1, "verdict": None}
    assert shop.admin("close-day", day=DAY).json() == {"closed": False, "day": DAY + 1, "verdict": None}
    impressions, _ = shop.counter.inbox.log.day(DAY)
    shown = sorted(int(item["impression_id"]) for answer in answers for item in answer["items"])
    assert impressions["impression_id"].to_pylist() == shown
    clicked = [row["impression_id"] for row in impressions.to_pylist() if row["clicked"]]
    assert clicked == [int(answers[0]["items"][1]["impression_id"])]
    assert shop.ask(3)["day"] == DAY + 1
    assert "open" in refused(shop.admin("close-day", day=DAY + 5), 409)["error"]


@pytest.mark.parametrize("day", [10**30, 2**63, 2**31, 2**15])
def test_days_beyond_all_measure_are_refused(day: int, shop: Shop) -> None:
    """No database holds them: that is the caller's mistake, and not ours."""
    for route in ("day", "close-day"):
        assert refused(shop.admin(route, day=day), 422)["field"] == "day"


def test_closing_the_day_lets_the_canary_be_judged(shop: Shop) -> None:
    """With a word for what it has decided: after one quiet day it waits; without a canary there is no verdict."""
    deploy(shop, "canary", "m2", share=0.2)
    for user_id in range(N_USERS):
        shop.ask(user_id)
    told = shop.admin("close-day", day=DAY).json()
    assert (told["closed"], told["day"]) == (True, DAY + 1)
    assert (told["verdict"]["outcome"], bool(told["verdict"]["reason"])) == ("wait", True)


def test_the_state_is_what_the_control_room_shows(shop: Shop) -> None:
    """Counts of today by arm, rungs' shares that sum to 1, traffic, versions, and the last rows, numbered."""
    deploy(shop, "challenger", "m2", share=0.5)
    strangers = np.arange(N_USERS + 3, N_USERS + 20)  # whom the champion does not know
    stranger = strangers[arms(strangers, shop.counter.registry.traffic()) == ARMS.index("champion")][0]
    answers = [shop.ask(user_id) for user_id in (*range(10), int(stranger))]
    clicked = answers[0]
    impression_id = clicked["items"][0]["impression_id"]
    shop.tell(("a", impression_id, "click"), ("b", "99", "click"), value=1.0)
    told = shop.client.get("/ops/state").json()
    assert (told["day"], told["requests"], told["feedback"], told["refused"]) == (DAY, 11, 1, "")
    assert told["request_rate"] > 0
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99"]
    assert told["event_lag_s"] > 0
    assert sum(told["dead"].values()) == 1
    assert sum(told["rungs"].values()) == pytest.approx(1)
    assert told["rungs"]["popular"] == pytest.approx(1 / 11)
    by_name = {(row["arm"], row["model_version"]): row for row in told["arms"]}
    for answer in answers:
        own = [one for one in answers if (one["arm"], one["model_version"]) == (answer["arm"], answer["model_version"])]
        row = by_name[answer["arm"], answer["model_version"]]
        n_clicks = int(clicked in own)
        assert (row["slates"], row["impressions"], row["clicks"]) == (len(own), 3 * len(own), n_clicks)
        assert row["click_rate"] == pytest.approx(n_clicks / (3 * len(own)))
    assert (told["traffic"]["challenger"], told["traffic"]["challenger_share"]) == ("m2", 0.5)
    assert {"m2", "m3"} <= set(told["versions"])
    assert shop.champion not in told["versions"]  # there is nothing it could be made
    last = told["history"][-1]
    assert (last["row"], last["action"], last["actor"]) == (shop.counter.registry.last_row(), "challenger", "Ada")


def test_all_who_look_are_told_the_same_state(shop: Shop) -> None:
    """However many they are, it is made once a second; the history, which only grows, is read when it has grown."""
    made: list[int] = []

    class Counting(Room):
        def state(self) -> dict[str, Any]:
            made.append(1)
            return {"n": len(made)}

    async def many() -> list[str]:
        room = Counting(shop.counter)
        return list(await asyncio.gather(*(room.told() for _ in range(20))))

    assert asyncio.run(many()) == ['{"n": 1}'] * 20


def test_a_damaged_history_is_shown_as_it_was(shop: Shop) -> None:
    """The rows that were read stay, and what is wrong is told."""
    before = shop.client.get("/ops/state").json()["history"]
    last = shop.counter.registry.last_row()
    (Path(shop.config.run) / "models" / "history" / f"{last + 1:05d}.json").write_text("{")
    assert shop.ask(3)["arm"] == "champion"
    told = shop.client.get("/ops/state").json()
    assert told["history"] == before
    assert f"{last + 1:05d}.json" in told["refused"]
    assert shop.client.get("/readyz").status_code == 503


def test_the_control_room_shows_the_last_twenty_rows(shop: Shop) -> None:
    """Older ones are in the registry."""
    for turn in range(12):
        for action, version in (("shadow", "m2"), ("end", None)):
            deploy(shop, action, version, actor=f"turn {turn}")
    told = shop.client.get("/ops/state").json()["history"]
    last = shop.counter.registry.last_row()
    assert [row["row"] for row in told] == list(range(last - 19, last + 1))
