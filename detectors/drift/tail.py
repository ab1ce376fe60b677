"""Upper tail of a look's statistic under no change: Pearson III, its skew corrected where windows are short.

The statistic is a quadratic form of a nearly Gaussian mean, so its skew, known from the reference's covariance, gives
the tail (Pearson III matches the first three moments of a weighted sum of chi-squares). Short windows are not yet
Gaussian: near-duplicate texts that collide in them make the tail longer, and only the reference can say by how much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from detectors.drift import Float32Array, FloatArray, kernels

Squares = Callable[[Float32Array], FloatArray]
SCALES = (32, 128, 512, 2048)

RATES = -np.expm1(-1 / np.asarray(SCALES)).astype(np.float32)
"""(scales,) weights of a new unit in the moving means."""

SURPLUS = (1.3, 1.25, 1.1, 1.0)
"""Of the skew at each scale, for what is not Gaussian yet and what a reference cannot know of its tail: with the plain
skew, looks at 32 units spent 1.6 times their part of the budget at one page in 100,000 units; those at 128 half of
theirs, but thrice as much where the mixture of traffic in a place of the cycle is not quite the reference's."""

EVENTS = 160_000
CHAINS = 96
SETTLED = 5  # scales, after which a moving mean varies as it always will
OUTER = 0.01
UNDERFLOW = 1e-200


def pearson3_logsf(x: FloatArray, skew: FloatArray | float) -> FloatArray:
    """Log of P(X > x) for Pearson III variables of mean 0, variance 1 and the given positive skew."""
    shape = 4 / np.square(skew)
    y = np.maximum(shape + x * np.sqrt(shape), 1e-12)
    p = special.gammaincc(shape, y)
    asymptotic = (shape - 1) * np.log(y) - y - special.gammaln(shape)  # leading term of the expansion for large y
    return np.asarray(np.where(p > UNDERFLOW, np.log(np.maximum(p, UNDERFLOW)), asymptotic))


def bootstrap(calibration: Float32Array, squares: Squares, mean: float, scale: float, seed: int) -> tuple[float, float]:
    """Tail of the statistic at the shortest scale, from the calibration part in random orders.

    No unit comes twice in a window, so that near duplicates collide as often as they would in new traffic; that such a
    window varies less than one of new units is allowed for.

    Args:
        calibration: (n, d) vectors with mean zero.
        squares: weighted square lengths of (m, d) rows.
        mean: expected weighted square length of a unit, `M`.
        scale: standard deviation of that of a Gaussian of the same covariance, `S`.
        seed: of the only source of chance.

    Returns:
        The 99 % point, and the mean excess over it.
    """
    random = np.random.default_rng(seed)
    n, stride = len(calibration), SCALES[0] // 4
    limit = kernels.variance(RATES[0], SETTLED * SCALES[0]) - 1 / n
    steps = SETTLED * SCALES[0] + EVENTS // CHAINS
    passes = -(-steps // n)
    orders = random.permuted(np.tile(np.arange(n), (CHAINS * passes, 1)), axis=1).reshape(CHAINS, -1)
    means = np.zeros((CHAINS, calibration.shape[1]), np.float32)
    seen: list[FloatArray] = []
    for step in range(steps):
        means += RATES[0] * (calibration[orders[:, step]] - means)
        if step >= SETTLED * SCALES[0] and step % stride == 0:
            seen.append((squares(means) / limit - mean) / scale)
    statistics = np.concatenate(seen)
    point = float(np.quantile(statistics, 1 - OUTER))
    return point, float((statistics[statistics > point] - point).mean())


def fit(skew: float, point: float, excess: float) -> FloatArray:
    """The tail at each scale.

    Args:
        skew: of the statistic of a Gaussian.
        point, excess: of the shortest scale, see `bootstrap`.

    Returns:
        (scales, 2): what to take off the statistic, and the skew of Pearson III then.
    """
    table = np.column_stack([np.zeros(len(SCALES)), np.full(len(SCALES), skew)])
    skews = np.linspace(skew, 4.0, 400)
    points, excesses = _outer(skews)
    k = min(int(np.searchsorted(excesses, excess)), len(skews) - 1)  # at least the skew of a Gaussian
    table[0] = max(0.0, point - points[k]), skews[k]
    table[:, 1] *= SURPLUS
    return table


def _outer(skew: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The 99 % point of Pearson III, and the mean excess over it, which grows with the skew."""
    shape = 4 / skew**2
    y = special.gammainccinv(shape, OUTER)
    return (y - shape) / np.sqrt(shape), (shape * special.gammaincc(shape + 1, y) / OUTER - y) / np.sqrt(shape)


def log_p(x: FloatArray, tail: FloatArray) -> FloatArray:
    """(n,) log p-values of looks, each with its (n, 2) row of the tail."""
    return pearson3_logsf(x - tail[:, 0], tail[:, 1])
