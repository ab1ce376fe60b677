"""The detector of a signal: bets on where its values lie among the reference's. For numbers, counts and rates alike.

A bet multiplies its capital by what it pays for a value over what it pays on average for all units so far, the
calibration part's and this one included. While units are exchangeable, that factor is one on average, whatever the
signal's distribution, and so is the product over any stretch of units: capital grows by its inflow and nothing else.
That it gains nothing either by stopping at a page holds in the limit of many units, and is measured at 2,000.

Sources: conformal e-testing (Vovk, Nouretdinov, Gammerman, arXiv 2006.02329); e-detectors (arXiv 2203.03532).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from detectors.drift import CALM, Alarm, Batch, FloatArray, IntArray, ReferenceRefused, kernels
from detectors.drift.bets import Tails, payoffs
from detectors.drift.reference import FIT_SHARE, LEAST_UNITS

QUANTILES = 64
TAIL_QUANTILES = 7  # beyond the outermost of them on each side, down to one unit of the fit part
BEYOND = 3  # units of the fit part that each end gets on top: rarer ends would pay more than they are known for
BURN = 10.0  # inflows that capital loses in the time of one: a signal that stands still never holds a tenth of a page
FARTHEST = 1e6  # deviations; a value beyond counts as one there


@dataclass(frozen=True)
class RankReference:
    """Accepted values of a signal.

    Attributes:
        units: N, how many values were fitted.
        edges: (k,) distinct quantiles of the fit part and one below them, k <= 80; bin j: edges[j-1] < x <= edges[j].
        shares: (k + 1,) of the fit part in each bin; what is beyond all that was seen is there too.
        counts: (buckets, k + 1) calibration values in each bin.
        rate: share of ones if all values are 0 or 1, else -1.
        mean: of all N values.
        deviation: standard deviation of all N values.
        bucket_means: (buckets,) mean of the values in each bucket of the traffic's cycle.
    """

    units: int
    edges: FloatArray
    shares: FloatArray
    counts: IntArray
    rate: float
    mean: float
    deviation: float
    bucket_means: FloatArray

    @property
    def excess_unit(self) -> float:
        """What a value's excess over the mean is measured in: 1 for a rate, else the standard deviation."""
        return max(self.deviation, abs(self.mean) * 1e-9, sys.float_info.min) if self.rate < 0 else 1.0


def fit(values: FloatArray, *, buckets: IntArray | None = None, seed: int = 0) -> RankReference:
    """Fit the reference of a signal; takes milliseconds.

    Args:
        values: (N,) accepted values; those that are not finite are left out.
        buckets: (N,) place of each in the traffic's cycle (`cycle.Cycle`); none: there is one place.
        seed: of the random split.

    Raises:
        ReferenceRefused: fewer than 2,000 finite values.
        ValueError: a bucket below 0.
    """
    if buckets is not None and np.min(buckets, initial=0) < 0:
        raise ValueError(f"buckets count from 0, not from {np.min(buckets)}")
    known = np.isfinite(values)
    finite = np.asarray(values, np.float64)[known]
    if len(finite) < LEAST_UNITS:
        raise ReferenceRefused(f"a reference needs {LEAST_UNITS} finite values at least, there are {len(finite)}")
    places = np.zeros(len(finite), np.int64) if buckets is None else np.asarray(buckets)[known]
    order = np.random.default_rng(seed).permutation(len(finite))
    fitted, rest = np.split(order, [int(FIT_SHARE * len(finite))])
    edges = _edges(finite[fitted])
    shares = np.bincount(np.searchsorted(edges, finite[fitted]), minlength=len(edges) + 1).astype(np.float64)
    shares[[0, -1]] += BEYOND
    counts = np.zeros((1 if buckets is None else int(np.max(buckets)) + 1, len(edges) + 1), np.int64)
    np.add.at(counts, (places[rest], np.searchsorted(edges, finite[rest])), 1)
    mean, deviation = _moments(finite)
    return RankReference(
        units=len(finite),
        edges=edges,
        shares=shares / shares.sum(),
        counts=counts,
        rate=mean if np.isin(finite, (0, 1)).all() else -1.0,
        mean=mean,
        deviation=deviation,
        bucket_means=np.array([_moments(finite[places == b])[0] if b in places else mean for b in range(len(counts))]),
    )


def _edges(values: FloatArray) -> FloatArray:
    tail = np.geomspace(1 / len(values), 1 / QUANTILES, TAIL_QUANTILES, endpoint=False)
    levels = np.concatenate([[0.0], tail, np.arange(1, QUANTILES) / QUANTILES, 1 - tail, [1.0]])
    quantiles = np.unique(np.quantile(values, levels, method="lower"))
    with np.errstate(over="ignore"):
        below = np.nextafter(quantiles[:1], -np.inf)
    return np.concatenate([below, quantiles])


def _moments(values: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation; they stay finite up to the largest numbers."""
    size = float(np.abs(values).max()) or 1.0
    return float((values / size).mean() * size), float((values / size).std() * size)


@dataclass(frozen=True)
class RankState:
    """A signal's stream after some units; 400 bytes for one bucket.

    Attributes:
        units: values since the start.
        seen: (buckets,) all values seen, the calibration part's included.
        paid: (buckets, bets) what each bet pays for all of them together.
        capital: (bets,) in pages, 1 at most in all.
        capital_start: (bets,) capital times the unit it was put in at.
        capital_excess: (bets,) capital times `excess` before it was put in.
        excess: sum of the values' excess over the reference's mean since the start.
        latched: a page went out and is not dealt with.
        calm: consecutive units whose evidence stayed under a tenth.
    """

    units: int
    seen: IntArray
    paid: FloatArray
    capital: FloatArray
    capital_start: FloatArray
    capital_excess: FloatArray
    excess: float
    latched: bool
    calm: int


@dataclass(frozen=True)
class RankDetector:
    """Bets on the values of one signal, on the side that means harm.

    Attributes:
        reference: the accepted values.
        tails: the side.
        least_effect: no page while the mean since the estimated beginning differs by less from the reference's, in
            standard deviations, or for a rate as it is; 0: every change counts, also one that moves no mean.
    """

    reference: RankReference
    tails: Tails = "both"
    least_effect: float = 0.0

    @cached_property
    def payoffs(self) -> FloatArray:
        """(k + 1, bets) what each bet pays in each bin."""
        return payoffs(self.reference.shares, self.tails)

    def start(self) -> RankState:
        """No evidence; only the calibration part has been seen."""
        counts, none = self.reference.counts, np.zeros(self.payoffs.shape[1])
        return RankState(
            units=0,
            seen=counts.sum(axis=1),
            paid=counts @ self.payoffs,
            capital=none,
            capital_start=none.copy(),
            capital_excess=none.copy(),
            excess=0.0,
            latched=False,
            calm=0,
        )

    def update(self, state: RankState, batch: Batch) -> tuple[RankState, list[Alarm]]:
        """See `Detector.update`; `batch.values` is (n,).

        Raises:
            ValueError: a bucket that the reference does not have.
        """
        values, places, inflow = np.array(batch.values, np.float64), self._buckets(batch), np.array(batch.inflow)
        seen, paid = state.seen.copy(), state.paid.copy()
        book = np.stack([state.capital, state.capital_start, state.capital_excess])
        known = self.reference
        at, units, excess, calm, latched, alarms = (
            0,
            state.units,
            state.excess,
            state.calm,
            state.latched,
            list[Alarm](),
        )
        while at < len(values):
            at, units, excess, calm, latched, evidence, age, effect = kernels.bet(
                values,
                places,
                inflow,
                at,
                units,
                excess,
                calm,
                latched,
                book,
                seen,
                paid,
                known.edges,
                self.payoffs,
                known.bucket_means,
                known.excess_unit,
                FARTHEST,
                BURN,
                CALM,
                known.units,
                self.least_effect,
            )
            if evidence > 0:
                alarms.append(Alarm(at - 1, units, "rank", evidence, float(inflow[at - 1]), age, effect))
        capital, capital_start, capital_excess = book
        return RankState(units, seen, paid, capital, capital_start, capital_excess, excess, latched, calm), alarms

    def read(self, state: RankState) -> float:
        """Capital in pages, at most 1."""
        return min(1.0, float(state.capital.sum()))

    def _buckets(self, batch: Batch) -> IntArray:
        if batch.buckets is None:
            return np.zeros(len(batch), np.int64)
        known = len(self.reference.counts)
        if len(batch) and not 0 <= batch.buckets.min() <= batch.buckets.max() < known:
            found = f"{batch.buckets.min()} to {batch.buckets.max()}"
            raise ValueError(f"buckets from {found}: the reference has 0 to {known - 1}")
        return np.array(batch.buckets, np.int64)
