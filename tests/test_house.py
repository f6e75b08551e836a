"""The house keeps its own rules: few public names, all in the README; light to import; all pinned."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import simlab

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_is_in_the_readme_and_there() -> None:
    """At most 20 names, each in the README's table and each importable."""
    table = re.findall(r"^\| (`.*?) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    told = {name for row in table for name in re.findall(r"`(\w+)`", row)}
    assert told == set(simlab.__all__)
    assert len(simlab.__all__) <= 20
    for name in simlab.__all__:
        assert getattr(simlab, name).__name__ == name


def test_importing_simlab_loads_nothing_heavy() -> None:
    """The command line answers at once, and a server need not carry a trainer or figures."""
    heavy = "{'numpy', 'pandas', 'lightfm', 'implicit', 'matplotlib', 'duckdb', 'pyarrow'}"
    code = f"import simlab, simlab.cli, sys; print(*sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def test_serving_loads_no_trainer() -> None:
    """A service with a stored model needs neither lightfm, implicit nor matplotlib, even indirectly."""
    code = (
        "import simlab.recsys.service, simlab.recsys.registry, sys; print({'lightfm', 'matplotlib'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_nothing_is_imported_by_a_string() -> None:
    """The import contracts see import statements only, so there is no other way in, but for the public names."""
    ways, found = {"__import__", "import_module", "exec", "eval"}, set()
    for file in (ROOT / "simlab").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Name) and node.id in ways:
                found.add((str(file.relative_to(ROOT)), node.id))
    assert found == {("simlab/__init__.py", "import_module")}  # ruff bans the other spellings


def test_every_version_is_pinned() -> None:
    """requirements.txt names one version of every package, and all that pyproject.toml asks for."""
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.lstrip().startswith("#")
    ]
    assert all(re.match(r"^[\w.\[\]-]+==[\w.]+( ;.*)?$", line) for line in lines)
    pinned = {line.split("==")[0].lower() for line in lines}
    asked = re.findall(r'^    "([\w-]+)[<>=]', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert len(asked) > 15
    assert {name.lower() for name in asked} <= pinned


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    """The README's block, with a smaller shop and another folder, does what it says."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[0]
    assert 'out="runs/x"' in code
    small = 'days=3, world={"n_users": 60, "n_items": 40, "history_days": 14}'
    code = code.replace("days=60", small).replace('out="runs/x"', f"out={str(tmp_path / 'x')!r}")
    subprocess.run([sys.executable, "-c", code + "\nassert len(run.metrics) == 3"], check=True)


def test_the_readme_s_plain_test_command_is_make_s() -> None:
    """Who has no make types what make test runs, but for the number of workers."""
    plain = re.findall(r"\.venv/bin/python -m (pytest .*)", (ROOT / "README.md").read_text())
    makefile = (ROOT / "Makefile").read_text()
    nbval = re.findall(r"^NBVAL := (.*)$", makefile, flags=re.MULTILINE)[0]
    assert plain == [f"pytest {nbval} tests simlab notebooks"]
    assert "$(NBVAL) tests simlab notebooks" in makefile
