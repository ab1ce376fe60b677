"""Fits the refusal head, and measures it on models and prompts that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from detectors.heads.features import refusal_features
from detectors.heads.measures import auroc, calibration_error, f1
from detectors.heads.mlp import sigmoid
from detectors.heads.refusal import RefusalHead
from detectors.heads.sources import LICENCES, ORDINARY, Completion, hash_of

__all__ = ["train_refusal"]

_FOLDS = 5
_THRESHOLD = 0.5
_ORDINARY_WEIGHT = 0.25
"""Of a row of ordinary traffic, whose label is a guess. More of it costs terse refusals of models never seen."""

F32 = NDArray[np.float32]


def train_refusal(
    rows: Sequence[Completion], inner: F32, advance: Callable[[], None]
) -> tuple[RefusalHead, dict[str, Any]]:
    """The head and its card, from completions and the states (rows, 3, 384) of their texts."""
    features = refusal_features([row.text for row in rows], inner)
    refused = np.array([row.refused for row in rows])
    models = np.array([row.model for row in rows])
    folds = np.array([hash_of(row.prompt) % _FOLDS for row in rows])
    known, ordinary = ~np.isnan(refused), models == ORDINARY
    weights = np.where(ordinary, _ORDINARY_WEIGHT, 1)
    held_out = np.empty(len(rows), dtype=np.float64)
    names = sorted(set(models.tolist()))
    for model in names:
        for fold in range(_FOLDS):
            left = (models == model) & (folds == fold)
            kept = known & (folds != fold) & ((models != model) | ordinary)
            held_out[left] = _probabilities(_fit(features[kept], refused[kept] == 1, weights[kept]), features[left])
        advance()
    groups = {"all": ~ordinary, **{model: models == model for model in names if model != ORDINARY}}
    card = {
        "outputs": {"refusal": _THRESHOLD},
        "data": {source: LICENCES[source] for source in ("xstest", "responses")},
        "rows": int(known.sum()),
        "held_out_by_model_and_prompt": {
            name: _measured(refused[chosen] == 1, held_out[chosen]) for name, chosen in groups.items()
        },
        "ordinary_traffic_flagged_percent": round(100 * float(np.mean(held_out[ordinary] > _THRESHOLD)), 2),
    }
    return _fit(features[known], refused[known] == 1, weights[known]), card


def _fit(features: F32, labels: NDArray[np.bool_], weights: NDArray[np.float64]) -> RefusalHead:
    fitted = LogisticRegression(C=0.01, max_iter=2_000).fit(features, labels, sample_weight=weights)
    return RefusalHead(fitted.coef_[0].astype(np.float32), fitted.intercept_.astype(np.float32))


def _probabilities(head: RefusalHead, features: F32) -> F32:
    return sigmoid(features @ head.coefficients + head.intercept)


def _measured(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, float]:
    return {
        "rows": len(labels),
        "refusals": int(labels.sum()),
        "auroc": round(auroc(labels, scores), 4),
        "f1": round(f1(labels, scores > _THRESHOLD), 4),
        "calibration_error": round(calibration_error(labels, scores), 4),
    }
