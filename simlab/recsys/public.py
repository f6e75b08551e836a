"""What everybody may know of a shop, in one file: its goods and its shoppers, so that a server needs nothing else."""

import io
import zipfile
from pathlib import Path

import numpy as np

from simlab.errors import DataError
from simlab.files import write_bytes
from simlab.schema import Catalogue, Labels, Shoppers

_LABELS = ("category", "brand", "segment", "region")
_ITEMS = ("price", "margin", "launch_day", "retire_day")


def write_public(file: Path, catalogue: Catalogue, shoppers: Shoppers) -> None:
    """Puts both into `file` (.npz), plain arrays, replacing what is there."""
    labels = {
        "category": catalogue.category,
        "brand": catalogue.brand,
        "segment": shoppers.segment,
        "region": shoppers.region,
    }
    arrays = {name: getattr(catalogue, name) for name in _ITEMS}
    for name, column in labels.items():
        arrays |= {name: column.codes, f"{name}_names": np.array(column.names, dtype=str)}
    buffer = io.BytesIO()
    np.savez(buffer, name=np.array(catalogue.name, dtype=str), arrival_day=shoppers.arrival_day, **arrays)
    write_bytes(file, buffer.getvalue())


def read_public(file: Path) -> tuple[Catalogue, Shoppers]:
    """The goods and the shoppers in `file`. Raises `DataError` where it is missing or damaged."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        labels = {name: Labels(codes=arrays[name], names=tuple(arrays[f"{name}_names"].tolist())) for name in _LABELS}
        catalogue = Catalogue(
            name=tuple(arrays["name"].tolist()),
            category=labels["category"],
            brand=labels["brand"],
            **{name: arrays[name] for name in _ITEMS},
        )
        people = Shoppers(segment=labels["segment"], region=labels["region"], arrival_day=arrays["arrival_day"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError("what is public of the shop", str(file), f"serve the run again to make it ({error})") from error
    return catalogue, people
