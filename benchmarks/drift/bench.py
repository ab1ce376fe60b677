"""One run of the benchmark: what is to be done, doing it, telling what came out."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from types import ModuleType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.drift import cost, curves, equal, null, packages, report, shifted, swapped, texts, windows
from benchmarks.drift.encoded import open_sets
from benchmarks.drift.ledger import Cell, Ledger, Record, Task, version
from benchmarks.drift.work import estimated, work

Families = Mapping[str, ModuleType]

FAMILIES: Families = {
    "null": null,
    "shifted": shifted,
    "swapped": swapped,
    "equal": equal,
    "curves": curves,
    "cost": cost,
    "packages": packages,
}
RUNNERS: Families = {name: module for name, module in FAMILIES.items() if module is not equal} | {"windows": windows}
"""The modules that run tasks; the cells of `equal` belong to others."""

console = Console(stderr=True)


def bench(options: argparse.Namespace) -> int:
    """Run what is missing and report; returns the exit status."""
    if not texts.DATA.is_dir():
        console.print(f"drift benchmark skipped: there is no {texts.DATA}; TOCSIN_DATA names the data's directory")
        return 0
    wanted = options.only or [name for name in FAMILIES if name != "packages"]
    families = {name: FAMILIES[name] for name in (*wanted, *(["packages"] if options.peers else []))}
    began = time.monotonic()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        names = {name for module in families.values() for name in module.SETS}
        sets = open_sets(["few"] if options.quick else sorted(names), options.cache, options.workers, progress)
        versions = {name: version(module.SOURCES, sets.fingerprint) for name, module in RUNNERS.items()}
        ledger = Ledger(sets.folder / "results.jsonl", versions)
        if "packages" in families and not options.report:
            packages.install(sets.folder)
        left = 0
        while not left and not options.report and (tasks := _missing(families, ledger, options)):
            minutes = estimated(tasks, ledger, options.workers) / 60
            console.print(f"{len(tasks)} tasks, about {minutes:.0f} minutes" if minutes else f"{len(tasks)} tasks")
            left = work(tasks, ledger, sets, options.workers, began + 60 * options.minutes, progress)
        if left:
            console.print(f"the time is up: {left} tasks are left to another run; until then tables rest on fewer runs")
    if options.quick:
        return _judge(null.rows(ledger, null.quick_cells()), options.json)
    tables = {name: _rows(FAMILIES[name], ledger) for name in (families if options.only else FAMILIES)}
    if options.json:
        _print(tables)
    elif not options.only:
        report.write(tables, versions["shifted"], options.out)
        console.print(f"{options.out}/benchmark-drift.md is written")
    else:
        report.show(tables)
    return 0


def _missing(families: Families, ledger: Ledger, options: argparse.Namespace) -> list[Task]:
    """What has to run now; what thresholds are found by comes before what needs them."""
    if options.quick:
        return _of(null.quick_cells(), ledger, 1.0, "")
    first = [cell for module in (equal, packages) if module in families.values() for cell in module.prerequisites()]
    every = [cell for module in families.values() for cell in module.cells(ledger)]
    return _of(first, ledger, options.share, options.match) or _of(every, ledger, options.share, options.match)


def _of(cells: Iterable[Cell], ledger: Ledger, share: float, match: str) -> list[Task]:
    tasks = [task for cell in cells if match in cell.name for task in cell.tasks()]
    return [task for task in tasks if (task.first == 0 or task.progress <= share) and not ledger.has(task)]


def _rows(module: ModuleType, ledger: Ledger) -> list[Record]:
    found: list[Record] = module.rows(ledger, module.cells(ledger))
    return found


def _judge(rows: list[Record], as_json: bool) -> int:
    """Whether the budget is held, as far as that can be said after so few streams."""
    if as_json:
        _print({"null": rows})
    for row in rows:
        streams = row["references"] * row["streams of each"]
        console.print(
            f"false pages / budget at c = {row['c']:,} over {streams:,} streams: {row['pages / budget']}"
            f" (95 % interval {row['low']} to {row['high']}; it must end below 1)",
            soft_wrap=True,
        )
    return int(not rows or any(row["high"] >= 1 for row in rows))


def _print(tables: Mapping[str, list[Record]]) -> None:
    for name, rows in tables.items():
        for row in rows:
            print(json.dumps({"table": name} | row))
