"""Arrays and plain values as one `.npz`, with a version."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


def pack(version: int, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """What `unpack` reads; the entry `json` holds everything that is no array."""
    text = json.dumps({"version": version, **plain}).encode()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, json=np.frombuffer(text, np.uint8), **arrays)
    return buffer.getvalue()


def unpack(version: int, data: bytes, what: str) -> tuple[dict[str, Any], Arrays]:
    """The plain values and the arrays.

    Raises:
        ValueError: written by another version of the program.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = dict(archive)
    plain = json.loads(arrays.pop("json").tobytes())
    if plain["version"] != version:
        raise ValueError(f"{what} has version {plain['version']}, this program reads {version}")
    return plain, arrays
