"""Repetition: a text that says the same again and again, as a model does that is stuck."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from detectors.signals import READ_CHARACTERS, Output, Readings, Texts, TextSignal

__all__ = ["SIGNALS", "Repetition"]

_LEAST_WORDS, _WORDS = 12, 4
_LEAST_CHARACTERS, _RUN = 48, 8


class Repetition(TextSignal):
    """Share of word sequences, four words each, that occurred before; of runs of characters where words are missing."""

    outputs = (
        Output(
            "repetition",
            "scalar",
            "share of the text that repeats itself",
            threshold=0.5,
            higher_is_worse=True,
            watched="response",
        ),
    )

    def score_texts(self, texts: Texts) -> Readings:
        """Shares from 0 to 1; none for a text too short to repeat itself."""
        shares = [_share(text[:READ_CHARACTERS], words) for text, words in zip(texts.texts, texts.words, strict=True)]
        return Readings({"repetition": np.array(shares, dtype=np.float64)})


def _share(text: str, words: Sequence[str]) -> float:
    if len(words) >= _LEAST_WORDS:
        return _repeated([tuple(words[at : at + _WORDS]) for at in range(len(words) - _WORDS + 1)])
    if len(text) >= _LEAST_CHARACTERS and not text.isspace():
        return _repeated([text[at : at + _RUN] for at in range(len(text) - _RUN + 1)])
    return float("nan")


def _repeated(pieces: Sequence[Hashable]) -> float:
    return 1 - len(set(pieces)) / len(pieces)


SIGNALS = (Repetition,)
