"""An oracle's threshold for a measure: the one at which its mean time to false alarm is what is wanted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from detectors.drift import FloatArray

Records = list[tuple[int, float]]
"""When a path reached a new height, and which; the last entry is its end, with a height of no meaning."""


def records_of(path: FloatArray) -> Records:
    """The records of one path of a measure: all that its first crossing of any threshold depends on."""
    heights = np.maximum.accumulate(path)
    new = np.flatnonzero([np.isfinite(heights[0]), *(heights[1:] > heights[:-1])])
    return [(int(i) + 1, float(f"{heights[i]:.7g}")) for i in new] + [(len(path), 0.0)]


def above(path: FloatArray, threshold: float) -> int | None:
    """Units until a path is above the threshold, that unit included."""
    crossed = path > threshold
    first = int(crossed.argmax())
    return first + 1 if crossed[first] else None


def mean_time(paths: Sequence[Records], threshold: float) -> tuple[float, int]:
    """Mean time to the first false alarm, and how many alarms that was measured on.

    Time under observation over alarms: the maximum-likelihood estimate where streams that end without one are censored.
    """
    time, alarms = 0, 0
    for *records, (end, _) in paths:
        at = next((when for when, height in records if height > threshold), None)
        time += end if at is None else at
        alarms += at is not None
    return (time / alarms if alarms else float("inf")), alarms


def threshold_of(paths: Sequence[Records], wanted: float) -> float:
    """The lowest threshold with at least the mean time to false alarm that is wanted."""
    heights = sorted({height for *records, _ in paths for _, height in records})
    return heights[min(bisect_left(heights, wanted, key=lambda height: mean_time(paths, height)[0]), len(heights) - 1)]
