"""Accepted traffic of a vector stream, fitted once: whitening, centre, moments, tail, centroids, novelty ranks."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from detectors.drift import Float32Array, FloatArray, ReferenceRefused
from detectors.drift.linear import product
from detectors.drift.tail import bootstrap
from detectors.drift.usable import usable

LEAST_UNITS = 2_000
FIT_SHARE = 0.3
CENTROIDS = 128


@dataclass(frozen=True)
class VectorReference:
    """What the vector detector compares with.

    Attributes:
        units: N, how many units were fitted.
        calibration: n, those that neither the whitening nor the centroids have seen.
        shift: (d,) added to whitened vectors; `z = x @ whitening + shift`.
        whitening: (d, d) all eigenvectors of the fit part, each over the eighth root of its eigenvalue.
        centre: (d,) mean of z over all N units.
        mean, scale, skew: moments of |z - E z|^2 for a Gaussian of the calibration part's covariance.
        tail: (scales, 2) see `tail.bootstrap`.
        centroids: (d, K) of the fit part, as columns.
        centroid_squares: (K,) their square lengths.
        novelty: (n,) sorted distances of the calibration part from its nearest centroid.
    """

    units: int
    calibration: int
    shift: Float32Array
    whitening: Float32Array
    centre: Float32Array
    mean: float
    scale: float
    skew: float
    tail: FloatArray
    centroids: Float32Array
    centroid_squares: Float32Array
    novelty: Float32Array

    def features(self, vectors: Float32Array) -> Float32Array:
        """(n, d) quarter-whitened features of (n, d) vectors."""
        return product(vectors, self.whitening) + self.shift

    def strangeness(self, vectors: Float32Array) -> Float32Array:
        """(n,) square distance from the nearest centroid, less the vector's own square length (1 for all)."""
        return np.asarray(-self._closeness(vectors).max(axis=1))

    def _closeness(self, vectors: Float32Array) -> Float32Array:
        """(n, K) square length of the vector less its square distance from each centroid."""
        return 2 * product(vectors, self.centroids) - self.centroid_squares


def _check(vectors: Float32Array) -> None:
    if vectors.ndim != 2 or len(vectors) < LEAST_UNITS:
        raise ReferenceRefused(f"a reference needs {LEAST_UNITS} vectors at least, there are {len(vectors)}")
    if not usable(vectors).all():
        raise ReferenceRefused("a reference needs unit vectors: some are zero, not finite, or of another length")
    distinct = len(np.unique(vectors, axis=0))
    if distinct < 2 * CENTROIDS:
        raise ReferenceRefused(f"a reference needs {2 * CENTROIDS} distinct vectors at least, there are {distinct}")


def fit(vectors: Float32Array, *, seed: int = 0) -> VectorReference:
    """Fit the reference of a vector stream; takes about a second for 2,500 units.

    Args:
        vectors: (N, d) unit vectors of accepted traffic, one a unit, all of one encoder.
        seed: of the random split, the centroids and the bootstrap.

    Raises:
        ReferenceRefused: too few, not of unit length, or nearly all the same.
    """
    from sklearn.cluster import KMeans  # half a second to import, and only fitting needs it
    from sklearn.exceptions import ConvergenceWarning

    _check(vectors)
    random = np.random.default_rng(seed)
    shuffled = vectors[random.permutation(len(vectors))].astype(np.float32)
    N, fitted = len(shuffled), int(FIT_SHARE * len(shuffled))
    fit_part, calibration = shuffled[:fitted], shuffled[fitted:]
    mu = fit_part.mean(axis=0, dtype=np.float64)
    values, eigenvectors = np.linalg.eigh(np.cov((fit_part - mu).T.astype(np.float64)))
    whitening = (eigenvectors / np.maximum(values, 1e-6) ** 0.125).astype(np.float32)
    shift = (-mu @ whitening).astype(np.float32)
    z = calibration @ whitening + shift
    centre = (z.sum(axis=0, dtype=np.float64) / N).astype(np.float32)  # the fit part's z sum to zero
    covariance = np.cov(z.T.astype(np.float64))
    squares = 2 * float((covariance**2).sum())
    mean, scale = float(np.trace(covariance)), math.sqrt(squares)
    skew = 8 * float(np.trace(covariance @ covariance @ covariance)) / squares**1.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than centroids in a small fit part
        clusters = KMeans(CENTROIDS, n_init=1, max_iter=10, random_state=seed).fit(fit_part)
    centroids = np.ascontiguousarray(clusters.cluster_centers_.T, dtype=np.float32)
    reference = VectorReference(
        units=N,
        calibration=len(calibration),
        shift=shift,
        whitening=whitening,
        centre=centre,
        mean=mean,
        scale=scale,
        skew=skew,
        tail=bootstrap(z - z.mean(axis=0), mean, scale, random),
        centroids=centroids,
        centroid_squares=(centroids**2).sum(axis=0),
        novelty=np.empty(0, np.float32),
    )
    object.__setattr__(reference, "novelty", np.sort(reference.strangeness(calibration)))
    return reference
