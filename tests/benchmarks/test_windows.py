"""The others' measures are what their definitions say, unit by unit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drift.changes import CHANGE_AT, NOTHING, NULL, Change, Mixture
from benchmarks.drift.windows import MEAN_WINDOWS, MMD_WINDOWS, Measures

D = 12


def unit(random: np.random.Generator, n: int, around: float) -> np.ndarray:
    points = random.normal(size=(n, D)) + around
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def sets() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {NULL: unit(random, 900, 0.3), "topic": unit(random, 300, 1.0)}


@pytest.fixture(scope="module")
def measures(sets: dict[str, np.ndarray]) -> Measures:
    return Measures(sets[NULL][:400], sets, np.random.default_rng(1))


def kernel(measures: Measures, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = ((x[:, None].astype(np.float64) - y[None]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-float(measures._gamma) * squares))


@pytest.mark.parametrize("window", MMD_WINDOWS)
def test_mmd_is_the_unbiased_estimate(sets: dict[str, np.ndarray], measures: Measures, window: int) -> None:
    mixture = Mixture(sets, Change("topic", 0.4), np.random.default_rng(2), 600)
    path = measures.paths(mixture, 1_500)[f"MMD, window {window}"]
    assert np.isneginf(path[: window - 1]).all() and np.isfinite(path[window - 1 :]).all()
    reference = sets[NULL][:400]
    within = (kernel(measures, reference, reference).sum() - 400) / (400 * 399)
    for at in (window, 801, 1_199, 1_500):
        x = mixture.values(at - window, at)
        own = (kernel(measures, x, x).sum() - window) / (window * (window - 1))
        expected = within + own - 2 * kernel(measures, x, reference).mean()
        assert path[at - 1] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("window", MEAN_WINDOWS)
def test_mean_distance_is_that_of_the_last_units(sets: dict[str, np.ndarray], measures: Measures, window: int) -> None:
    mixture = Mixture(sets, Change("topic", 0.4), np.random.default_rng(3), 600)
    path = measures.paths(mixture, 1_200)[f"mean distance, window {window}"]
    for at in (window, 1_200):
        mean = mixture.values(at - window, at).mean(axis=0)
        assert path[at - 1] == pytest.approx(float(np.linalg.norm(mean - sets[NULL][:400].mean(axis=0))), rel=1e-4)


def test_every_measure_is_higher_after_a_change_of_half_the_traffic(
    sets: dict[str, np.ndarray], measures: Measures
) -> None:
    still = Mixture(sets, NOTHING, np.random.default_rng(4), 3_000)
    moved = Mixture(sets, Change("topic", 0.5), np.random.default_rng(4), 3_000)
    for name, path in measures.paths(moved, len(moved)).items():
        highest = measures.paths(still, len(still))[name].max()
        assert path[CHANGE_AT + 500 :].max() > 1.5 * highest
