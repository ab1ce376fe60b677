"""The laws behind the promise, on exchangeable data and averaged over the draw of references."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from detectors.drift import Batch, rank, reference
from detectors.drift.bets import Bets, Tails
from detectors.drift.rank import RankDetector
from detectors.drift.tail import SCALES, pearson3_logsf
from detectors.drift.vectors import LOOKS_SHARE, NOVELTY_BETS, STRIDES, VectorDetector

Draw = Callable[[np.random.Generator, int], NDArray[np.floating]]
STAKE = 1e-9  # pages put in at once; so little that no capital reaches a page

SIGNALS: dict[str, tuple[Draw, Tails]] = {
    "continuous": (lambda r, n: r.standard_cauchy(n), "both"),
    "continuous, up": (lambda r, n: r.lognormal(size=n), "up"),
    "few values": (lambda r, n: r.binomial(3, 0.2, n) / 1.0, "both"),
    "mostly zero": (lambda r, n: np.where(r.random(n) < 0.95, 0.0, r.random(n)), "down"),
    "rate of 1 %": (lambda r, n: (r.random(n) < 0.01) / 1.0, "up"),
    "rate of 40 %": (lambda r, n: (r.random(n) < 0.4) / 1.0, "both"),
    "constant": (lambda r, n: np.full(n, 3.0), "both"),
}


def one_stake(values: NDArray[np.floating], random: np.random.Generator) -> Batch:
    """All inflow comes with the first unit, so that capital over stake is the bets' average product of factors."""
    inflow = np.zeros(len(values))
    inflow[0] = STAKE
    return Batch(values, inflow, random.random(len(values)))


def assert_mean_at_most_1(products: NDArray[np.float64]) -> None:
    error = products.std(ddof=1) / math.sqrt(len(products))
    assert products.mean() <= 1 + 4 * error, f"{products.mean():.3f} ± {error:.3f}"


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("units", [1, 20])
def test_bets_on_a_signal_neither_gain_nor_lose_on_average_over_references(name: str, units: int) -> None:
    draw, tails = SIGNALS[name]
    products = []
    for seed in range(250):
        random = np.random.default_rng((seed, units))
        detector = RankDetector(rank.fit(np.asarray(draw(random, 2_000), np.float64), seed=seed), tails)
        state, _ = detector.update(detector.start(), one_stake(draw(random, units), random))
        products.append(float(state.capital.sum()) / STAKE)
    found = np.array(products)
    assert_mean_at_most_1(found)
    if units == 1:  # exact, so neither is it below one
        assert_mean_at_most_1(2 - found)


@pytest.mark.parametrize("name", SIGNALS)
def test_ranks_of_a_signal_are_uniform_whatever_its_distribution(name: str) -> None:
    """A bet on a tail of size A wins for a share A of the units, so that the share of wins at every A is A."""
    draw, _ = SIGNALS[name]
    random = np.random.default_rng(4)
    detector = RankDetector(rank.fit(np.asarray(draw(random, 2_000), np.float64)), "up")
    state, ranks = detector.start(), []
    values, uniforms, counts = draw(random, 4_000), random.random(4_000), state.counts.copy()
    for value, uniform in zip(values, uniforms, strict=True):
        place = int(np.searchsorted(detector.reference.edges, value))
        ranks.append((counts[:place].sum() + uniform * (counts[place] + 1)) / (counts.sum() + 1))
        counts[place] += 1
    after, _ = detector.update(state, Batch(values, np.zeros(4_000), uniforms))
    assert (after.counts == counts).all(), "the detector counts what this test counts"
    assert stats.kstest(ranks, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("tails", ["up", "down", "both"])
def test_a_bet_has_expectation_one_under_a_uniform_rank(tails: Tails) -> None:
    bets = Bets(((0.005, 0.03), (0.1, 0.2), (0.5, 0.6)), tails)
    grid = (np.arange(100_000) + 0.5) / 100_000
    factors = np.array([bets.factors(float(rank_)) for rank_ in grid])
    assert factors.shape[1] == len(bets) == (6 if tails == "both" else 3)
    assert np.allclose(factors.mean(axis=0), 1, atol=1e-9) and (factors > 0).all()


class Redrawn:
    """References of the same fit part, each with a calibration part of its own: cheap, and as random as whole ones."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self._draw = draw
        self.fitted = reference.fit(np.asarray(draw(np.random.default_rng(seed), 2_000), np.float32), seed=seed)

    def reference(self, random: np.random.Generator) -> reference.VectorReference:
        calibration = np.asarray(self._draw(random, self.fitted.calibration), np.float32)
        z = calibration @ self.fitted.whitening + self.fitted.shift
        centre = (z.sum(axis=0, dtype=np.float64) / self.fitted.units).astype(np.float32)
        covariance = np.cov(z.T.astype(np.float64))
        squares = 2 * float((covariance**2).sum())
        closest = (2 * calibration @ self.fitted.centroids - self.fitted.centroid_squares).max(axis=1)
        return replace(
            self.fitted,
            centre=centre,
            mean=float(np.trace(covariance)),
            scale=math.sqrt(squares),
            skew=8 * float(np.trace(covariance @ covariance @ covariance)) / squares**1.5,
            novelty=np.sort(-closest),
        )


@pytest.mark.parametrize("units", [1, 200])
def test_novelty_bets_gain_nothing_on_average_over_references(ordinary_vectors: Draw, units: int) -> None:
    redrawn, products = Redrawn(ordinary_vectors, seed=1), []
    for seed in range(150 if units > 1 else 800):
        random = np.random.default_rng((seed, units))
        detector = VectorDetector(redrawn.reference(random), units_per_page=1e4)
        values = np.asarray(ordinary_vectors(random, units))
        state, _ = detector.update(detector.start(), one_stake(values, random))
        products.append(float(state.capital.sum()) / (0.4 * STAKE))
    assert_mean_at_most_1(np.array(products))


def test_the_price_of_reusing_a_calibration_set_is_the_one_that_was_measured(vector_case: Any) -> None:
    """exp(-1.5 ln(c/.4)/n) a unit, with n the calibration units and c the units to a page."""
    detector = replace(vector_case.detector, units_per_page=1e5)
    values = vector_case.ordinary(np.random.default_rng(0), 1)
    state, _ = detector.update(detector.start(), Batch(values, np.array([STAKE]), np.array([0.0])))
    known = detector.reference.novelty
    strange = detector.reference.strangeness(np.asarray(values, np.float32))
    assert np.searchsorted(known, strange)[0] / (len(known) + 1) < 0.98, "the bets lose on this unit"
    price = math.exp(-1.5 * math.log(1e5 / 0.4) / detector.reference.calibration)
    lost = [0.4 * STAKE / 4 * (1 - theta) * price for _, theta in NOVELTY_BETS.levels]
    assert state.capital == pytest.approx(lost, rel=1e-12)


def test_a_look_is_below_a_level_no_more_often_than_that(clustered_vectors: Callable[[int], Draw]) -> None:
    """P(p <= alpha) <= alpha over references and streams, for every scale that looks at unit 64.

    A look shows level / p; a stake that no p-value reaches lets p be read off.
    """
    streams, units, scales = 800, 64, [j for j, stride in enumerate(STRIDES) if 64 % stride == 0]
    assert len(scales) == 3
    p_values = []
    for kind in range(4):
        draw = clustered_vectors(kind)
        redrawn = Redrawn(draw, seed=kind)
        for seed in range(streams // 4):
            random = np.random.default_rng((seed, kind))
            detector = VectorDetector(redrawn.reference(random), units_per_page=1e4)
            inflow = np.zeros(units)
            inflow[-1] = STAKE
            batch = Batch(np.asarray(draw(random, units)), inflow, random.random(units))
            state, _ = detector.update(detector.start(), batch)
            p_values.append(LOOKS_SHARE / len(SCALES) * STAKE / state.look_evidence[scales])
    for alpha in (0.009, 0.003, 0.001):  # below the 99 % point a look says no more than p = .01
        below = (np.array(p_values) <= alpha).sum(axis=0)
        allowed = stats.binom.ppf(0.9999, streams, alpha)
        assert (below <= allowed).all(), f"{below} of {streams} at {alpha}, allowed {allowed}"
    assert (np.array(p_values) < 0.01).any(), "a test that sees no small p proves nothing"


@pytest.mark.parametrize("skew", [0.05, 0.3, 1.0, 2.0])
def test_the_tail_is_that_of_a_pearson_iii_variable(skew: float) -> None:
    for x in (-0.5, 0.0, 1.0, 4.0, 12.0):
        assert pearson3_logsf(x, skew) == pytest.approx(float(stats.pearson3.logsf(x, skew)), rel=1e-6, abs=1e-9)
    far = [pearson3_logsf(float(x), skew) for x in np.linspace(1, 3_000, 200)]
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()


def test_a_mean_is_compared_with_its_variance_and_the_error_of_the_centre(vector_case: Any) -> None:
    """On average the statistic of a look is that of the calibration part: V holds start-up and the centre's 1/N."""
    redrawn = Redrawn(vector_case.ordinary, seed=2)
    ratios: dict[int, list[float]] = {t: [] for t in (16, 256, 2_048)}
    a, q = (1 - np.exp(-1 / np.array(SCALES))), np.exp(-np.outer(list(ratios), 1 / np.array(SCALES)))
    for seed in range(40):
        random = np.random.default_rng(seed)
        detector = VectorDetector(redrawn.reference(random), units_per_page=1e4)
        values = np.asarray(vector_case.ordinary(random, 2_048), np.float32)
        z, mean = values @ detector.reference.whitening + detector.reference.shift, detector.start().means.copy()
        for t, row in enumerate(z, 1):
            mean += a[:, None] * (row - mean)
            if t in ratios:
                variance = a / (2 - a) * (1 - q[list(ratios).index(t)] ** 2)
                variance += (1 - q[list(ratios).index(t)]) ** 2 / detector.reference.units
                squares = ((mean - detector.reference.centre) ** 2).sum(axis=1)
                ratios[t].append(squares / variance / detector.reference.mean)
    for t, found in ratios.items():
        average, error = np.mean(found, axis=0), np.std(found, axis=0) / math.sqrt(len(found))
        assert (np.abs(average - 1) < 4 * error + 0.02).all(), f"after {t} units: {average}"
