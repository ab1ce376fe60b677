"""Scoring: interactions in, their signals, flags and vectors out. One pass of the encoder serves everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import Encoder
from detectors.heads import read_head
from detectors.signals import SIDES, Exchanges, Output, Readings, Signals, Texts, discover
from tocsin.contracts import Interaction

__all__ = ["Scorer", "Scores"]

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scores:
    """What is known about one interaction, or of a bare text: then `prompt_vector` is the text's, and the other zero.

    signals: finite numbers by name; a signal that does not apply is absent.
    labels: words by name, such as `prompt.language`; an empty one is absent.
    flags: names of the signals above their threshold.
    prompt_vector, response_vector: float32 (384,), of unit length or zero, exact in bfloat16.
    encoder, heads: the encoder's fingerprint and the versions of the heads, which one needs to compare scores.
    """

    signals: dict[str, float]
    labels: dict[str, str]
    flags: list[str]
    prompt_vector: Vectors
    response_vector: Vectors
    encoder: str
    heads: str


class Scorer:
    """Scores batches. Safe to call from several threads; blocks while it computes; no text makes it raise.

    Opening one loads the heads and raises `HeadMismatchError` where they belong to another encoder.
    """

    def __init__(self, encoder: Encoder, signals: Signals | None = None) -> None:
        self._encoder = encoder
        self._signals = discover() if signals is None else signals
        self._text_outputs = self._signals.text_outputs()
        self.outputs: Mapping[str, Output] = self._signals.outputs()
        heads = [read_head(name) for name in self._signals.heads]
        for head in heads:
            head.require(encoder.heads_fingerprint)
        self.heads = " ".join(head.version for head in heads)
        self.batch = max(encoder.batch // 2, 1)  # interactions of a call that are used well: each has two texts

    def score(self, interactions: Sequence[Interaction]) -> list[Scores]:
        """Scores of interactions, in their order."""
        count = len(interactions)
        said = [one.prompt_text for one in interactions] + [one.response for one in interactions]
        texts = said + [one.reference or "" for one in interactions]
        encoding = self._encoder.encode(texts)
        thirds = [slice(part * count, (part + 1) * count) for part in range(3)]
        prompts, responses, references = (Texts(texts[third], encoding[third]) for third in thirds)
        exchanges = Exchanges(interactions, prompts, responses, references)
        # Prompts and responses are one list of texts to the signals, which are then split again.
        both = Texts(said, encoding[: len(said)])
        read = [_split(signal.score_texts(both), count) for signal in self._signals.texts]
        read += [signal.score_interactions(exchanges) for signal in self._signals.interactions]
        return self._joined(read, self.outputs, prompts.encoding.vectors, responses.encoding.vectors)

    def score_texts(self, texts: Sequence[str]) -> list[Scores]:
        """Scores of bare texts, in their order, under plain names."""
        encoding = self._encoder.encode(texts)
        read = [signal.score_texts(Texts(texts, encoding)) for signal in self._signals.texts]
        nothing = np.zeros_like(encoding.vectors)
        return self._joined(read, self._text_outputs, encoding.vectors, nothing)

    def _joined(
        self, read: Sequence[Readings], outputs: Mapping[str, Output], prompts: Vectors, responses: Vectors
    ) -> list[Scores]:
        """Columns to rows; what is not finite does not apply."""
        numbers = {name: column.tolist() for one in read for name, column in one.numbers.items()}
        limits = {name: limit for name in numbers if (limit := outputs[name].threshold) is not None}
        labels = {name: column for one in read for name, column in one.labels.items()}
        rows = []
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            signals = {name: column[row] for name, column in numbers.items() if isfinite(column[row])}
            flags = [name for name, limit in limits.items() if name in signals and signals[name] > limit]
            words = {name: column[row] for name, column in labels.items() if column[row]}
            rows.append(Scores(signals, words, flags, prompt, response, self._encoder.fingerprint, self.heads))
        return rows


def _split(read: Readings, count: int) -> Readings:
    """Readings of prompts and then responses, as columns of interactions."""
    halves = dict(zip(SIDES, (slice(0, count), slice(count, None)), strict=True))
    return Readings(
        {f"{side}.{name}": column[half] for side, half in halves.items() for name, column in read.numbers.items()},
        {f"{side}.{name}": column[half] for side, half in halves.items() for name, column in read.labels.items()},
    )
