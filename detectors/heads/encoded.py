"""Encodes training texts with a display of progress, and keeps the result where a cache is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from detectors.encoder import Encoder

__all__ = ["encode"]

_SLICE = 64


def encode(
    texts: Sequence[str], encoder: Encoder, progress: Progress, title: str, cache: Path | None
) -> NDArray[np.float32]:
    """Inner states (n, 3, 384) of the texts."""
    task = progress.add_task(title, total=len(texts))
    digest = hashlib.blake2b("\0".join([encoder.fingerprint, *texts]).encode(errors="replace"), digest_size=12)
    kept = cache / f"{digest.hexdigest()}.npy" if cache else None
    if kept and kept.exists():
        progress.update(task, completed=len(texts))
        stored: NDArray[np.float32] = np.load(kept)
        return stored
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), _SLICE):
        parts.append(encoder.encode(texts[start : start + _SLICE]).inner)
        progress.advance(task, len(parts[-1]))
    inner = np.concatenate(parts)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, inner)
    return inner
