"""Files that are whole or not there: written to a temporary name in the same folder, then renamed.

Why: a run may be killed at any moment, and what it leaves must be readable or absent. (A killed process is meant, not
a power cut: nothing is forced to the disk here.)
"""

import atexit
import contextlib
import fcntl
import functools
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simlab.errors import RunError

_LOCK = ".lock"


@functools.cache
def temporary_folder() -> Path:
    """A folder of this process, gone when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="simlab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def draft_of(path: Path) -> Path:
    """The name under which this process makes what will be `path`: hidden, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


_DRAFT = re.compile(r"\..+\.\d+\.tmp")


def sweep(folder: Path) -> None:
    """Removes every draft in `folder` and below. Only for one who holds the folder: drafts may be another's work."""
    for draft in [path for path in folder.rglob(".*.tmp") if _DRAFT.fullmatch(path.name)]:
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


def is_free(folder: Path) -> bool:
    """Whether `folder` can be made anything of: it is not there, or holds nothing but a lock and drafts of ours."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return all(name == _LOCK or _DRAFT.fullmatch(name) for name in names)


def write_bytes(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, replacing what is there in one step.

    Raises `OSError` naming the file where it cannot, for example on a full disk; no draft is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write says nothing of its file
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_json(path: Path, value: Any, *, sort: bool = True) -> None:
    """Puts `value` at `path` as readable JSON, keys in alphabetical order or as they come."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=sort) + "\n").encode())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process. Raises `RunError` where another process holds it; a killed one lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                "run folder", str(folder), "another process is working in it: wait, or choose another"
            ) from None
        yield


def parquet_bytes(table: pa.Table, level: int = 1) -> bytes:
    """A table as one Parquet file: long numbers byte by byte, the rest as codes; zstd at `level`, 1 (fast) to 22."""
    long = ("request_id", "impression_id", "second", "propensity")
    encoding = {name: "BYTE_STREAM_SPLIT" for name in long if name in table.column_names}
    words = [field.name for field in table.schema if field.name not in encoding]
    buffer = io.BytesIO()
    pq.write_table(
        table, buffer, compression="zstd", compression_level=level, use_dictionary=words, column_encoding=encoding
    )
    return buffer.getvalue()
