"""Groundedness by a model of natural language inference: does a passage say what the sentence says?"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from detectors.signals import Exchanges, Output, Readings
from detectors.signals.heavy.loaded import LoadedOnce, readable

__all__ = ["Entailment"]

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_SENTENCES, _PASSAGES, _CHARACTERS = 20, 10, 2_000
_LEAST_WORDS = 3
_ENTAILED = 0.5


class Entailment:
    """Share of the response's sentences that no passage of the context entails."""

    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def __init__(self, name: str, model: str, threshold: float, watched: bool) -> None:
        self._model = LoadedOnce(name, lambda: _load(model))
        description = f"share of the response's sentences that no passage of its context entails, by {model}"
        self.outputs: tuple[Output, ...] = (
            Output(name, "probability", description, threshold=threshold, higher_is_worse=True, watched=watched),
        )

    def load(self) -> None:
        """Load the model."""
        self._model.get()

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """None without context or without a sentence; of each the first 20 sentences and 10 passages are read."""
        shares = np.full(len(exchanges), np.nan)
        pairs: list[tuple[str, str]] = []
        places: list[tuple[int, int]] = []  # of each pair: the interaction and its sentence
        for row, one in enumerate(exchanges.interactions):
            passages = [readable(passage, _CHARACTERS) for passage in one.context[:_PASSAGES] if passage.strip()]
            for number, sentence in enumerate(_sentences(one.response) if passages else ()):
                pairs += [(passage, sentence) for passage in passages]
                places += [(row, number)] * len(passages)
        if not pairs:
            return Readings({self.outputs[0].name: shares})
        model, column = self._model.get()
        with self._model.lock:
            found = model.predict(pairs, apply_softmax=True, show_progress_bar=False)[:, column]
        best: dict[tuple[int, int], float] = {}
        for place, probability in zip(places, found.tolist(), strict=True):
            best[place] = max(best.get(place, 0.0), probability)
        for row in {row for row, _ in places}:
            shares[row] = np.mean([value < _ENTAILED for (of, _), value in best.items() if of == row])
        return Readings({self.outputs[0].name: shares})


def _sentences(response: str) -> list[str]:
    seen = readable(response, _SENTENCES * _CHARACTERS)
    pieces = (piece.strip()[:_CHARACTERS] for piece in _SENTENCE.split(seen))
    return [piece for piece in pieces if len(piece.split()) >= _LEAST_WORDS][:_SENTENCES]


def _load(name: str) -> tuple[Any, int]:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(name)
    columns = [int(column) for column, label in model.config.id2label.items() if "entail" in label.lower()]
    columns = [column for column in columns if "not" not in model.config.id2label[column].lower()]
    if len(columns) != 1:
        raise ValueError(f"has no one label for entailment among {', '.join(model.config.id2label.values())}")
    return model, columns[0]
