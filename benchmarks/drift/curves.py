"""Evidence over time, of one run of each change: what a person would have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.drift.changes import CHANGE_AT, CHANGES, SETS, Mixture
from benchmarks.drift.ledger import VECTOR_LANES, Cell, Ledger, Record
from detectors.drift import Batch, Float32Array, reference
from detectors.drift.vectors import VectorDetector

__all__ = ["SETS", "SOURCES", "cells", "rows", "run"]

SOURCES = (*VECTOR_LANES, *(f"benchmarks/drift/{name}.py" for name in ("curves", "changes", "texts")))
SHOWN = ("topic 10 %", "topic 20 %", "topic 50 %", "code 5 %", "German 5 %", "JSON 10 %", "0 to 30 % topic over 2,000")
UNITS, PER_PAGE, HORIZON, STEP, AFTERWARDS = 10_000, 100_000, 4_096, 8, 64


def cells(_: Ledger) -> list[Cell]:
    """One run of each."""
    return [Cell("curves", {"change": name, "units": UNITS, "units_per_page": PER_PAGE}, 1, 1) for name in SHOWN]


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> Record:
    """Evidence every 8 units, until shortly after the page."""
    random, ordinary = np.random.default_rng((seed, 6)), sets["assistant"]
    fitted = reference.fit(ordinary[random.integers(len(ordinary), size=parameters["units"])], seed=seed)
    detector = VectorDetector(fitted, parameters["units_per_page"])
    mixture = Mixture(sets, CHANGES[parameters["change"]], random, HORIZON)
    uniforms, state = random.random(len(mixture)), detector.start()
    evidence, stop = list[float](), len(mixture)
    for start in range(0, len(mixture), STEP):
        inflow = np.full(STEP, 1 / parameters["units_per_page"])
        batch = Batch(mixture.values(start, start + STEP), inflow, uniforms[start : start + STEP])
        state, alarms = detector.update(state, batch)
        evidence.append(float(f"{detector.read(state):.4g}"))
        stop = start + AFTERWARDS if alarms else stop
        if start >= stop:
            break
    return {"step": STEP, "change at": CHANGE_AT, "evidence": evidence}


def rows(ledger: Ledger, of: list[Cell]) -> list[Record]:
    """One row for each change, the curve in it."""
    return [{"change": cell.parameters["change"]} | record for cell in of for record in ledger.records(cell)]
