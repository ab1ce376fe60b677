"""Measures taken by torch, on a GPU where there is one: for many streams of one reference at once.

States and pages are the same bit for bit as on the processor: whatever lies near a decision is measured again exactly
(see `vectors`). A GPU pays off from some thousand units a call on.
"""

from __future__ import annotations

import numpy as np
import torch

from detectors.drift import Float32Array, FloatArray
from detectors.drift.reference import VectorReference


class TorchMeasure:
    """A `vectors.Measure` of one reference.

    Args:
        reference: of all streams that are measured.
        device: a torch device; by default the GPU if there is one, else the processor.
    """

    def __init__(self, reference: VectorReference, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        space = reference.space
        self._rest = space.rest
        self._origin = self._moved(space.origin)
        self._axes = self._moved(space.axes)
        self._extra = self._moved(space.extra)
        self._centroids = self._moved(space.centroids)
        self._centroid_squares = self._moved(space.centroid_squares)

    def strangeness(self, vectors: Float32Array) -> FloatArray:
        """(n,) weighted square distances of (n, d) vectors from their nearest centroids."""
        away = self._moved(vectors) - self._origin
        along = away @ self._axes
        dots = along @ self._centroids
        squares = self._rest * (away * away).sum(dim=1) + (along * along) @ self._extra
        closeness = (2 * dots - self._centroid_squares).amax(dim=1)
        return np.asarray((squares - closeness).cpu().numpy(), np.float64)

    def _moved(self, array: Float32Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)
