"""The ring over HTTP is the ring: same log, same metrics, same history, also where the server or the ring is killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from simlab.errors import InboxError
from simlab.lab.config import RunConfig
from simlab.lab.loop import Ring, open_ring, run
from simlab.lab.over_http import OverHttp, over_http
from simlab.lab.run import Run, load_run
from simlab.lab.serving import Server, serve, serve_config
from simlab.recsys.online import OnlineConfig
from simlab.recsys.traffic import Change
from simlab.schema import Bools, Outcomes, Requests, Slates

EVERYTHING = OnlineConfig(fold_in=4.0, suppress_days=3, exploration="thompson")

CONFIG = RunConfig(
    days=10,
    seed=3,
    retrain="scheduled:4",
    latency_ms=120.0,
    online=EVERYTHING,
    world={
        "n_users": 120,
        "n_items": 60,
        "history_days": 20,
        "change": {"stock": 40},
        "loyalty": {"newcomers_per_week": 30},
        "rhythm": {"next_page": 0.4},
    },
)


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(CONFIG, out=tmp_path_factory.mktemp("ring") / "run")


def assert_same(one: Run, other: Run) -> None:
    assert one.log.digest() == other.log.digest()
    assert one.metrics.equals(other.metrics)
    assert one.registry.history() == other.registry.history()


def test_the_shop_of_this_test_uses_what_it_is_to_compare(in_process: Run) -> None:
    """Pages, several visits, exploration, fallback and purchases of the same day are there, or equality says little."""
    rows = in_process.log.sql("select * from impressions where day >= 0")
    assert {"model", "exploration", "fallback"} <= set(rows["source"])
    assert ((rows["request_id"] // 256 % 16) > 0).any()
    assert ((rows["request_id"] // 4096 % 16) > 0).any()
    assert (rows["purchase_day"] == rows["day"]).any()


def test_ten_days_over_http_are_those_in_process(in_process: Run) -> None:
    """Same seed, same slates, same log, bit for bit; what the ring knows of a day is what the server has logged."""
    over = run(CONFIG, over=over_http)
    assert_same(in_process, over)
    for day in over.days:
        for mine, others in zip(in_process.log.day(day), over.log.day(day), strict=True):
            keys = [name for name in ("impression_id", "kind") if name in mine.column_names]
            pd.testing.assert_frame_equal(_plain(mine, keys), _plain(others, keys))


def _plain(table: pa.Table, keys: list[str]) -> pd.DataFrame:
    words = [name for name in ("model_version", "arm", "source", "kind") if name in table.column_names]
    rows: pd.DataFrame = table.to_pandas()
    return rows.astype(dict.fromkeys(words, str)).sort_values(keys, ignore_index=True)


class Mishaps(OverHttp):
    """A company whose server is killed now and then, between two requests and in the midst of them."""

    def __init__(self, server: Server, ring: Ring) -> None:
        super().__init__(server, ring.world.catalogue, ring.config.latency_ms)
        self.server = server
        self.asked = self.killed = 0

    def _kill(self) -> None:
        if not self.server.died:
            self.server.kill()
            self.killed += 1

    def show(self, requests: Requests) -> Slates:
        self.asked += 1
        timer = threading.Timer(0.01 * (self.asked % 5), self._kill) if self.asked % 19 == 0 else None
        if timer is not None:
            timer.start()
        slates = super().show(requests)
        if timer is not None:
            timer.join()
        return slates

    def tell(self, slates: Slates, outcomes: Outcomes, feedback: pa.Table) -> None:
        if self.asked % 31 == 0:
            self._kill()
        super().tell(slates, outcomes, feedback)

    def open_day(self, day: int, here: Bools, arriving: pa.Table) -> None:
        if day == 3:
            self._kill()
        super().open_day(day, here, arriving)

    def close_day(self, day: int, impressions: pa.Table, feedback: pa.Table) -> None:
        timer = threading.Timer(0.02, self._kill) if day in (1, 6) else None
        if timer is not None:
            timer.start()
        super().close_day(day, impressions, feedback)
        if timer is not None:
            timer.join()


def test_a_server_that_is_killed_again_and_again_loses_nothing(in_process: Run) -> None:
    """The client says the same again with the same ids; the log is that of a run in which nothing happened."""
    seen: list[Mishaps] = []

    @contextmanager
    def unlucky(ring: Ring) -> Iterator[OverHttp]:
        with over_http(ring) as company:
            seen.append(Mishaps(company.server, ring))
            yield seen[0]
            seen[0].close()

    assert_same(in_process, run(CONFIG, over=unlucky))
    assert seen[0].killed >= 3


def test_a_ring_that_is_killed_goes_on_over_http_and_leaves_no_server(in_process: Run, tmp_path: Path) -> None:
    """Killed in the midst of a day, the same command ends the same; the server of the dead ring ends by itself."""
    folder = tmp_path / "run"
    code = f"""
import sys
from simlab.lab.loop import run
from simlab.lab.over_http import over_http
from tests.lab.test_over_http import CONFIG
from functools import partial
run(CONFIG, out={str(folder)!r}, over=partial(over_http, told=lambda server: print(server.process.pid, flush=True)),
    progress=lambda metrics: print("day", metrics["day"], flush=True))
"""
    root = Path(__file__).resolve().parents[2]
    ring = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    assert ring.stdout is not None
    with ring.stdout as said:
        server = int(said.readline())
        assert said.readline() == "day 0\n"
        assert said.readline() == "day 1\n"
        ring.send_signal(signal.SIGKILL)
        ring.wait()
    _wait_for_the_end_of(server)
    assert 2 <= len(load_run(folder).log.days) <= 4
    assert_same(in_process, run(CONFIG, out=folder, over=over_http))


def _wait_for_the_end_of(process: int) -> None:
    for _ in range(600):
        try:
            os.kill(process, 0)
            with open(f"/proc/{process}/stat") as state:
                if state.read().rsplit(")", 1)[1].split()[0] == "Z":  # dead, and nobody has asked for its last word
                    return
        except (ProcessLookupError, FileNotFoundError):
            return
        threading.Event().wait(0.05)
    raise AssertionError("the server outlived its ring by half a minute")


def test_an_inbox_that_the_log_has_left_behind_is_not_served(in_process: Run, tmp_path: Path) -> None:
    """A run that went on in process while an inbox was half a day in: serving says so, and what to do."""
    config = RunConfig(**{**_settings(CONFIG), "days": 2})

    @contextmanager
    def one_day(ring: Ring) -> Iterator[Any]:
        with over_http(ring) as company:
            yield company

    class StoppedError(Exception):
        """The ring is left after its first day."""

    def stop(metrics: dict[str, Any]) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        run(config, out=tmp_path / "run", over=one_day, progress=stop)
    done = run(config, out=tmp_path / "run")
    with pytest.raises(InboxError, match="open day of the inbox: 1 .* the log has gone on to day 2"):
        serve(serve_config(done), host="127.0.0.1", port=1)


def _settings(config: RunConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("seed", "retrain", "latency_ms", "online", "world")}


def test_a_canary_and_a_shadow_are_the_same_over_http(tmp_path: Path) -> None:
    """Arms, epsilon and a ladder without segments: the same log; the shadow is scored beside it, and is not in it."""
    config = RunConfig(
        preset="influence",
        days=3,
        seed=11,
        retrain="never",
        segments=False,
        online=OnlineConfig(fold_in=2.0, exploration="epsilon", epsilon=0.3),
        world={"n_users": 120, "n_items": 60, "history_days": 14, "loyalty": {"newcomers_per_week": 40}},
    )
    runs = []
    for name, over in (("in process", None), ("over http", over_http)):
        registry = open_ring(config, tmp_path / name).registry
        champion, shadow = registry.alias("champion"), registry.alias("fallback")
        assert champion is not None
        registry.register(registry.load(champion)[0], "twin", {"trained_day": 0})
        told: dict[str, Any] = {"day": 0, "actor": "test", "reason": "because"}
        registry.change(Change(action="canary", version="twin", share=0.3, **told))
        registry.change(Change(action="shadow", version=shadow, **told))
        runs.append(run(config, out=tmp_path / name, over=over))
    assert_same(*runs)
    shown = runs[1].log.sql("select distinct arm, model_version as version from impressions where day >= 0")
    assert set(shown["arm"]) == {"champion", "canary", "baseline"}
    assert shadow not in set(shown["version"])
    assert {file.name for file in (tmp_path / "over http" / "shadow").iterdir()} == {
        f"day={day:05d}.parquet" for day in range(3)
    }
