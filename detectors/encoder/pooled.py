"""The encoder proper: chunks of like length through a backend, and the means over a text's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import DIMENSIONS, LAYERS, Encoding
from detectors.encoder.batches import Shape, batches
from detectors.encoder.bfloat16 import unit_bfloat16
from detectors.encoder.chunks import Chunked, Chunker
from detectors.encoder.repeats import Repeats

__all__ = ["Model", "PooledEncoder"]

Ids = NDArray[np.int64]
States = NDArray[np.float32]


class Model(Protocol):
    """Runs the model. Called from several threads at once; blocks; raises only for want of memory."""

    shape: Shape
    """What it takes at once."""

    texts: int
    """So many texts of a call are used well."""

    def run(self, ids: Ids, lengths: Ids) -> States:
        """Mean-pooled hidden states (chunks, 3, 384) of layers 2, 4 and 6.

        Args:
            ids: (chunks, tokens); what lies beyond a chunk's length is filling.
            lengths: (chunks,) tokens of each.
        """


class PooledEncoder:
    """Implements `Encoder` over a model."""

    dimensions = DIMENSIONS

    def __init__(self, model: Model, chunker: Chunker, fingerprint: str, threads: int = 1) -> None:
        self.fingerprint = self.heads_fingerprint = fingerprint
        self.batch = model.texts
        self._model, self._chunker = model, chunker
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encoder") if threads > 1 else None
        self._repeats: Repeats[_Read] = Repeats()

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode the texts; see `Encoder`."""
        unique = list(dict.fromkeys(texts))
        read = self._repeats.fill(unique, self._read)
        row = {text: number for number, text in enumerate(unique)}
        return _encoding(read)[np.array([row[text] for text in texts], dtype=np.intp)]

    def _read(self, texts: Sequence[str]) -> list[_Read]:
        chunked = self._chunker(texts)
        states = self._states([chunk for one in chunked for chunk in one.chunks])
        read, at = [], 0
        for one in chunked:
            parts = states[at : at + len(one.chunks)] if one.chunks else np.zeros((1, len(LAYERS), DIMENSIONS), "f4")
            at += len(one.chunks)
            read.append(_Read(one, np.array(parts, copy=len(parts) < len(states))))  # no view that keeps all alive
        return read

    def _states(self, chunks: list[Ids]) -> States:
        """The model's states of each chunk (chunks, 3, 384)."""
        states = np.empty((len(chunks), len(LAYERS), DIMENSIONS), dtype=np.float32)
        cut = batches([len(chunk) for chunk in chunks], self._model.shape)

        def compute(batch: list[int]) -> None:
            states[batch] = self._model.run(*_filled([chunks[index] for index in batch]))

        for _ in (self._pool.map if self._pool else map)(compute, cut):
            pass
        return states


class _Read:
    """One text: the states of its chunks, and their mean over all its tokens."""

    __slots__ = ("inner", "parts", "tokens", "truncated")

    def __init__(self, text: Chunked, parts: States) -> None:
        self.parts, self.tokens, self.truncated = parts, text.tokens, text.truncated
        # Summed in the order of the text, not of the batches, so that a replay gives the same bits.
        self.inner = np.zeros(parts.shape[1:], dtype=np.float32)
        for chunk, state in zip(text.chunks, parts, strict=False):
            self.inner += len(chunk) * state
        self.inner /= np.float32(max(sum(map(len, text.chunks)), 1))


def _encoding(read: Sequence[_Read]) -> Encoding:
    nothing = np.zeros((0, len(LAYERS), DIMENSIONS), dtype=np.float32)
    inner = np.stack([one.inner for one in read]) if read else nothing
    return Encoding(
        unit_bfloat16(inner[:, -1]),
        inner,
        np.array([one.tokens for one in read], dtype=np.int32),
        np.array([one.truncated for one in read], dtype=np.int32),
        np.concatenate([one.parts for one in read]) if read else nothing,
        np.array([len(one.parts) for one in read], dtype=np.int32),
    )


def _filled(chunks: Sequence[Ids]) -> tuple[Ids, Ids]:
    lengths = np.array([len(chunk) for chunk in chunks], dtype=np.int64)
    ids = np.zeros((len(chunks), lengths.max()), dtype=np.int64)
    for row, chunk in zip(ids, chunks, strict=True):
        row[: len(chunk)] = chunk
    return ids, lengths
