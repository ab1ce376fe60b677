"""Estimates of a mean from few labels: the interval covers as often as it says, and good predictions shorten it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from benchmarks.estimation import answers, estimated
from detectors.estimation import LEAST_LABELS, cross_predicted, estimate_mean

FloatArray = NDArray[np.float64]
LABELS, DRAWS = 200, 400


def test_the_interval_covers_the_true_share_of_right_answers_as_often_as_it_says(data: Path) -> None:
    """Of 5,276 answers to sums, 200 are labelled, again and again."""
    signals, labels = answers(data)
    truth, random = labels.mean(), np.random.default_rng(0)
    found = [estimated(signals, labels, random.choice(len(labels), LABELS, replace=False)) for _ in range(DRAWS)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / DRAWS), covered
    assert abs(np.mean([one.mean for one in found]) - truth) < 0.01, "no bias"
    width = np.mean([one.high - one.low for one in found])
    plain = np.mean([one.plain_high - one.plain_low for one in found])
    assert width < 0.95 * plain, (width, plain)


@pytest.mark.parametrize("skill", [0.0, 0.5, 0.95, -0.9])
def test_predictions_of_any_skill_keep_the_coverage_and_only_good_ones_help(skill: float) -> None:
    random, covered, ratios = np.random.default_rng(1), [], []
    for _ in range(300):
        truth = random.normal(size=2_000)
        guess = skill * truth + math.sqrt(1 - skill**2) * random.normal(size=2_000) + 3  # and a bias of 3
        labels = 0.5 + 0.1 * truth
        found = estimate_mean(labels[:100], guess[:100], guess[100:], bounds=(-10, 10))
        assert found is not None
        covered.append(found.low <= 0.5 <= found.high)
        ratios.append((found.high - found.low) / (found.plain_high - found.plain_low))
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)
    assert np.mean(ratios) < 1.01
    if skill == 0.95:
        assert np.mean(ratios) < 0.5


numbers = st.floats(-1e6, 1e6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(LEAST_LABELS, 40).flatmap(lambda n: arrays(float, n, elements=st.sampled_from([0.0, 0.5, 1.0]))),
    arrays(float, st.tuples(st.integers(0, 50), st.just(3)), elements=numbers | st.just(math.nan)),
    st.integers(0, 2**31),
)
def test_any_labels_and_signals_give_an_interval_within_the_bounds(
    labels: FloatArray, rest: FloatArray, seed: int
) -> None:
    signals = np.random.default_rng(seed).choice([0.0, 1.0, 1e9, math.nan], (len(labels), 3))
    predicted, predicted_rest = cross_predicted(signals, labels, rest)
    assert np.isfinite(predicted).all() and np.isfinite(predicted_rest).all()
    found = estimate_mean(labels, predicted, predicted_rest)
    assert found is not None and 0 <= found.low <= found.mean <= found.high <= 1


def test_too_few_labels_give_no_estimate() -> None:
    few = np.ones(LEAST_LABELS - 1)
    assert estimate_mean(few, few, np.ones(50)) is None


def test_without_others_the_estimate_is_the_mean_of_the_labels() -> None:
    labels = np.arange(30) / 30
    found = estimate_mean(labels, labels, np.zeros(0))
    assert found is not None and found.weight == 0 and found.mean == pytest.approx(labels.mean())
    assert (found.low, found.high) == (found.plain_low, found.plain_high)


def test_no_prediction_has_seen_its_own_label() -> None:
    """Changing a label moves what is predicted of others, and not what is predicted of itself."""
    random = np.random.default_rng(2)
    signals, labels = random.normal(size=(50, 3)), random.random(50)
    changed = labels.copy()
    changed[7] = 5.0
    before, after = (cross_predicted(signals, each, signals[:1])[0] for each in (labels, changed))
    assert before[7] == after[7] and (before != after).any()
