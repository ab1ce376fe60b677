"""Where a value lies among the first ones: a number in [0, 1] for signals that have no bounds of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FIRST = 64


class Places:
    """Places of n signals' values among the first 64 values of each; NaN until there are those.

    What a place is does not change any more once values are placed: it says which of two groups has the higher values,
    whatever their unit and however heavy their tail.

    Attributes:
        first: (n, 64) the first values, in their order; NaN where there are none yet.
    """

    def __init__(self, first: FloatArray) -> None:
        self.first = first
        self._sorted = np.sort(first, axis=1)

    @classmethod
    def empty(cls, signals: int) -> Places:
        """Of signals that had no value yet."""
        return cls(np.full((signals, FIRST), np.nan))

    def place(self, values: FloatArray) -> FloatArray:
        """(n,) the share of the first values that lies below each value, ties half; notes the first ones."""
        lacking = np.isnan(self._sorted[:, -1])
        if lacking.any():
            for row in np.flatnonzero(lacking & np.isfinite(values)):
                self.first[row, np.isfinite(self.first[row]).sum()] = values[row]
                self._sorted[row] = np.sort(self.first[row])
        twice = (self._sorted < values[:, None]).sum(axis=1) + (self._sorted <= values[:, None]).sum(axis=1)
        return np.where(lacking | np.isnan(values), np.nan, twice / (2 * FIRST))
