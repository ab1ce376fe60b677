"""Toxicity: abuse of any kind, and attacks on people for what they are."""

from __future__ import annotations

from functools import cache

import numpy as np

from detectors.heads import read_card, read_head

# lead: a bridge until the new head is trained and shipped; then import detectors.heads.toxicity again and delete *_before.py
from detectors.heads.toxicity_before import OUTPUTS, ToxicityHead
from detectors.signals import Output, Readings, Texts, TextSignal

__all__ = ["SIGNALS", "Toxicity"]

_DESCRIPTIONS = {
    "toxicity": "insults, profanity, threats or hate",
    "identity_attack": "hostility against people for what they are",
}


@cache
def _head() -> ToxicityHead:
    return ToxicityHead.of(read_head("toxicity").arrays)


class Toxicity(TextSignal):
    """Two probabilities from the head on the encoder's inner layers. The card says where it fails."""

    heads = ("toxicity",)

    def __init__(self) -> None:
        thresholds = read_card("toxicity")["outputs"]
        self.outputs = tuple(
            Output(name, "probability", _DESCRIPTIONS[name], threshold=thresholds[name], higher_is_worse=True)
            for name in OUTPUTS
        )

    def score_texts(self, texts: Texts) -> Readings:
        """Probabilities; a text without tokens has none."""
        probabilities = _head().probabilities(texts.encoding.inner).astype(np.float64)
        probabilities[texts.encoding.tokens == 0] = np.nan
        return Readings({name: probabilities[:, column] for column, name in enumerate(OUTPUTS)})


SIGNALS = (Toxicity,)
