"""The laws of the vector detector: what it spends, how it measures, how it grows, on one processor or another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from detectors.drift import Batch, Float32Array, kernels, novelty, reference, to_arrays
from detectors.drift.accelerated import TorchMeasure
from detectors.drift.reference import BINS, VectorReference, bins_of
from detectors.drift.tail import RATES, SCALES, pearson3_logsf
from detectors.drift.vectors import (
    CHUNK,
    CYCLE_SHARE,
    LOOKS_SHARES,
    MOST_UNITS,
    ORDINARY,
    ORDINARY_P,
    QUARANTINE,
    VectorDetector,
    update_many,
)

Draw = Callable[[np.random.Generator, int], NDArray[np.floating]]
STAKE = 1e-9  # pages put in at once; so little that no capital reaches a page


def vectors(draw: Draw, random: np.random.Generator, n: int) -> Float32Array:
    return np.asarray(draw(random, n), np.float32)


def calm(values: NDArray[np.floating], random: np.random.Generator, inflow: float = 0.0) -> Batch:
    return Batch(values, np.full(len(values), inflow), random.random(len(values)))


class Redrawn:
    """References of the same fit part, each with a calibration part of its own: cheap, and as random as whole ones."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self._draw = draw
        self.fitted = reference.fit(vectors(draw, np.random.default_rng(seed), 2_000), seed=seed)

    def reference(self, random: np.random.Generator) -> VectorReference:
        fitted = self.fitted
        part = vectors(self._draw, random, fitted.calibration)
        mean = ((fitted.units - len(part)) * fitted.axes[:, -1] + part.sum(axis=0)) / fitted.units
        features = fitted.features(part)
        covariance = np.cov(features.T.astype(np.float64))
        squares = 2 * float((covariance**2).sum())
        counts = np.bincount(bins_of(fitted.strangeness(part), fitted.grid), minlength=BINS)[None]
        return replace(
            fitted,
            centres=mean[None].astype(np.float32),
            mean=float(np.trace(covariance)),
            scale=math.sqrt(squares),
            skew=8 * float(np.trace(covariance @ covariance @ covariance)) / squares**1.5,
            novelty=counts,
        )


# -- what it spends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [1, 200])
def test_novelty_bets_gain_nothing_on_average_over_references(ordinary_vectors: Draw, units: int) -> None:
    redrawn, products = Redrawn(ordinary_vectors, seed=1), []
    for seed in range(150 if units > 1 else 1_500):
        random = np.random.default_rng((seed, units))
        detector = VectorDetector(redrawn.reference(random), units_per_page=1e4)
        inflow = np.zeros(units)
        inflow[0] = STAKE  # all comes with the first unit, so that capital over stake is the bets' product
        values = vectors(ordinary_vectors, random, units)
        state, _ = detector.update(detector.start(), Batch(values, inflow, random.random(units)))
        bets = novelty.Bets.against(detector.reference.calibration, 1e4)
        products.append(float(novelty.capital(state.book, bets, units).sum()) / (novelty.SHARE * STAKE))
    error = np.std(products, ddof=1) / math.sqrt(len(products))
    assert np.mean(products) <= 1 + 4 * error, f"{np.mean(products):.3f} ± {error:.3f}"


def test_a_conformal_p_value_is_uniform_over_the_draw_of_what_it_is_compared_with() -> None:
    random, found = np.random.default_rng(0), []
    for _ in range(4_000):
        bins = np.minimum(random.geometric(0.1, size=60), 30)  # with ties, which the uniform number breaks
        counts = np.bincount(bins[:-1], minlength=31)[None]
        found.append(kernels.p_values(counts, np.array([0]), bins[-1:], random.random(1))[0])
    assert stats.kstest(found, "uniform").pvalue > 1e-4
    assert min(found) >= 0 and max(found) <= 1


def test_bets_have_expectation_one_less_the_price_of_reuse() -> None:
    """exp(-1.5 ln(c/.28)/n) a unit, with n the calibration units and c the units to a page."""
    bets = novelty.Bets.against(7_000, units_per_page=1e5)
    lose = bets.left[1]
    expected = bets.sizes * lose * bets.gain + (1 - bets.sizes) * lose
    assert expected == pytest.approx(math.exp(-1.5 * math.log(1e5 / 0.28) / 7_000), rel=1e-12)
    assert bets.sizes[0] == pytest.approx(0.0005)
    assert (novelty.Bets.against(1_400, 1e5).sizes * 1_400 >= 2.99).all(), "no tail hangs on one or two units"


def test_a_look_is_below_a_level_no_more_often_than_that(clustered_vectors: Callable[[int], Draw]) -> None:
    """P(p <= alpha) <= alpha over references and streams, at every scale."""
    streams, units = 800, 64
    found = []
    for kind in range(4):
        draw = clustered_vectors(kind)
        redrawn = Redrawn(draw, seed=kind)
        for seed in range(streams // 4):
            random = np.random.default_rng((seed, kind))
            detector = VectorDetector(redrawn.reference(random), units_per_page=1e4)
            state, _ = detector.update(detector.start(), calm(vectors(draw, random, units), random))
            found.append(np.exp(detector.log_p_values(state)))
    for alpha in (0.05, 0.01, 0.003, 0.001):
        below = (np.array(found) <= alpha).sum(axis=0)
        allowed = stats.binom.ppf(0.9999, streams, alpha)
        assert (below <= allowed).all(), f"{below} of {streams} at {alpha}, allowed {allowed}"
    assert (np.array(found) < 0.01).any(), "a test that sees no small p proves nothing"


def test_all_lanes_together_spend_no_more_than_the_inflow() -> None:
    assert math.isclose(LOOKS_SHARES.sum() + novelty.SHARE, 1.0)


# -- how it measures -----------------------------------------------------------------------------------------------


def test_no_skew_makes_a_statistic_that_is_passed_over_rarer_than_that() -> None:
    assert (np.exp(pearson3_logsf(ORDINARY, np.geomspace(1e-3, 6, 500))) >= ORDINARY_P).all()


@pytest.mark.parametrize("skew", [0.05, 0.3, 1.0, 2.0])
def test_the_tail_is_that_of_a_pearson_iii_variable(skew: float) -> None:
    x = np.array([-0.5, 0.0, 1.0, 4.0, 12.0])
    assert pearson3_logsf(x, skew) == pytest.approx(stats.pearson3.logsf(x, skew), rel=1e-6, abs=1e-9)
    far = pearson3_logsf(np.linspace(1, 3_000, 200), skew)
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()


def test_a_moving_mean_has_the_variance_that_a_look_divides_by() -> None:
    random, units = np.random.default_rng(0), 160
    means = np.zeros((20_000, len(SCALES)))
    for _ in range(units):
        means += RATES * (random.normal(size=20_000)[:, None] - means)
    assert means.var(axis=0) == pytest.approx([kernels.variance(rate, units) for rate in RATES], rel=0.05)


def test_a_mean_is_compared_with_its_variance_and_the_error_of_the_centre(vector_case: Any) -> None:
    """On average the statistic of a look is that of the calibration part: start-up and the centre's 1/N are in it."""
    redrawn, ratios = Redrawn(vector_case.ordinary, seed=2), []
    for seed in range(60):
        random = np.random.default_rng(seed)
        known = redrawn.reference(random)
        detector, found = VectorDetector(known, units_per_page=1e4), []
        state = detector.start()
        for _ in range(8):
            state, _ = detector.update(state, calm(vectors(vector_case.ordinary, random, 256), random))
            weights = state.means[:, -1].astype(np.float64)
            variance = [kernels.variance(rate, state.units) for rate in RATES] + weights**2 / known.units
            found.append(known.squares(state.means[:, :-1]) / variance / known.mean)
        ratios.append(found)
    average, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / math.sqrt(len(ratios))
    assert (np.abs(average - 1) < 4 * error + 0.02).all(), average


def test_features_have_the_weighted_square_length_as_their_own(vector_case: Any) -> None:
    known: VectorReference = vector_case.detector.reference
    values = vectors(vector_case.ordinary, np.random.default_rng(1), 50)
    lengths = (known.features(values) ** 2).sum(axis=1)
    assert lengths == pytest.approx(known.squares(values - known.axes[:, -1]), rel=1e-4)


@pytest.mark.parametrize("error", [-1e-5, 1e-5])
def test_no_bin_depends_on_the_last_bits_of_a_measure(vector_case: Any, error: float) -> None:
    known: VectorReference = vector_case.detector.reference
    values = vectors(vector_case.ordinary, np.random.default_rng(1), 2_000)
    grid = np.array([known.grid[0], known.grid[1] / 50])  # so narrow that hundreds are near an edge
    measured = known.strangeness(values)
    found = [
        kernels.bins(values, about, known.space, grid, known.mean, 10**6)
        for about in (measured, measured + error * known.mean)
    ]
    assert (found[0] == found[1]).all()
    assert (bins_of(measured, grid) != bins_of(measured + error * known.mean, grid)).any(), (
        "no more would prove nothing"
    )


@pytest.mark.parametrize("streams", [1, 5])
def test_many_streams_at_once_on_torch_give_every_bit_of_each_alone(vector_case: Any, streams: int) -> None:
    detector, random = vector_case.detector, np.random.default_rng(4)
    batches = []
    for k in range(streams):
        values = np.concatenate([vector_case.ordinary(random, 700), vector_case.changed(random, 40 * k)])
        batches.append(calm(values, random, inflow=1e-3))
    alone = [detector.update(detector.start(), batch) for batch in batches]
    starts = [detector.start() for _ in batches]
    together = update_many(detector, starts, batches, TorchMeasure(detector.reference, "cpu"))
    assert any(alarms for _, alarms in alone) or streams == 1
    for (state, alarms), (same_state, same_alarms) in zip(alone, together, strict=True):
        assert alarms == same_alarms
        left, right = to_arrays(state, "s"), to_arrays(same_state, "s")
        assert {name: array.tobytes() for name, array in left.items()} == {n: a.tobytes() for n, a in right.items()}


# -- how it grows --------------------------------------------------------------------------------------------------


def test_units_join_the_reference_after_the_quarantine_and_no_sooner(vector_case: Any) -> None:
    detector, random = vector_case.detector, np.random.default_rng(5)
    values = vectors(vector_case.ordinary, random, (QUARANTINE + 2) * CHUNK)
    state, _ = detector.update(detector.start(), calm(values[: (QUARANTINE + 1) * CHUNK - 1], random))
    assert state.grown == 0 and not state.shift.any()
    state, _ = detector.update(state, calm(values[(QUARANTINE + 1) * CHUNK - 1 :], random))
    assert state.grown == 2 * CHUNK
    joined = values[: 2 * CHUNK]
    known = detector.reference
    centre = (known.units * known.centres[0] + joined.sum(axis=0)) / (known.units + len(joined))
    assert known.centres[0] + state.shift == pytest.approx(centre, abs=1e-6)
    assert state.counts.sum() == known.calibration + len(joined)


def test_growth_ends_and_what_waited_is_dropped(vector_case: Any) -> None:
    random = np.random.default_rng(6)
    nearly = replace(vector_case.detector.reference, units=MOST_UNITS - CHUNK)
    detector = VectorDetector(nearly, units_per_page=1e4)
    values = vectors(vector_case.ordinary, random, (QUARANTINE + 3) * CHUNK)
    state, _ = detector.update(detector.start(), calm(values, random))
    assert state.grown == CHUNK and state.waiting_sums.size == state.waiting_bins.size == 0


def test_a_latched_stream_learns_nothing(vector_case: Any) -> None:
    detector, random = vector_case.detector, np.random.default_rng(7)
    state, alarms = detector.update(detector.start(), calm(vector_case.changed(random, 300), random, inflow=1e-2))
    assert alarms
    state, _ = detector.update(state, calm(vector_case.changed(random, (QUARANTINE + 3) * CHUNK), random, inflow=1e-2))
    assert state.latched and state.grown == 0


# -- materiality and cycles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_change_below_the_least_effect_does_not_page_and_a_larger_one_does(vector_case: Any, share: float) -> None:
    random = np.random.default_rng(8)
    values = vectors(vector_case.ordinary, random, 3_000)
    changed = random.random(len(values)) < share
    values[changed] = vector_case.changed(random, int(changed.sum()))
    batch = calm(values, random, inflow=1e-3)
    plain = vector_case.detector
    _, alarms = plain.update(plain.start(), batch)
    assert len(alarms) == 1 and alarms[0].effect > 0
    picky = replace(plain, least_effect=0.5)
    state, alarms = picky.update(picky.start(), batch)
    assert len(alarms) == (1 if share == 1.0 else 0)
    assert all(alarm.effect >= 0.5 for alarm in alarms)
    assert picky.read(state) > 0.1 and np.isfinite(state.book).all(), "evidence is shown though nobody is called"


def test_a_cycle_that_the_reference_knows_is_no_change(vector_case: Any) -> None:
    """By day one kind of traffic, by night another; without the places of the cycle every night would page."""

    def two_days(days: int, seed: int) -> tuple[Float32Array, NDArray[np.int64]]:
        random = np.random.default_rng(seed)
        places = np.tile(np.repeat([0, 1], 400), days)
        values = np.where(
            (places == 0)[:, None],
            vector_case.ordinary(random, len(places)),
            vector_case.changed(random, len(places)),
        )
        return np.asarray(values, np.float32), places

    values, places = two_days(8, seed=1)
    stream, where = two_days(4, seed=2)
    random = np.random.default_rng(3)
    batch = calm(stream, random, inflow=1e-4)
    blind = VectorDetector(reference.fit(values), units_per_page=1e4)
    assert blind.update(blind.start(), batch)[1]
    knowing = VectorDetector(reference.fit(values, buckets=places), units_per_page=1e4)
    state, alarms = knowing.update(knowing.start(), replace(batch, buckets=where))
    assert not alarms and state.grown == 0
    assert state.inflow == pytest.approx(CYCLE_SHARE * batch.inflow.sum())
    wrong = replace(batch, buckets=1 - where)
    assert knowing.update(knowing.start(), wrong)[1], "the night's traffic by day is a change"
