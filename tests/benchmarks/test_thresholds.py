"""The oracle finds the threshold that gives the mean time to false alarm wanted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.drift.thresholds import above, mean_time, records_of, threshold_of


def paths(streams: int, length: int, seed: int) -> list[np.ndarray]:
    """Independent standard exponential numbers: above x after exp(x) units on average."""
    return list(np.random.default_rng(seed).exponential(size=(streams, length)))


def test_records_hold_the_first_crossing_of_every_threshold() -> None:
    path = np.array([-np.inf, 1.0, 0.5, 3.0, 2.0, 3.0, 4.0])
    assert records_of(path) == [(2, 1.0), (4, 3.0), (7, 4.0), (7, 0.0)]
    for threshold, first in ((0.9, 2), (1.0, 4), (2.9, 4), (3.0, 7), (4.0, None)):
        assert above(path, threshold) == first
        assert mean_time([records_of(path)], threshold) == ((first, 1) if first else (math.inf, 0))


def test_mean_time_counts_streams_that_end_without_an_alarm() -> None:
    assert mean_time([records_of(np.array([0.0, 2.0])), records_of(np.array([0.0] * 8))], 1.0) == (10.0, 1)


@pytest.mark.parametrize("wanted", [200, 2_000])
def test_the_threshold_gives_the_mean_time_wanted_on_fresh_streams(wanted: int) -> None:
    threshold = threshold_of([records_of(path) for path in paths(400, 2_000, seed=1)], wanted)
    assert math.exp(threshold) == pytest.approx(wanted, rel=0.2)
    fresh, alarms = mean_time([records_of(path) for path in paths(400, 2_000, seed=2)], threshold)
    assert fresh == pytest.approx(wanted, rel=0.2)
    assert alarms > 100


def test_a_mean_time_beyond_all_that_was_seen_gives_the_highest_threshold() -> None:
    known = [records_of(path) for path in paths(5, 50, seed=3)]
    assert threshold_of(known, 1e9) == max(height for *records, _ in known for _, height in records)
