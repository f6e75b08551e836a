"""`simlab serve` and `simlab close-day`. Imports stand inside, as in the other commands."""

import argparse
import os

from simlab.errors import RunError
from simlab.settings import require


def serve_command(args: argparse.Namespace) -> int:
    """simlab serve."""
    from simlab.lab.run import load_run
    from simlab.lab.serving import check_port, serve, serve_config

    require("--workers", args.workers, 1 <= args.workers <= 64, "give a number from 1 to 64")
    done = load_run(args.run)
    if not done.finished:
        raise RunError("run folder", str(args.run), "the run is not finished: finish it with simlab run, then serve it")
    check_port(args.host, args.port)
    config = serve_config(done, token=args.token or os.environ.get("SIMLAB_TOKEN", ""), inbox=args.inbox)
    url = f"http://{args.host}:{args.port}"
    print(
        f"shop: {url}    control room: {url}/ops    interface: {url}/openapi.json\nadmin token: {config.token}",
        flush=True,
    )
    serve(config, host=args.host, port=args.port, workers=args.workers)
    return 0


def close_command(args: argparse.Namespace) -> int:
    """simlab close-day."""
    from simlab.lab.run import load_run
    from simlab.recsys.canary import advance
    from simlab.recsys.http import INBOX, registry_of
    from simlab.recsys.inbox import Inbox

    done = load_run(args.run)
    path = args.run / INBOX
    if not args.inbox and not path.exists():
        raise RunError("run folder", str(args.run), "it has no inbox: serve it first, with simlab serve --run")
    with Inbox(args.inbox or path, done.log, first_day=len(done.log.days)) as inbox:
        begun = inbox.day - 1  # whose closing was killed half way, unless it is in the log
        day = args.day if args.day is not None else begun if begun >= 0 and begun not in done.log.days else inbox.day
        new, today = inbox.close_day(day), inbox.day
    verdict = advance(done.log, registry_of(args.run), today)
    print(f"day {day} is in the log{'' if new or day == begun else ' already'}; day {today} is open")
    if verdict is not None:
        print(f"canary: {verdict.outcome}: {verdict.reason}")
    return 0
