"""What Prometheus hears of a report is the report; each rule fires on its fault, and none in a shop that is well."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simlab.recsys.gauges import gauges_text, last_week, wrong_rows
from simlab.recsys.log import EventLog
from simlab.tables import FEEDBACK, IMPRESSIONS
from tests.recsys.rows import CATALOGUE, feedback, impressions
from tests.recsys.shop import DAY, Shop, served
from tests.recsys.test_report import PEOPLE

OPS = Path(__file__).parents[2] / "data" / "ops"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with served(tmp_path_factory) as made:
        yield made


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Every value by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def promtool(*arguments: str, said: str | None = None) -> str:
    """What Debian's promtool says; the test fails where it complains."""
    program = shutil.which("promtool")
    if program is None:
        told = "promtool is not here: apt-get install prometheus"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    done = subprocess.run([program, *arguments], input=said, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_gauges_say_what_the_report_says(shop: Shop) -> None:
    """Each ripe rate with its interval, and volumes; rates that are not ripe are not told."""
    counter = shop.counter
    told = last_week(counter.inbox.log, counter.catalogue, counter.shoppers)
    assert told is not None
    found = samples(gauges_text(told, DAY, DAY - 1).decode())
    assert (found["simlab_open_day",], found["simlab_report_day",]) == (DAY, DAY - 1)
    for _, row in told.rates.iterrows():
        name = (row["by"], row["group"], row["metric"])
        for gauge, column in (("rate", "value"), ("rate_low", "low"), ("rate_high", "high")):
            known = row["ripe"] and row[column] == row[column]
            assert found.get((f"simlab_window_{gauge}", *name)) == (row[column] if known else None)
    assert found["simlab_window_volume", "visits"] == told.volume["visits"]
    assert all(value == value for value in found.values())


def test_the_report_is_that_of_yesterday(shop: Shop) -> None:
    """Over HTTP, and a new one when the day is closed."""
    first = samples(shop.client.get("/metrics/report").text)
    shop.ask(user_id=4)
    assert samples(shop.client.get("/metrics/report").text) == first
    assert shop.admin("close-day", day=DAY).status_code == 200
    then = samples(shop.client.get("/metrics/report").text)
    assert [told["simlab_report_day",] for told in (first, then)] == [DAY - 1, DAY]
    assert then["simlab_window_volume", "slates"] == first["simlab_window_volume", "slates"] + 1


def test_a_report_is_of_the_log_and_not_of_the_worker(shop: Shop) -> None:
    """While a closed day is on its way into the log the report is of the day before, and the open day tells so; it is
    written anew when the log has got the day, also by a worker that nobody has asked for a slate meanwhile."""
    log = shop.counter.inbox.log
    day = shop.counter.inbox.day
    shop.ask(user_id=5)
    shop.client.get("/metrics/report")
    away = log.path.parent / "away"
    assert shop.counter.inbox.close_day(day)
    (log.path / f"day={day:05d}").rename(away)
    moving = samples(shop.client.get("/metrics/report").text)
    away.rename(log.path / f"day={day:05d}")
    then = samples(shop.client.get("/metrics/report").text)
    assert [(told["simlab_open_day",], told["simlab_report_day",]) for told in (moving, then)] == [
        (day + 1, day - 1),
        (day + 1, day),
    ]
    assert then["simlab_window_missing",] == 0


def test_rows_that_cannot_be_right_are_told(tmp_path: Path) -> None:
    """Of the last day only: two prices in cents and a rating of 9; a log without days has none."""
    log = EventLog(tmp_path)
    assert wrong_rows(log, CATALOGUE) == {"error": 0, "warning": 0}
    shown = impressions(pd.DataFrame({"visit": [0], "day": [1], "user_id": [0], "item_id": [1], "clicked": [True]}))
    rows = {"impression_id": [5, 6, 7], "item_id": [1, 2, 1], "kind": ["purchase", "purchase", "rating"]}
    came = feedback(pd.DataFrame({**rows, "day": [1] * 3, "value": [1000.0, 2000.0, 9.0]}))
    log.append(
        0,
        impressions(pd.DataFrame({"visit": [], "day": [], "user_id": [], "item_id": [], "clicked": []}, dtype=int)),
        came.slice(0, 0),
    )
    log.append(1, shown, came)
    wrong = wrong_rows(log, CATALOGUE)
    assert wrong["error"] >= 3
    text = samples(gauges_text(None, 2, 1, wrong).decode())
    assert text["simlab_report_findings", "error"] == wrong["error"]


def test_a_log_that_cannot_be_read_is_no_report(shop: Shop) -> None:
    """Prometheus hears 503, and the same request is answered when the file is back."""
    log = shop.counter.inbox.log
    day = shop.counter.inbox.day
    shop.counter.inbox.close_day(day)
    file = log.path / f"day={day:05d}" / "impressions.parquet"
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    answer = shop.client.get("/metrics/report")
    assert (answer.status_code, "put" in answer.json()["error"]) == (503, True)
    file.write_bytes(whole)
    assert shop.client.get("/metrics/report").status_code == 200


def test_events_are_told_from_the_start(shop: Shop) -> None:
    """As 0: a pipe that never worked must not look like no pipe at all."""
    told = samples(shop.client.get("/metrics").text)
    assert {("simlab_events_total", outcome) for outcome in ("accepted", "duplicate", "dead")} <= told.keys()
    assert told["simlab_model_failures_total", shop.champion] == 0


def test_a_shop_without_a_past_has_no_report(tmp_path: Path) -> None:
    """Its open day is told, and nothing that a rule could take for health."""
    log = EventLog(tmp_path / "log")
    assert last_week(log, CATALOGUE, PEOPLE) is None
    log.append(0, IMPRESSIONS.empty_table(), FEEDBACK.empty_table())
    assert last_week(log, CATALOGUE, PEOPLE) is None
    assert samples(gauges_text(None, 0, -1).decode()) == {("simlab_open_day",): 0, ("simlab_report_day",): -1}


def test_names_and_files_are_as_prometheus_wants_them(shop: Shop) -> None:
    """promtool finds nothing to say about either page of metrics, the rules and the configuration."""
    for page in ("/metrics/report", "/metrics"):
        text = shop.client.get(page).text
        own = "\n".join(line for line in text.splitlines() if "simlab_" in line) + "\n"
        assert promtool("check", "metrics", said=own) == ""
    assert "SUCCESS" in promtool("check", "config", str(OPS / "prometheus.yml"))


def expressions() -> dict[str, str]:
    """Every expression of the dashboard, by panel and number."""
    panels = json.loads((OPS / "dashboard.json").read_text())["panels"]
    return {f"{panel['title']} {n}": target["expr"] for panel in panels for n, target in enumerate(panel["targets"])}


def test_the_dashboard_asks_what_prometheus_can_answer(shop: Shop, tmp_path: Path) -> None:
    """Each expression is one, and it and each rule name metrics that the shop tells."""
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(expressions().values())]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))
    text = "".join(shop.client.get(page).text for page in ("/metrics", "/metrics/report"))
    told = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (\w+)", text, re.M)}
    asked = "\n".join(expressions().values()) + "\n".join(re.findall(r"(?:expr: |^ {10})(.*)", RULES, re.M))
    names = {re.sub(r"_(total|bucket)$", "", name) for name in re.findall(r"simlab_\w+", asked)} - {"simlab_report"}
    assert len(names) > 12
    assert names <= told


RULES = (OPS / "alerts.yml").read_text()

WELL: dict[str, str] = {
    'up{job="simlab"}': "1x60",
    'up{job="simlab_report"}': "1x60",
    'simlab_slates_total{arm="champion", rung="personal"}': "0+600x60",
    'simlab_slates_total{arm="champion", rung="segment"}': "0+60x60",
    'simlab_events_total{outcome="accepted"}': "0+200x60",
    'simlab_events_total{outcome="dead"}': "0+2x60",
    'simlab_latency_seconds_bucket{le="0.05"}': "0+655x60",
    'simlab_latency_seconds_bucket{le="0.5"}': "0+660x60",
    'simlab_latency_seconds_bucket{le="+Inf"}': "0+660x60",
    'simlab_http_errors_total{status="422"}': "0+60x60",
    "simlab_late_total": "0+1x60",
    'simlab_model_failures_total{version="m"}': "0 0 1x58",
    'simlab_open_day{job="r"}': "15x60",
    'simlab_report_day{job="r"}': "14x60",
    'simlab_window_missing{job="r"}': "0x60",
    'simlab_window_join_share{job="r"}': "1x60",
    'simlab_report_findings{severity="error"}': "0x60",
    'simlab_report_findings{severity="warning"}': "3x60",
    'simlab_window_rate{by="all", group="all", metric="clicks_per_visit"}': "2.5x60",
    'simlab_window_rate_high{by="segment", group="teens", metric="clicks_per_visit"}': "2.2x60",
}
"""An hour of a shop: what its metrics read each minute, in promtool's notation."""

SICK: dict[str, Mapping[str, str | None]] = {
    "ShopIsDown": {'up{job="simlab"}': "0x60"},
    "NoSlates": {"simlab_late_total": "1x60", **{name: "7x60" for name in WELL if "slates" in name}},
    "ServerErrors": {'simlab_http_errors_total{status="503"}': "0+20x60"},
    "SlowSlates": {'simlab_latency_seconds_bucket{le="0.05"}': "0+600x60"},
    "ModelTooLate": {"simlab_late_total": "0+30x60"},
    "ModelRaises": {'simlab_model_failures_total{version="m"}': "0+1x60"},
    "Fallback": {'simlab_slates_total{arm="champion", rung="segment"}': "0+300x60"},
    "DeadLetters": {'simlab_events_total{outcome="dead"}': "0+40x60"},
    "NoFeedback": {name: "9x60" for name in WELL if "events" in name},
    "ReportIsMissing": {'up{job="simlab_report"}': "0x60"},
    "ReportIsOld": {'simlab_open_day{job="r"}': "17x60"},
    "DayIsNotClosed": {},
    "DaysAreMissing": {'simlab_window_missing{job="r"}': "1x60"},
    "DataIsWrong": {'simlab_report_findings{severity="error"}': "12x60"},
    "FeedbackFindsNoImpression": {'simlab_window_join_share{job="r"}': "0.9x60"},
    "GroupHurt": {'simlab_window_rate_high{by="segment", group="teens", metric="clicks_per_visit"}': "1.1x60"},
}
"""What each rule is there for."""

ALSO: dict[str, Mapping[str, str | None]] = {
    "NoSlates": dict.fromkeys(name for name in WELL if "slates" in name),
    "ReportIsMissing": dict.fromkeys(name for name in WELL if name.startswith(("simlab_open", "simlab_report"))),
    "NoFeedback": {name: "0x60" for name in WELL if "events" in name},
}
"""Faults that take the metrics away."""


def tried(name: str, change: Mapping[str, str | None], fires: list[str]) -> dict[str, Any]:
    """A test of promtool: after three quarters of an hour, or 28 hours without a change, these alerts fire alone."""
    series = {series: values for series, values in {**WELL, **change}.items() if values is not None}
    if not change and fires:
        series = {name: values.replace("x60", "x1700").replace("x58", "x1700") for name, values in series.items()}
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in fires]
    when = "28h" if not change and fires else "45m"
    asked = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": when}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in series.items()],
        "promql_expr_test": [{**asked, "exp_samples": expected}],
    }


def test_each_rule_fires_on_its_fault_and_no_other_does(tmp_path: Path) -> None:
    """In a shop that is well all are silent; where a metric is gone, silence is an alarm."""
    assert list(SICK) == re.findall(r"alert: (\w+)", RULES)
    tests = [tried("well", {}, [])]
    tests += [tried(name, change, [name]) for faults in (SICK, ALSO) for name, change in faults.items()]
    shutil.copy(OPS / "alerts.yml", tmp_path)
    file = tmp_path / "test.json"
    file.write_text(json.dumps({"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_each_rule_says_what_to_look_at() -> None:
    """A severity, a summary and a first look."""
    for part in RULES.split("- alert: ")[1:]:
        assert re.search(r"severity: (critical|warning)", part)
        assert all(f"{word}: " in part for word in ("summary", "look"))
