"""Gibberish: letters in an order that English words do not have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.signals import FloatArray, Output, Readings, Texts, TextSignal
from detectors.signals.language import UNKNOWN, identify
from detectors.signals.letters import places, plain, read_table, triples

__all__ = ["SIGNALS", "Gibberish"]

_CHARACTERS = 2_000
_ENGLISH_OR_NONE = frozenset({"en", UNKNOWN})
_LEAST_WORD, _LEAST_LETTERS = 4, 12
_UNLIKELY = -4.5  # mean log probability of a word's letters; English words have about -2.3, random letters -6


class Gibberish(TextSignal):
    """Share of the letters that stand in words of improbable spelling. Code, numbers and abbreviations are left out."""

    outputs = (
        Output(
            "gibberish",
            "scalar",
            "share of the text in words that are none",
            threshold=0.5,
            higher_is_worse=True,
            watched="response",
        ),
    )

    def score_texts(self, texts: Texts) -> Readings:
        """Shares from 0 to 1; none for a text in another known language, or with few Latin letters."""
        known = [identify(text) in _ENGLISH_OR_NONE for text in texts.texts]
        seen = [plain(text[:_CHARACTERS]) if judged else "" for text, judged in zip(texts.texts, known, strict=True)]
        return Readings({"gibberish": _shares(seen)})


def _shares(texts: Sequence[str]) -> FloatArray:
    """Of all texts at once: one pass over their letters, which are counted by word and then by text."""
    letters = places(" ".join(["", *texts, ""]))  # a space before and after each
    of_text = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
    inside = letters[1:-1] > 0
    begins = inside & (letters[:-2] == 0)
    word = np.cumsum(begins)[inside] - 1
    length = np.bincount(word)
    likelihood = np.bincount(word, read_table()[triples(letters)][inside])
    whose = of_text[: len(begins)][begins]
    counts = length >= _LEAST_WORD
    unlikely = counts & (likelihood < _UNLIKELY * length)
    total = np.bincount(whose, length * counts, minlength=len(texts))
    found = np.bincount(whose, length * unlikely, minlength=len(texts))
    return np.where(total >= _LEAST_LETTERS, found / np.maximum(total, 1), np.nan)


SIGNALS = (Gibberish,)
