"""Delays at equal mean time to false alarm: everybody with a threshold that an oracle sets, on the same traffic.

First the traffic without a change, to find ours by the budget and the others' by the threshold; then the shifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.drift import null, packages, shifted, windows
from benchmarks.drift.changes import CHANGE_AT, SHIFTS
from benchmarks.drift.intervals import delays_at
from benchmarks.drift.ledger import Cell, Ledger, Record
from benchmarks.drift.thresholds import mean_time, threshold_of

MEAN_TIMES = (5_000, 100_000)
SIZES = (2_000, 10_000)
BUDGETS = {5_000: (1_500, 4_000), 100_000: (30_000, 80_000)}
"""Units per page to measure the mean time to false alarm at; it lies above them, as part of the budget is not used."""

HORIZON = 20_000
SETS = windows.SETS
OURS = "ours"


def calibrating(units: int) -> dict[int, Cell]:
    """Of each mean time, where ours is measured; of 0, where the measures of `windows` are."""
    seeds, length = {5_000: (150, 10_000), 100_000: (250, 20_000)}, CHANGE_AT + HORIZON
    ours = {
        time: null.cell_of("independent", "embeddings", units, BUDGETS[time], *(seeds[time][0], 1, seeds[time][1]))
        for time in MEAN_TIMES
    }
    others = {"units": units, "streams": 10, "horizon": length - CHANGE_AT}
    return ours | {0: Cell("windows", others, 24, 1)}


def prerequisites() -> list[Cell]:
    """What thresholds are found by."""
    return [cell for units in SIZES for cell in calibrating(units).values()]


def cells(ledger: Ledger) -> list[Cell]:
    """The shifts at the thresholds found; none before there is something to find them by."""
    if not all(ledger.records(cell) for cell in prerequisites()):
        return []
    found = []
    for units in SIZES:
        found += [ours_at(ledger, units), others_at(ledger, units)]
    return found


def ours_at(ledger: Ledger, units: int) -> Cell:
    """The shifts for ours, one budget for each mean time."""
    per_page = tuple(budget_of(ledger, calibrating(units)[time], time) for time in MEAN_TIMES)
    return shifted.cell_of(units, per_page, SHIFTS, 192 if units == SIZES[-1] else 96, HORIZON)


def others_at(ledger: Ledger, units: int) -> Cell:
    """The shifts for the measures of `windows`, one threshold for each mean time."""
    records = ledger.records(calibrating(units)[0])
    thresholds = {
        name: [threshold_of([path for record in records for path in record[name]], time) for time in MEAN_TIMES]
        for name in windows.MEASURES
    }
    parameters = {"units": units, "streams": 2, "horizon": HORIZON, "changes": list(SHIFTS), "thresholds": thresholds}
    return Cell("windows", parameters, 24 if units == SIZES[-1] else 16, 1)


def budget_of(ledger: Ledger, cell: Cell, wanted: float) -> int:
    """Units per page at which our mean time to false alarm is what is wanted: on the line through the logarithms."""
    records = ledger.records(cell)
    budgets = cell.parameters["units_per_page"]
    units = sum(record["units"] for record in records)
    times = [units / max(sum(record["pages"][str(budget)] for record in records), 0.5) for budget in budgets]
    slope, start = np.polyfit(np.log(times), np.log(budgets), 1)
    return int(float(f"{np.exp(start + slope * np.log(wanted)):.3g}"))


def rows(ledger: Ledger, _: Sequence[Cell]) -> list[Record]:
    """One row for each mean time, size and method, one column a shift."""
    if not cells(ledger):
        return []
    found = []
    for at, time in enumerate(MEAN_TIMES):
        for units in SIZES:
            found.append(_ours(ledger, units, at))
            found += _others(ledger, others_at(ledger, units), windows.MEASURES, at)
        found += packages.rows_at(ledger, time)
    return found


def _ours(ledger: Ledger, units: int, at: int) -> Record:
    cell = ours_at(ledger, units)
    per_page, records = cell.parameters["units_per_page"][at], ledger.records(cell)
    delays = {name: [record[f"{name}, {per_page}"]["delay"] for record in records] for name in SHIFTS}
    return delays_at(MEAN_TIMES[at], OURS, units, f"c = {per_page:,}", delays)


def _others(ledger: Ledger, cell: Cell, measures: Sequence[str], at: int) -> list[Record]:
    runs = [run for record in ledger.records(cell) for run in _by_run(record)]
    return [
        delays_at(
            MEAN_TIMES[at],
            measure,
            cell.parameters["units"],
            f"{cell.parameters['thresholds'][measure][at]:.4g}",
            {name: [run[name][measure][at] or HORIZON for run in runs] for name in SHIFTS},
        )
        for measure in measures
    ]


def _by_run(record: Record) -> list[Record]:
    return [dict(zip(record, runs, strict=True)) for runs in zip(*record.values(), strict=True)]


def measured_time(ledger: Ledger, units: int, measure: str, threshold: float) -> tuple[float, int]:
    """What a measure's mean time to false alarm is at a threshold, and how many alarms that was measured on."""
    paths = [path for record in ledger.records(calibrating(units)[0]) for path in record[measure]]
    return mean_time(paths, threshold)
