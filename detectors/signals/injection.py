"""Injection: the text tries to override, extract or escape what the model was told."""

from __future__ import annotations

from functools import cache

import numpy as np

from detectors.heads import read_card, read_head
from detectors.heads.blended import BlendedHead
from detectors.signals import Output, Readings, Texts, TextSignal

__all__ = ["SIGNALS", "Injection"]


@cache
def _head() -> BlendedHead:
    return BlendedHead.of(read_head("injection").arrays)


class Injection(TextSignal):
    """Probability of a direct injection or jailbreak of a known kind. The card says what is missed."""

    heads = ("injection",)

    def __init__(self) -> None:
        threshold = read_card("injection")["outputs"]["injection"]
        description = "tries to override or extract what the model was told"
        self.outputs = (
            Output(
                "injection",
                "probability",
                description,
                threshold=threshold,
                higher_is_worse=True,
                watched="prompt",
            ),
        )

    def score_texts(self, texts: Texts) -> Readings:
        """Probabilities; a text without tokens has none."""
        probabilities = _head().probabilities(texts.texts, texts.encoding)[:, 0].astype(np.float64)
        probabilities[texts.encoding.tokens == 0] = np.nan
        return Readings({"injection": probabilities})


SIGNALS = (Injection,)
