"""What Prometheus hears of a report is the report; each rule fires on its fault, and none in a shop that is well."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simlab.recsys.gauges import gauges_text, last_week
from simlab.recsys.log import EventLog
from tests.recsys.rows import CATALOGUE
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
    told = last_week(counter.inbox.log, counter.catalogue, counter.shoppers, DAY)
    assert told is not None
    found = samples(gauges_text(told, DAY).decode())
    assert (found["simlab_open_day",], found["simlab_report_day",]) == (DAY, DAY - 1)
    for _, row in told.rates.iterrows():
        name = (row["by"], row["group"], row["metric"])
        if row["ripe"] and row["value"] == row["value"]:
            assert found["simlab_window_rate", *name] == row["value"]
        else:
            assert ("simlab_window_rate", *name) not in found
    assert found["simlab_window_volume", "visits"] == told.volume["visits"]
    assert found["simlab_window_rate_high", "all", "all", "click_rate"] == told.rate("click_rate")["high"]


def test_the_report_is_that_of_yesterday(shop: Shop) -> None:
    """Over HTTP, and a new one when the day is closed."""
    first = samples(shop.client.get("/metrics/report").text)
    shop.ask(user_id=4)
    assert samples(shop.client.get("/metrics/report").text) == first
    assert shop.admin("close-day", day=DAY).status_code == 200
    then = samples(shop.client.get("/metrics/report").text)
    assert [told["simlab_report_day",] for told in (first, then)] == [DAY - 1, DAY]
    assert then["simlab_window_volume", "slates"] == first["simlab_window_volume", "slates"] + 1


def test_a_shop_without_a_past_has_no_report(tmp_path: Path) -> None:
    """Its open day is told, and nothing that a rule could take for health."""
    log = EventLog(tmp_path / "log")
    assert last_week(log, CATALOGUE, PEOPLE, 3) is None
    assert samples(gauges_text(None, 0).decode()) == {("simlab_open_day",): 0}


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
    'simlab_model_failures_total{version="m"}': "3x60",
    'simlab_open_day{job="r"}': "15x60",
    'simlab_report_day{job="r"}': "14x60",
    'simlab_window_missing{job="r"}': "0x60",
    'simlab_window_join_share{job="r"}': "1x60",
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
    "DaysAreMissing": {'simlab_window_missing{job="r"}': "1x60"},
    "FeedbackFindsNoImpression": {'simlab_window_join_share{job="r"}': "0.9x60"},
    "GroupHurt": {'simlab_window_rate_high{by="segment", group="teens", metric="clicks_per_visit"}': "1.1x60"},
}
"""What each rule is there for."""

ALSO: dict[str, Mapping[str, str | None]] = {
    "NoSlates": dict.fromkeys(name for name in WELL if "slates" in name),
    "ReportIsMissing": dict.fromkeys(name for name in WELL if name.startswith(("simlab_open", "simlab_report"))),
    "ReportIsOld": {'simlab_report_day{job="r"}': None},
}
"""Faults that take the metrics away."""


def tried(name: str, change: Mapping[str, str | None], fires: list[str]) -> dict[str, Any]:
    """A test of promtool: after three quarters of an hour these alerts fire, and no others."""
    series = {series: values for series, values in {**WELL, **change}.items() if values is not None}
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in fires]
    asked = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "45m"}
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
