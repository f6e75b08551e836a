from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlab.errors import NotebookError
from simlab.lab.parameters import Parameter, bind, cast, parse_parameters, read_parameters

v4: Any = nbformat.v4  # it has no annotations

GOOD = """\
# how large the shop is
n_users: int = 2_000  # shoppers in the world
drift: float = -0.5  # change of tastes a day
data: str = "shop"  # historical data: # is no comment here
live: bool = False  # whether to wait
"""


def stored(path: Path, *sources: str) -> Path:
    cells = [v4.new_code_cell(source, metadata={"tags": ["parameters"]}) for source in sources]
    path.write_text(
        v4.writes(v4.new_notebook(cells=[v4.new_markdown_cell("# A title"), *cells, v4.new_code_cell("1 + 1")]))
    )
    return path


def test_a_cell_of_literals_says_types_defaults_and_help(tmp_path: Path) -> None:
    """Order, types, negative numbers and comments are read as they stand."""
    assert read_parameters(stored(tmp_path / "01_a.ipynb", GOOD)) == {
        "n_users": Parameter(type="int", default=2000, help="shoppers in the world"),
        "drift": Parameter(type="float", default=-0.5, help="change of tastes a day"),
        "data": Parameter(type="str", default="shop", help="historical data: # is no comment here"),
        "live": Parameter(type="bool", default=False, help="whether to wait"),
    }
    assert list(read_parameters(stored(tmp_path / "02_b.ipynb", GOOD))) == ["n_users", "drift", "data", "live"]


@pytest.mark.parametrize(
    "line",
    [
        "n = 3  # no annotation",
        "n: int = 3",
        "n: int = 2 + 3  # not a literal",
        "n: int = len('abc')  # not a literal",
        "n: int = 2.5  # another type",
        "n: bool = 1  # another type",
        "n: list = []  # a type that no command line gives",
        "n: int  # no default",
        "n: int = 3; m: int = 4  # two in one line",
        "n: int = 3  # twice\nn: int = 4  # twice",
        "import os  # not a parameter",
        "n: int = (  # not Python",
    ],
)
def test_any_other_form_is_refused(line: str) -> None:
    """A parameter that a command line could not set, or a reader not understand, is an error that shows the form."""
    with pytest.raises(NotebookError, match=r"01_a\.ipynb, parameters: .* will not do; .*n_users: int = 2_000"):
        parse_parameters(line, "01_a.ipynb")


@pytest.mark.parametrize("n_cells", [0, 2])
def test_exactly_one_cell_is_tagged(tmp_path: Path, n_cells: int) -> None:
    """With none or several, nobody could say which values a run used."""
    with pytest.raises(NotebookError, match=f"{n_cells} cells tagged parameters"):
        read_parameters(stored(tmp_path / "01_a.ipynb", *["n: int = 3  # some"] * n_cells))


@pytest.mark.parametrize(
    "content", [None, "", "{}", "[1]", "not json", '{"cells": 3}', '{"cells": []}', '{"cells": [3], "nbformat": 4}']
)
def test_a_file_that_is_no_notebook_is_named(tmp_path: Path, content: str | None) -> None:
    """A missing or damaged notebook is the caller's to mend, whatever nbformat makes of it."""
    path = tmp_path / "01_a.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NotebookError, match="01_a"):
        read_parameters(path)


@given(value=st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text())
def test_text_and_value_mean_the_same(value: float | bool | str) -> None:
    """What Python prints for a value is read back as that value."""
    kind = type(value).__name__
    assert cast("x", str(value), kind) == cast("x", value, kind) == value
    assert type(cast("x", str(value), kind)) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *[("2.5", "int"), (2.5, "int"), (True, "int"), (None, "int"), ("yes", "bool"), (1, "bool"), ("", "bool")],
        *[
            ("nan", "float"),
            ("inf", "float"),
            (True, "float"),
            ("", "float"),
            ([1], "float"),
            (3, "str"),
            (None, "str"),
        ],
    ],
)
def test_what_does_not_fit_is_refused(value: object, kind: str) -> None:
    """The error names parameter, value and what is expected."""
    with pytest.raises(NotebookError) as caught:
        cast("drift", value, kind)
    assert (caught.value.thing, caught.value.value) == ("parameter drift", value)
    assert caught.value.remedy.startswith("give ")


def test_truth_has_two_words() -> None:
    """`false` is false, in any case of letters: papermill itself would pass on a word, which is true."""
    assert [cast("x", word, "bool") for word in ("true", "True", "FALSE", "false ")] == [True, True, False, False]


def test_unknown_names_are_refused_with_the_one_meant() -> None:
    """Nothing that is misspelt is swallowed."""
    known = parse_parameters(GOOD, "01_a.ipynb")
    assert bind({"n_users": "7", "live": "true"}, known) == {"n_users": 7, "live": True}
    with pytest.raises(NotebookError, match=r"'n_user'.*did you mean 'n_users'.*n_users, drift, data, live"):
        bind({"n_user": 7}, known)
