"""The detector of a vector stream: looks for diffuse change, novelty bets for concentrated change."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from detectors.drift import CALM, Alarm, Batch, Float32Array, FloatArray
from detectors.drift.bets import Bets, Capital
from detectors.drift.reference import VectorReference
from detectors.drift.tail import SCALES, log_p, rates
from detectors.drift.usable import usable

LOOKS_SHARE = 0.6
NOVELTY_SHARE = 0.4
NOVELTY_BETS = Bets(((0.005, 0.01), (0.005, 0.03), (0.02, 0.03), (0.02, 0.1)), tails="up")
REUSE = 1.5  # price of betting again and again against one finite calibration set, in units of ln(c)/n a unit
STRIDES = tuple(max(4, horizon // 4) for horizon in SCALES)


@dataclass(frozen=True)
class VectorState:
    """A vector stream after some units; 6.2 kB for 384 dimensions.

    Attributes:
        units: t, units since the start.
        means: (scales, d) exponentially weighted means of the features.
        at_stake: (scales,) inflow since each scale's last look, in pages.
        look_evidence: (scales,) min(1, level / p) of each scale's last look.
        capital: (bets,) of the novelty lane.
        capital_start: (bets,) capital times the unit it was put in at: over capital, the estimated beginning.
        latched: a page went out and is not dealt with.
        calm: consecutive units whose evidence stayed under a tenth.
    """

    units: int
    means: Float32Array
    at_stake: FloatArray
    look_evidence: FloatArray
    capital: FloatArray
    capital_start: FloatArray
    latched: bool
    calm: int


@dataclass(frozen=True)
class VectorDetector:
    """Looks and novelty against one reference.

    Attributes:
        reference: the accepted traffic.
        units_per_page: c, units in which the stream's inflow adds up to one page, at the reference's own rate.
    """

    reference: VectorReference
    units_per_page: float

    def start(self) -> VectorState:
        """No evidence; the moving means stand at the reference's centre."""
        scales, bets = len(SCALES), len(NOVELTY_BETS)
        return VectorState(
            units=0,
            means=np.tile(self.reference.centre, (scales, 1)),
            at_stake=np.zeros(scales),
            look_evidence=np.zeros(scales),
            capital=np.zeros(bets),
            capital_start=np.zeros(bets),
            latched=False,
            calm=0,
        )

    def update(self, state: VectorState, batch: Batch) -> tuple[VectorState, list[Alarm]]:
        """See `Detector.update`; `batch.values` is (n, d)."""
        vectors = np.asarray(batch.values, np.float32)
        rows = np.flatnonzero(usable(vectors))
        features = self.reference.features(vectors[rows])
        ranks = self._ranks(vectors[rows], batch.uniforms[rows])
        a, reuse = rates()[:, None], self._reuse()
        means, at_stake, looks = state.means.copy(), state.at_stake.copy(), state.look_evidence.copy()
        capital = Capital(state.capital.tolist(), state.capital_start.tolist())
        units, latched, calm, alarms = state.units, state.latched, state.calm, list[Alarm]()
        for row, index in enumerate(rows):
            units += 1
            means += a * (features[row] - means)
            at_stake += batch.inflow[index]
            for j, stride in enumerate(STRIDES):
                if units % stride == 0:
                    looks[j] = self._look(j, means[j], units, at_stake[j])
                    if looks[j] >= 1 and not latched:
                        latched = True
                        age = min(SCALES[j], units)
                        alarms.append(
                            Alarm(int(index), units, f"look {SCALES[j]}", float(looks[j]), float(at_stake[j]), age)
                        )
                    at_stake[j] = 0
            stake = NOVELTY_SHARE * float(batch.inflow[index])
            capital.bet(NOVELTY_BETS, ranks[row], stake, units, reuse, latched)
            if capital.total >= 1 and not latched:
                latched = True
                alarms.append(Alarm(int(index), units, "novelty", capital.total, stake, capital.age(units)))
            calm = calm + 1 if max(capital.total, float(looks.max())) < CALM else 0
            if latched and calm >= self.reference.units:
                fresh = self.start()
                units, latched, calm, capital = 0, False, 0, Capital.empty(len(NOVELTY_BETS))
                means, at_stake, looks = fresh.means, fresh.at_stake, fresh.look_evidence
        after = replace(
            state,
            units=units,
            means=means,
            at_stake=at_stake,
            look_evidence=looks,
            capital=np.asarray(capital.capital),
            capital_start=np.asarray(capital.start),
            latched=latched,
            calm=calm,
        )
        return after, alarms

    def read(self, state: VectorState) -> float:
        """The larger of the novelty capital and the last looks' evidence, at most 1."""
        return min(1.0, max(float(state.capital.sum()), float(state.look_evidence.max())))

    def _ranks(self, vectors: Float32Array, uniforms: FloatArray) -> FloatArray:
        """(n,) conformal ranks of strangeness among the calibration part, uniform under no change."""
        value, known = self.reference.strangeness(vectors), self.reference.novelty
        below, upto = np.searchsorted(known, value, "left"), np.searchsorted(known, value, "right")
        return np.asarray((below + uniforms * (upto - below + 1)) / (len(known) + 1))

    def _reuse(self) -> float:
        return math.exp(-REUSE * math.log(max(self.units_per_page / NOVELTY_SHARE, 1)) / self.reference.calibration)

    def _look(self, j: int, mean: Float32Array, units: int, at_stake: float) -> float:
        """min(1, level / p) of one look at one scale; 1 is a page."""
        reference = self.reference
        level = LOOKS_SHARE / len(SCALES) * at_stake
        if level <= 0:
            return 0.0
        horizon = SCALES[j]
        a, q = 1 - math.exp(-1 / horizon), math.exp(-units / horizon)
        variance = a / (2 - a) * (1 - q * q) + (1 - q) ** 2 / reference.units
        difference = mean - reference.centre
        statistic = (float(difference @ difference) / variance - reference.mean) / reference.scale
        point, excess = reference.tail[j]
        gap = math.log(level) - log_p(statistic, point, excess, reference.skew)
        return 1.0 if gap >= 0 else math.exp(gap)
