"""The cycle of an application's traffic: the hours of the day or of the week that a reference can tell apart.

Night traffic is compared with night traffic only where the reference holds enough of it. Neighbouring hours share a
bucket until it does, and a reference that has not seen the cycle twice has one bucket: then the cycle is a change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.drift import FloatArray, IntArray

HOUR, DAY, WEEK = 3_600, 24, 168
CYCLES = 2  # that the reference has to span, so that an hour is not just one day's
LEAST_A_DAY = 4  # buckets; a week that has fewer on each day tells less than the hours of one day


@dataclass(frozen=True)
class Cycle:
    """Which bucket each hour of the cycle belongs to.

    Attributes:
        hours: (1,), (24,) or (168,) buckets from 0 on, of the hours since Thursday 1 January 1970 00:00 UTC modulo
            their number.
    """

    hours: IntArray

    @classmethod
    def fit(cls, seconds: FloatArray, least: int = 2_000) -> Cycle:
        """Choose the longest cycle that the reference spans twice and has the units for.

        Args:
            seconds: (N,) times of the reference's units since 1970, UTC, in any order.
            least: units that every bucket holds.

        Raises:
            ValueError: a time that is not finite, or no room for a unit in a bucket.
        """
        if least < 1:
            raise ValueError(f"a bucket holds a unit at least, not {least}")
        hours = _hours(seconds)
        span = (np.max(seconds) - np.min(seconds)) / HOUR if len(hours) else 0.0
        if span >= CYCLES * WEEK and len(hours) >= LEAST_A_DAY * WEEK // DAY * least:
            return cls(_merged(np.bincount(hours % WEEK, minlength=WEEK), least))
        if span >= CYCLES * DAY:
            return cls(_merged(np.bincount(hours % DAY, minlength=DAY), least))
        return cls(np.zeros(1, np.int64))

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return int(self.hours[-1]) + 1

    def bucket(self, seconds: FloatArray) -> IntArray:
        """(n,) buckets of (n,) times.

        Raises:
            ValueError: a time that is not finite.
        """
        return self.hours[_hours(seconds) % len(self.hours)]


def _hours(seconds: FloatArray) -> IntArray:
    if not np.isfinite(seconds).all():
        raise ValueError("a time is not finite")
    return np.floor_divide(seconds, HOUR).astype(np.int64)


def _merged(counts: IntArray, least: int) -> IntArray:
    """(hours,) buckets of neighbouring hours with that many units each; what is left at the end joins the last one."""
    buckets, held, bucket = np.zeros(len(counts), np.int64), 0, 0
    for hour, count in enumerate(counts.tolist()):
        buckets[hour], held = bucket, held + count
        if held >= least:
            bucket, held = bucket + 1, 0
    return np.minimum(buckets, max(bucket - 1, 0))
