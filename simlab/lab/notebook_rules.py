"""The rules that our notebooks keep, so that what they store can be compared and means something.

Why: a notebook without outputs passes every comparison, a cell with `;` or a path of somebody's machine fails on all
others, and a `def` in a notebook is a piece of the library that nobody tests.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import nbformat

from simlab.errors import NotebookError
from simlab.lab.parameters import parse_parameters, tagged

RELATIVE = re.compile(r"\.?\./.*|[\w.-]{2,}(/[\w.-]+)+/?|[\w-]+\.(csv|db|html|ipynb|json|npz|parquet|png|svg|txt)")
"""A word that can only be a path without a root."""

MACHINE = re.compile(r"(?<![\w/.:])/(home|mnt|opt|private|root|srv|tmp|usr|var|work|Users)/\S+|\b[A-Z]:\\\w+")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
SKIP = ("nbval-skip", "raises-exception")
UNCHECKED = ("nbval-ignore-output", *SKIP)
MARKER = re.compile(r"^\s*#+\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)\s*$", re.MULTILINE)


def _relative_paths(tree: ast.AST) -> Iterator[str]:
    nodes = list(ast.walk(tree))
    joined = {id(node.right) for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)}
    opened: set[int] = set()
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name("Path" | "open") | ast.Attribute(attr="Path" | "open"), args=[first, *_]):
                opened.add(id(first))
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in joined:
            rootless = id(node) in opened and not node.value.startswith("/")
            if rootless or RELATIVE.fullmatch(node.value):
                yield node.value


def _code(source: str) -> Iterator[str]:
    if MARKER.search(source):
        yield "a marker of nbval in the code; use a tag, which the reader does not see"
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        yield f"not plain Python ({(error.text or '').strip()!r}); magics and shell commands belong elsewhere"
        return
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in ast.walk(tree)):
        yield "def or class in a notebook; put it into the package"
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    if any(token.type == tokenize.OP and token.string == ";" for token in tokens):
        yield "`;` ends a statement; write `_ = ...` to show nothing"
    for path in _relative_paths(tree):
        yield f"the relative path {path!r}; build it from work_folder() or a parameter"


def _texts(output: nbformat.NotebookNode) -> Iterator[str]:
    if output.output_type == "stream":
        yield output.text
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            yield value


def _is_compared(output: nbformat.NotebookNode) -> bool:
    data = output.get("data", {})
    picture = any(kind.startswith("image/") for kind in data)
    return output.output_type == "stream" or "text/html" in data or ("text/plain" in data and not picture)


def _outputs(cell: nbformat.NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"a stored error, {output.ename}; mend the cell"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"output on standard error, {output.text.strip()[:60]!r}; mend what it warns of"
        for text in _texts(output):
            if address := ADDRESS.search(text):
                yield f"an address in the output, {address.group()!r}; show something that repeats"
            if path := MACHINE.search(text):
                yield f"a path of one machine in the output, {path.group()!r}; show its name only"


def _parameters(notebook: nbformat.NotebookNode) -> Iterator[str]:
    cells = tagged(notebook, "parameters")
    if len(cells) != 1:
        yield f"{len(cells)} cells tagged parameters; tag exactly one code cell so"
        return
    try:
        parse_parameters(cells[0].source, "cell")
    except NotebookError as error:
        yield str(error)


def findings(notebook: nbformat.NotebookNode) -> list[str]:
    """What breaks the rules, one line each, cells numbered as Jupyter numbers them; empty where all is well.

    >>> cell = nbformat.v4.new_code_cell("seed: int = 0  # of all", metadata={"tags": ["parameters"]})
    >>> findings(nbformat.v4.new_notebook(cells=[cell]))[0]
    'outputs: no cell has been run; run `make notebooks`'
    """
    found: list[str] = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    stripped = all(cell.execution_count is None for cell in code)
    compared = False
    for number, cell in enumerate(code, start=1):
        here = [*_code(cell.source), *_outputs(cell)]
        if cell.execution_count != number and not stripped:
            here.append(f"stored as [{cell.execution_count}]; run `make notebooks`")
        tags = cell.metadata.get("tags", [])
        here += [f"the tag {tag}; a cell that is not tested is not shipped" for tag in SKIP if tag in tags]
        if not any(tag in tags for tag in UNCHECKED):
            compared |= any(_is_compared(output) for output in cell.outputs)
        found += [f"cell [{number}]: {finding}" for finding in here]
    if stripped:
        found.append("outputs: no cell has been run; run `make notebooks`")
    elif not compared:
        found.append("outputs: none stored that can be compared; print a table or a number, then run `make notebooks`")
    return found + list(_parameters(notebook))
