"""The command line, `simlab COMMAND`. Thin: it reads words, calls the package, prints.

Exit codes: 0 done, 2 something in the call, in a file or in a notebook has to be mended (the message says what), 130
interrupted (the same command goes on where it stopped), 141 whoever read the output has had enough (`| head`).
"""

import argparse
import os
import sys
from collections.abc import Sequence

from simlab.cli.commands import course_command, data_command, report_command, run_command, world_command
from simlab.cli.deploy import deploy_command
from simlab.cli.drill import drill_command
from simlab.cli.parser import parser
from simlab.cli.serve import close_command, serve_command
from simlab.cli.watch import watch_command
from simlab.errors import SimlabError


def _doing(args: argparse.Namespace) -> str:
    """What a command does, and where, for errors that do not say it."""
    if args.command == "data":
        from simlab import datasets

        return f"simlab data {args.what} in {datasets.data_folder()}"
    if args.command == "world":
        return f"simlab world {args.what}"
    where = getattr(args, "run", None) or getattr(args, "case", None) or args.out
    return f"simlab {args.command} in {where}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    args = parser().parse_args(argv)
    commands = {
        "run": run_command,
        "course": course_command,
        "report": report_command,
        "watch": watch_command,
        "drill": drill_command,
        "serve": serve_command,
        "close-day": close_command,
        "deploy": deploy_command,
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
