from typing import Any

import nbformat
import pytest

from simlab.lab.notebook_rules import findings

v4: Any = nbformat.v4  # it has no annotations

PARAMETERS = "n: int = 3  # some"


def text(words: str, kind: str = "text/plain") -> Any:
    return v4.new_output("execute_result", data={kind: words}, execution_count=2)


def book(source: str, *outputs: Any, tags: tuple[str, ...] = (), parameters: str = PARAMETERS) -> Any:
    cells = [
        v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}, execution_count=1),
        v4.new_markdown_cell("See [the next](../README.md)."),
        v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)}, execution_count=2),
        v4.new_code_cell(""),
    ]
    return v4.new_notebook(cells=cells)


@pytest.mark.parametrize(
    "source",
    [
        "n * 2",
        "rate = clicks / visits  # clicks/visit",
        "squares = [(lambda x: x * x)(i) for i in range(3)]",
        "table.to_parquet(work_folder() / 'log' / 'day.parquet')",
        "axes.set_title('a share; and/or more')",
        "run.log.sql('select count(*) / 2 from impressions')",
        "open(path)",
    ],
)
def test_plain_code_with_a_result_keeps_the_rules(source: str) -> None:
    """What teaches is not in the way of the rules."""
    assert findings(book(source, text("6"))) == []


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("if n:\n    def f():\n        pass", "def or class"),
        ("class Shop:\n    pass", "def or class"),
        ("async def f():\n    pass", "def or class"),
        ("n * 2;", "`;`"),
        ("n = 2; n * 3", "`;`"),
        ("%matplotlib inline\nn", "not plain Python"),
        ("!pip install simlab", "not plain Python"),
        ("# NBVAL_IGNORE_OUTPUT\nn", "a marker of nbval"),
        ("pd.read_csv('ratings.csv')", "relative path 'ratings.csv'"),
        ("simlab.run(out='runs/mine')", "relative path 'runs/mine'"),
        ("simlab.load_run('../runs')", "relative path '../runs'"),
        ("Path('runs') / 'mine'", "relative path 'runs'"),
        ("pathlib.Path('.') / 'mine'", "relative path '.'"),
        ("open('notes')", "relative path 'notes'"),
    ],
)
def test_code_that_breaks_a_rule_is_found(source: str, finding: str) -> None:
    """Each rule of the code names the cell and says what is wrong."""
    found = findings(book(source, text("6")))
    assert len(found) == 1
    assert found[0].startswith("cell [2]: ")
    assert finding in found[0]


@pytest.mark.parametrize(
    ("output", "finding"),
    [
        (v4.new_output("error", ename="ValueError", evalue="", traceback=[]), "a stored error, ValueError"),
        (v4.new_output("stream", name="stderr", text="FutureWarning: soon"), "output on standard error"),
        (v4.new_output("stream", name="stdout", text="saved in /home/ada/runs\n"), "'/home/ada/runs'"),
        (text("<i>/tmp/simlab-x1/log</i>", "text/html"), "'/tmp/simlab-x1/log</i>'"),
        (text(r"WindowsPath('C:\Users\ada')"), "a path of one machine"),
        (text("<Recommender object at 0x7f00dead>"), "'at 0x7f00dead'"),
    ],
)
def test_an_output_that_nobody_else_can_have_is_found(output: Any, finding: str) -> None:
    """Errors, warnings, paths of a machine and addresses do not stand in a stored notebook."""
    found = findings(book("n", text("6"), output))
    assert len(found) == 1
    assert found[0].startswith("cell [2]: ")
    assert finding in found[0]


def test_a_stripped_notebook_is_found() -> None:
    """Without outputs and counts there is nothing to compare, and the comparison would pass."""
    notebook = book("n * 2", text("6"))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    assert findings(notebook) == ["outputs: no cell has been run; run `make notebooks`"]


def test_counts_run_from_one() -> None:
    """A notebook whose cells were run out of order is not what its reader will get."""
    notebook = book("n * 2", text("6"))
    notebook.cells[2].execution_count = 5
    assert findings(notebook) == ["cell [2]: stored as [5]; run `make notebooks`"]


def test_pictures_and_ignored_outputs_compare_nothing() -> None:
    """nbval compares neither, so one text or table at least must stand beside them."""
    picture = v4.new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure size 1x1 with 1 Axes>"})
    for notebook in (book("n", picture), book("n", text("6"), tags=("nbval-ignore-output",))):
        assert [finding.split(":")[0] for finding in findings(notebook)] == ["outputs"]
    assert findings(book("n", picture, text("<table></table>", "text/html"))) == []


@pytest.mark.parametrize("tag", ["nbval-skip", "raises-exception"])
def test_a_cell_that_is_not_tested_is_found(tag: str) -> None:
    """No tag takes a cell out of the tests unseen."""
    assert f"cell [2]: the tag {tag}" in findings(book("n", text("6"), tags=(tag,)))[0]


@pytest.mark.parametrize("parameters", ["n = 3", "n: int = 2 + 3  # some", "n: int = 3"])
def test_the_parameters_cell_keeps_its_form(parameters: str) -> None:
    """The form of test_parameters is also demanded here, before anybody runs the notebook."""
    assert len(findings(book("n", text("6"), parameters=parameters))) == 1


def test_one_cell_is_tagged_parameters() -> None:
    """A notebook without parameters, or with two such cells, cannot be a part of the course."""
    notebook = book("n", text("6"))
    notebook.cells[0].metadata = {}
    assert findings(notebook) == ["0 cells tagged parameters; tag exactly one code cell so"]
