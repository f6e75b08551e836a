"""A folder appears whole, once, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from simlab.recsys.folders import write_folder

FILES = {"a.bin": b"first", "b.bin": b"second"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    """What is there stays as it is, be it a folder or a file, and no draft is left beside it."""
    write_folder(tmp_path / "deep" / "made", FILES)
    (tmp_path / "deep" / "file").write_bytes(b"mine")
    before = contents(tmp_path)
    assert before == {"deep/made/a.bin": b"first", "deep/made/b.bin": b"second", "deep/file": b"mine"}
    for name in ("made", "file"):
        with pytest.raises(FileExistsError, match=name):
            write_folder(tmp_path / "deep" / name, {"a.bin": b"other"})
    assert contents(tmp_path) == before
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["file", "made"]


FULL = """
import pathlib, resource, sys
from simlab.recsys.folders import write_folder
from simlab.recsys.log import EventLog
from simlab.recsys.models import RandomModel, save_model
from simlab.tables import FEEDBACK, IMPRESSIONS
path = pathlib.Path(sys.argv[1])
nothing = IMPRESSIONS.empty_table(), FEEDBACK.empty_table()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for work in (
    lambda: write_folder(path / "parts", {"small": b"x", "large": b"x" * 200}),
    lambda: EventLog(path / "log").append(0, *nothing),
    lambda: save_model(RandomModel(seed=1, n_items=3), path / "m1", {}),
):
    try:
        work()
    except OSError as error:
        print(pathlib.Path(error.filename).name)
"""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Where a file may not grow, the error names it and the draft is gone: a day of the log and a model alike."""
    said = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["large", "impressions.parquet", "arrays.npz"]
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("log")]
