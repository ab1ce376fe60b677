"""Intervals that a verdict hangs on cover what they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.intervals import mean_error, pages_over_budget


def test_without_a_page_the_upper_limit_is_poissons() -> None:
    assert pages_over_budget([0] * 500, 10.0) == pytest.approx((0.0, 0.0, 0.3689), abs=1e-4)


def test_pages_that_stand_alone_give_poissons_interval() -> None:
    ratio, low, high = pages_over_budget([1] * 10 + [0] * 990, 20.0)
    assert (ratio, low, high) == pytest.approx((0.5, 4.795 / 20, 18.39 / 20), abs=0.01)


@pytest.mark.parametrize("crowding", [1, 5])
def test_intervals_cover_the_truth_also_when_pages_crowd_on_single_references(crowding: int) -> None:
    random, truth, covered = np.random.default_rng(0), 40.0, 0
    for _ in range(400):
        pages = crowding * random.poisson(truth / crowding / 500, size=500)
        _, low, high = pages_over_budget(pages.tolist(), truth)
        covered += low <= 1 <= high
    assert covered / 400 > 0.91


def test_crowded_pages_make_the_interval_wider() -> None:
    spread, crowded = [1] * 20 + [0] * 480, [20] + [0] * 499
    assert pages_over_budget(crowded, 20.0)[2] > 2 * pages_over_budget(spread, 20.0)[2]


def test_a_single_run_has_no_standard_error() -> None:
    assert mean_error([3.0]) == (3.0, float("inf"))
    assert mean_error([1, 2, 3, 4]) == pytest.approx((2.5, 0.6455), abs=1e-4)
