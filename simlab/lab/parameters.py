"""The parameters of a notebook: literals, one a line, annotated, with a comment that says what they are.

    n_users: int = 2_000  # shoppers in the world

Why: papermill itself turns `-p drift false` into the true word "false", passes over annotations, and only warns of a
name that nobody knows. Here a parameter has a type, and what does not fit it is refused before anything runs.
"""

import ast
import io
import json
import math
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import nbformat

from simlab.errors import NotebookError

Value = int | float | str | bool

TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
EXPECTED = {
    "int": "give a whole number",
    "float": "give a finite number",
    "str": "give a word",
    "bool": "give true or false",
}
FORM = "write each parameter on a line of its own, as in `n_users: int = 2_000  # shoppers in the world`"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of a notebook."""

    type: str
    """Its annotation: int, float, str or bool."""
    default: Value
    """Its value when none is given."""
    help: str
    """The comment behind it."""


def cast(name: str, value: object, type_name: str) -> Value:
    """`value`, or what the text `value` says, as `type_name`.

    Raises `NotebookError` naming the parameter, the value and what is expected.

    >>> cast("drift", "false", "bool"), cast("n_users", "2_000", "int"), cast("noise", 1, "float")
    (False, 2000, 1.0)
    >>> cast("n_users", "2.5", "int")
    Traceback (most recent call last):
    simlab.errors.NotebookError: parameter n_users: '2.5' will not do; give a whole number
    """
    refusal = NotebookError(f"parameter {name}", value, EXPECTED[type_name])
    if type_name == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(value, str) and type_name != "str":
        try:
            words = {"true": True, "false": False}
            value = words[value.strip().lower()] if type_name == "bool" else TYPES[type_name](value)
        except (KeyError, ValueError):
            raise refusal from None
    if type(value) is not TYPES[type_name] or (isinstance(value, float) and not math.isfinite(value)):
        raise refusal
    assert isinstance(value, int | float | str | bool)
    return value


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def parse_parameters(source: str, where: str) -> dict[str, Parameter]:
    """The parameters that the code `source` declares; `where` names it in errors.

    Raises `NotebookError` for a line in any other form.

    >>> parse_parameters("seed: int = 0  # of everything", "01.ipynb")
    {'seed': Parameter(type='int', default=0, help='of everything')}
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"{where}, parameters", error.text, FORM) from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in statements:
        line = ast.get_source_segment(source, statement)
        match statement:
            case ast.AnnAssign(target=ast.Name(name), annotation=ast.Name(kind), value=ast.expr() as literal) if (
                kind in TYPES and name not in found and statement.lineno in comments
            ):
                try:
                    default = cast(name, ast.literal_eval(literal), kind)
                except (NotebookError, ValueError):
                    raise NotebookError(f"{where}, parameters", line, f"{name} is annotated {kind}: {FORM}") from None
                found[name] = Parameter(type=kind, default=default, help=comments[statement.lineno])
            case _:
                raise NotebookError(f"{where}, parameters", line, FORM)
    if len({statement.lineno for statement in statements}) < len(statements):
        raise NotebookError(f"{where}, parameters", source, FORM)
    return found


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """The notebook at `path`. Raises `NotebookError` where there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("nbformat") != 4:
            raise ValueError("it is not in version 4 of the notebook format")
        nbformat.validate(content)
        notebook: nbformat.NotebookNode = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise NotebookError("notebook", str(path), f"give a notebook that can be read ({reason})") from error
    return notebook


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    """The code cells of `notebook` that carry `tag`."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and tag in cell.metadata.get("tags", [])]


def read_parameters(path: Path) -> dict[str, Parameter]:
    """The parameters of the notebook at `path`, in their order.

    Raises `NotebookError` unless exactly one code cell is tagged `parameters`, each line of it in the right form.
    """
    cells = tagged(read_notebook(path), "parameters")
    if len(cells) != 1:
        raise NotebookError(path.name, f"{len(cells)} cells tagged parameters", "tag exactly one code cell so")
    return parse_parameters(cells[0].source, path.name)


def bind(given: Mapping[str, object], known: Mapping[str, Parameter]) -> dict[str, Value]:
    """The values `given`, each as its parameter wants it.

    Raises `NotebookError` for a name that is not `known` and for a value that does not fit.

    >>> bind({"sede": 1}, {"seed": Parameter(type="int", default=0, help="of everything")})
    Traceback (most recent call last):
    simlab.errors.NotebookError: parameter: 'sede' will not do; did you mean 'seed'? choose one of: seed
    """
    for name in given:
        if name not in known:
            guess = get_close_matches(name, known, n=1)
            meant = f"did you mean {guess[0]!r}? " if guess else ""
            names = ", ".join(known) or "(it has none)"
            raise NotebookError("parameter", name, f"{meant}choose one of: {names}")
    return {name: cast(name, value, known[name].type) for name, value in given.items()}
