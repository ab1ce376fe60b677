"""Encodes training texts, each once: what was encoded stays in a file, so that a second run only fits."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import DIMENSIONS, LAYERS, Encoder

__all__ = ["KEPT_CHARACTERS", "encode"]

KEPT_CHARACTERS = 1_000
"""Characters of a training text: about what one chunk of the encoder holds."""
_SLICE = 64
_SHAPE = (len(LAYERS), DIMENSIONS)


def encode(texts: Sequence[str], encoder: Encoder, cache: Path, advance: Callable[[int], None]) -> NDArray[np.float16]:
    """Hidden states (n, 3, 384) of the texts, rounded to half precision whether they were kept or not.

    Kept in `cache/<fingerprint>.sqlite` by hash of the text, slice by slice: an interrupted run goes on where it
    stopped, and two runs at once share their work. `advance` is told how many texts are done.
    """
    cache.mkdir(parents=True, exist_ok=True)
    keys = [hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest() for text in texts]
    with closing(sqlite3.connect(cache / f"{encoder.fingerprint}.sqlite", timeout=120)) as store:
        store.execute("CREATE TABLE IF NOT EXISTS states (text BLOB PRIMARY KEY, inner BLOB NOT NULL) WITHOUT ROWID")
        missing = {key: text for key, text in zip(keys, texts, strict=True) if _kept(store, key) is None}
        advance(len(texts) - len(missing))
        rest = list(missing.items())
        for start in range(0, len(rest), _SLICE):
            part = rest[start : start + _SLICE]
            inner = encoder.encode([text for _, text in part]).inner.astype(np.float16)
            rows = [(key, one.tobytes()) for (key, _), one in zip(part, inner, strict=True)]
            with store:
                store.executemany("INSERT OR IGNORE INTO states VALUES (?, ?)", rows)
            advance(len(part))
        states = [_kept(store, key) for key in keys]
    found = np.frombuffer(b"".join(state for state in states if state), dtype=np.float16)
    return found.reshape(len(texts), *_SHAPE)


def _kept(store: sqlite3.Connection, key: bytes) -> bytes | None:
    row = store.execute("SELECT inner FROM states WHERE text = ?", (key,)).fetchone()
    return row[0] if row else None
