"""Confidence sequences by betting: intervals for a mean that hold at every time at once.

Whoever bets the share b of a capital that differences D in [-1, 1] lie above m has it multiplied by
(1 + bD) / (1 + bm) each time. If the mean of D is at most m, that capital is expected never to grow, so the chance
that it ever exceeds 1 / α is at most α (Ville). The m that have not been refuted so are the interval. The bets are a
fixed grid with equal parts of the capital, one grid for each side; so the logarithms of (1 + bD), summed, and the count
of D are all that has to be kept.

The mean may move: what is covered is the mean of the conditional means so far (the product of 1 + b·mean is at most the
power of its average). No variance is estimated and no limit theorem is used.

Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting (2024); Ville (1939).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

BETS: FloatArray = 0.8 * 0.5 ** np.arange(8, dtype=np.float64)
"""(8,) shares of the capital that are bet: large ones find rare, clear gaps soon, small ones narrow it late."""
_HALVINGS = 40


def gains(differences: FloatArray) -> FloatArray:
    """(..., 2, 8) what differences in [-1, 1] add to the logarithms of the capital, betting on more and on less."""
    sides = np.stack([differences, -differences], axis=-1)[..., None]
    return np.log1p(BETS * sides)


def interval(count: FloatArray, logs: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Low and high ends, (...), of the means that are not refuted; at every count at once with probability 1 - alpha.

    Args:
        count: (...) differences so far.
        logs: (..., 2, 8) their summed `gains`.
        alpha: chance of ever excluding the true mean.
    """
    low, high = _refuted_below(count, logs[..., 0, :], alpha / 2), -_refuted_below(count, logs[..., 1, :], alpha / 2)
    return low, high


def _refuted_below(count: FloatArray, logs: FloatArray, alpha: float) -> FloatArray:
    """The largest mean that is refuted together with all below it, found by halving; -1 where none is."""
    left, right = np.full(np.shape(count), -1.0), np.ones(np.shape(count))
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        capital = logs - count[..., None] * np.log1p(BETS * middle[..., None])
        most = capital.max(axis=-1)
        refuted = most + np.log(np.exp(capital - most[..., None]).mean(axis=-1)) >= -np.log(alpha)
        left, right = np.where(refuted, middle, left), np.where(refuted, right, middle)
    return left
