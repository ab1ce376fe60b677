"""Relevance: does the response speak of what the prompt speaks of?"""

from __future__ import annotations

import numpy as np

from detectors.signals import Exchanges, InteractionSignal, Output, Readings

__all__ = ["SIGNALS", "Relevance"]


class Relevance(InteractionSignal):
    """Cosine of prompt and response. Finds answers to another question; does not rank good answers."""

    outputs = (Output("relevance", "scalar", "cosine of prompt and response, from -1 to 1", higher_is_worse=False),)

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """Cosines; none where either text has no tokens."""
        prompts, responses = exchanges.prompts.encoding, exchanges.responses.encoding
        cosines = np.einsum("nd,nd->n", prompts.vectors, responses.vectors, dtype=np.float64)
        cosines[(prompts.tokens == 0) | (responses.tokens == 0)] = np.nan
        # Rounded vectors are not exactly of unit length.
        return Readings({"relevance": np.clip(cosines, -1, 1)})


SIGNALS = (Relevance,)
