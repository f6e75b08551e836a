import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from simlab.errors import NotebookError, RunError
from simlab.files import locked
from simlab.lab.course import FOLDER, record, run_course, run_notebook, work_folder

v4: Any = nbformat.v4  # it has no annotations

FIRST = """\
import sys
from pathlib import Path
from simlab.lab.course import record, work_folder
_ = (work_folder() / "note.txt").write_text("here")
record(doubled=n * 2, here=work_folder() == Path.cwd(), python=sys.executable)"""
SECOND = """\
import os
record(ui=os.environ["SIMLAB_UI"], backend=os.environ["MPLBACKEND"])"""


def book(path: Path, parameters: str, *sources: str) -> Path:
    cells = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        v4.writes(v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "nosuch", "display_name": "Nobody"}}))
    )
    return path


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    folder = tmp_path / "lessons {n}"
    book(folder / "00_first.ipynb", "n: int = 1  # a number", FIRST, SECOND)
    book(folder / "01_second.ipynb", "seed: int = 3  # of luck", "import json\nseed")
    book(folder / "notes.ipynb", "n: int = 1  # a number", "1 / 0")
    return folder


def outputs(path: Path) -> list[str]:
    return [
        "".join(output["data"]["text/plain"])
        for cell in json.loads(path.read_text())["cells"]
        for output in cell.get("outputs", [])
    ]


def decoy(folder: Path) -> None:
    spec = {"argv": ["false", "{connection_file}"], "display_name": "another", "language": "python"}
    (folder / "kernels" / "python3").mkdir(parents=True)
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))


def test_a_course_runs_its_notebooks_in_order(
    lessons: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each notebook gets the parameters it declares, this interpreter and a folder of its own, wherever it is called
    from and whatever the environment says; the summary holds what it recorded; the sources stay untouched."""
    decoy(tmp_path / "share")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("JPY_SESSION_NAME", "somebody's notebook")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in lessons.iterdir()}
    summary = run_course(lessons, Path("out"), {"n": "21"})
    told = json.loads(summary.read_text())
    assert list(told) == ["00_first", "01_second"]
    assert told["00_first"]["figures"] == {
        "doubled": 42,
        "here": True,
        "python": sys.executable,
        "ui": "static",
        "backend": "module://matplotlib_inline.backend_inline",
    }
    assert told["01_second"]["figures"] == {}
    assert all(entry["seconds"] > 0 for entry in told.values())
    out = tmp_path / "out"
    assert outputs(out / "01_second.ipynb") == ["3"]
    assert (out / "files" / "00_first" / "note.txt").read_text() == "here"
    assert json.loads((out / "course.json").read_text()) == {"parameters": {"n": "21"}}
    visible = {entry.name for entry in out.iterdir() if entry.name != ".lock"}
    assert visible == {"00_first.ipynb", "01_second.ipynb", "course.json", "files", "summary.json"}
    assert before == {path: path.read_bytes() for path in lessons.iterdir()}
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.err.splitlines()] == ["00_first", "01_second"]
    assert "\r" not in captured.err
    assert captured.out == ""


def test_a_failing_cell_is_named_and_kept(tmp_path: Path) -> None:
    """The error says which notebook, which cell, what and where to look; no result and no draft is left."""
    source = book(tmp_path / "02_bad.ipynb", "n: int = 0  # a divisor", "1 + 1", "1 / n")
    output = tmp_path / "out" / "02_bad.ipynb"
    with pytest.raises(NotebookError, match=r"02_bad\.ipynb, cell \[4\]: 'ZeroDivisionError: division by zero'") as e:
        run_notebook(source, output, {"n": 0}, cwd=tmp_path / "work")
    kept = output.with_name("02_bad.failed.ipynb")
    assert str(kept) in str(e.value)
    assert "ZeroDivisionError" in kept.read_text()
    assert list(output.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("cell", "reason"), [("while True:\n    pass", "no end after 1 s"), ("import os\nos._exit(3)", "the kernel died")]
)
def test_no_cell_is_waited_for_in_vain(tmp_path: Path, cell: str, reason: str) -> None:
    """A cell over its limit and a dead kernel end the run, and the error names the cell."""
    source = book(tmp_path / "03_stuck.ipynb", "n: int = 0  # unused", cell)
    with pytest.raises(NotebookError, match=rf"03_stuck\.ipynb, cell \[2\]: '{reason}'.*03_stuck\.failed\.ipynb"):
        run_notebook(source, tmp_path / "out" / "03_stuck.ipynb", {}, cwd=tmp_path, timeout=1)


@pytest.mark.parametrize(
    ("parameters", "message"), [({"sede": 1}, r"'sede'.*did you mean 'seed'"), ({"seed": "many"}, "give a whole")]
)
def test_wrong_parameters_are_refused_before_anything_is_written(
    lessons: Path, tmp_path: Path, parameters: dict[str, object], message: str
) -> None:
    """A name that no notebook has, or a value that does not fit, leaves no trace."""
    with pytest.raises(NotebookError, match=message):
        run_course(lessons, tmp_path / "out", parameters)
    assert not (tmp_path / "out").exists()


def test_folders_that_will_not_do_are_refused(lessons: Path, tmp_path: Path) -> None:
    """A folder without notebooks, an output folder with other things in it or in use, and a file are left alone."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(NotebookError, match="empty"):
        run_course(tmp_path / "empty", tmp_path / "out", {})
    for name, reason in (("file", "it is a file"), ("full", "holds no course")):
        with pytest.raises(RunError, match=reason):
            run_course(lessons, tmp_path / name, {})
    with locked(tmp_path / "busy"), pytest.raises(RunError, match="another process"):
        run_course(lessons, tmp_path / "busy", {})
    assert [entry.name for entry in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_records_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls merge, the last word counts, numpy's numbers are numbers, and what is not finite is null."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    record(a=1, b="x")
    record(b=np.float64(0.5), c=np.nan, d=np.bool_(True))
    assert json.loads((tmp_path / "figures.json").read_text()) == {"a": 1, "b": 0.5, "c": None, "d": True}
    with pytest.raises(NotebookError, match="figure e"):
        record(e=[1, 2])
    assert work_folder() == tmp_path


def test_outside_a_course_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook opened by hand writes into a temporary folder, one for the whole session."""
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    record(a=1)
    assert list(tmp_path.iterdir()) == []
    assert work_folder().is_dir()
    assert work_folder() == work_folder() != tmp_path
