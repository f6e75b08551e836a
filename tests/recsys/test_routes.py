"""The shop over HTTP: every route for shops, shoppers and those who keep it running."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simlab.recsys.counter import Counter
from simlab.recsys.http import open_counter
from simlab.recsys.inbox import Inbox
from simlab.recsys.log import EventLog
from simlab.recsys.online import OnlineConfig
from simlab.recsys.routes import SHOP
from simlab.schema import GUESTS
from tests.recsys.shop import DAY, N_ITEMS, N_USERS, Shop, served


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Where nothing is changed for those who come after."""
    with served(tmp_path_factory) as shop:
        yield shop


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """For a test that turns it upside down."""
    with served(tmp_path_factory, online=OnlineConfig(suppress_days=2)) as shop:
        yield shop


def refused(shop: Shop, route: str, body: Any, status: int) -> dict[str, Any]:
    """The words of a refusal."""
    headers = {"content-type": "application/json"}
    answer = shop.client.post(route, content=json.dumps(body), headers=headers)  # any word, as no client would write it
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    assert set(told) == {"error", "field"}
    return told


def test_a_slate_says_where_each_item_comes_from(shop: Shop) -> None:
    """All the fields that the shop's page and the log need; ids say day, user and position; nothing excluded."""
    first = shop.ask(3, 5)
    assert (first["day"], first["user_id"], first["arm"], first["model_version"]) == (DAY, 3, "champion", shop.champion)
    assert (first["rung"], first["source"]) == ("personal", "model")
    assert [item["position"] for item in first["items"]] == list(range(5))
    ids = [int(item["impression_id"]) for item in first["items"]]
    assert ids == [int(first["request_id"]) | position for position in range(5)]
    assert all(isinstance(item["impression_id"], str) and item["propensity"] == 1 for item in first["items"])
    shown = [item["item_id"] for item in first["items"]]
    again = shop.ask(3, 5, exclude=shown[:2])
    assert [item["item_id"] for item in again["items"]][:3] == shown[2:]
    assert again["request_id"] != first["request_id"]


@pytest.mark.parametrize("user_id", [N_USERS + 5, GUESTS, 2**31 - 1])
def test_strangers_and_guests_are_served_by_a_lower_rung(user_id: int, shop: Shop) -> None:
    """And the answer says which; no model is credited."""
    answer = shop.ask(user_id)
    assert (answer["rung"], answer["source"], answer["model_version"]) == ("popular", "fallback", "fallback-popular")
    assert len(answer["items"]) == 3


def test_a_longer_slate_than_there_are_goods_ends_where_they_end(shop: Shop) -> None:
    """100 may be asked for in any shop."""
    answer = shop.ask(3, 100)
    assert 0 < len(answer["items"]) <= N_ITEMS
    assert len({item["item_id"] for item in answer["items"]}) == len(answer["items"])


def test_a_retry_with_visit_and_page_is_harmless(shop: Shop) -> None:
    """Word for word the same answer, and one slate in the inbox; another page is another slate."""
    context = {"day": DAY, "visit": 2, "page": 1, "second": 3600, "latency_ms": 5}
    before = shop.counter.inbox.counts()[DAY]["slates"]
    body = {"user_id": 5, "n": 4, "context": context}
    first, again = (shop.client.post("/recommend", json=body).text for _ in range(2))
    assert first == again
    told = json.loads(first)
    assert (told["second"], told["latency_ms"]) == (3600, 5)
    assert (int(told["request_id"]) >> 12 & 15, int(told["request_id"]) >> 8 & 15) == (2, 1)
    assert shop.ask(5, 4, context={**context, "page": 2})["request_id"] != told["request_id"]
    assert shop.counter.inbox.counts()[DAY]["slates"] == before + 2


def test_a_day_has_256_slates_of_a_shopper(own: Shop) -> None:
    """They are numbered; the next is refused by name, and another shopper is served."""
    ids = {own.ask(7, 1)["request_id"] for _ in range(256)}
    assert len(ids) == 256
    told = refused(own, "/recommend", {"user_id": 7}, 409)
    assert told["field"] == "user_id"
    assert "256" in told["error"]
    assert own.ask(8, 1)["user_id"] == 8


@pytest.mark.parametrize("day", [DAY - 1, DAY + 1])
def test_another_day_is_refused_by_name(day: int, shop: Shop) -> None:
    """With the open one in the answer."""
    told = refused(shop, "/recommend", {"user_id": 3, "context": {"day": day}}, 409)
    assert told["field"] == "context.day"
    assert f"the open day is {DAY}" in told["error"]


WRONG = [
    ("/recommend", {}, "user_id"),
    ("/recommend", {"user_id": "3"}, "user_id"),
    ("/recommend", {"user_id": -1}, "user_id"),
    ("/recommend", {"user_id": 2**31}, "user_id"),
    ("/recommend", {"user_id": 3, "n": 0}, "n"),
    ("/recommend", {"user_id": 3, "n": 101}, "n"),
    ("/recommend", {"user_id": 3, "exclude": [1, -1]}, "exclude.1"),
    ("/recommend", {"user_id": 3, "exclude": [1] * 1001}, "exclude"),
    ("/recommend", {"user_id": 3, "deadline_ms": 0}, "deadline_ms"),
    ("/recommend", {"user_id": 3, "context": {"visit": 16}}, "context.visit"),
    ("/recommend", {"user_id": 3, "context": {"mood": "fair"}}, "context.mood"),
    ("/recommend", {"user_id": 3, "count": 5}, "count"),
    ("/recommend", [], "body"),
    ("/feedback", {"events": []}, "events"),
    ("/feedback", {"events": [{"event_id": "a", "impression_id": "x", "type": "click"}]}, "events.0.impression_id"),
    ("/feedback", {"events": [{"event_id": "a", "impression_id": 1, "type": "look"}]}, "events.0.type"),
    ("/feedback", {"events": [{"event_id": "", "impression_id": 1, "type": "click"}]}, "events.0.event_id"),
    ("/feedback", {"events": [{"event_id": "\ud800", "impression_id": 1, "type": "click"}]}, "events.0.event_id"),
    ("/feedback", {"events": [{"event_id": "a\x00", "impression_id": 1, "type": "click"}]}, "events.0.event_id"),
    ("/feedback", {"events": [{"event_id": "a", "impression_id": 1, "type": "rating"}]}, "events.0.value"),
    ("/feedback", {"events": [{"event_id": "a", "impression_id": 1, "type": "rating", "value": 6}]}, "events.0.value"),
    ("/feedback", {"events": [{"event_id": "a", "impression_id": 1, "type": "click", "value": -1}]}, "events.0.value"),
    ("/noop", {"user_id": None}, "user_id"),
]


@pytest.mark.parametrize(("route", "body", "field"), WRONG)
def test_what_is_wrong_is_named(route: str, body: Any, field: str, shop: Shop) -> None:
    """422 with the field, the value and what would do; nothing has been kept."""
    before = shop.counter.inbox.counts()
    told = refused(shop, route, body, 422)
    assert told["field"] == field
    assert shop.counter.inbox.counts() == before


@pytest.mark.parametrize(("body", "where"), [("{", "character 1"), ('{"user_id": 3,}', "character "), ("", "")])
def test_what_is_no_json_is_named_as_a_whole(body: str, where: str, shop: Shop) -> None:
    """The field is the body, with the place and a remedy."""
    answer = shop.client.post("/recommend", content=body, headers={"content-type": "application/json"})
    told = answer.json()
    assert (answer.status_code, told["field"]) == (422, "body")
    assert told["error"].startswith("body: ")
    assert where in told["error"]


@pytest.mark.parametrize("n", ["0", "1001", "many", ""])
def test_how_many_shoppers_is_checked_too(n: str, shop: Shop) -> None:
    """A wrong word in the address is named like one in the body."""
    answer = shop.client.get("/shoppers", params={"n": n})
    assert (answer.status_code, answer.json()["field"]) == (422, "n")


def test_every_event_has_its_outcome(own: Shop) -> None:
    """Accepted, duplicate, conflict, repeated, unknown and late, in one order with what was sent; counted once."""
    items = own.ask(3)["items"]
    one, two, three = (item["impression_id"] for item in items)
    receipts = own.tell(
        ("a", one, "click"), ("b", two, "purchase"), ("c", "5", "click"), ("a", one, "click"), value=2.0
    )
    assert [(one["event_id"], one["outcome"], one["reason"]) for one in receipts] == [
        ("a", "accepted", ""),
        ("b", "accepted", ""),
        ("c", "dead", "late: beyond the attribution window"),
        ("a", "duplicate", ""),
    ]
    receipts = own.tell(
        ("a", one, "click"), ("a", three, "click"), ("d", one, "click"), ("e", str(int(one) + 9), "click"), value=2.0
    )
    assert [(one["outcome"], one["reason"]) for one in receipts] == [
        ("duplicate", ""),
        ("dead", "conflict"),
        ("dead", "repeated"),
        ("dead", "unknown impression"),
    ]
    counts = own.counter.inbox.counts()[DAY]
    assert counts["events"] == {"click": 1, "purchase": 1}
    assert own.admin("close-day", day=DAY).status_code == 200
    receipts = own.tell(("f", three, "click"), ("g", three, "purchase"), ("b", two, "purchase"), value=2.0)
    assert [one["outcome"] for one in receipts] == ["dead", "accepted", "duplicate"]
    _, feedback = own.counter.inbox.log.day(DAY)
    assert feedback["item_id"].to_pylist() == [items[1]["item_id"]]


def test_what_was_just_bought_is_not_on_the_next_slate(own: Shop) -> None:
    """Real time, through the socket."""
    first = own.ask(3)
    assert own.tell(("a", first["items"][0]["impression_id"], "purchase"), value=9.0)[0]["outcome"] == "accepted"
    bought = first["items"][0]["item_id"]
    assert bought not in [item["item_id"] for item in own.ask(3)["items"]]


def test_the_catalogue_is_what_everybody_may_know(shop: Shop) -> None:
    """Every item by number with its name and price, and whether it is on sale today: what is shown is."""
    told = shop.client.get("/catalogue").json()
    goods = shop.counter.service.catalogue
    assert told["day"] == DAY
    assert [item["item_id"] for item in told["items"]] == list(range(len(goods)))
    assert set(told["items"][0]) == {"item_id", "name", "category", "brand", "price", "on_sale"}
    assert [item["on_sale"] for item in told["items"]] == goods.on_sale(DAY).tolist()
    assert [item["price"] for item in told["items"]] == goods.price.tolist()
    assert all(told["items"][item["item_id"]]["on_sale"] for item in shop.ask(3, 50)["items"])


def test_the_shoppers_are_those_who_have_arrived(shop: Shop) -> None:
    """Fifty, or as many as are asked for; and from where on numbers are guests'."""
    told = shop.client.get("/shoppers").json()
    assert told["guests_from"] == GUESTS
    assert [shopper["user_id"] for shopper in told["shoppers"]] == list(range(50))
    assert set(told["shoppers"][0]) == {"user_id", "segment", "region"}
    assert len(shop.client.get("/shoppers", params={"n": 1000}).json()["shoppers"]) == N_USERS
    assert len(shop.client.get("/shoppers", params={"n": 1}).json()["shoppers"]) == 1


@pytest.mark.parametrize(
    ("route", "kind", "word"), [("/", "html", "<html"), ("/ops", "html", "<html"), ("/look.css", "css", ":root")]
)
def test_the_pages_are_there(route: str, kind: str, word: str, shop: Shop) -> None:
    """Files of the package, each as what it is."""
    answer = shop.client.get(route)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(f"text/{kind}")
    assert word in answer.text.lower()


def test_a_server_that_does_nothing_answers_as_long(shop: Shop) -> None:
    """What it costs is compared with /recommend: so it reads the same body, and answers about as much."""
    answer = shop.client.post("/noop", json={"user_id": 3})
    assert answer.status_code == 200
    slate = shop.client.post("/recommend", json={"user_id": 3}).content
    assert 0.5 < len(answer.content) / len(slate) < 2


def test_alive_and_ready(shop: Shop) -> None:
    """Alive is the process, ready is the shop: with its day and the row of its traffic."""
    assert shop.client.get("/healthz").json() == {"status": "ok"}
    told = shop.client.get("/readyz")
    row = shop.counter.registry.last_row()
    assert (told.status_code, told.json()) == (200, {"status": "ready", "day": DAY, "row": row})


def test_it_is_not_ready_while_the_traffic_wants_a_damaged_model(own: Shop) -> None:
    """503 with the reason, while the old model goes on answering; ready again with traffic that can be served."""
    own.register("m2", [1])
    own.counter.registry.promote("m2", day=DAY, actor="test", reason="to see")
    (Path(own.config.run) / "models" / "m2" / "arrays.npz").write_bytes(b"nothing")
    old = own.counter.service.traffic.champion
    told = own.client.get("/readyz")
    assert told.status_code == 503
    assert "m2" in told.json()["reason"]
    assert "checksum" in told.json()["reason"]
    assert own.ask(3)["model_version"] == old
    own.register("m3", [2])
    own.counter.registry.promote("m3", day=DAY, actor="test", reason="to mend")
    assert own.client.get("/readyz").status_code == 200
    assert own.ask(3)["model_version"] == "m3"


def test_it_is_served_by_lower_rungs_without_its_champion(own: Shop) -> None:
    """One that opens then serves, and is not ready."""
    (Path(own.config.run) / "models" / own.champion / "arrays.npz").write_bytes(b"nothing")
    first = own.counter
    own.app.state.counter = another = open_counter(own.config)
    told = own.client.get("/readyz")
    assert (told.status_code, own.champion in told.json()["reason"]) == (503, True)
    assert own.ask(3)["rung"] == "segment"
    own.app.state.counter = first
    another.close()
    another.inbox.close()


def test_it_is_not_ready_without_one_of_its_threads(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which, is told; nothing but a new start helps."""
    monkeypatch.setattr(Counter, "dead", ["scribe"])
    told = shop.client.get("/readyz")
    assert told.status_code == 503
    assert "scribe" in told.json()["reason"]


def test_metrics_tell_what_was_answered(shop: Shop) -> None:
    """In Prometheus' text format, as its own parser reads it."""

    def slates() -> float:
        answer = shop.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        assert {"simlab_slates", "simlab_events", "simlab_latency_seconds", "simlab_http_errors"} <= set(families)
        totals = [sample for sample in families["simlab_slates"].samples if sample.name == "simlab_slates_total"]
        return sum(sample.value for sample in totals if sample.labels["rung"] == "personal")

    before = slates()
    shop.ask(3)
    shop.ask(3)
    assert slates() == before + 2


def test_the_control_room_is_told_each_second(shop: Shop) -> None:
    """Server-sent events: the same JSON as /ops/state, one a line, and a second one after the first."""
    shop.ask(3)
    with shop.client.stream("GET", "/ops/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = (line for line in answer.iter_lines() if line)
        told = [next(lines), next(lines)]
    assert all(line.startswith("data: ") for line in told)
    states = [json.loads(line.removeprefix("data: ")) for line in told]
    assert set(states[0]) == set(states[1]) == set(shop.client.get("/ops/state").json())
    assert states[0]["day"] == DAY


def test_what_is_served_is_kept_where_the_run_is(own: Shop) -> None:
    """Who opens the inbox of the run finds every slate that was answered."""
    own.ask(3)
    with Inbox(Path(own.config.run) / "inbox.sqlite", EventLog(Path(own.config.run) / "log")) as inbox:
        assert inbox.counts()[DAY]["slates"] == 1


def test_every_route_has_a_test() -> None:
    """None is added without one."""
    routes = {getattr(route, "path", None) for route in SHOP.routes}
    assert routes == {
        "/", "/ops", "/look.css", "/recommend", "/feedback", "/noop", "/catalogue", "/shoppers",
        "/healthz", "/readyz", "/metrics", "/metrics/report", "/ops/state", "/ops/events",
    }  # fmt: skip
