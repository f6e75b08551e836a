"""What people see: the shop and the control room in a real browser, against a real server."""

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from simlab.lab.config import RunConfig
from simlab.lab.loop import run
from simlab.lab.run import load_run
from simlab.lab.serving import serve_config
from simlab.recsys.http import create_app
from simlab.recsys.online import OnlineConfig

CHROMIUM = Path("/usr/bin/chromium")

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]

TOKEN = "of these tests"

SMALL = {"n_users": 200, "n_items": 60, "history_days": 21, "new_items_per_week": 2}
CONFIG = RunConfig(
    days=2, retrain="scheduled:1", seed=7, world=SMALL,
    online=OnlineConfig(fold_in=2.0, suppress_days=7, exploration="epsilon"),
)  # fmt: skip
"""Two models, and a service that listens."""

PHONE = {"width": 375, "height": 700}

POOR_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (css) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (css) => rgba(css).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ground = (node) => {
    const css = getComputedStyle(node).backgroundColor;
    return rgba(css)[3] === 255 || !node.parentElement ? css : ground(node.parentElement);
  };
  const texts = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() &&
    [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim()));
  return texts.map((node) => {
    const [dark, bright] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => a - b);
    return [(bright + .05) / (dark + .05), node.tagName, node.textContent];
  }).filter(([ratio]) => ratio < 4.5);
}"""
"""All texts whose contrast with their ground is below 4.5 (WCAG 2.2, level AA)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; where it is missing these tests are skipped, but never by CI."""
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{CHROMIUM} is missing: install Debian's package chromium")
        pytest.skip(f"{CHROMIUM} is missing: on Debian, apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real server on a free port. The socket listens before the server runs, so nobody has to wait for it."""
    path = tmp_path_factory.mktemp("run") / "x"
    run(CONFIG, out=path)
    app = create_app(serve_config(load_run(path), token=TOKEN))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A new person's browser. Whatever they do, no script fails and nothing but the server is asked."""
    context = browser.new_context(base_url=address)
    expect.set_options(timeout=30_000)  # a busy machine is no failure
    page = context.new_page()
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("dialog", lambda dialog: failed.append(f"a script opened a dialog: {dialog.message}"))
    page.on("console", lambda said: failed.append(said.text) if said.type in ("error", "warning") else None)
    yield page
    context.close()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    # Chromium reports every answer above 399 on the console; those that a test brings about are no fault of the page
    assert [words for words in failed if not words.startswith("Failed to load resource")] == []


def enter(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#slate li")).to_have_count(9)
    settled(page)


def shop_as(page: Page, number: int) -> None:
    """Picks a shopper, and waits for their first slate."""
    with page.expect_response("**/recommend"):
        page.get_by_label("Who is shopping?").select_option(index=number)
    settled(page)


def settled(page: Page) -> None:
    """Waits until what was answered is shown."""
    expect(page.locator("#slate")).to_have_attribute("aria-busy", "false")


def body(request: Request) -> dict[str, Any]:
    return dict(json.loads(request.post_data or "{}"))


def heard(page: Page) -> list[list[dict[str, Any]]]:
    """The batches of events that the page sends from now on, filled as they are sent."""
    batches: list[list[dict[str, Any]]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/feedback"):
            batches.append(body(request)["events"])

    page.on("request", note)
    return batches


def test_a_look_and_a_purchase_reach_the_shop_and_the_change_is_told(page: Page) -> None:
    """Each deed is one event about what was shown; the next slate comes by itself and is compared with the last."""
    enter(page)
    shop_as(page, 1)
    expect(page.get_by_role("status")).to_contain_text("first slate")
    batches = heard(page)
    name = page.locator("#slate h3").nth(2).inner_text()
    page.get_by_role("button", name=f"Look closer at {name}", exact=True).click()
    with page.expect_response("**/feedback") as answered, page.expect_response("**/recommend") as asked:
        page.get_by_role("dialog").get_by_role("button", name="Back to the shop").click()
    receipts = answered.value.json()["receipts"]
    assert [receipt["outcome"] for receipt in receipts] == ["accepted"]
    expect(page.get_by_role("status")).to_contain_text(f"You looked at {name}")
    expect(page.locator("#why")).to_contain_text(asked.value.json()["model_version"])
    name, price = page.locator("#slate h3").first.inner_text(), page.locator("#slate .price").first.inner_text()
    with page.expect_response("**/feedback") as answered:
        page.get_by_role("button", name=f"Buy {name}", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text(f"You bought {name}")
    [[look], [click, purchase]] = batches
    assert [event["type"] for event in (look, click, purchase)] == ["click", "click", "purchase"]
    assert 0 <= look["value"] < 10
    assert click["value"] is None
    assert price == f"€{purchase['value']:.2f}"
    assert click["impression_id"] == purchase["impression_id"] != look["impression_id"]
    assert len({event["event_id"] for event in (look, click, purchase)}) == 3
    assert [receipt["outcome"] for receipt in answered.value.json()["receipts"]] == ["accepted", "accepted"]


def test_what_changed_is_what_differs(page: Page) -> None:
    """All is told in numbers, as the two answers differ; new and gone by name, up and down on the cards."""
    enter(page)
    names = {item["item_id"]: item["name"] for item in page.request.get("/catalogue").json()["items"]}
    ids = sorted(names)[:10]
    orders = [ids[:9], [ids[1], ids[0], *ids[3:9], ids[9]]]  # one and two change places, three goes, ten comes
    scripted(page, orders)
    shop_as(page, 2)
    expect(page.get_by_role("status")).to_contain_text("first slate")
    page.get_by_role("button", name="Next slate").click()
    expect(page.get_by_role("status")).to_contain_text("1 new, 1 gone, 7 moved up, 1 moved down.")
    said = page.locator("#changes li").all_inner_texts()
    assert said == [f"New: {names[ids[9]]}", f"Gone: {names[ids[2]]}"]  # why is not known: nobody has clicked
    expect(page.locator("#slate .change").first).to_have_text("▲ up 1")
    expect(page.locator("#slate .change").nth(1)).to_have_text("▼ down 1")


def scripted(page: Page, slates: list[list[int]], rung: str = "personal", chance: tuple[int, ...] = ()) -> None:
    """From now on slates of these items are shown, those in `chance` by chance."""
    answers = iter(slates)

    def answer(route: Route) -> None:
        told = route.fetch().json()
        sources = {True: {"source": "exploration", "propensity": 0.01}, False: {"source": "model", "propensity": 1.0}}
        rows = zip(told["items"], next(answers))
        items = [row | {"item_id": item} | sources[item in chance] for row, item in rows]
        route.fulfill(json=told | {"items": items, "rung": rung})

    page.route("**/recommend", answer)


def decided_online(page: Page, **settings: Any) -> dict[int, str]:
    """Lets the shop say that it decides so in real time; returns the names of the items."""

    def answer(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"online": online | settings})

    told = page.request.get("/catalogue").json()
    online = told["online"]
    assert online == {"fold_in": 2.0, "suppress_days": 7, "exploration": "epsilon"}  # those of CONFIG
    page.route("**/catalogue", answer)
    return {item["item_id"]: item["name"] for item in told["items"]}


def test_each_change_has_its_reason(page: Page) -> None:
    """What was bought goes because of that, what chance has drawn comes by it, the rest comes nearer to the clicks."""
    names = decided_online(page)
    enter(page)
    scripted(page, [[*range(9)], [*range(1, 8), 20, 30]], chance=(30,))
    shop_as(page, 1)
    page.get_by_role("button", name=f"Buy {names[0]}", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("2 new (of these 1 by chance), 2 gone, 7 moved up.")
    new, gone = page.locator("#changes li").all_inner_texts()
    assert new == f"New: {names[20]} (nearer to what you clicked); {names[30]} (by chance)"
    assert gone == f"Gone: {names[0]} (you bought it); {names[8]}"
    expect(page.locator("#why")).to_contain_text("personal: learnt from your history and your last clicks.")


def test_without_settings_no_click_is_said_to_matter(page: Page) -> None:
    """Where nothing is decided in real time, neither reasons nor the box of why say so."""
    names = decided_online(page, fold_in=0.0, suppress_days=0, exploration="none")
    enter(page)
    scripted(page, [[*range(9)], [*range(1, 9), 20]])
    shop_as(page, 1)
    page.get_by_role("button", name=f"Buy {names[0]}", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("1 new, 1 gone, 8 moved up.")
    assert page.locator("#changes li").all_inner_texts() == [f"New: {names[20]}", f"Gone: {names[0]}"]
    expect(page.locator("#why")).to_contain_text("learnt from your history; clicks count at the next training.")
    expect(page.locator("#why")).not_to_contain_text("last clicks")


SAME = [
    (1, 0.0, "personal", "clicks count at the next training. In a run made with --set online.fold_in=4"),
    (0, 0.0, "popular", "nothing is learnt from guests. In a run made with --set online.fold_in=4"),
    (1, 4.0, "personal", "your click was too little to move any item."),
    (0, 4.0, "popular", "until a model knows you by a click."),
]


@pytest.mark.parametrize(("who", "fold_in", "rung", "words"), SAME)
def test_why_nothing_changed_is_said(page: Page, who: int, fold_in: float, rung: str, words: str) -> None:
    """Two equal slates have a reason, which may be a setting; guests are told what is true of guests."""
    decided_online(page, fold_in=fold_in)
    scripted(page, [[*range(9)]] * 4, rung=rung)
    enter(page)
    if who:
        shop_as(page, who)
    page.get_by_role("button", name="Look closer").first.click()
    page.get_by_role("button", name="Back to the shop").click()
    expect(page.get_by_role("status")).to_contain_text("Nothing changed: ")
    expect(page.get_by_role("status")).to_contain_text(words)
    if who == 0:
        stranger = "does not know you before your first click" if fold_in else "nothing is learnt from guests."
        expect(page.locator("#why")).to_contain_text(stranger)


def test_a_guest_stays_the_same_guest(page: Page) -> None:
    """ "Me" has a user_id that no shopper has, the same until the tab is closed."""
    first = page.request.get("/shoppers").json()["guests_from"]
    users = []
    for _ in range(2):
        with page.expect_request("**/recommend") as asked:
            enter(page)
        users.append(body(asked.value)["user_id"])
    assert users[0] == users[1]
    assert first <= users[0] < 2**31


def test_the_keyboard_is_enough(page: Page) -> None:
    """Tab, Enter and Escape do all; after a deed the focus stands where the change is told."""
    enter(page)
    page.get_by_label("Who is shopping?").focus()
    with page.expect_response("**/recommend"):
        page.keyboard.press("ArrowDown")
    settled(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Next slate")).to_be_focused()
    page.keyboard.press("Tab")
    look = page.get_by_role("button", name="Look closer").first
    expect(look).to_be_focused()
    assert look.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_contain_text("You looked at")
    expect(page.get_by_role("heading", name="What changed")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Buy").first).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_contain_text("You bought")


@pytest.mark.parametrize("path", ["/", "/ops"])
def test_a_phone_shows_it_without_scrolling_sideways(page: Page, path: str) -> None:
    """375 pixels are enough for both pages, with whatever they show."""
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(path)
    expect(page.locator("#slate li, #history td").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/ops"])
def test_every_text_can_be_read(page: Page, path: str, scheme: Any) -> None:
    """Contrast is AA by day and by night, after a change as well."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(path)
    if path == "/":
        page.get_by_role("button", name="Buy").first.click()
        expect(page.get_by_role("status")).to_contain_text("You bought")
    else:
        expect(page.get_by_role("status").first).to_have_text("live")
        page.get_by_role("button", name="Promote a version").click()
    assert page.evaluate(POOR_CONTRAST) == []


def test_what_was_not_heard_is_sent_again_under_the_same_name(page: Page) -> None:
    """After a 503 and after a lost connection the same event_id is sent, so that it counts once."""
    enter(page)
    batches = heard(page)
    page.route("**/feedback", lambda route: route.abort(), times=1)  # routes given later come first
    page.route("**/feedback", lambda route: route.fulfill(status=503, json={"error": "disk full"}), times=1)
    page.get_by_role("button", name="Buy").first.click()
    expect(page.get_by_role("status")).to_contain_text("You bought")
    assert len(batches) == 3
    assert batches[0] == batches[1] == batches[2]


def test_trouble_is_told_with_a_way_out(page: Page) -> None:
    """Where the shop stays away it says so; nothing is lost by loading the page again, and a button tries again."""
    enter(page)
    batches = heard(page)
    page.route("**/feedback", lambda route: route.abort())
    page.get_by_role("button", name="Buy").first.click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_role("button", name="Try again")).to_be_focused()
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/feedback")
    with page.expect_response("**/feedback") as answered:
        page.get_by_role("button", name="Try again").click()
    assert [receipt["outcome"] for receipt in answered.value.json()["receipts"]] == ["accepted", "accepted"]
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#slate li")).to_have_count(9)
    assert all(batch == batches[0] for batch in batches)


def test_a_name_is_never_markup(page: Page) -> None:
    """Names, reasons and versions are data: what looks like HTML is shown as it is written."""
    bad = "<img src=x onerror=alert(1)>"

    def rename(route: Route) -> None:
        told = route.fetch().json()
        route.fulfill(json=told | {"items": [item | {"name": bad, "category": bad} for item in told["items"]]})

    page.route("**/catalogue", rename)
    enter(page)
    expect(page.locator("#slate h3").first).to_have_text(bad)
    page.get_by_role("button", name="Look closer").first.click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(bad)
    page.keyboard.press("Escape")
    expect(page.get_by_role("status")).to_contain_text(bad)

    def stream(route: Route) -> None:
        told = page.request.get("/ops/state").json()
        told |= {"dead": {bad: 1}, "versions": [bad], "rungs": {bad: 1.0}}
        route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(told)}\n\n")

    page.route("**/ops/events", stream)
    page.goto("/ops")
    expect(page.locator("#dead td").first).to_have_text(bad)
    assert page.locator("img").count() == 0


def test_the_control_room_is_live(page: Page) -> None:
    """What shoppers do is seen there without a reload; a lost connection is told, and mended by itself."""
    page.route("**/ops/events", lambda route: route.fulfill(status=503), times=1)
    page.goto("/ops")
    expect(page.locator("#link")).to_have_text("connection lost, retrying …")
    expect(page.locator("#link")).to_have_text("live")
    requests = page.locator("#requests")
    before = requests.inner_text()
    page.request.post("/recommend", data={"user_id": 1})
    expect(requests).not_to_have_text(before)
    expect(page.locator("#rungs tbody tr").first).to_contain_text("%")
    expect(page.locator("#arms")).to_contain_text("champion")
    expect(page.locator("#rate-line polyline")).to_have_attribute("points", re.compile(r"^[\d.]+,[\d.]+"))


def test_the_champion_is_no_rival_of_itself(page: Page) -> None:
    """It can be promoted again, but not tried beside itself; at a share of 0.5 it has the baseline alone."""

    def stream(route: Route) -> None:
        told = page.request.get("/ops/state").json()
        told["traffic"] |= {"canary": "new", "canary_share": 0.5}
        route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(told)}\n\n")

    page.route("**/ops/events", stream)
    page.goto("/ops")
    state = page.request.get("/ops/state").json()
    champion = state["traffic"]["champion"]
    expect(page.locator("#traffic tbody tr").first).to_contain_text(
        "0.0\u00a0% (the baseline is answered by the champion's model)"
    )
    for action in ("Start a challenger", "Start or widen a canary", "Start a shadow", "Promote a version"):
        page.get_by_role("button", name=action, exact=True).click()
        offered = page.get_by_label("Version").locator("option").all_inner_texts()
        assert set(offered) == set(state["versions"]) - (set() if action.startswith("Promote") else {champion})
        page.get_by_role("button", name="Cancel").click()


def test_the_words_of_the_control_room_are_explained(page: Page) -> None:
    """What is no everyday word can be looked up where it stands."""
    page.goto("/ops")
    page.get_by_text("What the words mean").click()
    for word in ("Rung", "Baseline", "Event lag", "Dead letter", "Quarantine"):
        expect(page.locator(".words dt", has_text=word)).to_be_visible()


def do(page: Page, action: str, token: str, **fields: str) -> None:
    page.get_by_role("button", name=action, exact=True).click()
    form = page.get_by_role("dialog")
    for label, value in fields.items():
        box = form.get_by_label(label.capitalize())
        (box.select_option if box.evaluate("node => node.tagName") == "SELECT" else box.fill)(value)
    form.get_by_label("Token").fill(token)
    form.get_by_role("button", name=action, exact=True).click()


def test_only_the_token_changes_traffic(page: Page) -> None:
    """A wrong token is refused in words and changes nothing; with the right one the history says who and why."""
    page.goto("/ops")
    expect(page.locator("#link")).to_have_text("live")
    state = page.request.get("/ops/state").json()
    version = next(name for name in state["versions"] if name not in state["traffic"].values())
    do(page, "Start a shadow", "wrong", version=version, your="Ada", reason="to look at its scores")
    expect(page.get_by_role("alert")).to_contain_text("token was refused (401)")
    assert page.request.get("/ops/state").json()["traffic"]["shadow"] is None
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("dialog").get_by_role("button", name="Start a shadow").click()
    expect(page.locator("#done")).to_have_text(f"Done: shadow, {version}.")
    first = page.locator("#history tbody tr").first
    for words in ("shadow", version, "Ada", "to look at its scores"):
        expect(first).to_contain_text(words)
    expect(page.locator("#traffic")).to_contain_text("never shown")
    assert TOKEN not in page.url
    do(page, "Start a shadow", TOKEN, version=version, reason="once more")
    expect(page.locator("#done")).to_contain_text("it is so already")
    do(page, "End a trial", TOKEN, which="shadow", reason="seen enough")
    expect(page.locator("#traffic")).not_to_contain_text("never shown")


def test_what_cannot_be_done_is_said_in_the_server_s_words(page: Page) -> None:
    """Nothing is on trial, so nothing can be paused; the service says so, and the page shows it."""
    page.goto("/ops")
    expect(page.locator("#link")).to_have_text("live")
    with page.expect_response("**/admin/deploy") as answered:
        do(page, "Pause the canary", TOKEN, reason="to try")
    assert 400 <= answered.value.status < 500
    expect(page.get_by_role("alert")).to_contain_text(answered.value.json()["error"])
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_day_is_closed_from_the_control_room(page: Page) -> None:
    """The next day opens; who then clicks on what was shown the day before is told that it does not count."""
    enter(page)
    shop, page = page, page.context.new_page()
    page.goto("/ops")
    expect(page.locator("#link")).to_have_text("live")
    day = page.request.get("/ops/state").json()["day"]
    do(page, "Close the day", TOKEN)
    expect(page.locator("#done")).to_have_text(f"Done: day {day} is closed.")
    expect(page.locator("#day")).to_have_text(str(day + 1))
    shop.get_by_role("button", name="Look closer").first.click()
    shop.get_by_role("button", name="Back to the shop").click()
    expect(shop.get_by_role("status")).to_contain_text("did not count this (late: its day is closed)")
    expect(shop.locator("#day")).to_have_text(f"Day {day + 1}")
