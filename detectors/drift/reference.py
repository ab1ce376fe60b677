"""Accepted traffic of a vector stream, fitted once: weights, centres, moments, tail, centroids, novelty ranks."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from detectors.drift import Float32Array, FloatArray, IntArray, ReferenceRefused, kernels, tail
from detectors.drift.usable import usable

LEAST_UNITS = 2_000
FIT_SHARE = 0.3
CENTROIDS = 128
AXES = 128
"""Principal axes with weights of their own; the directions beside them share one weight, so that nothing is lost."""

POWER = 0.41
"""Weights are eigenvalues to the power of minus this: between no whitening (0) and full whitening (1)."""

SMALLEST = 1e-6
BINS = 512


@dataclass(frozen=True)
class VectorReference:
    """What the vector detector compares with.

    A weighted square length is `|x|^2 = sum_k w_k (u_k . x)^2 + rest * (what the axes u_k leave of x)^2`.

    Attributes:
        units: N, how many units were fitted.
        calibration: n, those that neither the axes nor the centroids have seen.
        centres: (buckets, d) mean of all units in each place of the cycle.
        bucket_units: (buckets,) how many there are.
        axes: (d, r + 1) principal axes of the fit part, and its mean as the last column.
        weights: (r,) of the axes.
        rest: weight of all other directions.
        mean, scale, skew: moments of the weighted square length for a Gaussian of the calibration part's covariance.
        tail: (scales, 2) see `tail.fit`.
        centroids: (r, K) of the fit part, as columns, each axis times its weight.
        centroid_squares: (K,) weighted square lengths.
        occupancy: (K,) share of the calibration part nearest to each centroid.
        grid: (2,) where the bins of strangeness begin, and their width.
        novelty: (buckets, bins) calibration units by strangeness.
    """

    units: int
    calibration: int
    centres: Float32Array
    bucket_units: IntArray
    axes: Float32Array
    weights: Float32Array
    rest: float
    mean: float
    scale: float
    skew: float
    tail: FloatArray
    centroids: Float32Array
    centroid_squares: Float32Array
    occupancy: FloatArray
    grid: FloatArray
    novelty: IntArray

    def squares(self, rows: Float32Array) -> FloatArray:
        """(n,) weighted square lengths of (n, d) rows."""
        return self._squares(rows, rows @ self.space.axes)

    def strangeness(self, vectors: Float32Array) -> FloatArray:
        """(n,) weighted square distances of (n, d) vectors from their nearest centroids."""
        space = self.space
        away = vectors - space.origin  # the first step: of vectors that hardly differ, little else would be left
        along = np.asarray(away @ space.axes, np.float32)
        closeness = along @ space.centroids
        closeness *= 2
        closeness -= space.centroid_squares
        return np.asarray(self._squares(away, along) - closeness.max(axis=1), np.float64)

    @cached_property
    def space(self) -> kernels.Space:
        """What the compiled measures need: exact ones, the same bit for bit whatever else is measured with a row."""
        return kernels.Space(
            axes=np.ascontiguousarray(self.axes[:, :-1]),
            extra=np.asarray(self.weights - self.rest, np.float32),
            rest=self.rest,
            origin=self.axes[:, -1].copy(),
            centroids=self.centroids,
            centroid_squares=self.centroid_squares,
        )

    def nearest(self, vectors: Float32Array) -> IntArray:
        """(n,) the centroid nearest to each of (n, d) vectors."""
        along = (vectors - self.axes[:, -1]) @ self.axes[:, :-1]
        return np.asarray((2 * (along @ self.centroids) - self.centroid_squares).argmax(axis=1))

    def features(self, vectors: Float32Array) -> Float32Array:
        """(n, d) coordinates in which the weighted square length is the ordinary one, from the fit part's mean."""
        away = vectors - self.axes[:, -1]
        stretch = np.sqrt(self.weights) - math.sqrt(self.rest)
        axes = self.axes[:, :-1]
        return np.asarray(math.sqrt(self.rest) * away + ((away @ axes) * stretch) @ axes.T, np.float32)

    @property
    def centre(self) -> Float32Array:
        """(d,) mean of the features of all units."""
        mean = (self.bucket_units / self.units) @ self.centres
        return np.asarray(self.features(mean.astype(np.float32)[None])[0])

    def strange_point(self, share: float) -> float:
        """The strangeness that only this share of the calibration part exceeds."""
        upto = np.cumsum(self.novelty.sum(axis=0)) / self.calibration
        return float(self.grid[0] + self.grid[1] * (np.searchsorted(upto, 1 - share) + 1))

    def _squares(self, rows: Float32Array, placed: Float32Array) -> FloatArray:
        weighted = (placed * placed) @ self.space.extra
        return np.asarray(self.rest * np.vecdot(rows, rows) + weighted, np.float64)


def _check(vectors: Float32Array, least: int) -> None:
    if vectors.ndim != 2 or len(vectors) < least:
        raise ReferenceRefused(f"a reference needs {least} vectors at least, there are {len(vectors)}")
    if not usable(vectors).all():
        raise ReferenceRefused("a reference needs unit vectors: some are zero, not finite, or of another length")
    distinct = len(np.unique(vectors[:, :8], axis=0))  # the first numbers tell texts apart, and sorting is dear
    if distinct < CENTROIDS:
        raise ReferenceRefused(f"a reference needs {CENTROIDS} distinct vectors at least, there are {distinct}")


def fit(
    vectors: Float32Array, *, buckets: IntArray | None = None, seed: int = 0, least: int = LEAST_UNITS
) -> VectorReference:
    """Fit the reference of a vector stream; takes a quarter of a second for 2,500 units.

    Args:
        vectors: (N, d) unit vectors of accepted traffic, one a unit, all of one encoder.
        buckets: (N,) place of each unit in the cycle of the traffic; none: there is one place.
        seed: of the random split, the centroids and the bootstrap.
        least: units below which it is refused.

    Raises:
        ReferenceRefused: too few, not of unit length, or nearly all the same.
    """
    _check(vectors, least)
    order = np.random.default_rng(seed).permutation(len(vectors))
    shuffled = vectors[order].astype(np.float32)
    places = np.zeros(len(vectors), np.int64) if buckets is None else np.asarray(buckets, np.int64)[order]
    N, fitted = len(shuffled), int(FIT_SHARE * len(shuffled))
    fit_part, calibration = shuffled[:fitted], shuffled[fitted:]
    axes, weights, rest = _axes(fit_part)
    bucket_units = np.bincount(places)
    if not bucket_units.all():
        raise ReferenceRefused(f"{int((bucket_units == 0).sum())} places of the traffic's cycle have no unit")
    centres = np.stack([shuffled[places == place].mean(axis=0) for place in range(len(bucket_units))])
    centred = calibration - centres[places[fitted:]]
    centred -= centred.mean(axis=0)
    mean, scale, skew = _moments(centred, axes, weights, rest)
    centroids, centroid_squares = _centroids(fit_part, axes, weights, seed)
    reference = VectorReference(
        units=N,
        calibration=len(calibration),
        centres=centres,
        bucket_units=bucket_units,
        axes=axes,
        weights=weights,
        rest=rest,
        mean=mean,
        scale=scale,
        skew=skew,
        tail=np.empty(0),
        centroids=centroids,
        centroid_squares=centroid_squares,
        occupancy=np.empty(0),
        grid=np.empty(0),
        novelty=np.empty(0, np.int64),
    )
    strange = reference.strangeness(fit_part)
    low, high = float(np.median(strange)), float(strange.max())
    grid = np.array([low, max(2 * (high - low), 1e-6) / (BINS - 2)])
    bins = bins_of(reference.strangeness(calibration), grid)
    novelty = np.bincount(places[fitted:] * BINS + bins, minlength=len(bucket_units) * BINS).reshape(-1, BINS)
    return replace(
        reference,
        tail=tail.fit(skew, *tail.bootstrap(centred, reference.squares, mean, scale, seed)),
        occupancy=np.bincount(reference.nearest(calibration), minlength=centroids.shape[1]) / len(calibration),
        grid=grid,
        novelty=novelty,
    )


def bins_of(strangeness: FloatArray, grid: FloatArray) -> IntArray:
    """(n,) bins: the first for all that is ordinary, the last for all that is beyond the grid."""
    return np.asarray(np.clip(np.floor((strangeness - grid[0]) / grid[1]) + 1, 0, BINS - 1), np.int64)


def _axes(fit_part: Float32Array) -> tuple[Float32Array, Float32Array, float]:
    mu = fit_part.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.cov((fit_part - mu).T.astype(np.float64)))
    values, vectors = values[::-1], vectors[:, ::-1]
    weights = np.maximum(values, SMALLEST) ** -POWER
    r = min(AXES, len(mu) // 2)
    rest = weights[r:][values[r:] > SMALLEST]
    axes = np.hstack([vectors[:, :r], mu[:, None]]).astype(np.float32)
    return np.ascontiguousarray(axes), weights[:r].astype(np.float32), float(rest.mean() if len(rest) else weights[r])


def _moments(
    centred: Float32Array, axes: Float32Array, weights: Float32Array, rest: float
) -> tuple[float, float, float]:
    """Trace, deviation and skew of the weighted square length, from the covariance in weighted coordinates."""
    along = centred @ axes[:, :-1]
    left = centred - along @ axes[:, :-1].T
    weighted = along @ (axes[:, :-1] * np.sqrt(weights)).T + math.sqrt(rest) * left
    covariance = (weighted.T @ weighted).astype(np.float64) / (len(centred) - 1)
    squares = 2 * float((covariance**2).sum())
    return (
        float(np.trace(covariance)),
        math.sqrt(squares),
        8 * float((covariance @ covariance * covariance).sum()) / squares**1.5,
    )


def _centroids(
    fit_part: Float32Array, axes: Float32Array, weights: Float32Array, seed: int
) -> tuple[Float32Array, Float32Array]:
    from sklearn.cluster import KMeans  # half a second to import, and only fitting needs it
    from sklearn.exceptions import ConvergenceWarning

    stretched = ((fit_part - axes[:, -1]) @ axes[:, :-1]) * np.sqrt(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than centroids in a small fit part
        found = KMeans(CENTROIDS, init="random", n_init=1, max_iter=10, random_state=seed).fit(stretched)
    centres = found.cluster_centers_
    return np.ascontiguousarray((centres * np.sqrt(weights)).T, np.float32), (centres**2).sum(axis=1).astype(np.float32)
