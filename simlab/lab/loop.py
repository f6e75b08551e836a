"""The ring, closed: history, training, deployment, slates, shoppers, feedback, metrics, decision, training again.

Why one function: `run_day` is the whole subject of the course on one screen. The shoppers' half and the company's half
meet here and nowhere else, and they meet in tables only.

Why it can be killed: all that a day leaves is written before the day's folder of the log appears under its name, and
that renaming is the moment at which the day has happened. What an unfinished day left is made again, the same.
"""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from simlab.errors import ConfigError, SimlabError
from simlab.files import locked, parquet_bytes, sweep, temporary_folder, write_bytes, write_json
from simlab.lab.company import Company, InProcess
from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.lab.replay import journal
from simlab.lab.run import Run, check_folder, check_whole, claim_folder, day_file
from simlab.lab.worlds import open_world
from simlab.recsys.canary import advance
from simlab.recsys.facts import Facts
from simlab.recsys.gates import GATES
from simlab.recsys.log import EventLog
from simlab.recsys.models import Model, PopularityModel, SegmentModel
from simlab.recsys.monitor import daily_metrics
from simlab.recsys.registry import Registry
from simlab.recsys.retrain import RetrainPolicy, parse_policy
from simlab.recsys.service import Service
from simlab.recsys.succession import Attempt, last_tried, succeed
from simlab.recsys.training import train
from simlab.schema import Outcomes, Requests, Slates, join_outcomes, join_slates
from simlab.settings import from_dict
from simlab.tables import FEEDBACK, History, to_feedback, to_impressions
from simlab.world.history import serve
from simlab.world.snapshot import to_bytes
from simlab.world.truth import State, World, available
from simlab.world.users import visits

Metrics = dict[str, Any]
Progress = Callable[[Metrics], None]


@dataclass(kw_only=True)
class Ring:
    """A shop that is running: the world and its oracle on one side, the company's parts on the other."""

    config: RunConfig
    path: Path
    world: World
    oracle: Oracle
    log: EventLog
    registry: Registry
    service: Service
    company: Company
    """How shoppers come to the service: in this process, or over HTTP to another one like it."""
    policy: RetrainPolicy
    facts: Facts
    """What the policy may know: the log, day by day."""
    pending: pa.Table
    """FEEDBACK rows that the world has decided and the company has not seen."""
    last_trained: int
    """Day on which the champion was trained."""
    last_tried: int = 0
    """Day on which a gate last judged; for the policy that counts as a training."""


Over = Callable[[Ring], AbstractContextManager[Company]]
"""Opens another way to the company for as long as a run takes; see simlab.lab.over_http."""


def run_day(ring: Ring, day: int) -> Metrics:
    """Turns the ring once; returns the day's metrics: what the company sees, and the truth beside it."""
    decision = ring.policy.decide(day, max(ring.last_trained, ring.last_tried), ring.facts)
    if decision.retrain and ring.registry.traffic().rollout is None:  # one change at a time: a rollout comes first
        retrain(ring, day, decision.reason)

    judged = advance(ring.log, ring.registry, day)
    if judged is not None and judged.outcome == "promote":
        ring.last_trained = trained_day(ring.registry)
    state = ring.oracle.state(day)
    ring.company.open_day(day, available(ring.world, state), due(ring.pending, day))
    slates, outcomes = serve_day(ring, state)

    seen, to_come = to_impressions(slates, outcomes), to_feedback(slates, outcomes, state.price)
    ring.pending = pa.concat_tables([ring.pending, to_come])
    feedback = due(ring.pending, day)
    ring.pending = ring.pending.filter(pc.greater(ring.pending["day"], day))

    metrics: Metrics = {
        "day": day,
        "model_version": ring.registry.alias("champion"),
        "model_age": day - ring.last_trained,
        "retrained": int(day == ring.last_trained),
        **daily_metrics(seen, feedback, ring.world.catalogue.launched_by(day), day),
        **ring.oracle.truth_of_day(slates),
    }
    write_bytes(day_file(ring.path, day, "parquet"), parquet_bytes(to_come.filter(pc.greater(to_come["day"], day))))
    write_json(
        day_file(ring.path, day, "json"), {name: None if x != x else x for name, x in metrics.items()}, sort=False
    )
    ring.company.close_day(day, seen, feedback)
    ring.oracle.move(slates, outcomes)
    return metrics


def trained_day(registry: Registry) -> int:
    """The day on which the champion was trained."""
    return int(registry.card(str(registry.alias("champion")))["trained_day"])


def due(pending: pa.Table, day: int) -> pa.Table:
    """The rows of FEEDBACK that arrive on `day`."""
    return pending.filter(pc.equal(pending["day"], day))


def serve_day(ring: Ring, state: State) -> tuple[Slates, Outcomes]:
    """The slates of a day and the answers, told to the company as they come.

    Where it listens, a shopper's second visit begins when the first one is over; else all come at once, which is the
    same and faster.
    """

    def show(requests: Requests) -> Slates:
        waited = np.full(len(requests), ring.config.latency_ms)
        return replace(ring.company.show(requests), latency_ms=waited)

    def tell(slates: Slates, outcomes: Outcomes) -> None:
        ring.company.tell(slates, outcomes, due(to_feedback(slates, outcomes, state.price), state.day))

    requests = visits(ring.world, state.day, ring.config.n_positions, state)
    turns = [requests]
    if ring.config.online.listens and len(requests):
        turns = [requests.take(np.flatnonzero(requests.visit == visit)) for visit in np.unique(requests.visit)]
    served = [serve(ring.world, state, turn, show, tell) for turn in turns]
    return join_slates([slates for slates, _ in served]), join_outcomes([outcomes for _, outcomes in served])


def retrain(ring: Ring, day: int, reason: str) -> None:
    """Trains on what is known at the start of `day`, and promotes, where there is a gate only who passes it.

    See simlab.recsys.succession. Raises `DataError` where there is no champion yet, and nothing to learn from.
    """
    goods, people = ring.world.catalogue.launched_by(day), ring.world.shoppers.arrived_by(day)
    attempt = Attempt(day=day, reason=reason, training=ring.config.training_config(), gate=GATES[ring.config.gate])
    if succeed(ring.log, ring.registry, goods, people, attempt):
        ring.last_trained = day
    elif attempt.gate is not None:
        ring.last_tried = last_tried(ring.registry) or 0


def run(
    config: RunConfig | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    over: Over | None = None,
    **settings: Any,
) -> Run:
    """Turns the ring for `config.days` days in the folder `out`, or goes on where it stopped.

    `out` is a temporary folder by default. `settings` are those of `RunConfig`, for calls like run(days=60, seed=7);
    unknown ones are errors. `progress` is called with the metrics of each day. `over` says how shoppers come to the
    service, by default in this process; it changes nothing of what happens. Raises `ConfigError`, `DataError` and
    `RunError`.
    """
    if config is not None and settings:
        raise ConfigError("settings beside a config", sorted(settings), "put them into the RunConfig")
    config = from_dict(RunConfig, settings) if config is None else config
    path = Path(mkdtemp(dir=temporary_folder())) if out is None else Path(out)
    check_folder(path, config)
    opened = None if _world_file(path).exists() else open_world(config)  # before anything is written: it may be refused
    # BLAS's threads only wait for each other on tables as small as a day's, twice as long where the machine is busy.
    with locked(path), threadpool_limits(1, "blas"):
        new = claim_folder(path, config)  # asks again, now that nobody else can change the answer
        sweep(path)
        if (path / "inbox.sqlite").exists():  # a run over HTTP that was killed while it closed a day
            from simlab.lab.serving import settle  # a server's parts, which other runs do without

            settle(path)
        try:
            if opened is not None:
                set_up(path, *opened)
            ring = open_ring(config, path)
        except SimlabError:
            if new:
                shutil.rmtree(path)
            raise
        with over(ring) if over is not None else nullcontext(ring.company) as ring.company:
            for day in range(len(ring.log.days), config.days):
                metrics = run_day(ring, day)
                if progress is not None:
                    progress(metrics)
        finished = Run(path)
        write_bytes(path / "metrics.parquet", finished.metrics.to_parquet())
    return finished


def open_ring(config: RunConfig, path: Path) -> Ring:
    """The ring as it stands in the folder `path`: before day 0, or after the last day that has happened.

    A new folder is set up; `run_day` then turns it by hand. Raises `ConfigError`, `DataError` and `RunError`.
    """
    if not _world_file(path).exists():
        check_folder(path, config)
        opened = open_world(config)
        claim_folder(path, config)
        set_up(path, *opened)
    check_whole(path)
    log, registry = EventLog(path / "log"), Registry(path / "models")
    world = Run(path).world
    service = Service(
        world.catalogue.launched_by(len(log.days)),
        cast(PopularityModel, _fallback("popularity", config, log, registry, world)),
        segment=cast(SegmentModel, _fallback("segment", config, log, registry, world)) if config.segments else None,
        online=config.online,
        seed=config.seed,
    )
    company = InProcess(service, log, registry, world.catalogue, world.shoppers)
    ring = Ring(
        config=config,
        path=path,
        world=world,
        oracle=Oracle(world, journal(world, log, config.n_positions)),
        log=log,
        registry=registry,
        service=service,
        company=company,
        policy=parse_policy(config.retrain),
        facts=Facts(log, world.catalogue, world.shoppers),
        pending=_pending(path, log.days[: config.days]),
        last_trained=0,
    )
    champion = registry.alias("champion")
    if champion is None:
        retrain(ring, 0, "first model")
        company.refresh()
    else:
        ring.last_trained = trained_day(registry)
        ring.last_tried = last_tried(registry) or 0
    return ring


def _world_file(path: Path) -> Path:
    return path / "truth" / "world.npz"


def set_up(path: Path, world: World, history: History) -> None:
    """Puts `world`, as it stands on day 0, and its history into the folder of a run."""
    EventLog(path / "log").import_history(history.known(-1))
    to_come = history.feedback.filter(pc.greater_equal(history.feedback["day"], 0))
    write_bytes(path / "truth" / "history.parquet", parquet_bytes(to_come))
    write_bytes(_world_file(path), to_bytes(world))  # last: with it, the setting up has happened


FALLBACKS = {"popularity": "fallback", "segment": "segment"}
"""The lower rungs that are learnt, once, on day 0: algorithm and alias."""


def _fallback(algorithm: str, config: RunConfig, log: EventLog, registry: Registry, world: World) -> Model:
    alias = FALLBACKS[algorithm]
    name = registry.alias(alias)
    if name is None:
        name = f"{alias}-day00000"
        counting = replace(config.training_config(), algorithm=algorithm)
        people = world.shoppers.arrived_by(0)
        model, card = train(log, world.catalogue.launched_by(0), people, config=counting, day=0)
        registry.register(model, name, card)
        registry.promote(name, alias=alias, day=0, actor="simlab", reason="for shoppers that no model knows")
    return registry.load(name)[0]


def _pending(path: Path, days: list[int]) -> pa.Table:
    """What was decided on the days that have happened, and comes on later ones."""
    files = [path / "truth" / "history.parquet", *(day_file(path, day, "parquet") for day in days)]
    table = pa.concat_tables([pq.read_table(file, schema=FEEDBACK) for file in files])
    return table.filter(pc.greater_equal(table["day"], len(days)))
