"""Strict nbval with notebooks/conftest.py fails where it should; one run over small notebooks, one for each case."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from simlab.lab.notebooks import normalised, text_of

v4: Any = nbformat.v4  # it has no annotations

CONFTEST = Path(__file__).parents[1] / "notebooks" / "conftest.py"
DEATH = "import os\nos._exit(1)"
NO_MAGIC = "get_ipython().run_line_magic('nosuch', '')"
NO_MAGIC_SAYS = "UsageError: Line magic function `%nosuch` not found.\n"
PLACE = """\
from pathlib import Path
from simlab.lab.course import work_folder
print(work_folder() == Path.cwd(), list(Path.cwd().iterdir()))"""
WORLD = "import os\nprint(os.environ['SIMLAB_UI'], os.environ['MPLBACKEND'])"
BACKEND = "module://matplotlib_inline.backend_inline"
PLOT = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])\nprint('drawn')"
PICTURE = {"image/png": "AAAA", "text/plain": "<Figure size 640x480 with 1 Axes>"}


def printed(text: str, name: str = "stdout") -> Any:
    return v4.new_output("stream", name=name, text=text)


def book(*cells: tuple[str, list[Any]]) -> Any:
    first = v4.new_code_cell("n: int = 20  # some", metadata={"tags": ["parameters"]}, execution_count=1)
    made = [
        v4.new_code_cell(source, outputs=outputs, execution_count=count)
        for count, (source, outputs) in enumerate(cells, start=2)
    ]
    return normalised(v4.new_notebook(cells=[first, *made]))


def stripped(notebook: Any) -> Any:
    for cell in notebook.cells:
        cell.execution_count, cell.outputs = None, []
    return notebook


GOOD = ("print(n * 2 + 1)", [printed("41\n")])
BOOKS = {
    "good": book(
        GOOD,
        (WORLD, [printed(f"static {BACKEND}\n")]),
        (PLACE, [printed("True []\n")]),
        (PLOT, [printed("drawn\n"), v4.new_output("display_data", data=PICTURE)]),
    ),
    "digit": book(("print(n * 2 + 1)", [printed("42\n")])),
    "stripped": stripped(book(GOOD)),
    "magic": book(GOOD, (NO_MAGIC, [printed(NO_MAGIC_SAYS, "stderr")])),
    "death": book(GOOD, (DEATH, []), GOOD),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of all the notebooks; it must not wait for the dead kernel until the limit of its cell."""
    folder = tmp_path_factory.mktemp("books")
    shutil.copy(CONFTEST, folder)
    for name, notebook in BOOKS.items():
        (folder / f"{name}.ipynb").write_text(text_of(notebook))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"MPLBACKEND": "Agg", "JPY_SESSION_NAME": "somebody's notebook"}
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=3000", "-v", "--color=no", "-Werror"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    return run.stdout + run.stderr


def verdicts(told: str, name: str) -> dict[str, str]:
    """The tests of one notebook and how they ended."""
    found = re.findall(rf"^{name}(?:\.|::)ipynb::(lint|Cell \d+) (\w+)", told, flags=re.MULTILINE)
    return dict(found)


def test_a_good_notebook_passes(told: str) -> None:
    """Lint and every cell, in an empty folder, whatever the environment says of figures and widgets. The bytes of a
    picture are not compared, only that there is one figure of that size: they depend on fonts and libraries."""
    assert verdicts(told, "good") == {"lint": "PASSED"} | {f"Cell {number}": "PASSED" for number in range(5)}


def test_one_changed_digit_fails(told: str) -> None:
    """The stored 42 is not the 41 of the code."""
    assert verdicts(told, "digit") == {"lint": "PASSED", "Cell 0": "PASSED", "Cell 1": "FAILED"}


def test_a_stripped_notebook_fails(told: str) -> None:
    """nbval itself passes it: there is nothing to compare."""
    assert verdicts(told, "stripped") == {"lint": "FAILED", "Cell 0": "PASSED", "Cell 1": "PASSED"}


def test_an_error_without_traceback_fails(told: str) -> None:
    """An unknown magic only prints, and what it prints equals what is stored; its reply tells."""
    assert verdicts(told, "magic") == {"lint": "FAILED", "Cell 0": "PASSED", "Cell 1": "PASSED", "Cell 2": "FAILED"}
    assert "the kernel replied 'error'" in told


def test_a_dead_kernel_is_noticed(told: str) -> None:
    """The cell that kills it fails at once, and so does every cell after it."""
    assert verdicts(told, "death") == {
        "lint": "PASSED",
        "Cell 0": "PASSED",
        "Cell 1": "PASSED",
        "Cell 2": "FAILED",
        "Cell 3": "FAILED",
    }
    assert "the kernel died in this cell" in told
