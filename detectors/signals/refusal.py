"""Refusal: the response declines what was asked."""

from __future__ import annotations

from functools import cache

import numpy as np

from detectors.heads import read_card, read_head
from detectors.heads.refusal import RefusalHead
from detectors.signals import Exchanges, InteractionSignal, Output, Readings

__all__ = ["SIGNALS", "Refusal"]


@cache
def _head() -> RefusalHead:
    return RefusalHead.of(read_head("refusal").arrays)


class Refusal(InteractionSignal):
    """Probability from the head on the response's last layer and on the expressions it opens with. English only."""

    heads = ("refusal",)

    def __init__(self) -> None:
        threshold = read_card("refusal")["outputs"]["refusal"]
        description = "the response declines, fully or in part, what was asked"
        self.outputs = (Output("refusal", "probability", description, threshold=threshold),)

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """Probabilities; an empty response has none."""
        responses = exchanges.responses
        refused = _head().probabilities(responses.texts, responses.encoding.inner).astype(np.float64)
        refused[responses.encoding.tokens == 0] = np.nan
        return Readings({"refusal": refused})


SIGNALS = (Refusal,)
