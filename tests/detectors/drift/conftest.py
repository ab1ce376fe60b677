"""One case for every detector: a fitted reference, ordinary traffic and changed traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.drift import Batch, rank, reference
from detectors.drift.rank import RankDetector, RankState
from detectors.drift.vectors import VectorDetector, VectorState

DIMENSIONS = 16
UNITS = 2_000
Draw = Callable[[np.random.Generator, int], NDArray[np.floating]]


def clustered(seed: int, noise: float = 0.3) -> Draw:
    """Unit vectors around two dozen directions that the seed fixes."""
    directions = np.random.default_rng(seed).normal(size=(24, DIMENSIONS))

    def draw(random: np.random.Generator, n: int) -> NDArray[np.floating]:
        points = directions[random.integers(len(directions), size=n)] + noise * random.normal(size=(n, DIMENSIONS))
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)

    return draw


def alike(seed: int) -> Draw:
    """Unit vectors that hardly differ, as of answers from a template."""
    always = np.random.default_rng(0).normal(size=DIMENSIONS)
    rest = clustered(seed)

    def draw(random: np.random.Generator, n: int) -> NDArray[np.floating]:
        points = always + 0.01 * rest(random, n)
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)

    return draw


ordinary, foreign = clustered(1), clustered(2)


@dataclass(frozen=True)
class Case:
    """A detector with what it was fitted to, and what it should notice."""

    detector: Any
    state: type
    ordinary: Draw
    changed: Draw

    def batch(self, values: NDArray[np.floating], inflow: float = 1e-4, seed: int = 0) -> Batch:
        """These values as a batch."""
        uniforms = np.random.default_rng(seed).random(len(values))
        return Batch(np.asarray(values), np.full(len(values), inflow), uniforms)

    def drifting(self, before: int, after: int, inflow: float = 1e-4) -> Batch:
        """Ordinary units, then changed ones."""
        random = np.random.default_rng(3)
        values = np.concatenate([self.ordinary(random, before), self.changed(random, after)])
        return self.batch(values, inflow)


def _scalar(tails: Any, before: Draw, after: Draw) -> Case:
    fitted = rank.fit(np.asarray(before(np.random.default_rng(0), UNITS), np.float64))
    return Case(RankDetector(fitted, tails), RankState, before, after)


def _make(name: str) -> Case:
    match name:
        case "vector":
            fitted = reference.fit(ordinary(np.random.default_rng(0), UNITS))
            return Case(VectorDetector(fitted, units_per_page=1e4), VectorState, ordinary, foreign)
        case "vectors that hardly differ":
            before, after = alike(1), alike(2)
            fitted = reference.fit(before(np.random.default_rng(0), UNITS))
            return Case(VectorDetector(fitted, units_per_page=1e4), VectorState, before, after)
        case "number, both tails":
            return _scalar("both", lambda r, n: r.lognormal(size=n), lambda r, n: r.lognormal(-2, size=n))
        case "number, harm is up":
            return _scalar("up", lambda r, n: r.normal(size=n), lambda r, n: r.normal(2, size=n))
        case "few values, harm is down":
            return _scalar("down", lambda r, n: r.integers(0, 4, n) / 1.0, lambda r, n: r.integers(0, 2, n) / 1.0)
        case _:
            return _scalar("up", lambda r, n: (r.random(n) < 0.02) / 1.0, lambda r, n: (r.random(n) < 0.4) / 1.0)


NAMES = (
    "vector",
    "vectors that hardly differ",
    "number, both tails",
    "number, harm is up",
    "few values, harm is down",
    "rate",
)


@pytest.fixture(scope="session", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return _make(request.param)


@pytest.fixture(scope="session")
def vector_case() -> Case:
    return _make("vector")


@pytest.fixture(scope="session")
def ordinary_vectors() -> Draw:
    return ordinary


@pytest.fixture(scope="session")
def clustered_vectors() -> Callable[[int], Draw]:
    return clustered
