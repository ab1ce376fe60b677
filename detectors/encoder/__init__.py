"""Texts to vectors. Importing this package loads neither torch nor onnxruntime; `open_encoder` does.

EncoderError
├── WeightsMissingError     install the weights, or configure another model
├── BuildFailedError        the quantised graph could not be made; the message holds the last line of its output
└── UnknownBackendError     correct the configuration
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BACKENDS",
    "DIMENSIONS",
    "LAYERS",
    "BuildFailedError",
    "Encoder",
    "EncoderError",
    "Encoding",
    "UnknownBackendError",
    "WeightsMissingError",
    "open_encoder",
    "weights_of",
]

DIMENSIONS = 384
LAYERS = (2, 4, 6)
"""The layers whose mean-pooled hidden states an encoding keeps; the heads read them."""
BACKENDS = ("onnx", "torch")


class EncoderError(Exception):
    """The encoder cannot be opened: stop at start-up."""


class WeightsMissingError(EncoderError):
    """The model's weights are not installed."""


class BuildFailedError(EncoderError):
    """The quantised graph could not be built from the weights."""


class UnknownBackendError(EncoderError):
    """No backend has this name."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """What one pass of the encoder says about n texts, in their order.

    vectors: float32 (n, 384), final layer mean-pooled over the text's tokens, of unit length, rounded to bfloat16;
        zero where a text has no tokens.
    inner: float32 (n, 3, 384), hidden states of layers 2, 4 and 6, mean-pooled the same way, neither normalised nor
        rounded.
    tokens: int32 (n,), word pieces that were read, without the two that mark a chunk's ends.
    truncated: int32 (n,), word pieces beyond the last chunk, which nobody read.
    """

    vectors: NDArray[np.float32]
    inner: NDArray[np.float32]
    tokens: NDArray[np.int32]
    truncated: NDArray[np.int32]

    def __len__(self) -> int:
        """How many texts."""
        return len(self.tokens)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Encoding:
        """The encoding of some of the texts."""
        return Encoding(self.vectors[rows], self.inner[rows], self.tokens[rows], self.truncated[rows])


class Encoder(Protocol):
    """Turns texts into vectors. The score worker calls it; it blocks for as long as the model computes.

    Safe to call from several threads at once. Never raises for a text, whatever that holds, and a text's encoding
    does not depend on the texts beside it, so that a replay gives the same vectors.
    """

    @property
    def fingerprint(self) -> str:
        """Weights, backend, quantisation and chunking. Vectors compare only under one fingerprint."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode the texts. Equal texts of one call are computed once."""


def open_encoder(backend: str = "onnx", *, cache: Path, threads: int = 1) -> Encoder:
    """Open the encoder; the first time, build what `onnx` needs under `cache/<fingerprint>/` (seconds).

    backend: `onnx` (int8, for the CPU) or `torch` (fp32, the measure of the other).
    threads: texts computed at the same time. Each is computed by one thread, as that wastes least.
    """
    if backend not in BACKENDS:
        raise UnknownBackendError(f"encoder backend {backend!r} is none of {', '.join(BACKENDS)}")
    from detectors.encoder import pooled

    return pooled.open_pooled(backend, cache=cache, threads=threads)


def weights_of(fingerprint: str) -> str:
    """The part of a fingerprint that names the model's weights; a head belongs to it."""
    return fingerprint.partition(".")[0]
