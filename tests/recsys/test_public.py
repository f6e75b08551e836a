"""What is public comes back the same from its file, and a damaged file is named."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlab.errors import DataError
from simlab.recsys.public import read_public, write_public
from simlab.schema import NEVER, Catalogue, Labels, Shoppers


def a_shop(n: int = 4) -> tuple[Catalogue, Shoppers]:
    goods = Catalogue(
        name=tuple(f"Möhre № {i} 🥕" for i in range(n)),
        category=Labels(codes=np.arange(n) % 2, names=("toys", "books")),
        brand=Labels.constant("Alder", n),
        price=np.arange(n) / 3,
        margin=np.full(n, 0.3),
        launch_day=np.arange(n) - 2,
        retire_day=np.full(n, NEVER),
    )
    words = Labels(codes=np.arange(3) % 2, names=("north", "coast", "nobody's"))
    return goods, Shoppers(segment=words, region=replace(words, codes=words.codes[::-1]), arrival_day=np.arange(3))


def columns(part: Any) -> dict[str, Any]:
    """Its arrays as lists, with their types."""
    found = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Labels):
            value = (value.codes.tolist(), value.names)
        found[field.name] = (value.dtype, value.tolist()) if isinstance(value, np.ndarray) else value
    return found


@pytest.mark.parametrize("n", [4, 0])
def test_goods_and_shoppers_come_back(n: int, tmp_path: Path) -> None:
    """Every column, bit for bit, with names in any script and words that nobody has; also of an empty shop."""
    goods, people = a_shop(n)
    write_public(tmp_path / "shop" / "public.npz", goods, people)
    again, they = read_public(tmp_path / "shop" / "public.npz")
    assert columns(again) == columns(goods)
    assert columns(they) == columns(people)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The same shop gives the same bytes, another one other bytes, and no draft is left."""
    file = tmp_path / "public.npz"
    write_public(file, *a_shop())
    first = file.read_bytes()
    write_public(file, *a_shop(2))
    assert file.read_bytes() != first
    write_public(file, *a_shop())
    assert file.read_bytes() == first
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "no archive", "other arrays", "pickled"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    """With the remedy; nothing in it is run."""
    file = tmp_path / "public.npz"
    write_public(file, *a_shop())
    if damage == "missing":
        file.unlink()
    elif damage == "other arrays":
        np.savez(file, name=np.array(["x"]))
    elif damage == "pickled":
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(file, **{**arrays, "name": np.array([{"a": 1}], dtype=object)})
    else:
        data = file.read_bytes()
        file.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "no archive": b"no archive"}[damage])
    with pytest.raises(DataError, match="what is public of the shop: .*public.npz.*run again"):
        read_public(file)
