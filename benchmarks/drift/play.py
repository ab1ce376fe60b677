"""Plays detectors over streams: all pages of one in which nothing changes, the first page of one that changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Alarm, Batch, FloatArray, IntArray

STEPS = (64, 64, 128, 256, 512, 1_024)
"""Units fed at a time after a start: a page early on must not cost the features of the whole stream."""


@dataclass(frozen=True)
class Watched:
    """One stream with its detector.

    Attributes:
        detector: as in `detectors.drift.Detector`.
        values: (n,) numbers or (n, d) vectors.
        uniforms: (n,) for ties.
        buckets: (n,) places in the cycle, if it has one.
    """

    detector: Any
    values: NDArray[np.floating[Any]]
    uniforms: FloatArray
    buckets: IntArray | None = None

    def batch(self, start: int, stop: int, inflow: float) -> Batch:
        """The units from start to stop."""
        buckets = None if self.buckets is None else self.buckets[start:stop]
        return Batch(self.values[start:stop], np.full(stop - start, inflow), self.uniforms[start:stop], buckets)


def at_budget(detector: Any, units_per_page: float) -> Any:
    """The detector for another budget; one that needs not know it stays as it is."""
    return replace(detector, units_per_page=units_per_page) if hasattr(detector, "units_per_page") else detector


def count_pages(watched: Watched, units_per_page: float, start: int, stop: int) -> int:
    """All pages from start to stop; each one starts the stream afresh, so that it may page again."""
    detector = at_budget(watched.detector, units_per_page)
    pages, at, state, step = 0, start, detector.start(), 0
    while at < stop:
        batch = watched.batch(at, min(at + STEPS[min(step, len(STEPS) - 1)], stop), 1 / units_per_page)
        state, alarms = detector.update(state, batch)
        at, step = at + len(batch), step + 1
        if alarms:
            at += alarms[0].index + 1 - len(batch)
            pages, state, step = pages + 1, detector.start(), 0
    return pages


class Source(Protocol):
    """A stream that is drawn as it is read."""

    def __len__(self) -> int: ...

    def values(self, start: int, stop: int) -> NDArray[np.floating[Any]]:
        """(stop - start, …) its units."""
        ...


@dataclass(frozen=True)
class Found:
    """The first page after a change.

    Attributes:
        delay: units from the change to the page, the page's own included; the whole horizon if there is none.
        alarm: what the detector said; none if it said nothing.
        state: of the detector at the page.
        early: pages before the change, after each of which the stream was started afresh.
    """

    delay: int
    alarm: Alarm | None
    state: Any
    early: int


def first_page(detector: Any, source: Source, inflow: float, uniforms: FloatArray, change_at: int) -> Found:
    """Feed a source until the detector pages after its change."""
    state, early, at, step = detector.start(), 0, 0, 0
    while at < len(source):
        stop = change_at if at < change_at else min(at + STEPS[min(step, len(STEPS) - 1)], len(source))
        batch = Batch(source.values(at, stop), np.full(stop - at, inflow), uniforms[at:stop])
        before, (state, alarms) = state, detector.update(state, batch)
        step += at >= change_at
        if alarms and at >= change_at:
            alarm = alarms[0]
            state, _ = detector.update(before, _head(batch, alarm.index + 1))
            return Found(at + alarm.index + 1 - change_at, alarm, state, early)
        at = stop
        if alarms:
            at += alarms[0].index + 1 - len(batch)
            early, state = early + 1, detector.start()
    return Found(len(source) - change_at, None, state, early)


def _head(batch: Batch, n: int) -> Batch:
    uniforms = None if batch.uniforms is None else batch.uniforms[:n]
    return Batch(batch.values[:n], batch.inflow[:n], uniforms)
