"""The form in which notebooks are committed: executed from the top, and the same bytes whoever did it.

    python -m simlab.lab.notebooks write notebooks/   execute each one and store it in its normal form
    python -m simlab.lab.notebooks check notebooks/   execute, compare with what is stored, change nothing
    python -m simlab.lab.notebooks lint notebooks/    only read, by the rules of notebook_rules

Why: learners compare their numbers with the stored ones, so these must be what the code of today gives; and a diff
must show what somebody changed, not who ran it last. Pictures are kept but not compared: their bytes depend on the
fonts and libraries of a machine.
"""

import argparse
import copy
import difflib
import hashlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from simlab.errors import NotebookError, SimlabError
from simlab.files import write_bytes
from simlab.lab.course import FOLDER
from simlab.lab.kernel import FAILURES, client_options, reason_of
from simlab.lab.notebook_rules import findings
from simlab.lab.parameters import read_notebook

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("tags", "jupyter")
"""Metadata of a cell that an author writes: what it is, and whether it starts folded."""

WIDGETS = "application/vnd.jupyter.widget-view+json"


def executed(path: Path, timeout: int = 120) -> nbformat.NotebookNode:
    """The notebook at `path`, run with its defaults in a fresh kernel and an empty folder.

    Raises `NotebookError` naming the cell that fails or takes more than `timeout` seconds.
    """
    notebook = read_notebook(path)
    with tempfile.TemporaryDirectory(prefix="simlab-") as folder:
        client = NotebookClient(notebook, **client_options(Path(folder), timeout, **{FOLDER: folder}))
        try:
            client.execute()
        except FAILURES as error:
            cell = f"{path.name}, cell [{client.code_cells_executed}]"
            raise NotebookError(cell, reason_of(error, timeout), "mend the cell") from None
    return notebook


def _cell_ids(notebook: nbformat.NotebookNode) -> list[str]:
    # From what the cell says: an inserted cell leaves the others' ids alone.
    seen: dict[str, int] = {}
    ids = []
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        ids.append(digest if seen[digest] == 1 else f"{digest}-{seen[digest]}")
    return ids


def normalised(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """`notebook` without what depends on who ran it: ids from the cells' words, no timings, no state of widgets.

    Sources, outputs, counts, tags and pictures stay. Doing it twice is doing it once.
    """
    out = copy.deepcopy(notebook)
    out.nbformat, out.nbformat_minor = 4, 5
    out.metadata = copy.deepcopy(METADATA)
    for cell, cell_id in zip(out.cells, _cell_ids(out)):
        cell.id = cell_id
        cell.metadata = {name: cell.metadata[name] for name in KEPT if name in cell.metadata}
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            output.get("data", {}).pop(WIDGETS, None)
    return out


def text_of(notebook: nbformat.NotebookNode) -> str:
    """The bytes that are committed, as text."""
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"


def without_pictures(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """`notebook` with an empty string in the place of each picture."""
    out = copy.deepcopy(notebook)
    for cell in out.cells:
        for output in cell.get("outputs", []):
            for kind in output.get("data", {}):
                if kind.startswith("image/"):
                    output.data[kind] = ""
    return out


def write(path: Path) -> list[str]:
    """Executes the notebook at `path` and stores it there in its normal form."""
    write_bytes(path, text_of(normalised(executed(path))).encode())
    return []


def check(path: Path) -> list[str]:
    """What would change but for pictures if `write` were called, as lines of a diff."""
    stored = text_of(without_pictures(read_notebook(path))).splitlines()
    anew = text_of(without_pictures(normalised(executed(path)))).splitlines()
    return list(difflib.unified_diff(stored, anew, f"{path} (stored)", f"{path} (run anew)", lineterm="", n=1))


def lint(path: Path) -> list[str]:
    """What breaks the rules in the notebook at `path`, or is not in the normal form."""
    notebook = read_notebook(path)
    found = [f"{path.name}, {finding}" for finding in findings(notebook)]
    if path.read_text() != text_of(normalised(notebook)):
        found.append(f"{path.name}: not as `make notebooks` stores it; run that and commit its output")
    return found


def desk(path: Path) -> list[str]:
    """Lays a copy of the notebook without its outputs into runs/lab, to work in; one that lies there stays as it is.

    Why: whoever is to predict an outcome should not see it below the question.
    """
    copy = path.resolve().parents[1] / "runs" / "lab" / path.name
    if not copy.exists():
        notebook = normalised(read_notebook(path))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        write_bytes(copy, text_of(notebook).encode())
    return []


ACTIONS: dict[str, Callable[[Path], list[str]]] = {"write": write, "check": check, "lint": lint, "desk": desk}


def _found(paths: Sequence[Path]) -> list[Path]:
    found = [file for path in paths for file in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
    if not found:
        raise NotebookError("notebooks", " ".join(map(str, paths)), "give notebooks, or folders that hold some")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the module's docstring says; 0 where all is well, 1 with findings, 2 for a notebook that fails."""
    parser = argparse.ArgumentParser(prog="python -m simlab.lab.notebooks", description="The form of our notebooks.")
    parser.add_argument(
        "action",
        choices=ACTIONS,
        help="write: execute and store; check: compare; lint: only read; desk: copy to runs/lab",
    )
    parser.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders of them")
    options = parser.parse_args(arguments)
    bad = 0
    try:
        for path in _found(options.paths):
            found = ACTIONS[options.action](path)
            print("\n".join(found) if found else f"{path}: {options.action} ok", flush=True)
            bad += bool(found)
    except SimlabError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
