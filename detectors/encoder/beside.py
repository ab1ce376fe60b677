"""Vectors of any sentence-transformers model, with the shipped model beside it, which the heads read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from detectors.encoder import Encoder, Encoding, Precision, WeightsMissingError
from detectors.encoder.bfloat16 import unit_bfloat16
from detectors.encoder.chunks import CHARACTERS, MAX_CHUNKS
from detectors.encoder.repeats import Repeats

__all__ = ["BesideEncoder", "SentenceModel", "open_beside"]

logger = logging.getLogger(__name__)

OTHER_FORMATS = ["onnx/*", "openvino/*", "*.h5", "*.ot", "*.msgpack", "*.tflite"]
LOADED = {".json", ".safetensors", ".bin", ".txt", ".model"}
BATCH = 64
LONGEST_TOKENS = 512
"""Tokens of a chunk at most, also where a model would read more: attention costs their square."""


class SentenceModel:
    """A sentence-transformers model, from a directory or from the hub; a text's chunks are averaged."""

    def __init__(self, directory: Path, device: str, precision: Precision) -> None:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        self._model = SentenceTransformer(
            str(directory), device=device, local_files_only=True, model_kwargs={"dtype": dtype}
        )
        self._chunk_tokens = min(self._model.max_seq_length or LONGEST_TOKENS, LONGEST_TOKENS)
        self._batch = BATCH
        self.dimensions: int = self._model.get_embedding_dimension() or self.vectors(["a"]).shape[1]
        self.fingerprint = f"{_digest(directory)}.sentence-{precision}-{device}.{MAX_CHUNKS}x{self._chunk_tokens}"

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, dimensions) of unit length, rounded to bfloat16; zero where a text has no tokens."""
        chunked = [self._chunks(text) for text in texts]
        computed = self._computed([chunk for chunks in chunked for chunk, _ in chunks])
        rows, at = [], 0
        for chunks in chunked:
            weights = np.array([tokens for _, tokens in chunks], dtype=np.float32)
            rows.append(weights @ computed[at : at + len(chunks)] if chunks else np.zeros(computed.shape[1], "f4"))
            at += len(chunks)
        return unit_bfloat16(np.stack(rows))

    def _computed(self, chunks: list[str]) -> NDArray[np.float32]:
        if not chunks:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        while True:
            try:
                found: NDArray[np.float32] = self._model.encode(
                    chunks, batch_size=self._batch, show_progress_bar=False, normalize_embeddings=True
                ).astype(np.float32)
                return found
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                logger.warning("the GPU is out of memory: %d chunks at once from now on", self._batch)

    def _chunks(self, text: str) -> list[tuple[str, int]]:
        """Passages that the model can read whole, with their tokens; cut where its tokeniser cuts."""
        seen = text[:CHARACTERS].encode("utf-8", "replace").decode("utf-8")
        room = max(self._chunk_tokens - self._model.tokenizer.num_special_tokens_to_add(), 1)
        spans = self._model.tokenizer(
            seen, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )["offset_mapping"]
        starts = range(0, min(len(spans), room * MAX_CHUNKS), room)
        pieces = [spans[start : start + room] for start in starts]
        return [(seen[piece[0][0] : piece[-1][1]], len(piece)) for piece in pieces]


class BesideEncoder:
    """Implements `Encoder`: vectors from one model, everything else from another."""

    def __init__(self, model: SentenceModel, shipped: Encoder) -> None:
        self.fingerprint, self.heads_fingerprint = model.fingerprint, shipped.heads_fingerprint
        self.dimensions, self.batch = model.dimensions, shipped.batch
        self._model, self._shipped = model, shipped
        self._repeats: Repeats[NDArray[np.float32]] = Repeats()

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode the texts; see `Encoder`."""
        unique = list(dict.fromkeys(texts))
        by_text = dict(zip(unique, self._repeats.fill(unique, self._computed), strict=True))
        vectors = np.stack([by_text[text] for text in texts]) if texts else np.zeros((0, self.dimensions), np.float32)
        return replace(self._shipped.encode(texts), vectors=vectors)

    def _computed(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        return list(self._model.vectors(texts))


def open_beside(model: str, shipped: Encoder, device: str, precision: Precision) -> BesideEncoder:
    """Load the model, from its directory or from the hub.

    Raises:
        WeightsMissingError: it is in neither.
    """
    directory = Path(model)
    if not directory.is_dir():
        try:
            directory = Path(snapshot_download(model, ignore_patterns=OTHER_FORMATS))
        except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise WeightsMissingError(
                f"scoring.model: {model!r} is no directory, and the hub does not give it ({type(error).__name__}); "
                "name a directory that holds a sentence-transformers model, or leave it empty"
            ) from None
    try:
        return BesideEncoder(SentenceModel(directory, device, precision), shipped)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsMissingError(
            f"scoring.model: {directory.name} is no sentence-transformers model that can be loaded: {error}"
        ) from None


def _digest(directory: Path) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all files that are loaded, and their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix in LOADED):
        digest.update(str(path.relative_to(directory)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
