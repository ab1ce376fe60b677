"""The detector of a signal: bets on the conformal rank of each value among all values before it. Exact.

Edges come from a third of the reference, counts from the rest and from the stream itself; ties are broken by the unit's
own uniform number. Under exchangeability the ranks are independent and uniform, whatever the signal's distribution, so
that constant, discrete and binary signals need no case of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from detectors.drift import CALM, Alarm, Batch, FloatArray, ReferenceRefused
from detectors.drift.bets import Bets, Capital, Tails
from detectors.drift.reference import FIT_SHARE, LEAST_UNITS

EDGES = 512
LEVELS = ((0.005, 0.03), (0.02, 0.1), (0.1, 0.2), (0.3, 0.3))


@dataclass(frozen=True)
class RankReference:
    """Accepted values of a signal.

    Attributes:
        units: N, how many values were fitted.
        edges: (k,) distinct quantiles of the fit part and one below them, k <= 513; bin j: edges[j-1] < x <= edges[j].
        counts: (k + 1,) calibration values in each bin.
        rate: share of non-zero values if the fit part holds only 0 and 1, else -1.
        mean: of all N values.
        deviation: standard deviation of all N values.
    """

    units: int
    edges: FloatArray
    counts: NDArray[np.int64]
    rate: float
    mean: float
    deviation: float


def fit(values: FloatArray, *, seed: int = 0) -> RankReference:
    """Fit the reference of a signal from (N,) values; those that are not finite are left out.

    Raises:
        ReferenceRefused: fewer than 2,000 finite values.
    """
    finite = np.asarray(values, np.float64)[np.isfinite(values)]
    if len(finite) < LEAST_UNITS:
        raise ReferenceRefused(f"a reference needs {LEAST_UNITS} finite values at least, there are {len(finite)}")
    shuffled = finite[np.random.default_rng(seed).permutation(len(finite))]
    cut = int(FIT_SHARE * len(shuffled))
    quantiles = np.quantile(shuffled[:cut], np.linspace(0, 1, EDGES))
    edges = np.unique([np.nextafter(quantiles[0], -np.inf), *quantiles])  # what is below all that was seen stands alone
    binary = bool(np.isin(shuffled[:cut], (0, 1)).all())
    return RankReference(
        units=len(finite),
        edges=edges,
        counts=np.bincount(np.searchsorted(edges, shuffled[cut:]), minlength=len(edges) + 1),
        rate=float(shuffled[:cut].mean()) if binary else -1.0,
        mean=float(finite.mean()),
        deviation=float(finite.std()),
    )


@dataclass(frozen=True)
class RankState:
    """A signal's stream after some units; 2 to 6 kB.

    Attributes:
        units: values since the start.
        counts: (k + 1,) all values seen, the calibration part's included.
        capital: (bets,) in pages.
        capital_start: (bets,) capital times the unit it was put in at.
        latched: a page went out and is not dealt with.
        calm: consecutive units whose evidence stayed under a tenth.
    """

    units: int
    counts: NDArray[np.int64]
    capital: FloatArray
    capital_start: FloatArray
    latched: bool
    calm: int


@dataclass(frozen=True)
class RankDetector:
    """Bets on the ranks of one signal, on the tails that mean harm."""

    reference: RankReference
    tails: Tails = "both"

    @cached_property
    def bets(self) -> Bets:
        """Fixed tails; for a rate, tails of about its own size, where a single bet says most."""
        rate = self.reference.rate
        if rate < 0:
            return Bets(LEVELS, self.tails)
        size = min(max(rate, 1 / (FIT_SHARE * self.reference.units)), 0.5)
        return Bets(tuple((size, theta) for theta in (size, min(2 * size, 0.4), min(8 * size, 0.6))), self.tails)

    def start(self) -> RankState:
        """No evidence; only the calibration part has been seen."""
        nothing = np.zeros(len(self.bets))
        return RankState(0, self.reference.counts.copy(), nothing, nothing.copy(), latched=False, calm=0)

    def update(self, state: RankState, batch: Batch) -> tuple[RankState, list[Alarm]]:
        """See `Detector.update`; `batch.values` is (n,)."""
        usable = np.flatnonzero(np.isfinite(batch.values))
        bins = np.searchsorted(self.reference.edges, batch.values[usable])
        counts = state.counts.copy()
        capital = Capital(state.capital.tolist(), state.capital_start.tolist())
        units, latched, calm, alarms = state.units, state.latched, state.calm, list[Alarm]()
        seen = int(counts.sum())
        for bin_, index in zip(bins, usable, strict=True):
            units += 1
            below, here = int(counts[:bin_].sum()), int(counts[bin_])
            rank = (below + float(batch.uniforms[index]) * (here + 1)) / (seen + 1)
            if not latched:  # what follows a page is not accepted traffic
                counts[bin_] += 1
                seen += 1
            inflow = float(batch.inflow[index])
            capital.bet(self.bets, rank, inflow, units, 1.0, latched)
            if capital.total >= 1 and not latched:
                latched = True
                alarms.append(Alarm(int(index), units, "rank", capital.total, inflow, capital.age(units)))
            calm = calm + 1 if capital.total < CALM else 0
            if latched and calm >= self.reference.units:
                units, latched, calm, capital = 0, False, 0, Capital.empty(len(self.bets))
        after = replace(
            state,
            units=units,
            counts=counts,
            capital=np.asarray(capital.capital),
            capital_start=np.asarray(capital.start),
            latched=latched,
            calm=calm,
        )
        return after, alarms

    def read(self, state: RankState) -> float:
        """Capital in pages, at most 1."""
        return min(1.0, float(state.capital.sum()))
