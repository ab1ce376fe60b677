"""Does the drift detector keep its promise? False pages against the budget, and delays.

    python benchmarks/drift_null.py

Each null stream has a reference of its own, and both are drawn with replacement from one pool (clinc150, requests to
assistants): drawn without, they would share the pool's sampling error and flatter the result. A page starts the stream
afresh, so that it may page again. Delays are at the nominal budget, not recalibrated: a share of the events from number
1,024 on comes from elsewhere. Texts are encoded once, with the encoder that is shipped, and kept in the cache.

Data: CLINC150 and BANKING77 (CC-BY), arena-hard (Apache-2.0), German sentences of Tatoeba (CC-BY), as JSON Lines under
the directory that `TOCSIN_DATA` names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy import stats

from detectors.drift import Batch, reference
from detectors.drift.vectors import VectorDetector
from detectors.encoder import open_encoder
from detectors.encoder.bfloat16 import from_bfloat16, to_bfloat16

Vectors = NDArray[np.float32]

DATA = Path(os.environ.get("TOCSIN_DATA", Path(__file__).parents[2] / "shared" / "data"))
FILES = {
    "clinc150": ("drift/clinc150.jsonl.gz", "text"),
    "topic": ("drift/banking77.jsonl.gz", "text"),
    "German": ("drift/tatoeba_german.jsonl.gz", "text"),
    "code": ("interactions/arena_hard.jsonl.gz", "prompt"),
}
CODE = re.compile(
    r"```|\b(python|javascript|typescript|c\+\+|java|sql|html|css|php|rust|bash|regex|api|function)\b", re.I
)
UNITS_PER_PAGE = (10_000, 100_000)
CHANGE_AT, HORIZON = 1_024, 8_192
SHIFTS = {"topic 20 %": ("topic", 0.2), "code 5 %": ("code", 0.05), "German 5 %": ("German", 0.05)}
progress = Console(stderr=True)


def texts(name: str) -> list[str]:
    """The distinct texts of a set, in order; of arena-hard only those about code."""
    file, field = FILES[name]
    with gzip.open(DATA / file, "rt", encoding="utf-8") as lines:
        found = list(dict.fromkeys(json.loads(line)[field] for line in lines))
    return [text for text in found if CODE.search(text)] if name == "code" else found


def vectors(cache: Path) -> dict[str, Vectors]:
    """Every set's vectors, encoded at the first call."""
    encoder = open_encoder("onnx", cache=cache, threads=os.cpu_count() or 1)
    kept = cache / "benchmarks" / f"drift_null-{encoder.fingerprint}.npz"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        found = {name: _encoded(encoder, texts(name), name) for name in FILES}
        with kept.open("wb") as file:
            np.savez_compressed(file, **found)  # type: ignore[arg-type]
    with np.load(kept) as archive:
        return {name: from_bfloat16(archive[name]) for name in FILES}


def _encoded(encoder: Any, lines: list[str], name: str) -> NDArray[np.uint16]:
    chunks = [lines[start : start + 256] for start in range(0, len(lines), 256)]
    return np.concatenate(
        [to_bfloat16(encoder.encode(chunk).vectors) for chunk in track(chunks, f"encoding {name}", console=progress)]
    )


def pages_of(detector: VectorDetector, stream: Vectors, uniforms: NDArray[np.float64]) -> list[int]:
    """Places of all pages; each one starts the stream afresh."""
    inflow, pages, start = np.full(len(stream), 1 / detector.units_per_page), [], 0
    while start < len(stream):
        _, alarms = detector.update(detector.start(), Batch(stream[start:], inflow[start:], uniforms[start:]))
        if not alarms:
            break
        start += alarms[0].index + 1
        pages.append(start - 1)
    return pages


def interval(pages: NDArray[np.int_], budget: float) -> dict[str, float]:
    """Pages over budget with a 95 % interval: Poisson's, widened where pages crowd on few references."""
    total, crowding = int(pages.sum()), max(1.0, float(pages.var() / pages.mean()) if pages.any() else 1.0)
    low = float(stats.chi2.ppf(0.025, 2 * total / crowding) / 2) * crowding if total else 0.0
    high = float(stats.chi2.ppf(0.975, 2 * total / crowding + 2) / 2) * crowding
    return {"ratio": total / budget, "low": low / budget, "high": high / budget, "pages": total, "budget": budget}


def null_runs(pool: Vectors, references: int, units: int, length: int) -> list[dict[str, Any]]:
    """False pages against the budget, over streams in which nothing changes."""
    counts = {c: np.zeros(references, np.int_) for c in UNITS_PER_PAGE}
    for seed in track(range(references), "null streams", console=progress):
        random = np.random.default_rng((seed, 1))
        fitted = reference.fit(pool[random.integers(len(pool), size=units)], seed=seed)
        stream, uniforms = pool[random.integers(len(pool), size=length)], random.random(length)
        for c, count in counts.items():
            count[seed] = len(pages_of(VectorDetector(fitted, float(c)), stream, uniforms))
    return [
        {"units_per_page": c, "reference_units": units, "streams": references}
        | {name: round(value, 3) for name, value in interval(count, references * length / c).items()}
        | {"worst_reference": int(count.max())}
        for c, count in counts.items()
    ]


def delay_runs(sets: dict[str, Vectors], runs: int, units: int, units_per_page: float) -> list[dict[str, Any]]:
    """Mean delay of the first page after a change; a change that is not found counts with the whole horizon."""
    pool, delays = sets["clinc150"], {name: list[int]() for name in SHIFTS}
    missed, early = dict.fromkeys(SHIFTS, 0), 0
    for seed in track(range(runs), "changes", console=progress):
        random = np.random.default_rng((seed, 2))
        fitted = reference.fit(pool[random.integers(len(pool), size=units)], seed=seed)
        detector = VectorDetector(fitted, units_per_page)
        for name, (source, share) in SHIFTS.items():
            length = CHANGE_AT + HORIZON
            stream, other = pool[random.integers(len(pool), size=length)], sets[source]
            changed = (random.random(length) < share) & (np.arange(length) >= CHANGE_AT)
            stream[changed] = other[random.integers(len(other), size=int(changed.sum()))]
            before, after = first_page(detector, stream, random.random(length))
            early += before
            missed[name] += after is None
            delays[name].append(HORIZON if after is None else after)
    return [
        {"shift": name, "units_per_page": units_per_page, "reference_units": units, "runs": runs}
        | {"delay": round(float(np.mean(found))), "error": round(float(np.std(found)) / len(found) ** 0.5)}
        | {"median": round(float(np.median(found))), "not_found": missed[name], "pages_before_any_change": early}
        for name, found in delays.items()
    ]


def first_page(detector: VectorDetector, stream: Vectors, uniforms: NDArray[np.float64]) -> tuple[int, int | None]:
    """Pages before the change, and the delay of the first one after it, none if it is not found."""
    inflow, state, before = np.full(len(stream), 1 / detector.units_per_page), detector.start(), 0
    edges = [0, CHANGE_AT, *range(CHANGE_AT + 128, len(stream) + 1, 128)]
    for start, stop in pairwise(edges):
        state, alarms = detector.update(state, Batch(stream[start:stop], inflow[start:stop], uniforms[start:stop]))
        if alarms and start >= CHANGE_AT:
            return before, start + alarms[0].index - CHANGE_AT + 1
        if alarms:
            before, state = before + 1, detector.start()
    return before, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300, help="null streams, each with a reference of its own")
    parser.add_argument("--units", type=int, default=2_500, help="units of a reference in the null streams")
    parser.add_argument("--length", type=int, default=5_000, help="events of a null stream")
    parser.add_argument("--runs", type=int, default=48, help="streams with a change, for each kind of change")
    parser.add_argument("--delay-units", type=int, default=10_000, help="units of a reference where there is a change")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "tocsin")
    options = parser.parse_args()
    sets = vectors(options.cache)
    for row in null_runs(sets["clinc150"], options.streams, options.units, options.length):
        print(json.dumps(row), flush=True)
    for row in delay_runs(sets, options.runs, options.delay_units, 100_000.0):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
