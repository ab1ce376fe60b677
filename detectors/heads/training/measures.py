"""Figures of the cards: how well scores rank, how well probabilities are meant, and how sure one can be of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["auroc", "auroc_interval", "calibration_error", "f1", "percent", "share"]

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
_Z = 1.959964
"""Of an interval of 95 %."""


def auroc(labels: Bools, scores: F64) -> float:
    """Chance that a positive scores over a negative, ties half. NaN where one of them is missing.

    >>> auroc(np.array([False, True]), np.array([0.2, 0.9]))
    1.0
    """
    above, _ = _placements(labels, scores)
    return float(above.mean()) if len(above) and not labels.all() else float("nan")


def auroc_interval(labels: Bools, scores: F64) -> list[float] | None:
    """Estimate and bounds of 95 % (DeLong, DeLong and Clarke-Pearson 1988). None where one class is missing."""
    if labels.all() or not labels.any():
        return None
    above, below = _placements(labels, scores)
    deviation = math.sqrt(above.var() / len(above) + below.var() / len(below))
    mean = float(above.mean())
    return [round(min(1.0, max(0.0, value)), 4) for value in (mean, mean - _Z * deviation, mean + _Z * deviation)]


def calibration_error(labels: Bools, probabilities: F64, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width: the mean gap of confidence and frequency."""
    bin_of = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=probabilities - labels, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def f1(labels: Bools, predicted: Bools) -> float:
    """Harmonic mean of precision and recall."""
    hits = int((labels & predicted).sum())
    return 2 * hits / max(1, int(labels.sum()) + int(predicted.sum()))


def percent(flags: Bools) -> list[float] | None:
    """Percentage of true flags with bounds of 95 % (Wilson 1927). None of nothing."""
    return share(int(flags.sum()), len(flags))


def share(hits: int, count: int) -> list[float] | None:
    """Percentage `hits` of `count`, as `percent`.

    >>> share(1, 20)
    [5.0, 0.89, 23.61]
    """
    if not count:
        return None
    rate, spread = hits / count, _Z**2 / count
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(rate * (1 - rate) / count + spread / (4 * count)) / (1 + spread)
    return [round(100 * value, 2) for value in (rate, max(0.0, middle - half), min(1.0, middle + half))]


def _placements(labels: Bools, scores: F64) -> tuple[F64, F64]:
    """For each positive the part of negatives below it, for each negative the part of positives above it."""
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])

    def part_below(of: F64, among: F64) -> F64:
        both = np.searchsorted(among, of, "left") + np.searchsorted(among, of, "right")
        part: F64 = both / (2 * max(1, len(among)))
        return part

    return part_below(positives, negatives), 1 - part_below(negatives, positives)
