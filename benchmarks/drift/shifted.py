"""Delays at the nominal budget: what a person gets, not recalibrated; and what the page says then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.drift.changes import CHANGE_AT, CHANGES, RAMPS, SETS, SHIFTS, Mixture
from benchmarks.drift.intervals import mean_error
from benchmarks.drift.ledger import VECTOR_LANES, Cell, Ledger, Record
from benchmarks.drift.play import Found, at_budget, first_page
from detectors.drift import Float32Array, reference
from detectors.drift.vectors import VectorDetector
from streams.core.explain import exemplars_of
from streams.core.reference import Composition, Reference
from streams.core.units import Unit

__all__ = ["SETS", "SOURCES", "cell_of", "cells", "rows", "run"]

SOURCES = (
    *VECTOR_LANES,
    "streams/core/explain.py",
    *(f"benchmarks/drift/{name}.py" for name in ("shifted", "changes", "play", "texts")),
)
HORIZON = 40_000
WINDOW = 512
STREAM = "prompt"


def cell_of(units: int, per_page: tuple[int, ...], changes: Iterable[str], seeds: int, horizon: int = HORIZON) -> Cell:
    """So many changes at so many budgets, all with one reference a seed."""
    parameters = {"units": units, "units_per_page": list(per_page), "changes": list(changes), "horizon": horizon}
    return Cell("shifted", parameters, seeds, 4)


def cells(_: Ledger) -> list[Cell]:
    """Every shift at two budgets and with two sizes of the reference; slow ramps."""
    ramps = [cell_of(10_000, (100_000,), [name], 96, ramp.over + HORIZON) for name, ramp in RAMPS.items()]
    shifts = [cell_of(units, (100_000, 2_000_000), SHIFTS, seeds) for units, seeds in ((10_000, 192), (2_500, 96))]
    return shifts + ramps


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> Record:
    """Delay, estimated beginning and precision of exemplars for every change and budget, with one reference."""
    random = np.random.default_rng((seed, 2))
    ordinary = sets["assistant"]
    fitted = reference.fit(ordinary[random.integers(len(ordinary), size=parameters["units"])], seed=seed)
    found: Record = {}
    for name in parameters["changes"]:
        mixture = Mixture(sets, CHANGES[name], random, parameters["horizon"])
        uniforms = random.random(len(mixture))
        for per_page in parameters["units_per_page"]:
            detector = at_budget(VectorDetector(fitted, 1.0), per_page)
            page = first_page(detector, mixture, 1 / per_page, uniforms, CHANGE_AT)
            found[f"{name}, {per_page}"] = told(detector, mixture, page)
    return found


def told(detector: VectorDetector, mixture: Mixture, page: Found) -> Record:
    """What a page says, beside the truth."""
    record: Record = {"delay": page.delay, "early": page.early}
    if page.alarm is None:
        return record
    stop = CHANGE_AT + page.delay
    start = max(0, stop - WINDOW)
    vectors = mixture.values(start, stop)
    window = [Unit(str(start + i), 0.0, "", {STREAM: vector}, {}, {}) for i, vector in enumerate(vectors)]
    exemplars = exemplars_of(_reference(detector), STREAM, page.state, page.alarm, window)
    changed = sum(bool(mixture.changed[int(exemplar.interaction_id)]) for exemplar in exemplars)
    possible = min(len(exemplars), int(mixture.changed[start:stop].sum()))
    return record | {
        "lane": page.alarm.lane,
        "age": page.alarm.age,
        "exemplars": changed,
        "shown": len(exemplars),
        "possible": possible,
    }


def _reference(detector: VectorDetector) -> Reference:
    """The application's reference, as far as exemplars need one."""
    nothing: dict[str, Any] = {}
    return Reference("", "", "", 0.0, 0.0, (), {STREAM: detector}, nothing, nothing, Composition(), nothing)


def rows(ledger: Ledger, of: list[Cell]) -> list[Record]:
    """One row for each cell, change and budget."""
    found = []
    for cell in of:
        records = ledger.records(cell)
        for per_page in cell.parameters["units_per_page"] if records else ():
            for name in cell.parameters["changes"]:
                told = [record[f"{name}, {per_page}"] for record in records]
                found.append({"change": name, "c": per_page, "N": cell.parameters["units"]} | summary(told))
    return found


def summary(told: list[Record]) -> Record:
    """Of the runs of one setting: delays, and what the pages said."""
    delays, paged = [run["delay"] for run in told], [run for run in told if "lane" in run]
    mean, error = mean_error(delays)
    quartiles = np.percentile([run["age"] - run["delay"] for run in paged], (25, 50, 75)).round() if paged else []
    return {
        "runs": len(told),
        "delay": round(mean, 1),
        "error": round(error, 1),
        "median": float(np.median(delays)),
        "not found": len(told) - len(paged),
        "early pages": sum(run["early"] for run in told),
        "beginning, quartiles of the error": [int(quartile) for quartile in quartiles],
        "exemplars from the change": _mean(paged, "exemplars"),
        "of": _mean(paged, "shown"),
        "at most": _mean(paged, "possible"),
    }


def _mean(runs: list[Record], name: str) -> float | None:
    return round(float(np.mean([run[name] for run in runs])), 2) if runs else None
