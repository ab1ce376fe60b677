"""Fits the refusal head, and measures it on models and prompts that it never saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detectors.heads.features import refusal_features, sounds_like_refusal
from detectors.heads.refusal import RefusalHead
from detectors.heads.training.encoded import KEPT_CHARACTERS
from detectors.heads.training.measures import auroc_interval, calibration_error, f1, percent
from detectors.heads.training.sources import assistant_responses, hash_of, read, some

__all__ = ["Completion", "completions", "train_refusal"]

_FOLDS = 5
_THRESHOLD = 0.5
_ORDINARY = "ordinary traffic"
_ORDINARY_RESPONSES = 600
_ORDINARY_WEIGHT = 0.25
"""Of a row of ordinary traffic, whose label is a guess. More of it costs terse refusals of models never seen."""

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Completion:
    """A model's response; refused: 1 or 0 as a person saw it, partial refusals counted, NaN where nobody looked."""

    model: str
    prompt: str
    text: str
    refused: float


def completions(data: Path) -> list[Completion]:
    """Judged completions to prompts that provoke, and ordinary traffic.

    Ordinary responses without any expression of refusal are taken for answers; of the others nothing is known.
    """
    return [*_judged(data), *_ordinary(data)]


def _judged(data: Path) -> Iterator[Completion]:
    for one in read(data, "interactions/xstest"):
        refused = float(not one["refusal"].startswith("1"))
        yield Completion(one["model"], one["prompt"], one["response"][:KEPT_CHARACTERS], refused)


def _ordinary(data: Path) -> Iterator[Completion]:
    for one in some(assistant_responses(data), _ORDINARY_RESPONSES):
        text = one["text"][:KEPT_CHARACTERS]
        if text.strip():
            yield Completion(_ORDINARY, one["key"], text, float("nan") if sounds_like_refusal(text) else 0)


def train_refusal(rows: Sequence[Completion], inner: NDArray[np.float16]) -> tuple[RefusalHead, dict[str, Any]]:
    """The head and its card, from completions and the states (rows, 3, 384) of their texts."""
    features = refusal_features([row.text for row in rows], inner.astype(np.float32))
    refused = np.array([row.refused for row in rows])
    models = np.array([row.model for row in rows])
    folds = np.array([hash_of(row.prompt) % _FOLDS for row in rows])
    known, ordinary = ~np.isnan(refused), models == _ORDINARY
    weights = np.where(ordinary, _ORDINARY_WEIGHT, 1)
    held_out = np.empty(len(rows), dtype=np.float64)
    names = sorted(set(models.tolist()))
    for model in names:
        for fold in range(_FOLDS):
            left = (models == model) & (folds == fold)
            kept = known & (folds != fold) & ((models != model) | ordinary)
            head = _fit(features[kept], refused[kept] == 1, weights[kept])
            held_out[left] = head.of_features(features[left])
    groups = {"all": ~ordinary, **{model: models == model for model in names if model != _ORDINARY}}
    card = {
        "outputs": {"refusal": _THRESHOLD},
        "rows": int(known.sum()),
        "held_out": {name: _measured(refused[chosen] == 1, held_out[chosen]) for name, chosen in groups.items()},
        "traffic": {
            "responses": {"rows": int(ordinary.sum()), "flagged_percent": percent(held_out[ordinary] > _THRESHOLD)}
        },
    }
    return _fit(features[known], refused[known] == 1, weights[known]), card


def _fit(features: F32, labels: NDArray[np.bool_], weights: NDArray[np.float64]) -> RefusalHead:
    fitted = LogisticRegression(C=0.01, max_iter=2_000).fit(features, labels, sample_weight=weights)
    return RefusalHead(fitted.coef_[0].astype(np.float32), fitted.intercept_.astype(np.float32))


def _measured(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "rows": len(labels),
        "positives": int(labels.sum()),
        "auroc": auroc_interval(labels, scores),
        "f1": round(f1(labels, scores > _THRESHOLD), 4),
        "calibration_error": round(calibration_error(labels, scores), 4),
    }
