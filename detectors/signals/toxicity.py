"""Toxicity: abuse, attacks on people for what they are, and the categories of a content policy."""

from __future__ import annotations

from functools import cache

import numpy as np

from detectors.heads import read_card, read_head
from detectors.heads.blended import BlendedHead
from detectors.heads.toxicity import OUTPUTS
from detectors.signals import Output, Readings, Texts, TextSignal

__all__ = ["SIGNALS", "Toxicity"]

_DESCRIPTIONS = {
    "toxicity": "insults, profanity, threats or hate",
    "identity_attack": "hostility against people for what they are",
    "sexual": "sexual content",
    "violence": "promotes or glorifies violence",
    "harassment": "harasses somebody",
    "self_harm": "is about hurting oneself",
    "unsafe": "any of the categories, or hate",
}
_WATCHED = ("toxicity", "identity_attack")
"""The categories rise with these or are rare; pages of their own would say the same twice."""


@cache
def _head() -> BlendedHead:
    return BlendedHead.of(read_head("toxicity").arrays)


class Toxicity(TextSignal):
    """Probabilities from one head on the encoder's layers and on n-grams. The card says where it fails."""

    heads = ("toxicity",)

    def __init__(self) -> None:
        thresholds = read_card("toxicity")["outputs"]
        self.outputs = tuple(
            Output(
                name,
                "probability",
                _DESCRIPTIONS[name],
                threshold=thresholds[name],
                higher_is_worse=True,
                watched=name in _WATCHED,
            )
            for name in OUTPUTS
        )

    def score_texts(self, texts: Texts) -> Readings:
        """Probabilities; a text without tokens has none."""
        probabilities = _head().probabilities(texts.texts, texts.encoding).astype(np.float64)
        probabilities[texts.encoding.tokens == 0] = np.nan
        return Readings({name: probabilities[:, column] for column, name in enumerate(OUTPUTS)})


SIGNALS = (Toxicity,)
