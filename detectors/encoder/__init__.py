"""Texts to vectors. Importing this package loads neither torch nor onnxruntime; `open_encoder` does.

EncoderError
├── WeightsMissingError     install the weights, or configure another model
├── BuildFailedError        the quantised graph could not be made; the message holds the last line of its output
├── NoGpuError              configure another backend, or mend the driver
└── UnknownBackendError     correct the configuration
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BACKENDS",
    "DIMENSIONS",
    "LAYERS",
    "Backend",
    "BuildFailedError",
    "Encoder",
    "EncoderError",
    "Encoding",
    "NoGpuError",
    "Precision",
    "UnknownBackendError",
    "WeightsMissingError",
    "open_encoder",
    "weights_of",
]

DIMENSIONS = 384
LAYERS = (2, 4, 6)
"""The layers whose mean-pooled hidden states an encoding keeps; the heads read them."""

Backend = Literal["auto", "onnx", "torch", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
BACKENDS: dict[Backend, tuple[Precision, ...]] = {
    "auto": ("auto",),
    "onnx": ("auto",),
    "torch": ("fp32", "bf16"),
    "cuda": ("bf16", "fp16", "fp32"),
}
"""The backends and the precisions that each has, the one it takes by itself first; `onnx` is int8."""


class EncoderError(Exception):
    """The encoder cannot be opened: stop at start-up."""


class WeightsMissingError(EncoderError):
    """The model's weights are not installed."""


class BuildFailedError(EncoderError):
    """The quantised graph could not be built from the weights."""


class NoGpuError(EncoderError):
    """A GPU is asked for, and torch sees none."""


class UnknownBackendError(EncoderError):
    """No backend has this name, or not this precision."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """What one pass of the encoder says about n texts, in their order.

    vectors: float32 (n, dimensions), final layer mean-pooled over the text's tokens, of unit length, rounded to
        bfloat16; zero where a text has no tokens.
    inner: float32 (n, 3, 384), hidden states of layers 2, 4 and 6, mean-pooled the same way, neither normalised nor
        rounded.
    tokens: int32 (n,), word pieces that were read, without the two that mark a chunk's ends.
    truncated: int32 (n,), word pieces beyond the last chunk, which nobody read.
    parts: float32 (m, 3, 384), as `inner`, of every chunk by itself, in the order of the texts.
    counts: int32 (n,), chunks of each text; one, of zeros, for a text without tokens. Their sum is m.
    """

    vectors: NDArray[np.float32]
    inner: NDArray[np.float32]
    tokens: NDArray[np.int32]
    truncated: NDArray[np.int32]
    parts: NDArray[np.float32]
    counts: NDArray[np.int32]

    def __len__(self) -> int:
        """How many texts."""
        return len(self.tokens)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Encoding:
        """The encoding of some of the texts."""
        counts = self.counts[rows]
        ends = np.cumsum(counts)
        # Places of the chosen chunks: each text's first one, and how far each lies behind that.
        places = np.repeat(self._starts[rows] - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
        vectors, inner = self.vectors[rows], self.inner[rows]
        return Encoding(vectors, inner, self.tokens[rows], self.truncated[rows], self.parts[places], counts)

    def largest(self, of_parts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Numbers of each chunk (m, …) to the largest of each text (n, …): one bad passage makes a text bad."""
        if not len(self):
            return of_parts[:0]
        found: NDArray[np.float32] = np.maximum.reduceat(of_parts, self._starts)
        return found

    @property
    def _starts(self) -> NDArray[np.intp]:
        return np.cumsum(self.counts, dtype=np.intp) - self.counts


class Encoder(Protocol):
    """Turns texts into vectors. The score worker calls it; it blocks for as long as the model computes.

    Safe to call from several threads at once. Never raises for a text, whatever that holds. On a CPU a text's encoding
    does not depend on the texts beside it, so that a replay gives the same vectors; on a GPU it may by the last bit
    of what is stored.
    """

    @property
    def fingerprint(self) -> str:
        """Weights, backend, quantisation and chunking. Vectors compare only under one fingerprint."""

    @property
    def heads_fingerprint(self) -> str:
        """The same of the pass that gives `inner` and `parts`, which the heads belong to."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    @property
    def batch(self) -> int:
        """So many texts of a call are used well; more only take longer."""

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode the texts. Equal texts are computed once."""


def open_encoder(
    backend: Backend = "onnx", *, cache: Path, threads: int = 1, precision: Precision = "auto", model: str = ""
) -> Encoder:
    """Open the encoder; the first time, build what `onnx` needs under `cache/<fingerprint>/` (seconds).

    Args:
        backend: `onnx` (int8, for the CPU), `torch` (on the CPU: the measure of the other), `cuda` (torch on a GPU), or
            `auto`: `cuda` where there is a GPU, else `onnx`.
        cache: where built graphs are kept.
        threads: batches computed at the same time. On a CPU each is computed by one thread, as that wastes least.
        precision: of the numbers; `auto` is the backend's own.
        model: a directory or a hub's id of a sentence-transformers model that gives the vectors, on the device of the
            backend; the heads go on reading the shipped model. Empty: the shipped model gives both.

    Raises:
        EncoderError: it cannot be opened; the message says what to do.
    """
    if backend not in BACKENDS:
        raise UnknownBackendError(f"encoder backend {backend!r} is none of {', '.join(BACKENDS)}")
    if precision not in ("auto", *BACKENDS[backend]):
        has = ", ".join(BACKENDS[backend]) if backend != "onnx" else "int8 only, which is its auto"
        raise UnknownBackendError(f"encoder backend {backend} has no precision {precision!r}: it has {has}")
    from detectors.encoder import opening

    return opening.open_backend(backend, precision, model, cache=cache, threads=threads)


def weights_of(fingerprint: str) -> str:
    """The part of a fingerprint that names the model's weights; a head belongs to it."""
    return fingerprint.partition(".")[0]
