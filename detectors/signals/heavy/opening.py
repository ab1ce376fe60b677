"""Makes a heavy signal by the name of its kind. Nothing is loaded before `load`, or before the first text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from detectors.signals.heavy import HeavySignal
from detectors.signals.heavy.classifier import Classifier
from detectors.signals.heavy.entailment import Entailment
from detectors.signals.heavy.guard import Guard
from detectors.signals.heavy.presidio import Presidio

__all__ = ["Kind", "open_heavy"]

Kind = Literal["classifier", "entailment", "guard", "presidio"]


def open_heavy(
    kind: Kind, name: str, model: str, labels: Sequence[str] = (), threshold: float = 0.5, watched: bool = True
) -> HeavySignal:
    """A signal that is still to be loaded.

    Args:
        kind: classifier (a text classification model), entailment (an NLI cross-encoder for groundedness), guard (a
            safety model that answers with a verdict, such as Llama Guard) or presidio.
        name: of its output, or what its outputs begin with.
        model: a directory, or a hub's id; presidio: an installed spaCy model, or nothing.
        labels: classifier: the model's labels that are wanted; guard: the words for safe and unsafe.
        threshold: above it a flag is raised.
        watched: whether its outputs are drift streams.
    """
    if kind == "classifier":
        return Classifier(name, model, labels, threshold, watched)
    if kind == "entailment":
        return Entailment(name, model, threshold, watched)
    if kind == "guard":
        return Guard(name, model, labels, threshold, watched)
    return Presidio(name, model, threshold, watched)
