"""False pages against the budget, where nothing changes: the promise itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.drift.intervals import pages_over_budget
from benchmarks.drift.ledger import Cell, Ledger, Record
from benchmarks.drift.play import Watched, count_pages
from benchmarks.drift.traffic import LAWS
from detectors.drift import Float32Array, FloatArray, rank, reference
from detectors.drift.rank import RankDetector
from detectors.drift.vectors import VectorDetector

SOURCES = (
    "detectors/drift/*.py",
    "streams/core/units.py",
    *(f"benchmarks/drift/{name}.py" for name in ("null", "traffic", "play", "texts")),
)
SETS = ("assistant", "turns", "conversations")
SCALARS = ("latency", "words", "score")
RATES = (0.002, 0.02, 0.2)
TOGETHER = ("vectors", "latency", "score", 0.02, 0.2)
"""What one budget is shared by, equally, in the row of all together."""

USUAL = (1_000, 10_000, 100_000)
RARE = 2_000_000


def cell_of(
    traffic: str, kind: str, units: int, per_page: tuple[int, ...], seeds: int, streams: int = 1, length: int = 5_000
) -> Cell:
    """References of one size on one kind of traffic, at several budgets."""
    parameters = {"traffic": traffic, "kind": kind, "units": units, "units_per_page": list(per_page)}
    chunk = max(1, 200_000 // (length * streams))
    return Cell("null", parameters | {"streams": streams, "length": length}, seeds, min(chunk, 20))


def cells(_: Ledger) -> list[Cell]:
    """Everything that the promise covers, what it does not cover, and the traps."""
    plain, usual = partial(cell_of, "independent"), USUAL
    cured = ("sessions", "20 users interleaved", "retry bursts")
    traps = ("every turn a unit", "retry bursts, repeats counted", "day and night, no buckets")
    return [
        *(plain("embeddings", units, usual, seeds) for units, seeds in ((2_500, 1_000), (10_000, 500))),
        *(plain(kind, 2_500, usual, 4_000) for kind in ("scalars", "binaries")),
        plain("together", 2_500, usual, 500),
        *(plain("embeddings", units, (RARE,), 1_000, 4, 20_000) for units in (2_500, 10_000)),
        *(plain(kind, 2_500, (RARE,), 6_000, 2, 20_000) for kind in ("scalars", "binaries")),
        plain("together", 2_500, (RARE,), 600, 4, 10_000),
        *(cell_of(traffic, "embeddings", 2_500, (10_000, 100_000), 1_200, 2) for traffic in cured),
        cell_of("day and night", "embeddings", 10_000, (10_000, 100_000), 800, 3),
        *(cell_of(traffic, "embeddings", 2_500, (10_000,), 60) for traffic in traps[:2]),
        cell_of(traps[2], "embeddings", 10_000, (10_000,), 60),
        cell_of("conversations shuffled", "embeddings", 2_000, (1_000,), 200),
        cell_of("conversations in order", "embeddings", 2_000, (1_000,), 1),
    ]


def quick_cells() -> list[Cell]:
    """What continuous integration can afford: 2,000 short streams at one budget."""
    return [cell_of("independent, few texts", "embeddings", 2_000, (100_000,), 500, 4, 3_000)]


def run(parameters: Mapping[str, Any], seed: int, sets: Mapping[str, Float32Array]) -> Record:
    """Pages of one reference's streams, for each budget; the streams are the same for all budgets."""
    random = np.random.default_rng((seed, 1))
    names: dict[str, tuple[str | float, ...]] = {
        "embeddings": ("vectors",),
        "scalars": (SCALARS[seed % 3],),
        "binaries": (RATES[seed % 3],),
        "together": TOGETHER,
    }
    watched = [_watched(name, parameters, seed, random, sets) for name in names[parameters["kind"]]]
    units = min(len(one.values) for one in watched)
    length = -(-units // parameters["streams"])
    pages = {
        str(per_page): sum(
            count_pages(one, per_page * len(watched), start, min(start + length, units))
            for one in watched
            for start in range(0, units, length)
        )
        for per_page in parameters["units_per_page"]
    }
    return {"units": units, "pages": pages}


def _watched(
    name: str | float, parameters: Mapping[str, Any], seed: int, random: np.random.Generator, sets: Mapping[str, Any]
) -> Watched:
    """One stream of the kind, with a reference of its own; its budget is still to be said."""
    units, length = parameters["units"], parameters["streams"] * parameters["length"]
    if name == "vectors":
        drawn = LAWS[parameters["traffic"]](sets, random, units, length)
        fitted = reference.fit(drawn.reference, buckets=drawn.reference_buckets, seed=seed)
        return Watched(VectorDetector(fitted, 1.0), drawn.stream, random.random(len(drawn.stream)), drawn.buckets)
    values = _numbers(name, random, units + length)
    return Watched(RankDetector(rank.fit(values[:units], seed=seed)), values[units:], random.random(length))


def _numbers(name: str | float, random: np.random.Generator, n: int) -> FloatArray:
    """Continuous, in ties, with half of them equal, or 0 and 1."""
    match name:
        case "latency":
            return random.lognormal(size=n)
        case "words":
            return random.poisson(8, n).astype(np.float64)
        case "score":
            return np.maximum(random.normal(size=n), 0.0)
        case rate:
            return (random.random(n) < float(rate)).astype(np.float64)


def rows(ledger: Ledger, of: list[Cell]) -> list[Record]:
    """One row for each cell and budget that has records."""
    found = []
    for cell in of:
        records = ledger.records(cell)
        for per_page in cell.parameters["units_per_page"] if records else ():
            units, pages = sum(record["units"] for record in records), [r["pages"][str(per_page)] for r in records]
            ratio, low, high = pages_over_budget(pages, units / per_page)
            found.append(
                {"traffic": cell.parameters["traffic"], "streams": cell.parameters["kind"]}
                | {"N": cell.parameters["units"], "c": per_page, "references": len(records)}
                | {"streams of each": cell.parameters["streams"], "units": units}
                | {"budget": units / per_page, "pages": sum(pages), "most of one reference": max(pages)}
                | {"pages / budget": round(ratio, 3), "low": round(low, 3), "high": round(high, 3)}
            )
    return found
