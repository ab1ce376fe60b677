"""Character n-grams, hashed: what a spelling says where the encoder's word pieces say little.

Runs of 2 to 5 characters inside a word, its borders included, each hashed to one of 2^18 buckets. Whole batches are
hashed at once in numpy: counting the runs one by one would cost more than all heads together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUCKETS", "SEEN_CHARACTERS", "NgramModel", "ngrams"]

_BITS = 18
BUCKETS = 1 << _BITS
SEEN_CHARACTERS = 1_200
"""Characters of a text that are read; the encoder reads more."""
_LENGTHS = range(2, 6)
_SPACE = np.uint32(32)
_MULTIPLIER = np.uint32(0x01000193)
_MIX = np.uint32(0x9E3779B1)

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A linear model of how often each n-gram occurs: weights (outputs, BUCKETS) and bias (outputs,)."""

    weights: F32
    bias: F32

    def logits(self, texts: Sequence[str]) -> F32:
        """Logits (n, outputs). What a text gets does not depend on the texts beside it."""
        buckets, owners = ngrams(texts)
        counts = np.maximum(1, np.bincount(owners, minlength=len(texts)))
        sums = [np.bincount(owners, weights=row[buckets], minlength=len(texts)) for row in self.weights]
        answer: F32 = (np.stack(sums, axis=1) / np.sqrt(counts)[:, None] + self.bias).astype(np.float32)
        return answer


def ngrams(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Buckets of all n-grams of the texts, repeats too, and for each the number of its text."""
    written = [f" {' '.join(text[:SEEN_CHARACTERS].lower().split())} " for text in texts]
    # Surrogates pass: half a pair is a character like others.
    codes = np.frombuffer("".join(written).encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    text_of = np.repeat(np.arange(len(texts)), [len(text) for text in written])
    space = codes == _SPACE
    # A gram may begin and end with a space and holds none inside. So none reaches into the next text, but for a pair
    # of spaces, which is none either.
    usable = np.append(~(space[:-1] & space[1:]), False) if len(codes) else space
    hashed, buckets, owners = codes, [np.empty(0, np.uint32)], [np.empty(0, np.intp)]
    for length in _LENGTHS:
        starts = max(0, len(codes) - length + 1)
        hashed = hashed[:starts] * _MULTIPLIER ^ codes[len(codes) - starts :]
        usable = usable[:starts]
        if length > _LENGTHS.start:
            usable = usable & ~space[length - 2 : length - 2 + starts]
        buckets.append((hashed[usable] * _MIX) >> np.uint32(32 - _BITS))
        owners.append(text_of[:starts][usable])
    return np.concatenate(buckets), np.concatenate(owners)
