"""Upper tail of a look's statistic under no change: Pearson III, guarded by a bootstrap of the reference."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from detectors.drift import Float32Array, FloatArray

SCALES = (16, 64, 256, 1024)
BOOTSTRAPPED = 3  # scales; the longest one has too few independent windows in a reference and borrows the one before
EVENTS = 300_000
CHAINS = 96
LOG_1_PERCENT = math.log(0.01)


def rates() -> Float32Array:
    """(scales,) weights of a new unit in the moving means of `SCALES`."""
    return (1 - np.exp(-1 / np.asarray(SCALES))).astype(np.float32)


def pearson3_logsf(x: float, skew: float) -> float:
    """Log of P(X > x) for a Pearson III variable of mean 0, variance 1 and the given positive skew."""
    shape = 4 / skew**2
    y = shape + x * math.sqrt(shape)
    if y <= 0:
        return 0.0
    p = float(special.gammaincc(shape, y))
    if p > 1e-200:
        return math.log(p)
    return (shape - 1) * math.log(y) - y - float(special.gammaln(shape))  # leading term of the asymptotic expansion


def bootstrap(centred: Float32Array, mean: float, scale: float, random: np.random.Generator) -> FloatArray:
    """Tail of the statistic for each scale, from units drawn anew out of the calibration part.

    Args:
        centred: (n, d) features with mean zero.
        mean: expected square norm of a feature, `M`.
        scale: standard deviation of the square norm of a Gaussian of that covariance, `S`.
        random: the only source of chance.

    Returns:
        (scales, 2): the 99 % point and the mean excess over it, enlarged for its sampling error.
    """
    horizons, a = SCALES[:BOOTSTRAPPED], rates()[:BOOTSTRAPPED, None, None]
    means = np.zeros((BOOTSTRAPPED, CHAINS, centred.shape[1]), np.float32)
    seen: list[list[FloatArray]] = [[] for _ in horizons]
    settled = 6 * horizons[-1]
    for step in range(settled + EVENTS // CHAINS):
        means += a * (centred[random.integers(len(centred), size=CHAINS)] - means)
        for j, horizon in enumerate(horizons):
            if step >= settled and step % (horizon // 2) == 0:
                variance = float(a[j, 0, 0] / (2 - a[j, 0, 0]))
                seen[j].append((np.einsum("cd,cd->c", means[j], means[j], dtype=np.float64) / variance - mean) / scale)
    table = np.empty((len(SCALES), 2))
    for j, values in enumerate(seen):
        statistics = np.concatenate(values)
        point = np.quantile(statistics, 0.99)
        excess = statistics[statistics > point] - point
        table[j] = point, excess.mean() * (1 + 2 / math.sqrt(len(excess) + 1))
    table[BOOTSTRAPPED:] = table[BOOTSTRAPPED - 1]
    return table


def log_p(x: float, point: float, excess: float, skew: float) -> float:
    """Log p-value of a look: the more cautious of Pearson III and, beyond the 99 % point, an exponential tail."""
    body = pearson3_logsf(x, skew)
    return max(body, LOG_1_PERCENT - (x - point) / excess if x > point else LOG_1_PERCENT)
