"""The detector of a vector stream: looks for diffuse change, novelty bets for concentrated change, and growth.

The way of a batch: moving means advance unit by unit, and a look is measured where a stride ends; then bets are played
on the strangeness of all units, which one product gives, on this machine's processor or another (`Measure`). What lies
so near to the edge of a bin that its last bits could matter is measured again exactly. So pages and states never depend
on batches or devices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.drift import CALM, Alarm, Batch, Float32Array, FloatArray, IntArray, kernels, novelty
from detectors.drift.novelty import CHUNK
from detectors.drift.reference import BINS, VectorReference
from detectors.drift.tail import RATES, SCALES, log_p
from detectors.drift.usable import usable

LOOKS_SHARES = np.array([0.25, 0.25, 0.13, 0.09])
"""Of the inflow, for the looks at each scale; novelty has the rest. Long scales find small changes, which can wait."""

STRIDES = np.array([4, 8, 32, 128])
"""Units between looks at each scale: an eighth or a sixteenth of it. A look may spend only what came in since the last
one, but more of them find a change sooner by more than that costs, and overlap so much that they spend less."""

CYCLE_SHARE = 0.85
"""Of the inflow, what may be spent against a reference with several places of a cycle: within a place the mixture goes
on changing, so that units are not quite exchangeable with it, and pages come a tenth more often."""

ORDINARY, ORDINARY_P = 3.0, 0.00134
"""A statistic of so many deviations has at least that p-value, whatever its skew."""

QUARANTINE = 8
"""Whole chunks that wait before they join the reference: 4,096 units, so that a change is seen before it is learned."""

MOST_UNITS = 20_000
AGES = 4  # longest scales that an estimate of a change's beginning goes back


class Measure(Protocol):
    """Measures many rows at once; single precision will do. A `VectorReference` is one."""

    def strangeness(self, vectors: Float32Array) -> FloatArray:
        """(n,) weighted square distances of (n, d) vectors from their nearest centroids."""
        ...


@dataclass
class VectorState:
    """A vector stream after some units: 6.3 kB of means and capitals for 384 dimensions, 34 kB in all while it grows.

    Attributes:
        units: t, units since the start.
        means: (scales, d + buckets) moving means of the differences from the centre, and of the places of the cycle.
        inflow: pages that all units brought, as far as they may be spent.
        looked: (scales,) of that, what had come by each scale's last look.
        stakes: (scales,) inflow that each scale's last look could spend.
        book: (3, bets) of the novelty lane, see `kernels.play`.
        shift: (d,) what growth added to the centre.
        grown: units that joined the reference.
        counts: (buckets, bins) of strangeness, grown units included.
        waiting_sums: (chunks, d) sums of the differences of units in quarantine from the centre; the chunk under way
            last.
        waiting_bins: (chunks, chunk) their bins of strangeness.
        latched: a page went out and is not dealt with.
        restless: evidence was at least a tenth since the chunk under way began.
        calm: units, in whole chunks, since it last was.
    """

    units: int
    means: Float32Array
    inflow: float
    looked: FloatArray
    stakes: FloatArray
    book: FloatArray
    shift: Float32Array
    grown: int
    counts: IntArray
    waiting_sums: Float32Array
    waiting_bins: NDArray[np.uint16]
    latched: bool
    restless: bool
    calm: int

    def copy(self) -> VectorState:
        """Another one, with arrays of its own."""
        return VectorState(
            self.units,
            self.means.copy(),
            self.inflow,
            self.looked.copy(),
            self.stakes.copy(),
            self.book.copy(),
            self.shift,
            self.grown,
            self.counts,
            self.waiting_sums.copy(),
            self.waiting_bins.copy(),
            self.latched,
            self.restless,
            self.calm,
        )


class _Chunk(NamedTuple):
    """Usable units that a chunk still holds."""

    vectors: Float32Array
    places: IntArray
    inflow: FloatArray

    def head(self, n: int) -> _Chunk:
        """The first n."""
        return _Chunk(self.vectors[:n], self.places[:n], self.inflow[:n])


@dataclass(frozen=True)
class VectorDetector:
    """Looks and novelty against one reference.

    Attributes:
        reference: the accepted traffic.
        units_per_page: c, units in which the stream's inflow adds up to one page, at the reference's own rate.
        least_effect: nothing pages below it; of a look the length of the shift in standard deviations of the reference,
            of novelty the share of the traffic that is affected.
    """

    reference: VectorReference
    units_per_page: float
    least_effect: float = 0.0

    def start(self) -> VectorState:
        """No evidence, nothing learned beyond the reference."""
        d, places = self.reference.axes.shape[0], len(self.reference.centres)
        grows = places == 1 and self.reference.units + CHUNK <= MOST_UNITS
        waiting = QUARANTINE + 1 if grows else 0
        return VectorState(
            units=0,
            means=np.zeros((len(SCALES), d + places), np.float32),
            inflow=0.0,
            looked=np.zeros(len(SCALES)),
            stakes=np.zeros(len(SCALES)),
            book=np.zeros((3, len(novelty.LEVELS))),
            shift=np.zeros(d, np.float32),
            grown=0,
            counts=self.reference.novelty.copy(),
            waiting_sums=np.zeros((waiting, d), np.float32),
            waiting_bins=np.zeros((waiting, CHUNK), np.uint16),
            latched=False,
            restless=False,
            calm=0,
        )

    def update(
        self, state: VectorState, batch: Batch, strangeness: FloatArray | None = None
    ) -> tuple[VectorState, list[Alarm]]:
        """See `Detector.update`; `batch.values` is (n, d), `strangeness` (n,) of them if it was measured elsewhere."""
        assert batch.uniforms is not None, "vectors may tie"
        vectors = np.ascontiguousarray(batch.values, np.float32)
        rows = np.flatnonzero(usable(vectors))
        vectors, inflow, uniforms = vectors[rows], batch.inflow[rows], batch.uniforms[rows]
        places = np.zeros(len(rows), np.int64) if batch.buckets is None else np.asarray(batch.buckets, np.int64)[rows]
        if len(self.reference.centres) > 1:
            inflow = CYCLE_SHARE * inflow
        measured = self.reference.strangeness(vectors) if strangeness is None else strangeness[rows]
        at, alarms = 0, list[Alarm]()
        while at < len(rows):
            now = slice(at, at + CHUNK - state.units % CHUNK)
            chunk = _Chunk(vectors[now], places[now], inflow[now])
            bins, p = self._ranks(state, chunk, measured[now], uniforms[now])
            before, state = state, state.copy()
            looks = self._advance(state, chunk)
            alarm = self._decide(before, state, chunk, looks, p)
            if alarm is not None:
                alarms.append(replace(alarm, index=int(rows[at + alarm.index])))
            at, end = at + len(bins), (state.units - 1) % CHUNK + 1
            if len(state.waiting_bins):
                state.waiting_bins[-1, end - len(bins) : end] = bins
            if end == CHUNK:
                state = self._close_chunk(state)
        return state, alarms

    def read(self, state: VectorState) -> float:
        """The larger of the novelty capital and the evidence of the moving means at their last stakes, at most 1."""
        capital = float(novelty.capital(state.book, self._bets(state.grown), state.units).sum())
        looks = float((_log_levels(LOOKS_SHARES * state.stakes) - self.log_p_values(state)).max())
        return min(1.0, max(capital, math.exp(min(0.0, looks))))

    def log_p_values(self, state: VectorState) -> FloatArray:
        """(scales,) log p-values of the moving means as they stand."""
        rows, variance = self._moved(state)
        return log_p(self._statistic(kernels.squares(rows, self.reference.space), variance), self.reference.tail)

    def direction(self, state: VectorState, scale: int) -> Float32Array:
        """(d,) direction of the change at this scale: units whose dot product with it is large speak for it."""
        return self._weighted(self._moved(state)[0][SCALES.index(scale)])

    # -- moving means ----------------------------------------------------------------------------------------------

    def _advance(self, state: VectorState, chunk: _Chunk) -> FloatArray:
        """Take units into the moving means; (looks, 5) see `kernels.advance`."""
        state.inflow, looks = kernels.advance(
            chunk.vectors,
            chunk.places,
            chunk.inflow,
            state.units,
            state.inflow,
            state.means,
            state.waiting_sums[-1:],
            state.looked,
            state.stakes,
            self.reference.centres,
            state.shift,
            self._counted(state),
            RATES,
            STRIDES,
            self.reference.space,
        )
        state.units += len(chunk.vectors)
        return looks

    def _counted(self, state: VectorState) -> FloatArray:
        """(places,) units behind each centre; a reference with several places does not grow."""
        return np.asarray(self.reference.bucket_units + state.grown, np.float64)

    def _moved(self, state: VectorState) -> tuple[Float32Array, FloatArray]:
        """(scales, d) moving means less the centre; (scales,) variances, the centre's error included."""
        d = len(state.shift)
        weights = state.means[:, d:]
        rows = state.means[:, :d] - weights.sum(axis=1)[:, None] * state.shift
        variances = np.array([kernels.variance(rate, max(1, state.units)) for rate in RATES])
        return rows, variances + (weights**2 / self._counted(state)).sum(axis=1)

    # -- evidence --------------------------------------------------------------------------------------------------

    def _statistic(self, squares: FloatArray, variance: FloatArray) -> FloatArray:
        return np.asarray((squares / variance - self.reference.mean) / self.reference.scale)

    def _decide(
        self, before: VectorState, state: VectorState, chunk: _Chunk, looks: FloatArray, p: FloatArray
    ) -> Alarm | None:
        """The first unit of the chunk that pages, if any does: the alarm's index counts from the chunk's first."""
        n, look, bets = len(p), None, self._bets(state.grown)
        scales, statistic = looks[:, 0].astype(np.int64), self._statistic(looks[:, 2], looks[:, 3])
        levels = LOOKS_SHARES[scales] * looks[:, 4]
        notable = (levels >= CALM * ORDINARY_P) | (statistic > ORDINARY)  # others are not even restless
        looks = looks[notable]
        if len(looks):
            log_ps = log_p(statistic[notable], self.reference.tail[scales[notable]])
            gaps, lengths = _log_levels(levels[notable]) - log_ps, self._lengths(looks)  # a look pages from 0 on
            state.restless |= bool((gaps >= math.log(CALM)).any())
            paging = np.flatnonzero((gaps >= 0) & (lengths >= self.least_effect))
            look = int(paging[0]) if len(paging) and not state.latched else None
        looked = n if look is None else int(looks[look, 1])
        page, evidence, age, effect, restless = kernels.play(
            state.book,
            bets.sizes,
            bets.gain,
            bets.left,
            p,
            novelty.SHARE * chunk.inflow,
            before.units,
            0 if state.latched else looked + 1,
            self.least_effect,
            CALM,
        )
        state.restless |= restless
        if 0 <= page < looked:
            state.latched, stake = True, novelty.SHARE * float(chunk.inflow[page])
            return Alarm(page, before.units + 1 + page, "novelty", evidence, stake, age, effect)
        if look is None:
            return None
        state.latched, then, j = True, before.copy(), int(looks[look, 0])
        self._advance(then, chunk.head(looked + 1))
        return Alarm(
            index=looked,
            position=then.units,
            lane=f"look {SCALES[j]}",
            evidence=min(1e6, math.exp(min(float(gaps[look]), 14.0))),
            threshold=float(looks[look, 4]),
            age=self._age(then, j),
            effect=float(lengths[look]),
        )

    def _lengths(self, looks: FloatArray) -> FloatArray:
        """(looks,) length of the shift behind each, less what chance adds, in standard deviations of the reference."""
        return np.asarray(np.sqrt(np.maximum(0, looks[:, 2] / self.reference.mean - looks[:, 3])))

    def _age(self, state: VectorState, j: int) -> int:
        """Estimated units since the change began: where a step fits the moving means best, along the one that paged.

        A step t units ago has moved the mean of scale h by 1 - exp(-t/h) of its size, which least squares fit.
        """
        rows, variance = self._moved(state)
        moved = rows @ self._weighted(rows[j])
        ages = np.unique(np.geomspace(1, min(state.units, AGES * SCALES[-1]), 100).round())
        expected = 1 - np.exp(-ages[:, None] / np.array(SCALES))
        fit = (expected @ (moved / variance)).clip(0) ** 2 / (expected**2 @ (1 / variance))
        return int(ages[int(fit.argmax())])

    def _weighted(self, row: Float32Array) -> Float32Array:
        """(d,) whose dot product with a vector is the weighted one of (d,) `row`."""
        axes, weights = self.reference.axes[:, :-1], self.reference.weights - self.reference.rest
        return np.asarray(self.reference.rest * row + (row @ axes * weights) @ axes.T, np.float32)

    def _ranks(
        self, state: VectorState, chunk: _Chunk, strangeness: FloatArray, uniforms: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """(n,) bins of strangeness; (n,) p-values."""
        reference = self.reference
        bins = kernels.bins(chunk.vectors, strangeness, reference.space, reference.grid, reference.mean, BINS - 1)
        return bins, kernels.p_values(state.counts, chunk.places, bins, uniforms)

    @cached_property
    def _known_bets(self) -> dict[int, novelty.Bets]:
        return {}

    def _bets(self, grown: int) -> novelty.Bets:
        if grown not in self._known_bets:
            fewest = int(self.reference.novelty.sum(axis=1).min())  # a climb may happen in one place of the cycle alone
            self._known_bets[grown] = novelty.Bets.against(fewest + grown, self.units_per_page)
        return self._known_bets[grown]

    # -- growth and calm -------------------------------------------------------------------------------------------

    def _close_chunk(self, state: VectorState) -> VectorState:
        """Let the oldest chunk of the quarantine join the reference, unless the stream is latched; count calm units."""
        restless, state.restless = state.restless, False
        if state.latched:
            state.calm = 0 if restless else state.calm + CHUNK
            return self.start() if state.calm >= self.reference.units else state
        if not len(state.waiting_bins):
            return state
        oldest, bins = state.waiting_sums[0].copy(), state.waiting_bins[0].copy()
        state.waiting_sums, state.waiting_bins = np.roll(state.waiting_sums, -1, 0), np.roll(state.waiting_bins, -1, 0)
        state.waiting_sums[-1] = 0
        if state.units // CHUNK <= QUARANTINE:
            return state
        state.grown += CHUNK
        units = self.reference.units + state.grown
        state.shift = state.shift + (oldest - CHUNK * state.shift) / np.float32(units)
        state.counts = state.counts + np.bincount(bins, minlength=BINS)
        if units + CHUNK > MOST_UNITS:
            state.waiting_sums, state.waiting_bins = state.waiting_sums[:0], state.waiting_bins[:0]
        return state


def update_many(
    detector: VectorDetector, states: Sequence[VectorState], batches: Sequence[Batch], measure: Measure | None = None
) -> list[tuple[VectorState, list[Alarm]]]:
    """`VectorDetector.update` of many streams that share a reference; their strangeness is measured together.

    Args:
        detector: of all of them.
        states: one a stream.
        batches: one a stream.
        measure: what measures; the reference itself, on this processor, if none is given.
    """
    strangeness = (measure or detector.reference).strangeness(np.concatenate([batch.values for batch in batches]))
    ends = np.cumsum([len(batch) for batch in batches])[:-1]
    return [
        detector.update(state, batch, measured)
        for state, batch, measured in zip(states, batches, np.split(strangeness, ends), strict=True)
    ]


def _first(flags: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(flags)
    return int(found[0]) if len(found) else None


def _log_levels(levels: FloatArray) -> FloatArray:
    """(n,) logs of what looks may spend; minus infinity for nothing."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(levels))
