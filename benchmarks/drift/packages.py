"""The packages of others, in an environment of their own: installing them, running them, reading what came out.

They are slow, so they get few replicates, a reference of 2,000 and a mean time to false alarm of 5,000 alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.drift.changes import SETS, SHIFTS
from benchmarks.drift.encoded import Sets
from benchmarks.drift.intervals import delays_at
from benchmarks.drift.ledger import ROOT, Cell, Ledger, Record
from benchmarks.drift.thresholds import mean_time, threshold_of

__all__ = ["SETS", "SOURCES", "cells", "install", "rows", "rows_at", "run"]

SOURCES = tuple(f"benchmarks/drift/{name}" for name in ("foreign.py", "thresholds.py", "changes.py", "peers.txt"))
REQUIREMENTS = Path(__file__).with_name("peers.txt")
UNITS, MEAN_TIME, HORIZON = 2_000, 5_000, 8_192
METHODS = {
    "alibi-detect, online MMD, window 100": (8, 4),
    "alibi-detect, online LSDD, window 100": (16, 6),
    "river, ADWIN on the distance from the mean": (16, 20),
    "river, Page-Hinkley on the distance from the mean": (16, 20),
    "river, KSWIN on the distance from the mean": (16, 6),
    "frouros, KS of a window of 100 on the distance": (16, 6),
    "Evidently, distance of windows of 500": (16, 10),
    "Evidently, classifier on windows of 500": (16, 6),
}
"""How many references, and streams of each, the mean time to false alarm is measured on."""

TIMED_ONLY = ("frouros, MMD, window 100",)


def python_of(folder: Path) -> Path:
    """The interpreter of the packages' environment, under the benchmark's folder in the cache."""
    return folder / "peers" / "bin" / "python"


def install(folder: Path) -> None:
    """Make the environment, where it is not there yet.

    Raises:
        subprocess.CalledProcessError: the packages do not install here; pip has said why.
    """
    python, done = python_of(folder), folder / "peers" / REQUIREMENTS.name
    if done.is_file() and done.read_bytes() == REQUIREMENTS.read_bytes():
        return
    subprocess.run([sys.executable, "-m", "venv", str(folder / "peers")], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)
    done.write_bytes(REQUIREMENTS.read_bytes())


def calibrating(method: str) -> Cell:
    """The traffic without a change."""
    seeds, streams = METHODS[method]
    return Cell("packages", {"method": method, "units": UNITS, "streams": streams, "horizon": HORIZON}, seeds, 1)


def prerequisites() -> list[Cell]:
    """What thresholds are found by."""
    return [calibrating(method) for method in METHODS]


def shifted(ledger: Ledger, method: str) -> Cell | None:
    """The shifts at the threshold found; none before it is known, or where the package cannot be had."""
    cell = calibrating(method)
    records = ledger.records(cell)
    if not records or any("refused" in record for record in records):
        return None
    threshold = threshold_of([path for record in records for path in record["paths"]], MEAN_TIME)
    parameters = {"method": method, "units": UNITS, "horizon": HORIZON, "changes": list(SHIFTS), "threshold": threshold}
    return Cell("packages", parameters, cell.seeds, 1)


def cells(ledger: Ledger) -> list[Cell]:
    """The shifts where thresholds are known; and the time that some take who are too slow for more."""
    timed = [Cell("packages", {"method": name, "units": UNITS, "timed": True}, 1, 1) for name in TIMED_ONLY]
    later = [cell for method in METHODS if (cell := shifted(ledger, method))]
    return [*prerequisites(), *later, *timed]


def run(parameters: Mapping[str, Any], seed: int, sets: Sets) -> Record:
    """Hand one seed to the packages' interpreter; `refused` says what went wrong there."""
    files = {name: str(file) for name, file in sets.files.items() if name in SETS}
    request = json.dumps({"parameters": dict(parameters), "seed": seed, "files": files})
    python = python_of(sets.folder)
    command = [str(python), "-W", "ignore", "-m", "benchmarks.drift.foreign"]
    ran = subprocess.run(
        command, input=request, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    if ran.returncode:
        return {"refused": (ran.stderr.strip().splitlines() or ["no output"])[-1]}
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def rows_at(ledger: Ledger, time: int) -> list[Record]:
    """Delays of every package that has them at this mean time, as rows of `equal`."""
    found = []
    for method in METHODS if time == MEAN_TIME else ():
        cell = shifted(ledger, method)
        records = ledger.records(cell) if cell else []
        delays: dict[str, Sequence[int]] = {name: [record["delays"][name] for record in records] for name in SHIFTS}
        if cell and records:
            found.append(delays_at(time, method, UNITS, f"{cell.parameters['threshold']:.4g}", delays))
    return found


def rows(ledger: Ledger, of: Sequence[Cell]) -> list[Record]:
    """One row for each method: CPU, configuration, what its threshold was measured on, or why it did not run."""
    found = []
    for method in (*METHODS, *TIMED_ONLY):
        cell = next(cell for cell in of if cell.parameters["method"] == method and "threshold" not in cell.parameters)
        records = ledger.records(cell)
        refused = [record["refused"] for record in records if "refused" in record]
        if refused:
            found.append({"method": method, "refused": refused[0]})
        elif records:
            row = {"method": method, "N": UNITS} | {
                name: round(sum(record[name] for record in records) / len(records), 1)
                for name in ("CPU us an event", "seconds to configure")
            }
            paths = [path for record in records for path in record.get("paths", ())]
            delayed = shifted(ledger, method) if paths else None
            if delayed:
                row["alarms behind the threshold"] = mean_time(paths, delayed.parameters["threshold"])[1]
            found.append(row)
    return found
