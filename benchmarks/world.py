"""Speed and size of the world and of the loop around it: `python -m benchmarks.world` prints a table.

Ratios hold on any machine, figures on the one that is named. Models have 32 dimensions; all that `shop` does is on.
A day is what runs in production: who comes, score every item, take the exact top 10, let the shoppers answer, write the
log as Parquet, move the truth; not training, and not the oracle's truth beside it, which `the ring itself` has.
Days are measured in processes of their own, so that memory is theirs.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from benchmarks.retrieval import fastest, ways
from simlab.recsys.log import EventLog
from simlab.recsys.models import FactorModel, PopularityModel
from simlab.recsys.service import Service
from simlab.schema import Requests, Slates
from simlab.streams import stream
from simlab.tables import to_feedback, to_impressions
from simlab.world.birth import make_world
from simlab.world.config import RhythmConfig
from simlab.world.dynamics import happened, step
from simlab.world.history import answer, serve
from simlab.world.presets import preset
from simlab.world.truth import World, available
from simlab.world.users import MAX_VISITS, rhythm, visits

N, N_DIMS = 10, 32


def world_of(n_users: int, n_items: int, visits_per_day: float = 0.34) -> World:
    """A shop on day 0, without a history."""
    world = make_world(preset("shop", n_users=n_users, n_items=n_items, visits_per_day=visits_per_day), 1)
    return replace(world, state=replace(world.state, day=0))


def service_of(world: World) -> Service:
    """A service with a factor model of random vectors."""
    rng, n_users, n_items = stream(0, "benchmark model"), len(world.shoppers), len(world.catalogue)
    model = FactorModel(
        user_vector=rng.normal(size=(n_users, N_DIMS)),
        item_vector=rng.normal(size=(n_items, N_DIMS)),
        item_bias=rng.normal(size=n_items),
        known=np.ones(n_users, dtype=bool),
    )
    service = Service(world.catalogue, PopularityModel(score=np.ones(n_items)))
    service.deploy(model, "benchmark")
    return service


def everybody(world: World, day: int = 0) -> Requests:
    """Every shopper, as often as they can come on a day."""
    users = len(world.shoppers)
    user_id, visit = np.repeat(np.arange(users), MAX_VISITS), np.tile(np.arange(MAX_VISITS), users)
    return Requests(day=day, user_id=user_id, visit=visit, n=N)


def responding(world: World, requests: Requests) -> str:
    """Slates a second, one core: utilities, luck, looks, clicks and all that follows them."""
    slates = service_of(world).recommend(requests)
    return f"{len(slates.item_id) / fastest(lambda: answer(world, world.state, slates)):,.0f} slates/s"


def mixed() -> World:
    """Shoppers of all four ways to choose, who are bored and want complements, in budgets."""
    change = {"season": 0.5, "fashion": 0.3, "boredom": 0.05, "item_boredom": 0.1, "price_change": 0.05}
    ways = {"cascade_share": 0.25, "dependent_share": 0.25, "logit_share": 0.25, "impatience": 0.2}
    more = {"fuss": 0.3, "budget": 0.3, "complements": 0.5, "change": change, "response": ways}
    world = make_world(preset("shop", n_users=1000, n_items=1000, **more), 1)
    return replace(world, state=replace(world.state, day=0))


def ring_day() -> float:
    """Slates a second of the ring's own days: with the truth of every slate and of the best, metrics and files."""
    from simlab.lab.config import RunConfig  # here, so that it does not count as memory of the days
    from simlab.lab.loop import open_ring, run_day

    config = RunConfig(days=6, retrain="never", world={"n_users": 20_000, "n_items": 1000, "history_days": 14})
    with TemporaryDirectory() as folder:
        ring = open_ring(config, Path(folder) / "run")
        run_day(ring, 0)
        begin = time.perf_counter()
        visited = sum(int(run_day(ring, day)["visits"]) for day in range(1, config.days))
        return visited / (time.perf_counter() - begin)


def looping(days: int = 60) -> dict[str, float]:
    """Slates a second of the whole loop, on two cores: one computes, the other writes. And where the time goes."""
    world = world_of(1000, 1000)
    service, spent = service_of(world), dict.fromkeys(("score and rank", "respond", "tabulate", "write"), 0.0)

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        done = work()
        spent[name] += time.perf_counter() - begin
        return done

    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as writer:
        log, written = EventLog(Path(folder)), []
        begin = time.perf_counter()
        for day in range(days):
            state, requests = replace(world.state, day=day), everybody(world, day)
            slates = timed("score and rank", partial(service.recommend, requests))
            outcomes = timed("respond", partial(answer, world, state, slates))
            shown = timed("tabulate", partial(to_impressions, slates, outcomes))
            told = timed("tabulate", partial(to_feedback, slates, outcomes, state.price))
            now = told.filter(pc.equal(told["day"], day))
            written.append(writer.submit(timed, "write", partial(log.append, day, shown, now)))
        for part in written:
            part.result()
        total = time.perf_counter() - begin
    figures = {f"share of {name}": seconds / total for name, seconds in spent.items()}
    return {"slates a second": days * len(requests) / total, **figures}


def a_day(n_users: int, n_items: int, n_visits: int) -> dict[str, float]:
    """One day of about `n_visits` visits: seconds without and with the set-up, and megabytes at the most."""
    began = time.perf_counter()
    warm = world_of(50, 100)  # what is compiled is loaded
    serve(warm, warm.state, visits(warm, 0, N, warm.state), service_of(warm).recommend)
    start = time.perf_counter()
    world = world_of(n_users, n_items, n_visits / n_users / rhythm(RhythmConfig(), 0))
    set_up = time.perf_counter() - start
    service = service_of(world)
    with TemporaryDirectory() as folder:
        log, begin = EventLog(Path(folder)), time.perf_counter()
        here = available(world, world.state)
        asked = visits(world, 0, N, world.state)

        def show(requests: Requests) -> Slates:
            return service.recommend(requests, here)

        slates, outcomes = serve(world, world.state, asked, show)
        told = to_feedback(slates, outcomes, world.state.price)
        log.append(0, to_impressions(slates, outcomes), told.filter(pc.equal(told["day"], 0)))
        step(world, world.state, happened(world, slates, outcomes))
        seconds = time.perf_counter() - begin
    return {
        "visits": len(asked),
        "seconds": seconds,
        "set-up": set_up,
        "MB": peak(),
        "whole": time.perf_counter() - began,
    }


def apart(*size: int) -> dict[str, float]:
    """`a_day` in a process of its own."""
    call = [sys.executable, "-m", "benchmarks.world", *map(str, size)]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def slope(sizes: list[float], values: list[float]) -> float:
    """Of log(value) over log(size), by least squares: 1 where values grow as sizes do."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def import_seconds() -> float:
    """Median seconds that `import simlab` adds to starting Python."""

    def seconds(code: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begin

    seconds("import simlab")
    return median(seconds("import simlab") - seconds("pass") for _ in range(7))


def peak() -> float:
    """Megabytes at the most. Linux counts those of the process that started this one into ru_maxrss, not into VmHWM."""
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return (kilobytes[0] if kilobytes else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def processor() -> str:
    """What the machine computes with; its model where Linux tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor()} ({platform.machine()})"


def say(what: str, value: str, aim: str = "") -> None:
    print(f"{what:<62} {value:>16}  {aim}", flush=True)


def main() -> None:
    say(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}", "measured", "aim")
    shop, crowd = world_of(1000, 1000), world_of(100_000, 1000, 1.0)
    say("responding, 1,000 users x 1,000 items x 10, one core", responding(shop, everybody(shop)), "3,000,000")
    say("    those of 100,000 users who come", responding(crowd, visits(crowd, 0, N, crowd.state)))
    everything = mixed()
    say("    1,000 users, all behaviours of all worlds at once", responding(everything, everybody(everything)))
    looping(days=2)
    loop = max((looping() for _ in range(3)), key=lambda found: found["slates a second"])
    say("the full loop, the same size, two cores", f"{loop.pop('slates a second'):,.0f} slates/s", "300,000")
    for name, share in loop.items():
        say(f"    {name}", f"{share:.2f}", "(writing goes on beside the rest)" if "write" in name else "")
    say("the ring itself, 20,000 users: with truth, metrics, files", f"{ring_day():,.0f} slates/s")
    for n_items in (1000, 10_000):
        timed = ways(n_items)
        ratio = fastest(timed["bare product, single precision"]) / fastest(timed["best_of_factors"])
        say(
            f"exact top 10 of {n_items:,}, to the bare matrix product", f"{ratio:.2f}", "python -m benchmarks.retrieval"
        )
    day = apart(300_000, 10_000, 100_000)
    say(f"a day of {day['visits']:,.0f} visits x 10,000 items", f"{day['seconds']:.2f} s", "2 s")
    say("set-up of 100,000 users", f"{apart(100_000, 1000, 1000)['set-up']:.2f} s", "1 s")
    sizes = [apart(visitors, 1000, visitors) for visitors in (10_000, 100_000, 1_000_000)]
    for found in sizes:
        say(
            f"a day of {found['visits']:,.0f} visits x 1,000 items",
            f"{found['seconds']:.2f} s",
            f"{found['MB']:,.0f} MB",
        )
    steps = list(pairwise(sizes))
    slopes = [slope([one["visits"] for one in step], [one["seconds"] for one in step]) for step in steps]
    say("    seconds: slope of logarithms from size to size", ", ".join(f"{each:.2f}" for each in slopes), "1")
    each = [1024 * (large["MB"] - small["MB"]) / (large["visits"] - small["visits"]) for small, large in steps]
    say("    memory: KB for each more visit", ", ".join(f"{kilobytes:.1f}" for kilobytes in each), "the same")
    large = apart(1_000_000, 10_000, 340_000)
    say(f"a million users x 10,000 items, {large['visits']:,.0f} visits", f"{large['seconds']:.1f} s", "")
    say("    memory", f"{large['MB']:,.0f} MB", "4,096 MB")
    say("import simlab", f"{import_seconds():.2f} s")


if __name__ == "__main__":
    with threadpool_limits(1, "blas"):  # one core computes, the other writes: BLAS's second thread would be in the way
        if len(sys.argv) > 1:
            print(json.dumps(a_day(*map(int, sys.argv[1:]))))
        else:
            main()
