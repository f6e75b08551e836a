"""What the watch is worth: `python -m benchmarks.monitoring` plays all drills, and prints a table.

    caught      share of seeds in which an alert came within a fortnight that the twin had not, its median delay in days
    named       share in which one of these alerts tells this fault from others
    lost        true margin lost before that alert, and until the last day, in euros, medians over seeds
    false       alerts on quiet runs, in which nothing goes wrong, for each quarter of 91 days
    policies    true profit and cost of ways to retrain, with intervals

Each drill is held against its twin, which has the same luck; see simlab.lab.drills. The table takes an hour and a half
of one core; runs are spread over all cores.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from benchmarks.world import say
from simlab.lab.config import RunConfig
from simlab.lab.costs import compare
from simlab.lab.drills import FIRST, LAST, SCENE, Played, Score, config_of, morning_of, play, score
from simlab.lab.incidents import FAULTS, Incident
from simlab.recsys.recipe import TrainingConfig
from simlab.streams import stream

QUARTER = 91


class Size(NamedTuple):
    """How much is played."""

    seeds: int
    """Of each fault; of each policy, three at most."""
    quiet: int
    """Runs without a fault."""
    quiet_days: int
    faults: tuple[str, ...]
    presets: tuple[str, ...]
    """Worlds in which policies are compared."""
    policy_days: int
    jobs: int
    """Processes; -1 for one a core."""


FULL = Size(20, 100, 180, tuple(FAULTS), ("drifting", "shock", "seasonal"), 90, -1)
QUICK = Size(1, 1, 24, ("price-unit", "pipeline-dead"), (), 0, 1)


def drills_of(seed: int, faults: Sequence[str]) -> list[tuple[str, Score]]:
    """The scores of some faults in one shop; where two have the same twin, or the same first days, these are played
    once."""
    day = int(stream(seed, "benchmark drills").integers(FIRST, LAST + 1))
    told: list[tuple[str, Score]] = []
    twins, mornings = dict[str, Played](), dict[str, Path]()
    for fault in faults:
        incident = Incident(fault=fault, day=1 if FAULTS[fault].slow else day, seed=seed)
        scene = fault if FAULTS[fault].before is not None or FAULTS[fault].scene else ""
        calm, config = config_of(seed, incident, twin=True), config_of(seed, incident)
        if scene not in twins:
            mornings[scene] = morning_of(calm, day)
            twins[scene] = play(calm, replace(incident, day=day), twin=True, start=mornings[scene])
        start = mornings[scene] if config == calm and incident.kind.world is None else None
        told.append((fault, score(play(config, incident, start=start), twins[scene], incident)))
    return told


def false_alarms(seed: int, days: int) -> list[str]:
    """The checks that alarm in a run in which nothing goes wrong."""
    scene = {**SCENE, "days": days}
    return [one.check for one in play(config_of(seed, None, scene=scene)).alerts]


def table_of_faults(scores: Sequence[tuple[str, Score]]) -> int:
    """Prints a line for each fault; how many were caught in nine of ten seeds."""
    say("fault: caught, named / median delay", "caught by", "lost before / in all")
    well = 0
    for fault in dict.fromkeys(name for name, _ in scores):
        of_fault = [one for name, one in scores if name == fault]
        caught = [one for one in of_fault if one.caught]
        first = Counter(one.caught for one in caught).most_common(1)
        share = len(caught) / len(of_fault)
        named = sum(one.named for one in of_fault) / len(of_fault)
        well += named >= 0.9
        delay = f"{median(one.delay for one in caught):.0f} d" if caught else "-"
        lost = f"{median(one.lost_before for one in of_fault):,.0f} / {median(one.lost for one in of_fault):,.0f}"
        say(f"    {fault}: {share:.0%}, {named:.0%} / {delay}", first[0][0] if first else "-", lost)
    precision = [one.precision for _, one in scores if not np.isnan(one.precision)]
    say("precision: alerts that are about the fault", f"{np.mean(precision):.0%}")
    say(f"faults caught and named in 90 % of seeds, of {len({name for name, _ in scores})}", str(well), "12")
    return well


SCHEDULED = ("scheduled:7", "scheduled:14", "scheduled:28")
POLICIES = (*SCHEDULED, "on-drop", "on-volume:30000", "on-volume:60000", "on-drop|scheduled:28")


def policies(preset: str, seeds: Sequence[int], days: int) -> list[tuple[str, str, str]]:
    """Ways to retrain in a world, a line each: profit over that of `never`, and the share of the best scheduled one."""
    world = {"n_users": 800, "n_items": 200}
    config = RunConfig(preset=preset, days=days, world=world, training=TrainingConfig(window_days=28))
    table, lines = compare(config, POLICIES, seeds=seeds).table, []
    best = table.loc[list(SCHEDULED), "profit"].max()
    for name, row in table.iterrows():
        gain, low, high = (float(row[column]) / 1000 for column in ("gain", "low", "high"))
        told = f"{gain:+.1f} k ({low:.1f} to {high:.1f})"
        share = f"{row['profit'] / best:.1%} of the best scheduled profit"
        lines.append((f"    {preset}, {name}, {row['trainings']:.1f} trainings", told, share))
    return lines


def main(size: Size = FULL) -> None:
    say(f"{size.seeds} seeds, {size.quiet} quiet runs of {size.quiet_days} days", "measured", "aim")
    work = Parallel(n_jobs=size.jobs)
    parts = np.array_split(np.array(size.faults), 2)
    jobs = [(seed, part.tolist()) for seed in range(100, 100 + size.seeds) for part in parts]
    table_of_faults([one for told in work(delayed(drills_of)(*job) for job in jobs) for one in told])
    alarms = work(delayed(false_alarms)(seed, size.quiet_days) for seed in range(600, 600 + size.quiet))
    kinds = Counter(check for told in alarms for check in told)
    say("false alarms a quarter", f"{kinds.total() / (size.quiet * size.quiet_days / QUARTER):.2f}", "1")
    for check, n in kinds.most_common():
        say(f"    {check}", str(n))
    say("policies: profit over that of never in euros, 95 % over shoppers", "", "")
    for preset in size.presets:
        for line in policies(preset, range(1, 1 + min(size.seeds, 3)), size.policy_days):
            say(*line)


if __name__ == "__main__":
    main(QUICK if "--quick" in sys.argv else FULL)
