"""Confidence sequences by simulation: they hold at every look at once, and they narrow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.fairness import Pairs, Places, interval
from detectors.fairness.sequences import gains

FloatArray = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], FloatArray]
RUNS, LENGTH = 300, 1_500
LOOKS = np.unique(np.geomspace(1, LENGTH, 60).astype(int)) - 1
TOLERANCE = 3 * math.sqrt(0.05 * 0.95 / RUNS)


def intervals(differences: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    """(runs, looks) ends of the interval at each look."""
    parts = np.split(differences, LOOKS[:-1] + 1, axis=1)
    logs = np.cumsum([gains(part).sum(axis=1) for part in parts], axis=0).swapaxes(0, 1)
    counts = np.broadcast_to(LOOKS + 1.0, logs.shape[:2])
    return interval(counts, logs, alpha)


def rare(random: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return (random.random(shape) < 0.04).astype(float) - (random.random(shape) < 0.02)


def coins(random: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return random.choice([-1.0, 1.0], shape)


def lopsided(random: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Nearly always a little below zero, and seldom far above: what a limit theorem would misjudge."""
    return np.where(random.random(shape) < 0.005, 0.9, -0.9 * 0.005 / 0.995)


def even(random: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return random.uniform(-0.4, 0.8, shape)


@pytest.mark.parametrize(("draw", "mean"), [(rare, 0.02), (coins, 0.0), (lopsided, 0.0), (even, 0.2)])
def test_the_mean_is_within_the_interval_at_all_looks_at_once(draw: Draw, mean: float) -> None:
    low, high = intervals(draw(np.random.default_rng(3), (RUNS, LENGTH)), 0.05)
    ever_missed = ((low > mean) | (high < mean)).any(axis=1).mean()
    assert ever_missed <= 0.05 + TOLERANCE


def test_a_mean_that_moves_is_followed_on_average() -> None:
    random = np.random.default_rng(5)
    means = np.where(np.arange(LENGTH) < LENGTH // 2, -0.3, 0.5)
    low, high = intervals(np.clip(means + random.uniform(-0.5, 0.5, (RUNS, LENGTH)), -1, 1), 0.05)
    average = (np.cumsum(means) / np.arange(1, LENGTH + 1))[LOOKS]
    assert ((low > average) | (high < average)).any(axis=1).mean() <= 0.05 + TOLERANCE


def test_the_interval_narrows_and_a_stricter_one_is_wider() -> None:
    differences = even(np.random.default_rng(7), (50, LENGTH))
    (low, high), (lower, higher) = intervals(differences, 0.05), intervals(differences, 0.001)
    widths = (high - low).mean(axis=0)
    assert widths[-1] < widths[len(widths) // 2] < widths[0] and widths[-1] < 0.12
    assert (lower <= low).all() and (high <= higher).all() and (lower >= -1).all() and (higher <= 1).all()


def test_nothing_known_is_everything_possible() -> None:
    low, high = interval(np.zeros(2), np.zeros((2, 2, 8)), 0.05)
    assert (low <= -0.99).all() and (high >= 0.99).all()


def test_pairs_compare_a_group_with_those_who_came_at_the_same_time() -> None:
    pairs = Pairs(1)
    pairs.add("a")
    for groups, value in [([], 0.0), ([], 1.0), (["a"], 1.0), (["a"], 0.0), (["a"], 0.0), ([], 1.0), (["a"], 1.0)]:
        pairs.take(groups, np.array([value]), np.array([value]))
    (gap,) = pairs.gaps(0.05, 1)
    # first pair 1 - (0 + 1) / 2, second (0 + 0 + 1) / 3 - 1
    assert gap.pairs == 2 and gap.gap == pytest.approx((0.5 + (1 / 3 - 1)) / 2)
    assert (gap.units, gap.rest_units, gap.mean, gap.rest_mean) == (4, 3, 0.5, pytest.approx(2 / 3))


def test_places_are_shares_of_the_first_values_and_do_not_depend_on_the_unit() -> None:
    random = np.random.default_rng(9)
    values = random.lognormal(5, 2, 500)
    places, scaled = Places.empty(1), Places.empty(1)
    found = [float(places.place(np.array([value]))[0]) for value in values]
    same = [float(scaled.place(np.array([1000 * value]))[0]) for value in values]
    assert all(math.isnan(place) for place in found[:64]) and found[64:] == same[64:]
    assert np.mean(found[64:]) == pytest.approx(0.5, abs=0.15)
    assert float(places.place(np.array([1e12]))[0]) == 1.0 and math.isnan(places.place(np.array([math.nan]))[0])
