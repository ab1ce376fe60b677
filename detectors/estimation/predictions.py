"""Predictions of labels from cheap signals, learned from the labels themselves without seeing the one predicted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FOLDS = 5


def cross_predicted(
    labelled: FloatArray, labels: FloatArray, rest: FloatArray, *, penalty: float = 10.0
) -> tuple[FloatArray, FloatArray]:
    """Predictions by ridge regression, of each label by what was learned from the other folds.

    Args:
        labelled: (n, d) signals of the labelled interactions; NaN where one does not apply.
        labels: (n,) what is known of them; two at least, since none is predicted from itself.
        rest: (m, d) signals of the others.
        penalty: on the squared weights of standardised signals.

    Returns:
        (n,) predictions of the labelled, and (m,) of the others, the mean over the folds.
    """
    every = np.concatenate([labelled, rest])
    known = np.isfinite(every)
    counts = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, every, 0.0)
    centre = filled.sum(axis=0) / counts
    ranks = np.where(known, every - centre, 0.0)  # one that does not apply says nothing
    scale = np.sqrt((ranks**2).sum(axis=0) / counts)
    standard = np.clip(ranks / np.where(scale > 0, scale, 1.0), -5.0, 5.0)
    mine, others = standard[: len(labels)], standard[len(labels) :]
    fold = np.arange(len(labels)) % FOLDS
    predicted, predicted_rest = np.zeros(len(labels)), np.zeros(len(rest))
    for part in range(FOLDS):
        learn = fold != part
        mean = labels[learn].mean()
        square = mine[learn].T @ mine[learn] + penalty * np.eye(mine.shape[1])
        weights = np.linalg.solve(square, mine[learn].T @ (labels[learn] - mean))
        predicted[~learn] = mean + mine[~learn] @ weights
        predicted_rest += (mean + others @ weights) / FOLDS
    return predicted, predicted_rest
