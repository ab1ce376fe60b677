"""Which vectors count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Float32Array


def usable(vectors: Float32Array) -> NDArray[np.bool_]:
    """(n,) which rows are unit vectors: a text without words has none, and NaN or another scale is no vector at all."""
    squares = np.vecdot(vectors, vectors)
    return np.asarray(np.abs(squares - 1) < 0.1)  # rounding to bfloat16 moves it by less than a hundredth
