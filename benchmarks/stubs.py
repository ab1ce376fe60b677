"""Scorers without the costly part, to measure what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import DIMENSIONS, Encoder, Encoding, open_encoder
from detectors.encoder.bfloat16 import round_bfloat16
from detectors.scoring import Scorer, Scores
from streams.scoring import Scoring, open_scoring
from streams.settings import Settings
from tocsin.contracts import Interaction

Kind = Literal["stub", "signals", "real"]
PLACES = 4_096
SIGNALS = 40


class StubVectors:
    """Unit vectors by a hash of the text, exact in bfloat16."""

    def __init__(self, dimensions: int = DIMENSIONS) -> None:
        drawn = np.random.default_rng(0).standard_normal((PLACES, dimensions)).astype(np.float32)
        self._drawn = round_bfloat16(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts, float32 (n, dimensions)."""
        return self._drawn[[_place(text) for text in texts]]


class StubEncoder:
    """Says of every text what an encoder says of one, but for the vectors."""

    def __init__(self, encoder: Encoder) -> None:
        self.fingerprint, self.heads_fingerprint = encoder.fingerprint, encoder.heads_fingerprint
        self.dimensions, self.batch = encoder.dimensions, encoder.batch
        self._said, self._vectors = encoder.encode(["It is on its way."]), StubVectors(encoder.dimensions)

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encodings of texts, in their order."""
        return replace(self._said[np.zeros(len(texts), np.intp)], vectors=self._vectors(texts))


class StubScorer:
    """Scores by a hash of the texts, about as many as there really are."""

    batch = 500

    def __init__(self) -> None:
        self._vectors = StubVectors()
        names = [f"{side}.signal_{number:02}" for side in ("prompt", "response") for number in range(SIGNALS // 2)]
        drawn = np.random.default_rng(0).random((PLACES, SIGNALS)).tolist()
        self._signals = [dict(zip(names, row, strict=True)) for row in drawn]
        self._labels = {"prompt.language": "en", "response.language": "en"}

    def score(self, interactions: Sequence[Interaction]) -> list[Scores]:
        """Scores of interactions, in their order."""
        prompts = self._vectors([one.prompt_text for one in interactions])
        responses = self._vectors([one.response for one in interactions])
        return [
            Scores(self._signals[_place(one.response)], self._labels, [], asked, said, "stub", "stub")
            for one, asked, said in zip(interactions, prompts, responses, strict=True)
        ]


def _place(text: str) -> int:
    return crc32(text.encode()) % PLACES


def open_stub(kind: Kind, settings: Settings) -> Scoring:
    """A scorer that stubs everything, the encoder alone, or nothing."""
    if kind == "real":
        return open_scoring(settings)
    if kind == "stub":
        return StubScorer()
    return Scorer(StubEncoder(open_encoder(settings.scoring.backend, cache=settings.cache)))
