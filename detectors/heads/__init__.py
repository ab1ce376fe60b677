"""Heads: what an encoding means. Each is trained weights (npz) with a card (JSON): data, licences, metrics, limits.

A head belongs to the encoder's weights and serves every backend of them. `detectors.heads.training` rebuilds them all.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import weights_of

__all__ = ["HeadMismatchError", "Stored", "read_card", "read_head", "write_head"]

_SHIPPED = Path(__file__).parent


class HeadMismatchError(Exception):
    """A head was trained on another encoder: configure that encoder, or retrain the head."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A head as it lies on disk. version: `name-` and 8 digits of the hash of its weights."""

    arrays: dict[str, NDArray[np.float32]]
    card: dict[str, Any]
    version: str

    def require(self, fingerprint: str) -> None:
        """Raise unless the head was trained on this encoder's weights."""
        if weights_of(fingerprint) != self.card["encoder"]:
            raise HeadMismatchError(
                f"head {self.version} belongs to encoder {self.card['encoder']}, not to {weights_of(fingerprint)}"
            )


def read_card(name: str, directory: Path = _SHIPPED) -> dict[str, Any]:
    """The card alone: thresholds without loading weights."""
    card: dict[str, Any] = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    return card


def read_head(name: str, directory: Path = _SHIPPED) -> Stored:
    """A head's weights, as float32, and its card."""
    content = (directory / f"{name}.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {key: file[key].astype(np.float32) for key in file.files}
    version = f"{name}-{hashlib.sha256(content).hexdigest()[:8]}"
    return Stored(arrays, read_card(name, directory), version)


def write_head(
    name: str,
    arrays: dict[str, NDArray[np.float32]],
    card: dict[str, Any],
    directory: Path,
    precision: type[np.floating],
) -> None:
    """Store a head; the same arrays give the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    packed: dict[str, Any] = {key: array.astype(precision) for key, array in arrays.items()}
    np.savez_compressed(directory / f"{name}.npz", **packed)
    text = json.dumps(card, indent=2, ensure_ascii=False)
    (directory / f"{name}.json").write_text(text + "\n", encoding="utf-8")
