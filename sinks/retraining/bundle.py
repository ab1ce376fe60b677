"""The data that a retraining run works on: rows as Parquet and as JSON lines, and a manifest that lists them.

Holds what people asked and were answered: its directory is readable by its owner alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pyarrow

BUNDLE_VERSION = 1
Row = Mapping[str, Any]


class BundleFailed(Exception):
    """The rows cannot be written as they are; trying again is in vain. The message holds none of their content."""


def write_bundle(
    directory: Path,
    manifest: Mapping[str, Any],
    reference_rows: Sequence[Row],
    drifted_rows: Sequence[Row],
    rated_rows: Sequence[Row],
) -> Path:
    """Write `manifest.json` and reference, drifted and rated as `.parquet` and `.jsonl`; all of it or nothing.

    A bundle that is there already is left as it is: the run it belongs to may be reading it.

    Args:
        directory: of the bundle; made, its parents too.
        manifest: what the rows are; the version of the format and the number of rows a file are added.
        reference_rows: accepted traffic. Rows of one file may have different columns; absent values are null.
        drifted_rows: traffic that the incident is about.
        rated_rows: traffic that people judged.

    Raises:
        BundleFailed: a value is of no type that Parquet and JSON have, or of another type than its column.
        OSError: the directory cannot be written; to be tried again.
    """
    if directory.is_dir():
        return directory
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    tables = {"reference": reference_rows, "drifted": drifted_rows, "rated": rated_rows}
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, rows in tables.items():
            _write_parquet(draft / f"{name}.parquet", rows)
            (draft / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(row, option=_JSON) for row in rows))
        counts = {"bundle_version": BUNDLE_VERSION, "rows": {name: len(rows) for name, rows in tables.items()}}
        (draft / "manifest.json").write_bytes(orjson.dumps({**manifest, **counts}, option=_JSON | orjson.OPT_INDENT_2))
        draft.rename(directory)
    except (TypeError, ValueError) as error:  # their texts quote the value
        raise BundleFailed(f"a row cannot be stored: {type(error).__name__}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory


_JSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow.parquet  # here: only a run needs it, and it takes a third of a second

    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def _column(values: list[Any]) -> pyarrow.Array:
    """One column. Objects become maps: as structs each key would be a field of every row, and none is not allowed."""
    import pyarrow

    objects = [value for value in values if isinstance(value, Mapping)]
    if not objects:
        return pyarrow.array(values)
    numeric = all(isinstance(item, int | float) for value in objects for item in value.values())
    kind = pyarrow.map_(pyarrow.string(), pyarrow.float64() if numeric else pyarrow.string())
    return pyarrow.array([None if value is None else list(value.items()) for value in values], type=kind)
