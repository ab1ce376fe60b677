"""The detector of a vector stream: looks for diffuse change, novelty bets for concentrated change, and growth.

The way of a batch: moving means advance unit by unit with plain additions, which come out the same however a sequence
is cut; at the ends of blocks a look copies a mean. Lengths of all looks and strangeness of all units are then measured
by one product each, by this machine's processor or another (`Measure`). Where such a measure lies so near to a decision
that its last bits could matter, it is taken again exactly. So pages and states never depend on batches or devices.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.drift import CALM, Alarm, Batch, Float32Array, FloatArray, IntArray, novelty
from detectors.drift.novelty import CHUNK
from detectors.drift.reference import BINS, VectorReference, bins_of
from detectors.drift.tail import BLOCK, SCALES, log_p, rates, variances
from detectors.drift.usable import usable

LOOKS_SHARE = 0.6
STRIDES = tuple(scale // 4 for scale in SCALES)
QUARANTINE = 8
"""Whole chunks that wait before they join the reference: 4,096 units, so that a change is seen before it is learned."""

MOST_UNITS = 20_000
AGES = 4  # longest scales that an estimate of a change's beginning goes back
NEAR = 2e-3
"""A log p-value this near to its level, or a strangeness this near to the edge of a bin, in bins, is measured again
exactly; errors of single precision are several times smaller."""

ROUNDING = 2.0**-16
"""The same for a strangeness where bins are narrow, of the squares that it is the difference of: 256 roundings."""


class Measure(Protocol):
    """Measures many rows at once; single precision will do. A `VectorReference` is one."""

    def squares(self, rows: Float32Array) -> FloatArray:
        """(n,) weighted square lengths of (n, d) rows."""
        ...

    def strangeness(self, vectors: Float32Array) -> FloatArray:
        """(n,) weighted square distances of (n, d) vectors from their nearest centroids."""
        ...


VARIANCES = np.array([variances(blocks) for blocks in range(4 * SCALES[-1] // BLOCK + 1)])
"""(blocks, scales) until the longest scale has settled to single precision."""

RATES = rates()[:, None].astype(np.float32)

Question = tuple[Float32Array, Float32Array]
Answer = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class VectorState:
    """A vector stream after some units: 6.3 kB of means and capitals for 384 dimensions, 34 kB in all while it grows.

    Attributes:
        units: t, units since the start.
        means: (scales, d + buckets) moving means of the differences from the centre, and of the places of the cycle.
        block: (d + buckets,) sum over the units of the block that is not complete.
        inflow: pages that all units brought.
        looked: (scales,) of that, what had come by each scale's last look.
        stakes: (scales,) inflow that each scale's last look could spend.
        book: (3, bets) of the novelty lane, see `novelty.play`.
        shift: (d,) what growth added to the centre.
        grown: units that joined the reference.
        counts: (buckets, bins) of strangeness, grown units included.
        waiting_sums: (chunks, d) differences of units in quarantine from the centre, as sums of blocks' means; the
            chunk under way last.
        waiting_bins: (chunks, chunk) their bins of strangeness.
        latched: a page went out and is not dealt with.
        restless: evidence was at least a tenth since the chunk under way began.
        calm: units, in whole chunks, since it last was.
    """

    units: int
    means: Float32Array
    block: Float32Array
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


@dataclass(frozen=True)
class _Looks:
    """Looks of a chunk, in their order: scale, unit of the chunk, all moving means then; the one that is looked at less
    the centre, and what it may spend."""

    scales: IntArray
    units: IntArray
    means: list[Float32Array]
    rows: Float32Array
    variances: FloatArray
    stakes: FloatArray


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
            block=np.zeros(d + places, np.float32),
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

    def update(self, state: VectorState, batch: Batch) -> tuple[VectorState, list[Alarm]]:
        """See `Detector.update`; `batch.values` is (n, d)."""
        return update_many(self, [state], [batch])[0]

    def read(self, state: VectorState) -> float:
        """The larger of the novelty capital and the evidence of the moving means at their last stakes, at most 1."""
        capital = float(novelty.capital(state.book, self._bets(state.grown), state.units).sum())
        looks = float((_log_levels(state.stakes) - self.log_p_values(state)).max())
        return min(1.0, max(capital, math.exp(min(0.0, looks))))

    def log_p_values(self, state: VectorState) -> FloatArray:
        """(scales,) log p-values of the moving means as they stand."""
        scales = np.arange(len(SCALES))
        rows, variance = self._look(state, state.means, np.full(len(SCALES), max(1, state.units // BLOCK)), scales)
        squares = np.array([self.reference.exact_square(row) for row in rows])
        return self._log_p(scales, squares, variance)

    def direction(self, state: VectorState, scale: int) -> Float32Array:
        """(d,) direction of the change at this scale: units whose dot product with it is large speak for it."""
        j = SCALES.index(scale)
        blocks = np.array([max(1, state.units // BLOCK)])
        return self._weighted(self._look(state, state.means[j : j + 1], blocks, np.array([j]))[0][0])

    def steps(self, state: VectorState, batch: Batch) -> Generator[Question, Answer, tuple[VectorState, list[Alarm]]]:
        """An update that asks for its measures: yields rows of looks and vectors, is sent squares and strangeness."""
        assert batch.uniforms is not None, "vectors may tie"
        vectors = np.asarray(batch.values, np.float32)
        places = np.zeros(len(batch), np.int64) if batch.buckets is None else np.asarray(batch.buckets, np.int64)
        rows, alarms = np.flatnonzero(usable(vectors)), list[Alarm]()
        while len(rows):
            now, rows = np.split(rows, [CHUNK - state.units % CHUNK])
            x, at = vectors[now], places[now]
            after, looks = self._advance(state, x, at, batch.inflow[now])
            squares, strangeness = yield looks.rows, x
            bins = self._bins(x, strangeness)
            p = novelty.p_values(state.counts, at, bins, batch.uniforms[now])
            state, found = self._decide(after, looks, squares, p, batch.inflow[now], now)
            state = self._wait(state, bins)
            alarms += found
            if state.units % CHUNK == 0:
                state = self._close_chunk(state)
        return state, alarms

    # -- moving means ----------------------------------------------------------------------------------------------

    def _advance(
        self, state: VectorState, x: Float32Array, places: IntArray, inflow: FloatArray
    ) -> tuple[VectorState, _Looks]:
        """Take units into the moving means; nothing here depends on where a sequence is cut."""
        n, d = x.shape
        differences = np.zeros((n, d + len(self.reference.centres)), np.float32)
        differences[:, :d] = x - self.reference.centres[places]
        differences[np.arange(n), d + places] = 1
        spent = np.add.accumulate(np.concatenate([[state.inflow], inflow]))
        sums, rest = _blocks(state.block, state.units % BLOCK, differences)
        means, a, step = state.means.copy(), RATES, np.empty_like(state.means)
        waiting = state.waiting_sums.copy()
        looked, stakes, first = state.looked.copy(), state.stakes.copy(), BLOCK - state.units % BLOCK
        seen: list[tuple[int, int, float]] = []
        seen_means: list[Float32Array] = []
        blocks = sums / BLOCK
        if len(waiting):
            waiting[-1] = np.add.accumulate(np.concatenate([waiting[-1:], blocks[:, :d]]))[-1]
        for i, block in enumerate(blocks):
            np.subtract(block, means, out=step)
            step *= a
            means += step
            unit = first + i * BLOCK
            for j, stride in enumerate(STRIDES):
                if (state.units + unit) % stride:
                    break  # what does not divide a stride divides no longer one
                stakes[j], looked[j] = spent[unit] - looked[j], spent[unit]
                seen.append((j, unit - 1, float(stakes[j])))
                seen_means.append(means.copy())
        after = replace(
            state,
            units=state.units + n,
            means=means,
            block=rest,
            inflow=float(spent[-1]),
            looked=looked,
            stakes=stakes,
            waiting_sums=waiting,
        )
        scales, units = np.array([(j, unit) for j, unit, _ in seen], np.int64).reshape(-1, 2).T
        before = (state.units + units + 1) // BLOCK
        rows = [then[j] for then, j in zip(seen_means, scales, strict=True)]
        looked_at, variance = self._look(state, np.array(rows, np.float32).reshape(-1, means.shape[1]), before, scales)
        return after, _Looks(scales, units, seen_means, looked_at, variance, np.array([stake for _, _, stake in seen]))

    def _look(
        self, state: VectorState, means: Float32Array, blocks: IntArray, scales: IntArray
    ) -> tuple[Float32Array, FloatArray]:
        """(n, d) moving means less the centre; (n,) variances in units of one unit's, the centre's error included."""
        d = len(state.shift)
        weights = means[:, d:]
        counted = self.reference.bucket_units + state.grown  # a reference with several places does not grow
        variance = VARIANCES[np.minimum(blocks, len(VARIANCES) - 1), scales] + (weights**2 / counted).sum(axis=1)
        rows = means[:, :d]
        return (rows - weights.sum(axis=1)[:, None] * state.shift if state.grown else rows), variance

    # -- evidence --------------------------------------------------------------------------------------------------

    def _log_p(self, scales: IntArray, squares: FloatArray, variance: FloatArray) -> FloatArray:
        reference = self.reference
        statistic = (squares / variance - reference.mean) / reference.scale
        return log_p(statistic, reference.tail[scales])

    def _gap(self, j: int, row: Float32Array, variance: float, stake: float) -> float:
        """Log of level over p-value of one look, measured exactly; it pages from 0 on."""
        square = np.array([self.reference.exact_square(row)])
        return float((_log_levels(np.array([stake])) - self._log_p(np.array([j]), square, np.array([variance])))[0])

    def _length(self, row: Float32Array, variance: float) -> float:
        """Length of the shift behind a look, less what chance adds, in standard deviations of the reference."""
        return math.sqrt(max(0.0, self.reference.exact_square(row) / self.reference.mean - variance))

    def _decide(
        self, state: VectorState, looks: _Looks, squares: FloatArray, p: FloatArray, inflow: FloatArray, index: IntArray
    ) -> tuple[VectorState, list[Alarm]]:
        """Which unit of the chunk pages, if any does; `index` are its units' places in the batch."""
        gaps = _log_levels(looks.stakes) - self._log_p(looks.scales, squares, looks.variances)
        marks = (0.0, math.log(CALM))
        for k in np.flatnonzero(np.min([np.abs(gaps - mark) for mark in marks], axis=0) < NEAR):
            gaps[k] = self._gap(int(looks.scales[k]), looks.rows[k], float(looks.variances[k]), float(looks.stakes[k]))
        paging = (
            k for k in np.flatnonzero(gaps >= 0) if self._length(looks.rows[k], looks.variances[k]) >= self.least_effect
        )
        look = None if state.latched else next(paging, None)
        latched_from = 0 if state.latched else len(p) if look is None else int(looks.units[look]) + 1
        book, before, bets = state.book.copy(), state.units - len(p), self._bets(state.grown)
        played = novelty.play(book, bets, p, inflow, before, latched_from, self.least_effect, CALM)
        alarms = list[Alarm]()
        if played.page is not None and (look is None or played.page < looks.units[look]):
            stake = novelty.SHARE * float(inflow[played.page])
            where = (int(index[played.page]), before + 1 + played.page, "novelty")
            alarms.append(Alarm(*where, played.evidence, stake, played.age, played.effect))
        elif look is not None:
            alarms.append(self._alarm(state, looks, int(look), index, before + 1))
        return replace(
            state,
            book=book,
            latched=state.latched or bool(alarms),
            restless=state.restless or played.restless or bool((gaps >= marks[1]).any()),
        ), alarms

    def _alarm(self, state: VectorState, looks: _Looks, k: int, index: IntArray, first_unit: int) -> Alarm:
        j, unit, row = int(looks.scales[k]), int(looks.units[k]), looks.rows[k]
        variance, stake = float(looks.variances[k]), float(looks.stakes[k])
        return Alarm(
            index=int(index[unit]),
            position=first_unit + unit,
            lane=f"look {SCALES[j]}",
            evidence=min(1e6, math.exp(min(self._gap(j, row, variance, stake), 14.0))),
            threshold=stake,
            age=self._age(state, looks.means[k], j, first_unit + unit),
            effect=self._length(row, variance),
        )

    def _age(self, state: VectorState, means: Float32Array, j: int, units: int) -> int:
        """Estimated units since the change began: where a step fits the moving means best, along the one that paged.

        A step t units ago has moved the mean of scale h by 1 - exp(-t/h) of its size, which least squares fit.
        """
        scales, blocks = np.arange(len(SCALES)), np.full(len(SCALES), max(1, units // BLOCK))
        rows, variance = self._look(state, means, blocks, scales)
        moved = rows @ self._weighted(rows[j])
        ages = np.unique(np.geomspace(1, min(units, AGES * SCALES[-1]), 100).round())
        expected = 1 - np.exp(-ages[:, None] / np.array(SCALES))
        fit = (expected @ (moved / variance)).clip(0) ** 2 / (expected**2 @ (1 / variance))
        return int(ages[int(fit.argmax())])

    def _weighted(self, row: Float32Array) -> Float32Array:
        """(d,) whose dot product with a vector is the weighted one of (d,) `row`."""
        axes, weights = self.reference.axes[:, :-1], self.reference.weights - self.reference.rest
        return np.asarray(self.reference.rest * row + (row @ axes * weights) @ axes.T, np.float32)

    def _bins(self, x: Float32Array, strangeness: FloatArray) -> IntArray:
        place = (strangeness - self.reference.grid[0]) / self.reference.grid[1]
        squares = (self.reference.mean + np.abs(strangeness)) / self.reference.grid[1]  # about, in bins
        near = np.flatnonzero(np.abs(place - np.rint(place)) < NEAR + ROUNDING * squares)
        strangeness = strangeness.copy()
        strangeness[near] = self.reference.exact_strangeness(x[near])
        return bins_of(strangeness, self.reference.grid)

    @cached_property
    def _known_bets(self) -> dict[int, novelty.Bets]:
        return {}

    def _bets(self, grown: int) -> novelty.Bets:
        if grown not in self._known_bets:
            fewest = int(self.reference.novelty.sum(axis=1).min())  # a climb may happen in one place of the cycle alone
            self._known_bets[grown] = novelty.Bets.against(fewest + grown, self.units_per_page)
        return self._known_bets[grown]

    # -- growth and calm -------------------------------------------------------------------------------------------

    def _wait(self, state: VectorState, bins: IntArray) -> VectorState:
        """Put the chunk's units in quarantine."""
        if not len(state.waiting_bins):
            return state
        waiting, end = state.waiting_bins.copy(), (state.units - 1) % CHUNK + 1
        waiting[-1, end - len(bins) : end] = bins
        return replace(state, waiting_bins=waiting)

    def _close_chunk(self, state: VectorState) -> VectorState:
        """Let the oldest chunk of the quarantine join the reference, unless the stream is latched; count calm units."""
        if state.latched:
            calm = 0 if state.restless else state.calm + CHUNK
            return self.start() if calm >= self.reference.units else replace(state, calm=calm, restless=False)
        state = replace(state, restless=False)
        if not len(state.waiting_bins):
            return state
        sums, bins = np.roll(state.waiting_sums, -1, axis=0), np.roll(state.waiting_bins, -1, axis=0)
        oldest, sums[-1] = BLOCK * sums[-1], 0
        waited, after = state.units // CHUNK > QUARANTINE, replace(state, waiting_sums=sums, waiting_bins=bins)
        if not waited:
            return after
        units = self.reference.units + state.grown + CHUNK
        grown = replace(
            after,
            shift=state.shift + (oldest - CHUNK * state.shift) / np.float32(units),
            grown=state.grown + CHUNK,
            counts=state.counts + np.bincount(bins[-1], minlength=BINS),
        )
        if units + CHUNK <= MOST_UNITS:
            return grown
        return replace(grown, waiting_sums=sums[:0], waiting_bins=bins[:0])


def update_many(
    detector: VectorDetector, states: Sequence[VectorState], batches: Sequence[Batch], measure: Measure | None = None
) -> list[tuple[VectorState, list[Alarm]]]:
    """`VectorDetector.update` of many streams that share a reference; their measures are taken together.

    Args:
        detector: of all of them.
        states: one a stream.
        batches: one a stream.
        measure: what takes the measures; the reference itself, on this processor, if none is given.
    """
    measure = measure or detector.reference
    results: dict[int, tuple[VectorState, list[Alarm]]] = {}
    running = {i: detector.steps(state, batch) for i, (state, batch) in enumerate(zip(states, batches, strict=True))}
    answers: dict[int, Answer] = {}
    while running:
        questions: dict[int, Question] = {}
        for i, steps in running.items():
            try:
                questions[i] = steps.send(answers[i]) if i in answers else next(steps)
            except StopIteration as done:
                results[i] = done.value
        running = {i: running[i] for i in questions}
        answers = _ask(measure, questions)
    return [results[i] for i in range(len(states))]


def _ask(measure: Measure, questions: dict[int, Question]) -> dict[int, Answer]:
    if not questions:
        return {}
    if len(questions) == 1:
        ((i, (rows, vectors)),) = questions.items()
        return {i: (measure.squares(rows), measure.strangeness(vectors))}
    squares = measure.squares(np.concatenate([rows for rows, _ in questions.values()]))
    strangeness = measure.strangeness(np.concatenate([vectors for _, vectors in questions.values()]))
    ends_of_rows = np.cumsum([0, *(len(rows) for rows, _ in questions.values())])
    ends = np.cumsum([0, *(len(vectors) for _, vectors in questions.values())])
    return {
        i: (squares[a:b], strangeness[c:e])
        for i, (a, b), (c, e) in zip(questions, pairwise(ends_of_rows), pairwise(ends), strict=True)
    }


def _log_levels(stakes: FloatArray) -> FloatArray:
    """(n,) log of the levels that looks may spend; minus infinity for nothing."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(LOOKS_SHARE / len(SCALES) * stakes))


def _blocks(carried: Float32Array, units: int, rows: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Sums over complete blocks, (m, d), added up unit by unit, and the sum over what is left."""
    rest, head = carried, min(BLOCK - units, len(rows)) if units else 0
    for row in rows[:head]:
        rest = rest + row
    started = [rest[None]] if units and units + head == BLOCK else []
    if units and not started:
        return rows[:0], rest
    whole = (len(rows) - head) // BLOCK
    middle = rows[head : head + whole * BLOCK].reshape(whole, BLOCK, rows.shape[1])
    sums = middle[:, 0]
    for k in range(1, BLOCK):
        sums = sums + middle[:, k]
    rest = np.zeros_like(carried)
    for row in rows[head + whole * BLOCK :]:
        rest = rest + row
    return np.concatenate([*started, sums]), rest
