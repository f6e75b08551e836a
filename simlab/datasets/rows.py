"""The rows of anybody's CSV or Parquet file as text, some thousand at a time, with the line of each.

Why lines: whoever has a broken file needs to know where. A quotation mark that is never closed swallows the rest of a
file; so what stands on several lines where one is expected is a fault, and is counted as so many lines.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simlab.errors import DataError
from simlab.schema import Ints
from simlab.settings import choose

LISTED = 20
"""Broken rows that are listed; all are counted."""

_CHUNK = 8_000
"""Rows in memory as text at once."""

_SEPARATORS = (",", ";", "\t", "|")

_END = "\x03"
"""Stands after the last line; a quotation mark that is never closed swallows it."""

_LINE_END = re.compile("\r\n?|\n")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some rows of a file as text."""

    line: Ints
    texts: dict[str, Sequence[str]]
    """By the file's name of the column."""
    broken: int = 0
    """Lines that are no rows, beside these."""
    faults: list[tuple[int, str]] = field(default_factory=list)


def chunks(path: Path, names: tuple[str, ...]) -> Iterator[Chunk]:
    """The columns `names` of a CSV or Parquet file. Raises `DataError` where it cannot be read."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        if start == b"PAR1":
            yield from _parquet(path, names)
        elif start[:2] == b"PK":
            raise DataError(str(path), "a zip or a spreadsheet", "unpack it, or save it as CSV")
        else:
            yield from _csv(path, names)
    except FileNotFoundError as error:
        raise DataError(str(path), "no such file", "give the path of a CSV or Parquet file") from error
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise DataError(str(path), str(error), "give a CSV or Parquet file that is whole and can be read") from error


def _columns_of(path: Path, found: list[str], names: tuple[str, ...]) -> dict[str, int]:
    """Where the columns `names` stand among those `found`."""
    for name in names:
        choose(f"column of {path.name}", name, {other: other for other in found if other})
        if found.count(name) > 1:
            raise DataError(path.name, f"{found.count(name)} columns called {name}", "rename all but one")
    return {name: found.index(name) for name in names}


def _parquet(path: Path, names: tuple[str, ...]) -> Iterator[Chunk]:
    file = pq.ParquetFile(path)
    _columns_of(path, file.schema_arrow.names, names)
    start = 1
    for batch in file.iter_batches(_CHUNK, columns=list(dict.fromkeys(names))):
        texts = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
            texts[name] = plain.cast(pa.string()).fill_null("").to_pylist()
        yield Chunk(line=np.arange(start, start + len(batch)), texts=texts)
        start += len(batch)


def _csv(path: Path, names: tuple[str, ...]) -> Iterator[Chunk]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        binary = gzip.GzipFile(fileobj=raw) if packed else raw
        start = binary.read(2)
        binary.seek(0)
        encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = io.TextIOWrapper(binary, encoding=encoding, newline="")
        try:
            yield from _csv_chunks(path, text, names)
        except UnicodeDecodeError as error:
            binary.seek(0)
            bad = (k for k, line in enumerate(binary, start=1) if line.decode(errors="ignore").encode() != line)
            where = "" if encoding == "utf-16" else f", line {next(bad)}"
            raise DataError(path.name + where, error.reason, "save the file as UTF-8") from error


def _stripped(texts: Iterable[str]) -> list[str]:
    return [text.strip() for text in texts]


def _csv_chunks(path: Path, text: Iterable[str], names: tuple[str, ...]) -> Iterator[Chunk]:
    lines = iter(text)
    before, header = next(((k, line) for k, line in enumerate(lines, start=1) if line.strip()), (0, ""))
    if not header:
        raise DataError(str(path), "an empty file", "give a file with a line of column names and rows below it")
    heads = {mark: _stripped(next(csv.reader([header], delimiter=mark))) for mark in _SEPARATORS}
    mark = max(heads, key=lambda mark: (len({*names} & {*heads[mark]}), len(heads[mark])))
    reader = csv.reader(chain([header], lines, [_END]), delimiter=mark, skipinitialspace=True)
    found = _stripped(next(reader))  # again, since it may be more than a line
    place = _columns_of(path, found, names)
    first = before + reader.line_num
    while True:
        try:
            rows = list(islice(reader, _CHUNK))
        except csv.Error as error:
            where = f"{path.name}, line {before + reader.line_num - 1}"
            raise DataError(where, str(error), "is a quotation mark left open above?") from error
        if not rows:
            return
        after = before + reader.line_num
        one_each = after - first == len(rows)
        if rows[-1] == [_END]:
            rows.pop()
        line, faults = np.arange(first, first + len(rows)), list[tuple[int, int, str]]()
        if not one_each or {*map(len, rows)} != {len(found)}:
            line, rows, faults = _sifted(rows, first, len(found), tuple(place.values()))
        columns = list(zip(*rows, strict=True)) or [()] * len(found)
        yield Chunk(
            line=line,
            texts={name: columns[k] for name, k in place.items()},
            broken=sum(span for _, span, _ in faults),
            faults=[(number, wrong) for number, _, wrong in faults[:LISTED]],
        )
        first = after


def _sifted(
    rows: list[list[str]], line: int, n: int, place: tuple[int, ...]
) -> tuple[Ints, list[list[str]], list[tuple[int, int, str]]]:
    """Lines and fields of the rows of `n` fields, each at `place` on one line; line, height and fault of the others."""
    good, lines, faults = [], [], []
    for row in rows:
        text = "".join(row)
        endless = text.endswith(_END)
        inside = text.removesuffix(_END).rstrip("\r\n") if endless else text
        span = 1 + len(_LINE_END.findall(inside))
        if endless or (len(row) != n and text.strip()) or any(_LINE_END.search(row[k]) for k in place if k < len(row)):
            over = f" on {span} lines: is a quotation mark left open?" if endless or span > 1 else ""
            faults.append((line, span, f"expected {n} fields, found {len(row)}{over}"))
        elif len(row) == n:
            good.append(row)
            lines.append(line)
        line += span
    return np.array(lines, dtype=np.int64), good, faults
