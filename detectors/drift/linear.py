"""Matrix products whose rows do not depend on what stands beside them.

BLAS picks its kernel by the shape, so a row can differ in its last bit between a batch of 3 and a batch of 64. A replay
cuts batches elsewhere and must decide alike: here every row is a product of its own. Whoever needs speed multiplies at
once, and comes here only with the few rows for which the last bits could matter.
"""

from __future__ import annotations

import numpy as np

from detectors.drift import Float32Array


def product(rows: Float32Array, matrix: Float32Array) -> Float32Array:
    """(n, d) times (d, k), row by row."""
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    for row, result in zip(rows, out, strict=True):
        np.dot(row, matrix, out=result)
    return out
