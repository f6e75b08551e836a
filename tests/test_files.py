import resource
import subprocess
import sys
from pathlib import Path

import pytest

from simlab.errors import RunError
from simlab.files import locked, write_bytes, write_json


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """What was there stays until the new file is complete, and no draft is left behind."""
    write_bytes(tmp_path / "a" / "b.bin", b"one")
    write_bytes(tmp_path / "a" / "b.bin", b"two")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"two"
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b.bin"]


def test_a_write_that_fails_names_the_file_and_leaves_no_draft(tmp_path: Path) -> None:
    """As on a full disk: here a file may have 1 MB."""
    write_bytes(tmp_path / "a.bin", b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError, match=r"a\.bin"):
            write_bytes(tmp_path / "a.bin", bytes(2_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"before"


def test_json_has_one_form(tmp_path: Path) -> None:
    """The order of keys does not change the bytes."""
    write_json(tmp_path / "a.json", {"x": 1, "y": 2})
    write_json(tmp_path / "b.json", {"y": 2, "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


HOLD = """
import sys, pathlib, simlab.files
with simlab.files.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


def test_a_folder_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    """A second process is told so; a killed holder leaves no lock behind."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process"), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass
