"""The encoder proper: chunks of equal length through a backend, and the means over a text's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import DIMENSIONS, LAYERS, Encoding
from detectors.encoder.bfloat16 import round_bfloat16
from detectors.encoder.chunks import CHUNK_TOKENS, MAX_CHUNKS, Chunked, Chunker
from detectors.encoder.weights import Weights, find_weights

__all__ = ["Backend", "PooledEncoder", "open_pooled"]

_CHUNKING = f"{MAX_CHUNKS}x{CHUNK_TOKENS}"
_PRECISION = {"onnx": "onnx-int8-1", "torch": "torch-fp32"}
"""The last number of `onnx` counts recipes: raise it whenever `onnx_build` would make another graph."""


class Backend(Protocol):
    """Runs the model. Called from several threads at once; blocks; raises only for want of memory."""

    batch: int
    """Most chunks of one call. 1 where a result would depend on its neighbours, as with scales of whole tensors."""

    def run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean-pooled hidden states (chunks, 3, 384) of layers 2, 4 and 6 for chunks of one length (chunks, tokens)."""


class PooledEncoder:
    """Implements `Encoder` over a backend."""

    dimensions = DIMENSIONS

    def __init__(self, backend: Backend, chunker: Chunker, fingerprint: str, threads: int = 1) -> None:
        self.fingerprint = fingerprint
        self._backend = backend
        self._chunker = chunker
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encoder") if threads > 1 else None

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode the texts; see `Encoder`."""
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        chunked = [self._chunker(text) for text in rows]
        inner = self._inner(chunked)
        last = inner[:, -1]
        norms = np.linalg.norm(last, axis=1, keepdims=True)
        vectors = round_bfloat16(np.divide(last, norms, out=np.zeros_like(last), where=norms > 0))
        unique = Encoding(
            vectors,
            inner,
            np.array([one.tokens for one in chunked], dtype=np.int32),
            np.array([one.truncated for one in chunked], dtype=np.int32),
        )
        return unique[np.array([rows[text] for text in texts], dtype=np.intp)]

    def _inner(self, chunked: list[Chunked]) -> NDArray[np.float32]:
        """Means (texts, 3, 384) over all tokens of each text: chunks weigh as many tokens as they have."""
        inner = np.zeros((len(chunked), len(LAYERS), DIMENSIONS), dtype=np.float32)
        weights = np.zeros(len(chunked), dtype=np.float32)
        # Summed in the order of the text, not of the batches, so that a replay gives the same bits.
        computed = self._computed([chunk for one in chunked for chunk in one.chunks])
        for row, one in enumerate(chunked):
            for chunk in one.chunks:
                inner[row] += len(chunk) * next(computed)
                weights[row] += len(chunk)
        inner /= np.maximum(weights, 1)[:, None, None]
        return inner

    def _computed(self, chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        """The backend's states (3, 384) of each chunk. Only chunks of one length share a call: nothing is padded."""
        order = sorted(range(len(chunks)), key=lambda index: len(chunks[index]))
        batches: list[list[int]] = []
        for _, same in groupby(order, key=lambda index: len(chunks[index])):
            equal = list(same)
            batches += [equal[at : at + self._backend.batch] for at in range(0, len(equal), self._backend.batch)]
        stacked = (np.stack([chunks[index] for index in batch]) for batch in batches)
        results = self._pool.map(self._backend.run, stacked) if self._pool else map(self._backend.run, stacked)
        states: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(chunks)
        for batch, result in zip(batches, results, strict=True):
            for index, state in zip(batch, result, strict=True):
                states[index] = state
        return iter(states)


def open_pooled(name: str, *, cache: Path, threads: int) -> PooledEncoder:
    """Find the weights, load the backend's libraries and join them."""
    weights = find_weights()
    fingerprint = f"{weights.digest}.{_PRECISION[name]}.{_CHUNKING}"
    backend = _open_onnx(weights, cache / fingerprint) if name == "onnx" else _open_torch(weights)
    return PooledEncoder(backend, Chunker(weights.tokenizer), fingerprint, threads)


def _open_onnx(weights: Weights, cache: Path) -> Backend:
    from detectors.encoder.onnx_backend import open_backend

    return open_backend(weights.directory, cache)


def _open_torch(weights: Weights) -> Backend:
    from detectors.encoder.torch_backend import open_backend

    return open_backend(weights.directory)
