"""Scoring: interactions in, their signals, flags and vectors out. One pass of the encoder serves everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import Encoder
from detectors.heads import read_head
from detectors.signals import SIDES, Exchanges, Output, Readings, Signals, Texts, discover
from tocsin.contracts import Interaction

__all__ = ["Scorer", "Scores"]

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scores:
    """What is known about one interaction, or of a bare text: then `prompt_vector` is the text's, and the other zero.

    signals: finite numbers by name; a signal that does not apply is absent.
    labels: words by name, such as `prompt.language`.
    flags: names of the signals above their threshold.
    prompt_vector, response_vector: float32 (384,), of unit length or zero, exact in bfloat16.
    encoder, heads: the encoder's fingerprint and the versions of the heads, which one needs to compare scores.
    """

    signals: dict[str, float]
    labels: dict[str, str]
    flags: list[str]
    prompt_vector: Vector
    response_vector: Vector
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
            head.require(encoder.fingerprint)
        self.heads = " ".join(head.version for head in heads)

    def score(self, interactions: Sequence[Interaction]) -> list[Scores]:
        """Scores of interactions, in their order."""
        count = len(interactions)
        texts = [one.prompt_text for one in interactions] + [one.response for one in interactions]
        encoding = self._encoder.encode(texts)
        prompts, responses = (Texts(texts[half], encoding[half]) for half in (slice(0, count), slice(count, None)))
        exchanges = Exchanges(interactions, prompts, responses)
        # Prompts and responses are one list of texts to the signals, which are then split again.
        read = [_split(signal.score_texts(Texts(texts, encoding)), count) for signal in self._signals.texts]
        read += [signal.score_interactions(exchanges) for signal in self._signals.interactions]
        vectors = zip(prompts.encoding.vectors, responses.encoding.vectors, strict=True)
        return [self._scores(read, row, self.outputs, *pair) for row, pair in enumerate(vectors)]

    def score_texts(self, texts: Sequence[str]) -> list[Scores]:
        """Scores of bare texts, in their order, under plain names."""
        encoding = self._encoder.encode(texts)
        read = [signal.score_texts(Texts(texts, encoding)) for signal in self._signals.texts]
        nothing = np.zeros(self._encoder.dimensions, dtype=np.float32)
        vectors = enumerate(encoding.vectors)
        return [self._scores(read, row, self._text_outputs, vector, nothing) for row, vector in vectors]

    def _scores(
        self, read: list[Readings], row: int, outputs: Mapping[str, Output], prompt: Vector, response: Vector
    ) -> Scores:
        numbers = {name: float(column[row]) for one in read for name, column in one.numbers.items()}
        applying = {name: number for name, number in numbers.items() if np.isfinite(number)}
        flags = [name for name, number in applying.items() if _above(number, outputs[name].threshold)]
        labels = {name: column[row] for one in read for name, column in one.labels.items()}
        return Scores(applying, labels, flags, prompt, response, self._encoder.fingerprint, self.heads)


def _above(number: float, threshold: float | None) -> bool:
    return threshold is not None and number > threshold


def _split(read: Readings, count: int) -> Readings:
    """Readings of prompts and then responses, as columns of interactions."""
    halves = dict(zip(SIDES, (slice(0, count), slice(count, None)), strict=True))
    return Readings(
        {f"{side}.{name}": column[half] for side, half in halves.items() for name, column in read.numbers.items()},
        {f"{side}.{name}": column[half] for side, half in halves.items() for name, column in read.labels.items()},
    )
