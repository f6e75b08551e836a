from pathlib import Path
from typing import Any

import nbformat
import pytest

from simlab.errors import NotebookError
from simlab.lab.notebooks import check, executed, lint, main, normalised, text_of, write

v4: Any = nbformat.v4  # it has no annotations

FIGURE = """\
import ipywidgets
import matplotlib.pyplot as plt
from simlab.lab.widgets import explore
explore(lambda x: plt.plot([1, x])[0].figure, x=ipywidgets.IntSlider(value=n))"""


def book(*sources: str) -> nbformat.NotebookNode:
    first = v4.new_code_cell("n: int = 3  # some", metadata={"tags": ["parameters"], "scrolled": True, "papermill": {}})
    cells = [v4.new_markdown_cell("# A title"), first, *map(v4.new_code_cell, sources)]
    made: nbformat.NotebookNode = v4.new_notebook(cells=cells, metadata={"widgets": {}, "papermill": {"duration": 1}})
    return made


def stored(path: Path, *sources: str) -> Path:
    path.write_text(v4.writes(book(*sources)))
    return path


def replaced(path: Path, old: str, new: str) -> None:
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def test_what_is_stored_is_what_the_code_gives(tmp_path: Path) -> None:
    """Executing twice stores the same bytes; a panel is one still picture; the check overlooks pictures only."""
    path = stored(tmp_path / "01_a.ipynb", FIGURE, "print('n is', n)\n{'double': n * 2}")
    write(path)
    first = path.read_text()
    assert lint(path) == []
    assert "'double': 6" in first
    assert first.count("<Figure size") == first.count("image/png") == 1
    assert "jupyter.widget" not in first
    replaced(path, '"image/png": "', '"image/png": "AAAA')
    assert check(path) == []
    replaced(path, "n is 3", "n is 4")
    assert [line.strip() for line in check(path) if line.startswith(("-  ", "+  "))] == [
        '-      "n is 4\\n"',
        '+      "n is 3\\n"',
    ]
    write(path)
    assert path.read_text() == first


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / (n - 3)", "ZeroDivisionError: division by zero"),
        ("get_ipython().run_line_magic('nosuch', '')", "Error"),
        ("import os\nos._exit(3)", "the kernel died"),
    ],
)
def test_a_notebook_that_fails_is_not_stored(tmp_path: Path, source: str, reason: str) -> None:
    """The error names notebook, cell and cause."""
    path = stored(tmp_path / "01_a.ipynb", source)
    with pytest.raises(NotebookError, match=rf"01_a\.ipynb, cell \[2\]: .*{reason}"):
        executed(path)


def test_the_normal_form_is_reached_in_one_step() -> None:
    """Normalising again changes nothing, and what depends on who ran the notebook is gone."""
    once = normalised(book("1 + 1", "1 + 1"))
    assert text_of(normalised(once)) == text_of(once)
    assert [dict(cell.metadata) for cell in once.cells] == [{}, {"tags": ["parameters"]}, {}, {}]
    assert sorted(once.metadata) == ["kernelspec", "language_info"]
    nbformat.validate(once)


def test_a_cell_keeps_its_id_when_others_come_and_go() -> None:
    """Ids come from the words of a cell, not from its place or from chance; equal cells still differ."""
    before = [cell.id for cell in normalised(book("a = 1", "b = 2", "b = 2")).cells]
    after = [cell.id for cell in normalised(book("new = 0", "a = 1", "b = 2", "b = 2")).cells]
    assert after[:2] + after[3:] == before
    assert len(set(after)) == len(after)


def test_the_command_line_answers_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where all is well, 1 with findings, 2 where nothing could be read."""
    path = stored(tmp_path / "01_a.ipynb", "print(n)")
    assert main(["lint", str(tmp_path)]) == 1
    assert "01_a.ipynb, outputs: no cell has been run; run `make notebooks`" in capsys.readouterr().out
    assert main(["write", str(tmp_path)]) == 0
    assert main(["lint", str(path)]) == 0
    (tmp_path / "nothing").mkdir()
    assert main(["lint", str(tmp_path / "nothing")]) == 2
    assert main(["lint", str(tmp_path / "nosuch.ipynb")]) == 2


def test_a_notebook_saved_by_another_hand_is_noticed(tmp_path: Path) -> None:
    """Good outputs are not enough: what is committed is byte for byte what `make notebooks` stores."""
    path = stored(tmp_path / "01_a.ipynb", "print(n)")
    write(path)
    replaced(path, '"name": "python"\n', '"name": "python",\n   "version": "3.11.7"\n')
    assert lint(path) == ["01_a.ipynb: not as `make notebooks` stores it; run that and commit its output"]
