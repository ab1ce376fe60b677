"""Fits a reference out of collected units, by the rules that its streams will judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from detectors.drift import Float32Array, FloatArray, IntArray, ReferenceRefused, given, rank, reference
from detectors.drift.bets import Tails
from detectors.drift.cycle import Cycle
from detectors.drift.given import REGRESSION_SHARE, Given
from detectors.drift.rank import RankDetector
from detectors.drift.reference import LEAST_UNITS
from detectors.drift.vectors import VectorDetector
from streams.core.answers import Answers
from streams.core.budget import elapsed
from streams.core.columns import Columns
from streams.core.reference import Composition, Reference, StreamDetector
from streams.core.units import GIVEN, SIDES, VECTOR_STREAMS, Unit

LEAST_VECTORS = dict.fromkeys(SIDES, LEAST_UNITS) | {GIVEN: int((1 - REGRESSION_SHARE) * LEAST_UNITS)}
SAMPLE = 256
ORDINARY = 5


def make_reference(
    application: str,
    units: Sequence[Unit],
    watched: Mapping[str, Tails],
    pages_per_second: float,
    run_id: str = "",
    segment: str = "",
) -> Reference:
    """Fit every stream of an application or a segment.

    Args:
        application: whose.
        units: at least 2,000, in order, all of one encoder.
        watched: signals to watch, and on which side harm lies.
        pages_per_second: the group's share of the budget.
        run_id: the retraining run after which it was collected.
        segment: which part of the application's traffic, "" for all of it.

    Raises:
        ReferenceRefused: not a single stream could be fitted.
    """
    identity = f"tocsin:reference:{application}:{segment}:{units[-1].interaction_id}"
    reference_id = str(uuid5(NAMESPACE_URL, identity))
    making = _Making(units, seed=int(reference_id[:8], 16))
    present = [name for name in watched if making.can_watch(name)]
    per_unit = pages_per_second * max(_seconds(units), 1.0) / len(units) / (len(VECTOR_STREAMS) + len(present))
    for name in VECTOR_STREAMS:
        making.fit_vectors(name, 1 / per_unit)
    for name in present:
        making.fit_signal(name, watched[name])
    if not making.detectors:
        raise ReferenceRefused("; ".join(f"{name}: {why}" for name, why in making.refused.items()))
    return Reference(
        reference_id=reference_id,
        application=application,
        segment=segment,
        encoder=making.encoder,
        dimensions=making.dimensions,
        first_at=float(making.columns.seconds.min()),
        last_at=float(making.columns.seconds.max()),
        members=tuple(unit.interaction_id for unit in units),
        detectors=making.detectors,
        given=making.given if GIVEN in making.detectors else None,
        answers=making.answers(),
        cycle=making.cycle if making.cycle.count > 1 else None,
        ordinary=making.ordinary,
        samples=making.samples,
        composition=Composition.of(units),
        refused=making.refused,
        run_id=run_id,
    )


class _Making:
    """A reference in the making."""

    def __init__(self, units: Sequence[Unit], seed: int) -> None:
        self.units, self.columns, self.seed = units, Columns(units), seed
        self.cycle = Cycle.fit(self.columns.seconds)
        self.places = self.cycle.bucket(self.columns.seconds)
        self.encoder, self.dimensions = units[-1].encoder, len(units[-1].vectors["prompt"])
        self.detectors: dict[str, StreamDetector] = {}
        self.given: Given | None = None
        self.ordinary: dict[str, tuple[str, ...]] = {}
        self.samples: dict[str, Float32Array] = {}
        self.refused: dict[str, str] = {}

    def can_watch(self, signal: str) -> bool:
        """Whether enough units have a signal."""
        return int(np.isfinite(self.columns.signal(signal)).sum()) >= LEAST_UNITS

    def fit_vectors(self, stream: str, units_per_page: float) -> None:
        """Fit a vector stream, or note why it cannot be."""
        try:
            vectors = self._residuals if stream == GIVEN else self._side(stream)
            rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
            fitted = reference.fit(
                vectors[rows], buckets=self.places[rows], seed=self.seed, least=LEAST_VECTORS[stream]
            )
        except ReferenceRefused as reason:
            self.refused[stream] = str(reason)
            return
        self.detectors[stream] = VectorDetector(fitted, units_per_page)
        self._note_ordinary(stream, rows, fitted.strangeness(vectors[rows]))
        self.samples[stream] = fitted.features(vectors[rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE]])

    def fit_signal(self, signal: str, tails: Tails) -> None:
        """Fit a signal that enough units have."""
        values = self.columns.signal(signal)
        self.detectors[signal] = RankDetector(rank.fit(values, buckets=self.places, seed=self.seed), tails)
        self._note_ordinary(signal, np.arange(len(values)), np.abs(values - np.nanmedian(values)))

    def answers(self) -> Answers | None:
        """How the prompts were answered, if both prompts and responses given them are watched."""
        asked = self.detectors.get("prompt")
        if not isinstance(asked, VectorDetector) or GIVEN not in self.detectors:
            return None
        return Answers.of(asked.reference, self._side("prompt"), self._residuals)

    def _side(self, side: str) -> Float32Array:
        return self.columns.vectors(side, self.encoder, self.dimensions)

    @cached_property
    def _residuals(self) -> Float32Array:
        """(N, d) what prompts leave unexplained of responses; NaN for pairs that the regression has learned from."""
        prompts, responses = (self._side(side) for side in SIDES)
        self.given = given.fit(prompts, responses, seed=self.seed)
        return np.where(self.given.held_out[:, None], self.given.residual(prompts, responses), np.float32(np.nan))

    def _note_ordinary(self, stream: str, rows: IntArray, distance: Float32Array | FloatArray) -> None:
        nearest = np.argsort(distance, kind="stable")[:ORDINARY]
        self.ordinary[stream] = tuple(self.units[rows[i]].interaction_id for i in nearest)


def _seconds(units: Sequence[Unit]) -> float:
    """Event time as the budget counts it: nothing for late units, an hour at most for a gap."""
    clock, seconds = units[0].occurred_at, 0.0
    for unit in units:
        seconds += elapsed(clock, unit.occurred_at)
        clock = max(clock, unit.occurred_at)
    return seconds
