"""The ring, closed: history, training, deployment, slates, shoppers, feedback, metrics, decision, training again.

Why one function: `run_day` is the whole subject of the course on one screen. The shoppers' half and the company's half
meet here and nowhere else, and they meet in tables only.

Why it can be killed: all that a day leaves is written before the day's folder of the log appears under its name, and
that renaming is the moment at which the day has happened. What an unfinished day left is made again, the same.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from simlab.errors import ConfigError, DataError, SimlabError
from simlab.files import locked, parquet_bytes, sweep, temporary_folder, write_bytes, write_json
from simlab.lab.config import RunConfig
from simlab.lab.oracle import Oracle
from simlab.lab.replay import journal
from simlab.lab.run import Run, check_folder, check_whole, claim_folder, day_file
from simlab.lab.worlds import open_world
from simlab.recsys.evaluation import backtest
from simlab.recsys.log import EventLog
from simlab.recsys.models import PopularityModel
from simlab.recsys.monitor import daily_metrics
from simlab.recsys.registry import Registry
from simlab.recsys.retrain import RetrainPolicy, parse_policy
from simlab.recsys.service import Service
from simlab.recsys.training import train
from simlab.schema import Bools, Requests, Slates
from simlab.settings import from_dict
from simlab.tables import FEEDBACK, History, to_feedback, to_impressions
from simlab.world.history import serve
from simlab.world.snapshot import to_bytes
from simlab.world.truth import World, available
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
    policy: RetrainPolicy
    pending: pa.Table
    """FEEDBACK rows that the world has decided and the company has not seen."""
    last_trained: int
    """Day on which the champion was trained."""


def run_day(ring: Ring, day: int) -> Metrics:
    """Turns the ring once; returns the day's metrics: what the company sees, and the truth beside it."""
    ring.service.catalogue = ring.world.catalogue.launched_by(day)
    decision = ring.policy.decide(day, ring.last_trained)
    if decision.retrain:
        retrain(ring, day, decision.reason)

    state = ring.oracle.state(day)
    requests = visits(ring.world, day, ring.config.n_positions, state)
    slates, outcomes = serve(ring.world, state, requests, partial(show, ring, available(ring.world, state)))

    seen, to_come = to_impressions(slates, outcomes), to_feedback(slates, outcomes, state.price)
    ring.pending = pa.concat_tables([ring.pending, to_come])
    feedback = ring.pending.filter(pc.equal(ring.pending["day"], day))
    ring.pending = ring.pending.filter(pc.greater(ring.pending["day"], day))

    metrics: Metrics = {
        "day": day,
        "model_version": ring.registry.alias("champion"),
        "model_age": day - ring.last_trained,
        "retrained": int(day == ring.last_trained),
        **daily_metrics(seen, feedback, ring.service.catalogue, day),
        **ring.oracle.truth_of_day(slates),
    }
    write_bytes(day_file(ring.path, day, "parquet"), parquet_bytes(to_come.filter(pc.greater(to_come["day"], day))))
    write_json(
        day_file(ring.path, day, "json"), {name: None if x != x else x for name, x in metrics.items()}, sort=False
    )
    ring.log.append(day, seen, feedback)
    ring.oracle.move(slates, outcomes)
    return metrics


def show(ring: Ring, here: Bools, requests: Requests) -> Slates:
    """The slates of the service, of what is `here` (n_items,), as late as they come."""
    slates = ring.service.recommend(requests, here[: len(ring.service.catalogue)])
    return replace(slates, latency_ms=np.full(len(requests), ring.config.latency_ms))


def retrain(ring: Ring, day: int, reason: str) -> None:
    """Trains on what is known at the start of `day`, registers, promotes, deploys; done again, it changes nothing.

    Where there is nothing to learn from, the champion stays, and the history of models says why. Raises `DataError`
    where there is no champion yet.
    """
    config = ring.config.training_config()
    catalogue, champion = ring.world.catalogue.launched_by(day), ring.registry.alias("champion")
    try:
        model, card = train(ring.log, catalogue, ring.world.shoppers.arrived_by(day), config=config, day=day)
    except DataError as error:
        if champion is None:
            raise
        ring.registry.promote(champion, day=day, actor="simlab", reason=f"{reason}, but it stays: {error}")
        return
    evidence = offline_evidence(ring, day)
    name = f"{config.algorithm}-day{day:05d}"
    ring.registry.register(model, name, {**card, "offline": evidence})
    ring.registry.promote(name, day=day, actor="simlab", reason=reason, evidence=evidence)
    ring.service.deploy(model, name)
    ring.last_trained = day


def offline_evidence(ring: Ring, day: int) -> dict[str, float]:
    """How well the settings do on the last week before `day`, learnt from the days before it; empty without such data.

    The model that is promoted has seen that week, so it cannot be judged on it; its settings can.
    """
    catalogue, config = ring.world.catalogue.launched_by(day), ring.config.training_config()
    try:
        people = ring.world.shoppers.arrived_by(day)
        marks = backtest(ring.log, catalogue, people, config=config, day=day, holdout_days=7).overall
    except DataError:
        return {}
    return {"recall_at_10": marks.recall, "ndcg_at_10": marks.ndcg, "users": marks.n_users} if marks.n_users else {}


def run(
    config: RunConfig | None = None, *, out: str | Path | None = None, progress: Progress | None = None, **settings: Any
) -> Run:
    """Turns the ring for `config.days` days in the folder `out`, or goes on where it stopped.

    `out` is a temporary folder by default. `settings` are those of `RunConfig`, for calls like run(days=60, seed=7);
    unknown ones are errors. `progress` is called with the metrics of each day. Raises `ConfigError`, `DataError` and
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
        try:
            if opened is not None:
                _set_up(path, *opened)
            ring = open_ring(config, path)
        except SimlabError:
            if new:
                shutil.rmtree(path)
            raise
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
        _set_up(path, *opened)
    check_whole(path)
    log, registry = EventLog(path / "log"), Registry(path / "models")
    world = Run(path).world
    fallback = _fallback(config, log, registry, world)
    ring = Ring(
        config=config,
        path=path,
        world=world,
        oracle=Oracle(world, journal(world, log, config.n_positions)),
        log=log,
        registry=registry,
        service=Service(world.catalogue.launched_by(len(log.days)), fallback),
        policy=parse_policy(config.retrain),
        pending=_pending(path, log),
        last_trained=0,
    )
    champion = registry.alias("champion")
    if champion is None:
        retrain(ring, 0, "first model")
    else:
        model, card = registry.load(champion)
        ring.service.deploy(model, champion)
        ring.last_trained = card["trained_day"]
    return ring


def _world_file(path: Path) -> Path:
    return path / "truth" / "world.npz"


def _set_up(path: Path, world: World, history: History) -> None:
    EventLog(path / "log").import_history(history.known(-1))
    to_come = history.feedback.filter(pc.greater_equal(history.feedback["day"], 0))
    write_bytes(path / "truth" / "history.parquet", parquet_bytes(to_come))
    write_bytes(_world_file(path), to_bytes(world))  # last: with it, the setting up has happened


def _fallback(config: RunConfig, log: EventLog, registry: Registry, world: World) -> PopularityModel:
    name = registry.alias("fallback")
    if name is None:
        name = "fallback-day00000"
        popular = replace(config.training_config(), algorithm="popularity")
        people = world.shoppers.arrived_by(0)
        model, card = train(log, world.catalogue.launched_by(0), people, config=popular, day=0)
        registry.register(model, name, card)
        registry.promote(name, alias="fallback", day=0, actor="simlab", reason="for shoppers that no model knows")
    model, _ = registry.load(name)
    assert isinstance(model, PopularityModel)
    return model


def _pending(path: Path, log: EventLog) -> pa.Table:
    """What was decided on the days that have happened, and comes on later ones."""
    days = log.days
    files = [path / "truth" / "history.parquet", *(day_file(path, day, "parquet") for day in days)]
    table = pa.concat_tables([pq.read_table(file, schema=FEEDBACK) for file in files])
    return table.filter(pc.greater_equal(table["day"], len(days)))
