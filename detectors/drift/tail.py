"""Upper tail of a look's statistic under no change: Pearson III, guarded by a bootstrap where windows are short.

The statistic is a quadratic form of a nearly Gaussian mean, so its skew, known from the reference's covariance, gives
the tail (Pearson III matches the first three moments of a weighted sum of chi-squares). Short windows are not yet
Gaussian: near-duplicate texts that collide in them make the tail longer, and only the reference can say by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from detectors.drift import Float32Array, FloatArray

Squares = Callable[[Float32Array], FloatArray]
SCALES = (32, 128, 512, 2048)
BLOCK = 4
"""Units that enter the moving means together; a look falls on the end of a block."""

BOOTSTRAPPED = 2  # scales; the longer ones have too few independent windows in a reference, and need no guard
EVENTS = 120_000
CHAINS = 96
LOG_1_PERCENT = math.log(0.01)
UNDERFLOW = 1e-200


def rates() -> FloatArray:
    """(scales,) weights of a new block in the moving means of `SCALES`."""
    return np.asarray(-np.expm1(-BLOCK / np.asarray(SCALES)))


def variances(blocks: int) -> FloatArray:
    """(scales,) of a moving mean after so many blocks, in units of the variance of one unit."""
    a = rates()
    return np.asarray(a / (2 - a) / BLOCK * (1 - (1 - a) ** (2 * blocks)))


def pearson3_logsf(x: FloatArray, skew: float) -> FloatArray:
    """Log of P(X > x) for a Pearson III variable of mean 0, variance 1 and the given positive skew."""
    shape = 4 / skew**2
    y = np.maximum(shape + x * math.sqrt(shape), 1e-12)
    p = special.gammaincc(shape, y)
    asymptotic = (shape - 1) * np.log(y) - y - special.gammaln(shape)  # leading term of the expansion for large y
    return np.asarray(np.where(p > UNDERFLOW, np.log(np.maximum(p, UNDERFLOW)), asymptotic))


def bootstrap(calibration: Float32Array, squares: Squares, mean: float, scale: float, seed: int) -> FloatArray:
    """Tail of the statistic for each scale, from units drawn anew out of the calibration part.

    Args:
        calibration: (n, d) vectors with mean zero.
        squares: weighted square lengths of (m, d) rows.
        mean: expected weighted square length of a unit, `M`.
        scale: standard deviation of that of a Gaussian of the same covariance, `S`.
        seed: of the only source of chance.

    Returns:
        (scales, 2): the 99 % point and the mean excess over it; the point is infinite where Pearson III needs no guard.
    """
    random = np.random.default_rng(seed)
    a, limit = rates()[:BOOTSTRAPPED, None, None].astype(np.float32), variances(10**9)
    means = np.zeros((BOOTSTRAPPED, CHAINS, calibration.shape[1]), np.float32)
    seen: list[list[FloatArray]] = [[] for _ in range(BOOTSTRAPPED)]
    settled = 5 * SCALES[BOOTSTRAPPED - 1] // BLOCK
    for step in range(settled + EVENTS // CHAINS // BLOCK):
        drawn = calibration[random.integers(len(calibration), size=(BLOCK, CHAINS))]
        means += a * (drawn.mean(axis=0) - means)
        for j in range(BOOTSTRAPPED):
            if step >= settled and step % (SCALES[j] // (4 * BLOCK)) == 0:
                seen[j].append((squares(means[j]) / limit[j] - mean) / scale)
    table = np.tile([np.inf, 1.0], (len(SCALES), 1))
    for j, values in enumerate(seen):
        statistics = np.concatenate(values)
        point = np.quantile(statistics, 0.99)
        excess = statistics[statistics > point] - point
        table[j] = point, excess.mean()
    return table


def log_p(x: FloatArray, point: FloatArray, excess: FloatArray, skew: float) -> FloatArray:
    """(n,) log p-values of looks: the more cautious of Pearson III and, beyond the 99 % point, an exponential tail."""
    body = pearson3_logsf(x, skew)
    return np.asarray(np.where(x > point, np.maximum(body, LOG_1_PERCENT - (x - point) / excess), body))
