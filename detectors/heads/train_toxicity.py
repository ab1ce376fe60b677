"""Fits the toxicity head, and measures it on folds and on sentences that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.heads.features import layer_features
from detectors.heads.identity_sentences import Sentence
from detectors.heads.measures import auroc, calibration_error
from detectors.heads.mlp import Fit, fit, sigmoid
from detectors.heads.sources import LICENCES, Row, hash_of
from detectors.heads.toxicity import OUTPUTS, ToxicityHead

__all__ = ["FOLDS", "train_toxicity"]

FOLDS = 4
"""`advance` is called once for each, and once for the head itself."""
_SEEDS = (0, 1)
_OUTPUT_WEIGHTS = np.array([1.0, 0.7], dtype=np.float32)
_TRAFFIC = ("prompts", "responses")
_FLAGGED_HARMLESS = 0.05
"""The identity_attack threshold flags this part of the harmless mentions, counter-speech too, of held-out frames."""

F32 = NDArray[np.float32]


def train_toxicity(
    rows: Sequence[Row], inner: F32, measuring: Sequence[Sentence], measuring_inner: F32, advance: Callable[[], None]
) -> tuple[ToxicityHead, dict[str, Any]]:
    """The head and its card. inner: (rows, 3, 384); measuring: the sentences kept from training and their states."""
    folds = np.array([hash_of(row.key) % FOLDS for row in rows])
    held_out = np.empty((len(rows), len(OUTPUTS)), dtype=np.float32)
    for fold in range(FOLDS):
        kept, left = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        held_out[left] = _fit([rows[index] for index in kept.tolist()], inner[kept]).logits(inner[left])
        advance()
    head = _fit(rows, inner)
    advance()
    thresholds = _thresholds(rows, held_out)
    card = {
        "outputs": dict(zip(OUTPUTS, thresholds, strict=True)),
        "data": {source: LICENCES[source] for source in dict.fromkeys(row.source for row in rows)},
        "rows": len(rows),
        "held_out": _held_out(rows, sigmoid(held_out), thresholds),
        "mentions": _mentions(measuring, head.probabilities(measuring_inner), thresholds),
    }
    return head, card


def _fit(rows: Sequence[Row], inner: F32) -> ToxicityHead:
    labels = np.array([(row.toxic, row.attack) for row in rows], dtype=np.float32)
    weights = np.array([row.weight for row in rows], dtype=np.float32)
    features = layer_features(inner)
    return ToxicityHead(tuple(fit(features, labels, weights, _OUTPUT_WEIGHTS, Fit(seed=seed)) for seed in _SEEDS))


def _thresholds(rows: Sequence[Row], logits: F32) -> tuple[float, float]:
    harmless = np.array([row.source == "identity" and row.attack == 0 for row in rows])
    bound = float(np.quantile(sigmoid(logits[harmless, 1]), 1 - _FLAGGED_HARMLESS))
    return 0.5, round(max(0.2, bound), 3)


def _held_out(rows: Sequence[Row], probabilities: F32, thresholds: Sequence[float]) -> dict[str, Any]:
    """Per source and output: rows, positives, AUROC, calibration error, and the part of harmless rows flagged."""
    sources = np.array([row.source for row in rows])
    found: dict[str, Any] = {}
    for column, output in enumerate(OUTPUTS):
        labels = np.array([(row.toxic, row.attack)[column] for row in rows])
        scores = probabilities[:, column].astype(np.float64)
        known = ~np.isnan(labels)
        found[output] = {
            "all": _measured(labels[known] == 1, scores[known], thresholds[column]),
            **{
                source: _measured(labels[chosen] == 1, scores[chosen], thresholds[column])
                for source in dict.fromkeys(sources.tolist())
                if (chosen := known & (sources == source)).any()
            },
        }
    traffic = np.isin(sources, _TRAFFIC)
    flagged = _flagged(probabilities, thresholds)
    found["ordinary_traffic_flagged_percent"] = _percent(flagged[traffic])
    return found


def _measured(labels: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> dict[str, float | None]:
    rank = auroc(labels, scores)
    return {
        "rows": len(labels),
        "positives": int(labels.sum()),
        "auroc": None if np.isnan(rank) else round(rank, 4),
        "calibration_error": round(calibration_error(labels, scores), 4),
        "found_percent": _percent(scores[labels] > threshold),
        "harmless_flagged_percent": _percent(scores[~labels] > threshold),
    }


def _mentions(sentences: Sequence[Sentence], probabilities: F32, thresholds: Sequence[float]) -> dict[str, Any]:
    """Per group: harmless sentences flagged by either output, hostile ones found by it."""
    flagged = _flagged(probabilities, thresholds)
    hostile = np.array([one.attack for one in sentences])
    groups = np.array([one.group for one in sentences])
    return {
        "harmless_flagged_percent": _percent(flagged[~hostile]),
        "hostile_found_percent": _percent(flagged[hostile]),
        "groups": {
            group: {
                "harmless_flagged_percent": _percent(flagged[(groups == group) & ~hostile]),
                "hostile_found_percent": _percent(flagged[(groups == group) & hostile]),
            }
            for group in dict.fromkeys(groups.tolist())
        },
    }


def _flagged(probabilities: F32, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    flagged: NDArray[np.bool_] = np.any(probabilities > np.array(thresholds), axis=1)
    return flagged


def _percent(flags: NDArray[np.bool_]) -> float | None:
    return round(100 * float(flags.mean()), 2) if len(flags) else None
