"""A file as records, one after the other: JSON lines or CSV, gzipped or not, or Parquet; never all of it in memory."""

from __future__ import annotations

import csv
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from streams.settings import ConfigurationError

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
CSV, DELIMITERS = (".csv", ".tsv"), ",;\t"
LONGEST_LINE = 16_000_000  # longer than any message may be; a file without line ends must not fill the memory
ROWS = 256


@dataclass(frozen=True)
class Record:
    """What a file says about one interaction.

    Attributes:
        number: of its line or row, from 1; blank lines count here, but are no records.
        value: the line as it stands, or the row's columns.
    """

    number: int
    value: bytes | dict[str, Any]


class Records:
    """An iterator of records.

    Attributes:
        lasting: whether it is a file that can be read again, and no pipe.

    Raises:
        ConfigurationError: the file breaks off, or is no such file after all.
    """

    def __init__(self, name: str, raw: BufferedReader, size: int | None) -> None:
        self._name, self._raw, self._size = name, raw, size
        self.lasting = size is not None
        self._records = _records(raw, cells=Path(name.removesuffix(".gz")).suffix.lower() in CSV)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        try:
            return next(self._records)
        except (EOFError, zlib.error, OSError, pa.ArrowException, csv.Error) as error:
            raise ConfigurationError(f"{self._name}: cannot be read any further ({type(error).__name__})") from None

    @property
    def fraction(self) -> float | None:
        """How much of the file was read, 0 to 1; none of a pipe."""
        return self._raw.tell() / self._size if self._size else None

    def skip(self, count: int) -> None:
        """Pass over records that were dealt with."""
        for _ in islice(self, count):
            pass


@contextmanager
def open_records(file: Path) -> Iterator[Records]:
    """The records of a file; `-` is standard input.

    Raises:
        ConfigurationError: it cannot be opened.
    """
    if str(file) == "-":
        reader: BufferedReader = BufferedReader(sys.stdin.buffer)  # type: ignore[arg-type]  # need not be one itself
        try:
            yield Records("standard input", reader, None)
        finally:
            reader.detach()
        return
    try:
        raw = file.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    with raw:
        status = os.fstat(raw.fileno())
        yield Records(str(file), raw, status.st_size if stat.S_ISREG(status.st_mode) else None)


def _records(raw: BufferedReader, *, cells: bool) -> Iterator[Record]:
    beginning = raw.peek(4)
    if beginning.startswith(PARQUET):
        yield from _rows(raw)
        return
    lines = gzip.GzipFile(fileobj=raw) if beginning.startswith(GZIP) else raw
    if cells:
        yield from _cells(lines)
        return
    for number, line in enumerate(iter(partial(lines.readline, LONGEST_LINE), b""), 1):
        if line.strip():
            yield Record(number, line)


def _cells(lines: gzip.GzipFile | BufferedReader) -> Iterator[Record]:
    """Rows of CSV under the names in its first line; the delimiter is the one that this line has most of.

    An empty cell says nothing. Cells beyond the names are kept as `unnamed`, which is no field of anything.
    """
    csv.field_size_limit(LONGEST_LINE)
    text = io.TextIOWrapper(lines, "utf-8-sig", errors="replace", newline="")
    try:
        header = text.readline(LONGEST_LINE)
        delimiter = max(DELIMITERS, key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        number = 2
        for row in reader:
            said = {name.strip(): cell for name, cell in zip(names, row, strict=False) if cell}
            unnamed = {"unnamed": row[len(names) :]} if len(row) > len(names) else {}
            if row:
                yield Record(number, said | unnamed)
            number = reader.line_num + 2
    finally:
        text.detach()  # whoever opened the file closes it


def _rows(raw: BufferedReader) -> Iterator[Record]:
    with pq.ParquetFile(raw) as parquet:
        number = 0
        for batch in parquet.iter_batches(ROWS):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield Record(number, {name: _text(value) for name, value in row.items()})


def _text(value: Any) -> Any:
    """Texts that are written as bytes, as ClickHouse may, and times without a zone, which are UTC here as there."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, dict):
        return {_text(key): _text(each) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [_text(each) for each in value]
    return value
