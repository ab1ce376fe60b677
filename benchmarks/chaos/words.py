"""A scorer that costs nothing: a text's vector is the sum of its words', which hashing makes."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import DIMENSIONS
from detectors.encoder.bfloat16 import round_bfloat16
from detectors.scoring import Scores
from tocsin.contracts import Interaction

WORD = re.compile(r"\w+|[^\w\s]+")
MOST_WORDS = 200
SLOW_SECONDS = 0.02
"""What an interaction costs while the file is there."""


class WordScorer:
    """Made for speed, and for texts of other words to lie elsewhere; slow while the file `slow` is there."""

    batch = 32

    def __init__(self, slow: Path) -> None:
        self._slow = slow

    def score(self, interactions: Sequence[Interaction]) -> list[Scores]:
        """Vectors, and three of the signals that are watched."""
        if self._slow.exists():
            time.sleep(SLOW_SECONDS * len(interactions))
        return [_scores(interaction) for interaction in interactions]


def _scores(interaction: Interaction) -> Scores:
    asked, said = (WORD.findall(text.lower()) for text in (interaction.prompt_text, interaction.response))
    signals = {"prompt.length_tokens": float(len(asked)), "response.length_tokens": float(len(said))}
    if interaction.latency_ms is not None:
        signals["latency_ms"] = interaction.latency_ms
    return Scores(signals, {}, [], _sum(asked), _sum(said), "words", "")


def _sum(words: Sequence[str]) -> NDArray[np.float32]:
    total = np.zeros(DIMENSIONS, np.float32)
    for word in words[:MOST_WORDS]:
        total += _vector(word)
    return round_bfloat16(total / max(float(np.linalg.norm(total)), 1e-9))


@lru_cache(maxsize=100_000)
def _vector(word: str) -> NDArray[np.float32]:
    seed = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(DIMENSIONS, np.float32)
