"""`simlab deploy`: looks at the traffic of a run, and changes it. Imports stand inside, as in the other commands."""

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from simlab.settings import require

if TYPE_CHECKING:
    import pandas as pd

    from simlab.recsys.traffic import Traffic

ROWS = 20
"""Of the history, in `status`."""


def deploy_command(args: argparse.Namespace) -> int:
    """simlab deploy."""
    from simlab.lab.run import load_run
    from simlab.recsys.registry import Registry
    from simlab.recsys.traffic import Change, check_wish

    done = load_run(args.run)
    registry = Registry(done.registry.path, clock=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    if args.action == "status":
        print(traffic_table(registry.traffic()))
        print(f"\n{history_table(registry.history())}")
        return 0
    wish = Change(
        action=args.action,
        version=args.version,
        alias=args.alias,
        share=args.share,
        steps=steps_of(args.steps),
        quarantine=not args.keep_rows,
        day=len(done.log.days),
        actor=args.actor or os.environ.get("USER") or "somebody",
        reason=args.reason,
    )
    check_wish(wish)
    start = time.perf_counter()
    row = registry.change(wish)
    took = 1000 * (time.perf_counter() - start)
    print("it is so already: nothing was changed\n" if row is None else f"{in_words(row)} ({took:.1f} ms)\n")
    print(traffic_table(registry.traffic()))
    return 0


def in_words(row: dict[str, Any]) -> str:
    """What a change has done, and the way back from a rollback."""
    if row["action"] != "rollback":
        return f"{row['action']}: {row['alias']} {row['version']}"
    left, sick = row["evidence"]["left"], "; nothing is learnt from what it showed, until it is promoted again"
    now = "" if row["alias"] in ("canary", "challenger") else f", {row['alias']} is {row['version']} again"
    return f"rolled back: the {row['alias']} {left}{now}{sick if row.get('quarantine') else ''}"


def steps_of(words: str) -> tuple[float, ...]:
    """Shares as they are typed.

    >>> steps_of("0.05,0.5")
    (0.05, 0.5)
    """
    try:
        return tuple(float(word) for word in words.split(",") if word.strip())
    except ValueError:
        require("--steps", words, False, "give numbers such as 0.05,0.2,0.5")
        raise


def traffic_table(traffic: "Traffic") -> str:
    """Who answers whom, as text for a terminal."""
    canary, challenger = traffic.canary_share, traffic.challenger_share
    lines = [("champion", traffic.champion, f"{1 - challenger - 2 * canary:.1%}")]
    if traffic.challenger:
        lines.append(("challenger", traffic.challenger, f"{challenger:.1%}"))
    if traffic.canary:
        lines.append(("canary", traffic.canary, f"{canary:.1%}{'  paused' if traffic.canary_paused else ''}"))
        lines.append(("baseline", traffic.champion, f"{canary:.1%}"))
    if traffic.shadow:
        lines.append(("shadow", traffic.shadow, "not shown"))
    lines += [("quarantine", version, "not learnt from") for version in traffic.quarantined]
    width = max(len(str(version)) for _, version, _ in lines)
    return "\n".join(f"{name:12}{version or 'none':{width + 2}}{share}" for name, version, share in lines)


def history_table(rows: list[dict[str, Any]]) -> str:
    """The last rows of a history, as text for a terminal."""
    import pandas as pd

    columns = ["row", "day", "time", "action", "alias", "version", "share", "actor", "reason"]
    table = pd.DataFrame([{"row": number, **row} for number, row in enumerate(rows, start=1)], columns=columns)
    return _text(table.tail(ROWS))


def _text(table: "pd.DataFrame") -> str:
    return str(table.astype(object).where(table.notna(), "").to_string(index=False))
