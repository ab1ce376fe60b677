"""Any text classification model of the transformers library: detoxify's, Prompt Guard, language and topic models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors.signals import FloatArray, Output, Readings, Texts
from detectors.signals.heavy import HeavyUnavailableError
from detectors.signals.heavy.loaded import LoadedOnce, readable

__all__ = ["Classifier"]

_TOKENS, _CHARACTERS, _BATCH = 512, 20_000, 16


class Classifier:
    """Probabilities of the wanted labels, for prompt and response, as `NAME_LABEL`.

    A model whose configuration says `multi_label_classification` gives independent ones, any other one adds up to 1.
    """

    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()

    def __init__(self, name: str, model: str, labels: Sequence[str], threshold: float, watched: bool) -> None:
        if not labels:
            raise HeavyUnavailableError(f"{name}: labels is empty; name those of the model that are wanted")
        self._wanted = tuple(labels)
        self._model = LoadedOnce(name, lambda: _load(model, self._wanted))
        self.outputs: tuple[Output, ...] = tuple(
            Output(
                f"{name}_{re.sub(r'[^a-z0-9]+', '_', label.lower()).strip('_')}",
                "probability",
                f"probability of {label}, by {model}",
                threshold=threshold,
                watched=watched,
            )
            for label in labels
        )

    def load(self) -> None:
        """Load the model."""
        self._model.get()

    def score_texts(self, texts: Texts) -> Readings:
        """Probabilities of what the model can read of each text; none for a blank one."""
        found = np.full((len(texts), len(self.outputs)), np.nan)
        rows = [row for row, text in enumerate(texts.texts) if text.strip()]
        rows.sort(key=lambda row: len(texts.texts[row]))  # near lengths together: little is padded
        tokenizer, model, columns = self._model.get()
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            with self._model.lock:
                found[part] = _probabilities(tokenizer, model, [texts.texts[row] for row in part])[:, columns]
        return Readings({output.name: found[:, at] for at, output in enumerate(self.outputs)})


def _load(name: str, wanted: Sequence[str]) -> tuple[Any, Any, list[int]]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    known = {label: column for column, label in model.config.id2label.items()}
    if missing := [label for label in wanted if label not in known]:
        raise ValueError(f"has no label {missing[0]!r}, but {', '.join(known)}")
    return tokenizer, model, [known[label] for label in wanted]


def _probabilities(tokenizer: Any, model: Any, texts: Sequence[str]) -> FloatArray:
    import torch

    seen = [readable(text, _CHARACTERS) for text in texts]
    longest = min(_TOKENS, tokenizer.model_max_length)
    inputs = tokenizer(seen, truncation=True, max_length=longest, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits
    several = model.config.problem_type == "multi_label_classification"
    found = torch.sigmoid(logits) if several else torch.softmax(logits, dim=-1)
    return np.asarray(found.double().numpy())
