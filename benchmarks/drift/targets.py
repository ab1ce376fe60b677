"""What was aimed at, and where we fall short of it or of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.drift.changes import SHIFTS
from benchmarks.drift.ledger import Record

Tables = Mapping[str, Sequence[Record]]

DELAYS = {
    100_000: dict(zip(SHIFTS, (3_500, 650, 170, 36, 120, 130, 110), strict=True)),
    2_000_000: dict(zip(SHIFTS, (7_500, 1_000, 230, 44, 160, 180, 145), strict=True)),
}
"""Mean delays at the nominal budget, with a reference of 10,000; units per page to change to units."""

FASTER = {"code 5 %": 10, "German 5 %": 4}
SWAP = 60
TRAPS = ("every turn a unit", "retry bursts, repeats counted", "day and night, no buckets", "conversations in order")
"""Traffic that breaks what the promise rests on: shown, not promised."""


@dataclass(frozen=True)
class Aim:
    """Something aimed at, and what came of it."""

    what: str
    wanted: str
    found: str
    reached: bool


def aims(tables: Tables) -> list[Aim]:
    """All that there are figures for."""
    return [*_budgets(tables), *_delays(tables), *_swaps(tables), *_ratios(tables), *_costs(tables)]


def _budgets(tables: Tables) -> list[Aim]:
    held = [row for row in tables["null"] if row["traffic"] not in TRAPS]
    worst = max(held, key=lambda row: row["high"], default=None)
    if worst is None:
        return []
    what = "false pages / budget, upper 95 % limit of the worst row that the promise covers"
    at = f"{worst['high']:.2f} ({worst['traffic']}, {worst['streams']}, N = {worst['N']:,}, c = {worst['c']:,})"
    return [Aim(what, "≤ 1", at, worst["high"] <= 1)]


def _delays(tables: Tables) -> list[Aim]:
    rows = {(row["c"], row["change"]): row for row in tables["shifted"] if row["N"] == 10_000}
    return [
        Aim(f"{change}, c = {c:,}, N = 10,000: mean delay", f"≤ {wanted:,}", told(row), row["delay"] <= wanted)
        for c, changes in DELAYS.items()
        for change, wanted in changes.items()
        if (row := rows.get((c, change)))
    ]


def told(row: Record) -> str:
    """A mean delay with its standard error."""
    return f"{row['delay']:,.0f} ± {row['error']:,.0f}"


def _swaps(tables: Tables) -> list[Aim]:
    return [
        Aim(f"{row['before']} → {row['after']}: first page", f"≤ {SWAP}", f"{row['any']:,.0f}", row["any"] <= SWAP)
        for row in tables["swapped"]
        if row["before"] != row["after"]
    ]


def best_other(table: Sequence[Record], ours: Record, change: str) -> Record | None:
    """The fastest of the others at the same mean time, with a reference of the same size."""
    same = [row for row in table if (row["mean time"], row["N"]) == (ours["mean time"], ours["N"]) and row is not ours]
    return min(same, key=lambda row: float(row[change]), default=None)


def _ratios(tables: Tables) -> list[Aim]:
    found = []
    for ours in (row for row in tables["equal"] if row["method"] == "ours"):
        for change, times in FASTER.items():
            if other := best_other(tables["equal"], ours, change):
                ratio = other[change] / ours[change]
                what = f"{change}, mean time {ours['mean time']:,}, N = {ours['N']:,}: faster than the best other"
                found.append(Aim(what, f"≥ {times} ×", f"{ratio:.1f} × ({other['method']})", ratio >= times))
    return found


def _costs(tables: Tables) -> list[Aim]:
    found = []
    limits = {
        "vectors, batches of 1": (10.0, "CPU µs an event, one at a time"),
        "vectors, batches of 64": (5.0, "CPU µs an event, batches of 64"),
        "looks and capitals": (6_500.0, "bytes of looks and capitals"),
        "fit seconds": (1.0, "seconds to configure"),
    }
    for row in tables["cost"]:
        for name, (limit, what) in limits.items():
            found.append(Aim(f"{what}, N = {row['N']:,}", f"≤ {limit:,.0f}", f"{row[name]:,}", row[name] <= limit))
    return found


def losses(tables: Tables) -> list[str]:
    """Every row in which another method at equal mean time and equal N finds the change earlier, and by how much."""
    found = []
    for ours in (row for row in tables["equal"] if row["method"] == "ours"):
        for change in SHIFTS:
            other = best_other(tables["equal"], ours, change)
            if other and other[change] < ours[change]:
                error = (ours[f"{change} ±"] ** 2 + other[f"{change} ±"] ** 2) ** 0.5
                sure = "" if ours[change] - other[change] > 2 * error else ", within two standard errors"
                found.append(
                    f"{change}, mean time {ours['mean time']:,}, N = {ours['N']:,}: {other['method']} needs"
                    f" {other[change]:,.0f} events, ours {ours[change]:,.0f}{sure}."
                )
    return found
