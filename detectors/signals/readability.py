"""Readability: how hard an English text is to read, by Flesch (1948) and Kincaid (1975)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from detectors.signals import Output, Readings, Texts, TextSignal
from detectors.signals.language import identify

__all__ = ["SIGNALS", "Readability"]

_CHARACTERS = 5_000
_LEAST_WORDS = 10
_LETTERS = re.compile(r"[a-z]+")
_SENTENCE = re.compile(r"[.!?](?=\s|$)|\n\n")
_SYLLABLE = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"[a-z]{2}[^aeiouyl\W\d_](?:e|es|ed)\b")
_EASE, _GRADE = (-100.0, 121.22), (-3.4, 30.0)


class Readability(TextSignal):
    """Both figures weigh words a sentence and syllables a word. Held within what a page of prose can reach."""

    outputs = (
        Output(
            "reading_ease",
            "scalar",
            "Flesch reading ease of an English text: 60 is plain, below 30 academic",
            higher_is_worse=False,
            watched=False,
        ),
        Output(
            "reading_grade", "scalar", "Flesch-Kincaid grade of an English text", unit="school years", watched=False
        ),
    )

    def score_texts(self, texts: Texts) -> Readings:
        """None for what is not known to be English, or has fewer than ten words."""
        rows = [_figures(text) for text in texts.texts]
        figures = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return Readings({"reading_ease": figures[:, 0], "reading_grade": figures[:, 1]})


def _figures(text: str) -> Sequence[float]:
    if identify(text) != "en":
        return float("nan"), float("nan")
    seen = text[:_CHARACTERS].lower().strip()
    words = len(_LETTERS.findall(seen))
    if words < _LEAST_WORDS:
        return float("nan"), float("nan")
    sentences = max(1, len(_SENTENCE.findall(seen)))
    syllables = max(words, len(_SYLLABLE.findall(seen)) - len(_SILENT.findall(seen)))
    length, weight = words / sentences, syllables / words
    ease = 206.835 - 1.015 * length - 84.6 * weight
    grade = 0.39 * length + 11.8 * weight - 15.59
    return float(np.clip(ease, *_EASE)), float(np.clip(grade, *_GRADE))


SIGNALS = (Readability,)
