"""Running notebooks in batch: a notebook with parameters, and a folder of them as one course.

    out/course.json               the parameters given
    out/03_mock_deployment.ipynb  each notebook as it ran
    out/files/03_mock_deployment/ what it wrote; its key figures in figures.json
    out/summary.json              seconds and key figures of all, written last

Why papermill is wrapped: it lets unknown parameters pass, runs in the caller's folder, waits for ever, and leaves a
half-written notebook where it was stopped. Why the heavy imports stand inside functions: every notebook imports
`record` from here.
"""

import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simlab.errors import NotebookError, RunError
from simlab.files import is_free, locked, temporary_folder, write_json
from simlab.settings import require

FOLDER = "SIMLAB_FOLDER"
"""Name of the environment variable that tells a notebook where it may write."""

Figure = int | float | str | bool | None


@dataclass(frozen=True, kw_only=True)
class Executed:
    """What came of one notebook."""

    path: Path
    """The notebook with its outputs."""
    seconds: float
    figures: dict[str, Figure]
    """What it passed to `record`."""


def _plain(name: str, value: object) -> Figure:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    if value is None or isinstance(value, int | float | str | bool):
        return value
    raise NotebookError(f"figure {name}", value, "record a number, a word or a truth value")


def record(**figures: object) -> None:
    """Notes key figures of the running notebook for the summary of the course; elsewhere it does nothing.

    A later call adds to the earlier ones. Raises `NotebookError` for anything but numbers, words and truth values.

    >>> record(clicks_per_visit=2.61, champion="lightfm-3")
    """
    plain = {name: _plain(name, value) for name, value in figures.items()}
    if FOLDER in os.environ:
        file = Path(os.environ[FOLDER]) / "figures.json"
        before = json.loads(file.read_text()) if file.exists() else {}
        write_json(file, before | plain)


def work_folder() -> Path:
    """Where the running notebook may write: its folder in the course, else one that is gone when the kernel stops."""
    return Path(os.environ[FOLDER]) if FOLDER in os.environ else temporary_folder()


def _stopped_at(notebook: Path) -> int:
    # papermill gives a starting time to every cell it begins; [n] beside a cell counts the code cells.
    cells = json.loads(notebook.read_text())["cells"]
    begun = [place for place, cell in enumerate(cells) if cell["metadata"].get("papermill", {}).get("start_time")]
    return sum(cell["cell_type"] == "code" for cell in cells[: begun[-1] + 1]) if begun else 0


def run_notebook(
    source: Path, output: Path, parameters: Mapping[str, object], *, cwd: Path, timeout: int = 600
) -> Executed:
    """Runs the notebook `source` with `parameters`, working in the folder `cwd`, into the notebook `output`.

    A cell may take `timeout` seconds. Raises `NotebookError` for parameters that the notebook does not have or that
    do not fit (then nothing has run), and for a cell that fails: the notebook as far as it came is then kept beside
    `output`, its name ending in .failed.ipynb.
    """
    import papermill

    from simlab.lab.kernel import FAILURES, client_options, reason_of
    from simlab.lab.parameters import bind, read_parameters

    values = bind(parameters, read_parameters(source))
    output, cwd = output.absolute(), cwd.absolute()
    failed = output.with_suffix(".failed.ipynb")
    draft = output.with_name(f".{output.stem}.{os.getpid()}.tmp.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    cwd.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it would say is in our error
    escaped = [str(path).replace("{", "{{").replace("}", "}}") for path in (source, draft)]  # papermill formats paths
    options = client_options(cwd, timeout, **{FOLDER: str(cwd)})
    start = time.perf_counter()
    try:
        papermill.execute_notebook(*escaped, parameters=values, progress_bar=False, language="python", **options)
        draft.replace(output)
    except FAILURES as error:
        thing = f"{source.name}, cell [{_stopped_at(draft)}]"
        draft.replace(failed)
        raise NotebookError(thing, reason_of(error, timeout), f"see how far it came in {failed}") from None
    finally:
        draft.unlink(missing_ok=True)
    file = cwd / "figures.json"
    figures = json.loads(file.read_text()) if file.exists() else {}
    return Executed(path=output, seconds=round(time.perf_counter() - start, 2), figures=figures)


def course_notebooks(folder: Path) -> list[Path]:
    """The notebooks `NN_name.ipynb` of `folder`, in order. Raises `NotebookError` where there are none."""
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise NotebookError("course", str(folder), "give a folder that holds notebooks named like 01_the_world.ipynb")
    return found


def _check(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise RunError("course folder", str(out), "it is a file: choose another name")
    if not (out / "course.json").exists() and not is_free(out):
        raise RunError("course folder", str(out), "it is not empty and holds no course: choose a new folder")


def run_course(
    notebooks: Path, out: Path, parameters: Mapping[str, object], *, progress: bool = True, timeout: int = 600
) -> Path:
    """Runs all notebooks of the folder `notebooks` into the folder `out` and returns the path of its summary.json.

    A parameter goes to every notebook that declares it. `progress` tells on standard error of each notebook that is
    done, with a bar on a terminal. Raises `NotebookError` as `run_notebook` does, and for a parameter that no
    notebook has; `ConfigError` for a seed that no run can have; `RunError` for a folder `out` with other things in
    it, or in use by another process.
    """
    from tqdm import tqdm

    from simlab.lab.parameters import bind, read_parameters

    paths = course_notebooks(notebooks)
    declared = {path: read_parameters(path) for path in paths}
    everything = {name: parameter for known in declared.values() for name, parameter in known.items()}
    seed = bind(parameters, everything).get("seed", 0)
    require("seed", seed, isinstance(seed, int) and 0 <= seed < 2**63, "give a whole number from 0 to 2**63 - 1")
    given = {path: {name: value for name, value in parameters.items() if name in declared[path]} for path in paths}
    for path in paths:
        bind(given[path], declared[path])
    _check(out)
    with locked(out):
        write_json(out / "course.json", {"parameters": dict(parameters)})
        (out / "summary.json").unlink(missing_ok=True)
        summary: dict[str, dict[str, object]] = {}
        bar = tqdm(paths, unit="notebook", file=sys.stderr, disable=None if progress else True, leave=False)
        for path in bar:
            bar.set_description(path.stem)
            files = out / "files" / path.stem
            shutil.rmtree(files, ignore_errors=True)
            done = run_notebook(path, out / path.name, given[path], cwd=files, timeout=timeout)
            summary[path.stem] = {"seconds": done.seconds, "figures": done.figures}
            if progress:
                tqdm.write(f"{path.stem:32} {done.seconds:6.1f} s", file=sys.stderr)
        write_json(out / "summary.json", summary)
    return out / "summary.json"
