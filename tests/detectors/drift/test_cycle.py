"""Buckets of a cycle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.drift import from_arrays, to_arrays
from detectors.drift.cycle import Cycle

HOUR, DAY = 3_600.0, 86_400.0
START = 1_760_000_000.0


def evenly(days: float, units: int) -> NDArray[np.float64]:
    return np.asarray(START + np.linspace(0, days * DAY, units))


def test_less_than_two_days_have_one_bucket() -> None:
    cycle = Cycle.fit(evenly(1.99, 50_000), least=100)
    assert cycle.count == 1
    assert cycle.bucket(evenly(30, 1_000)).tolist() == [0] * 1_000


def test_two_days_tell_the_hours_of_the_day_apart() -> None:
    cycle = Cycle.fit(evenly(2, 50_000), least=2_000)
    assert cycle.count == 24
    hours = START - START % DAY + HOUR * np.arange(24.0)
    assert cycle.bucket(hours).tolist() == cycle.bucket(hours + DAY).tolist() == list(range(24))


def test_two_weeks_of_much_traffic_tell_the_hours_of_the_week_apart() -> None:
    cycle = Cycle.fit(evenly(14, 400_000), least=2_000)
    assert cycle.count == 168
    one, a_day_later, a_week_later = cycle.bucket(START + np.array([0, DAY, 7 * DAY])).tolist()
    assert one == a_week_later != a_day_later


def test_two_weeks_of_little_traffic_are_better_spent_on_the_hours_of_the_day() -> None:
    cycle = Cycle.fit(evenly(14, 20_000), least=2_000)
    assert 8 <= cycle.count <= 10
    assert (cycle.bucket(evenly(3, 100)) == cycle.bucket(evenly(3, 100) + DAY)).all()


def test_hours_with_little_traffic_share_a_bucket_with_their_neighbours() -> None:
    random = np.random.default_rng(0)
    days = START - START % DAY + DAY * random.integers(0, 5, 30_000)
    hours = np.where(random.random(30_000) < 0.95, 9 + 8 * random.random(30_000), 24 * random.random(30_000))
    seconds = days + HOUR * hours
    cycle = Cycle.fit(seconds, least=2_000)
    found = cycle.bucket(START - START % DAY + HOUR * np.arange(24.0))
    assert (np.diff(found) >= 0).all(), "neighbours"
    assert len(set(found[9:17])) >= 7 and len(set(found[:9])) == 1
    assert np.bincount(cycle.bucket(seconds)).min() >= 2_000


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    days=st.floats(0, 40),
    units=st.integers(0, 5_000),
    least=st.integers(1, 3_000),
)
def test_every_bucket_holds_enough_or_is_the_only_one(seed: int, days: float, units: int, least: int) -> None:
    random = np.random.default_rng(seed)
    seconds = random.normal(0, 1e9) + days * DAY * random.random(units) ** 2
    cycle = Cycle.fit(seconds, least)
    held = np.bincount(cycle.bucket(seconds), minlength=cycle.count)
    assert len(held) == cycle.count
    assert cycle.count == 1 or held.min() >= least


def test_times_before_1970_have_buckets_too() -> None:
    cycle = Cycle.fit(evenly(3, 50_000) - 3e9, least=1_000)
    assert cycle.count == 24
    assert (cycle.bucket(evenly(1, 100) - 3e9) == cycle.bucket(evenly(1, 100) - 3e9 + 50_000 * DAY)).all()


def test_a_cycle_is_stored_and_restored() -> None:
    cycle = Cycle.fit(evenly(3, 10_000), least=1_000)
    restored = from_arrays(Cycle, to_arrays(cycle, "cycle"), "cycle")
    assert restored.hours.tobytes() == cycle.hours.tobytes() and restored.count == cycle.count


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_time_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Cycle.fit(np.array([START, bad]))
    with pytest.raises(ValueError, match="not finite"):
        Cycle.fit(evenly(3, 100)).bucket(np.array([bad]))


def test_no_times_have_one_bucket_and_none_may_be_empty() -> None:
    assert Cycle.fit(np.empty(0)).count == 1
    with pytest.raises(ValueError, match="a unit at least"):
        Cycle.fit(evenly(3, 100), least=0)
