"""The estimate itself: labels, predictions of the labelled, predictions of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

FloatArray = NDArray[np.float64]

LEAST_LABELS = 20
"""Fewer say too little for an interval that rests on their mean being about normal."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean, low, high: of the labels of all interactions, within `bounds`.
        labels, unlabelled: how many there were.
        weight: how far the predictions were used, 0 to 1.
        plain_low, plain_high: what the labels alone would give, for comparison.
    """

    mean: float
    low: float
    high: float
    labels: int
    unlabelled: int
    weight: float
    plain_low: float
    plain_high: float


def estimate_mean(
    labels: FloatArray,
    predicted: FloatArray,
    predicted_rest: FloatArray,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate | None:
    """The mean of all labels, most of them not known; None of fewer than `LEAST_LABELS`.

    Args:
        labels: (n,) known ones.
        predicted: (n,) predictions of these, by something that did not see the label it predicts.
        predicted_rest: (m,) predictions of the others.
        level: of the interval, by Student's distribution with n - 1 degrees of freedom.
        bounds: of a label.

    The predictions' weight makes the estimate's variance smallest: covariance over variance, shrunk by the number of
    labels to that of the others (PPI++). With weight 0 this is the mean of the labels.
    """
    n, m = len(labels), len(predicted_rest)
    if n < LEAST_LABELS:
        return None
    every = np.concatenate([predicted, predicted_rest])
    spread = float(np.var(every, ddof=1))
    covariance = float(np.cov(labels, predicted)[0, 1])
    weight = min(1.0, max(0.0, covariance / (spread * (1 + n / m)))) if m and spread > 0 else 0.0
    known = float(np.mean(labels - weight * predicted))
    mean = known + weight * (float(np.mean(predicted_rest)) if m else 0.0)
    variance = float(np.var(labels - weight * predicted, ddof=1)) / n
    variance += weight**2 * float(np.var(predicted_rest, ddof=1)) / m if weight and m > 1 else 0.0
    half = float(student.ppf((1 + level) / 2, n - 1))
    plain, error = float(np.mean(labels)), sqrt(float(np.var(labels, ddof=1)) / n)

    def within(value: float) -> float:
        return min(max(value, bounds[0]), bounds[1])

    return Estimate(
        mean=within(mean),
        low=within(mean - half * sqrt(variance)),
        high=within(mean + half * sqrt(variance)),
        labels=n,
        unlabelled=m,
        weight=weight,
        plain_low=within(plain - half * error),
        plain_high=within(plain + half * error),
    )
