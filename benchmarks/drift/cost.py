"""What the detector costs: CPU an event, bytes of state, seconds to configure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from benchmarks.drift.changes import NULL
from benchmarks.drift.ledger import Cell, Ledger, Record
from detectors.drift import Batch, Float32Array, FloatArray, rank, reference, to_arrays
from detectors.drift.rank import RankDetector
from detectors.drift.vectors import VectorDetector, update_many

SETS = (NULL,)
SOURCES = ("detectors/drift/*.py", "benchmarks/drift/cost.py")
BATCHES = (1, 64, 1_024)
EVENTS = {1: 4_096, 64: 16_384, 1_024: 32_768}
PER_PAGE = 100_000
GROWTH = ("shift", "counts", "waiting_sums", "waiting_bins")
"""Fields of the state that make the reference grow; the others are looks and capitals."""


def cells(_: Ledger) -> list[Cell]:
    """A small and a large reference."""
    return [Cell("cost", {"units": units}, 5, 1) for units in (2_000, 10_000)]


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> Record:
    """One reference: seconds to fit it, CPU microseconds an event by the size of batches, bytes of the state."""
    random, units = np.random.default_rng((seed, 5)), parameters["units"]
    pool = sets[NULL]
    known, numbers = pool[random.integers(len(pool), size=units)], random.lognormal(size=units)
    fit_seconds, fitted = _timed(lambda: reference.fit(known, seed=seed))
    vectors = VectorDetector(fitted, PER_PAGE)
    signal = RankDetector(rank.fit(numbers, seed=seed))
    stream = pool[random.integers(len(pool), size=max(EVENTS.values()))]
    values, uniforms = random.lognormal(size=len(stream)), random.random(len(stream))
    found = {"fit seconds": fit_seconds}
    for size in BATCHES:
        found[f"vectors, batches of {size}"], state = _per_event(vectors, stream, uniforms, size)
        found[f"signal, batches of {size}"], _ = _per_event(signal, values, uniforms, size)
    found["vectors, one unit of each of 64 streams"] = _side_by_side(vectors, stream, uniforms)
    sizes = {field.name: int(np.asarray(getattr(state, field.name)).nbytes) for field in fields(state)}
    looks = sum(size for name, size in sizes.items() if name not in GROWTH)
    reference_bytes = sum(array.nbytes for array in to_arrays(fitted, "").values())
    return found | {"looks and capitals": looks, "whole state": sum(sizes.values()), "reference": reference_bytes}


def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = act()
    return time.process_time() - began, result


def _per_event(detector: Any, values: Any, uniforms: Any, size: int) -> tuple[float, Any]:
    """CPU microseconds an event, after one batch that nobody times."""
    inflow = np.full(size, 1 / PER_PAGE)
    batches = [
        Batch(values[start : start + size], inflow, uniforms[start : start + size])
        for start in range(0, EVENTS[size] - size + 1, size)
    ]
    state, _ = detector.update(detector.start(), batches[0])

    def feed() -> Any:
        now = state
        for batch in batches:
            now, _ = detector.update(now, batch)
        return now

    seconds, after = _timed(feed)
    return seconds / (size * len(batches)) * 1e6, after


def _side_by_side(detector: VectorDetector, values: Float32Array, uniforms: FloatArray) -> float:
    """CPU microseconds an event, of streams that share a reference and are fed together."""
    streams, rounds, inflow = 64, 64, np.full(1, 1 / PER_PAGE)
    units = [Batch(values[i : i + 1], inflow, uniforms[i : i + 1]) for i in range(streams * rounds)]

    def feed() -> None:
        states = [detector.start()] * streams
        for start in range(0, len(units), streams):
            states = [state for state, _ in update_many(detector, states, units[start : start + streams])]

    return _timed(feed)[0] / len(units) * 1e6


def rows(ledger: Ledger, of: list[Cell]) -> list[Record]:
    """One row for each size of the reference: medians."""
    found = []
    for cell in of:
        records = ledger.records(cell)
        if records:
            medians = {name: round(float(np.median([record[name] for record in records])), 2) for name in records[0]}
            found.append({"N": cell.parameters["units"], "runs": len(records)} | medians)
    return found
