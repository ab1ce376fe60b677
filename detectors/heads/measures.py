"""Measures of a head: how well it ranks, and how well its probabilities are meant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["auroc", "calibration_error", "f1"]

F64 = NDArray[np.float64]


def auroc(labels: NDArray[np.bool_], scores: F64) -> float:
    """Chance that a positive scores over a negative, ties half. NaN where one of them is missing.

    >>> auroc(np.array([False, True]), np.array([0.2, 0.9]))
    1.0
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_error(labels: NDArray[np.bool_], probabilities: F64, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width: the mean gap of confidence and frequency."""
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=probabilities - labels, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def f1(labels: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall."""
    hits = int((labels & predicted).sum())
    return 2 * hits / max(1, int(labels.sum()) + int(predicted.sum()))
