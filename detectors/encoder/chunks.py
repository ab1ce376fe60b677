"""Texts to token ids, in chunks that the model can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

__all__ = ["CHARACTERS", "CHUNK_TOKENS", "MAX_CHUNKS", "Chunked", "Chunker"]

CHUNK_TOKENS = 256
"""Tokens of a chunk, the two that mark its ends included: the length that the model was trained with."""
MAX_CHUNKS = 4
CHARACTERS = 32_768
"""Characters that are tokenised; 4 chunks of ordinary text are some 5,000."""

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Chunked:
    """One text: int64 ids of each chunk, word pieces read and word pieces left out."""

    chunks: tuple[NDArray[np.int64], ...]
    tokens: int
    truncated: int


class Chunker:
    """Cuts texts into at most `MAX_CHUNKS` chunks of nearly equal length, each with its marks of begin and end."""

    def __init__(self, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._begin = self._mark("[CLS]")
        self._end = self._mark("[SEP]")

    def __call__(self, texts: Sequence[str]) -> list[Chunked]:
        """Tokenise texts. Of a text over `CHARACTERS` the number of tokens left out is an estimate."""
        # A Python string may hold half of a surrogate pair, which has no UTF-8.
        seen = [_SURROGATES.sub("\ufffd", text[:CHARACTERS]) for text in texts]
        read = self._tokenizer.encode_batch_fast(seen, add_special_tokens=False)
        return [self._cut(one.ids, len(text), len(part)) for one, text, part in zip(read, texts, seen, strict=True)]

    def _cut(self, found: list[int], characters: int, seen: int) -> Chunked:
        ids = np.array(found, dtype=np.int64)
        read = ids[: MAX_CHUNKS * (CHUNK_TOKENS - 2)]
        total = round(len(ids) * characters / seen) if characters > seen else len(ids)
        return Chunked(tuple(self._marked(read)), len(read), max(0, total - len(read)))

    def _mark(self, token: str) -> NDArray[np.int64]:
        return np.array([self._tokenizer.token_to_id(token)], dtype=np.int64)

    def _marked(self, read: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        # Of equal length: a last chunk of a few tokens would cost a pass and say little.
        pieces = -(-len(read) // (CHUNK_TOKENS - 2))
        for piece in np.array_split(read, pieces) if pieces else ():
            yield np.concatenate((self._begin, piece, self._end))
