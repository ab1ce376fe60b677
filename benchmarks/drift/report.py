"""Writes docs/benchmark-drift.md, or prints tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.drift.changes import RAMPS, SHIFTS
from benchmarks.drift.ledger import Record
from benchmarks.drift.targets import DELAYS, TRAPS, Tables, aims, losses, told

INTRODUCTION = """# Drift detection, measured

Written by `make bench-drift`; do not edit. Figures are of {machine}, one thread a process, code `{version}`. Seeds are
frozen; a table is computed anew with the command below its heading (what was computed with the same code is kept, so
delete `{kept}` to compute it all). Texts: benchmarks/README.md.

c is the number of units in which a stream's budget adds up to one page. N is the number of units of the reference. A
delay counts units from the change to the page; ± is its standard error; a run without a page counts with its horizon.
"""

NOT_RUN = "Not run yet."
KEPT = "~/.cache/tocsin/benchmarks/drift/results.jsonl"

NULL = """Reference and stream are drawn from one law with replacement, every reference anew; a page starts its stream
afresh. The interval is Poisson's, widened by how much pages crowd on single references. Rows at c = 2,000,000 use
several longer streams a reference."""

TRAP = """What the promise does not cover: units that are not exchangeable with the reference. The cures are above: one
unit a session, repeats left out, buckets for the time of day. Conversations in their order are too few for a limit, and
nobody knows whether they change."""

SHIFTED = "At the nominal budget, nothing recalibrated, with the target below each row that has one."
RAMPED = "A share that grows slowly from 0 to 30 %, at c = 100,000 and N = 10,000."
SWAPPED = """The same prompts, answered by another model from one unit on. Five streams share one budget of
c = 100,000; *any* is the first page of any. The law has just {prompts} different prompts, drawn again and
again, so that whatever is answered anew is novel. The rows with one model twice show what that alone does: there the
model stays, and prompts change from one half of them to the other."""
EQUAL = """Everybody has the threshold at which the mean time to false alarm (time under observation over alarms) on
clinc150 is the same: the others by an oracle, ours by its budget. The packages of others are slow: N = 2,000,
{time:,} alone, few runs."""


def write(tables: Tables, version: str, out: Path) -> None:
    """The document and its pictures."""
    from benchmarks.drift import plots  # matplotlib, which nothing else needs

    (out / "images").mkdir(parents=True, exist_ok=True)
    plots.draw(tables, out / "images")
    (out / "benchmark-drift.md").write_text("\n\n".join(_parts(tables, version)) + "\n", encoding="utf-8")


def _parts(tables: Tables, version: str) -> list[str]:
    parts = [INTRODUCTION.format(machine=machine(), version=version, kept=KEPT).strip()]
    parts += ["## What was aimed at", _table([_aimed(aim) for aim in aims(tables)])]
    parts += ["## Where others are faster"]
    nowhere = "Nowhere in these tables." if tables["equal"] else NOT_RUN
    parts += ["\n".join(f"* {loss}" for loss in losses(tables)) or nowhere]
    null = tables["null"]
    parts += [_heading("False pages against the budget", "null"), NULL, _image("null", "False pages over budget by c")]
    parts += [_table([_null(row) for row in null if row["traffic"] not in TRAPS])]
    parts += ["### Traps", TRAP, _table([_null(row) for row in null if row["traffic"] in TRAPS])]
    parts += [_heading("Delays", "shifted"), SHIFTED, _table(_delays(tables["shifted"]))]
    ramps = [row for row in tables["shifted"] if row["change"] in RAMPS]
    parts += ["### Ramps", RAMPED, _table([_ramp(row) for row in ramps])]
    parts += [_heading("Evidence over time", "curves")]
    parts += [_image("evidence", "One run of each change") if tables["curves"] else NOT_RUN]
    parts += [_heading("Another model", "swapped"), SWAPPED.format(prompts="500 (arena-hard) and 1,319 (GSM8K)")]
    parts += [_table([_swap(row) for row in tables["swapped"]])]
    parts += [_heading("At equal mean time to false alarm", "equal"), EQUAL.format(time=5_000)]
    parts += [_image("share", "Delay by share of changed traffic")] if tables["equal"] else []
    parts += [_table([_equal(row) for row in tables["equal"]])]
    parts += [_heading("What a page says", "shifted"), _table([_said(row) for row in tables["shifted"]])]
    parts += [_heading("Cost", "cost"), _table(tables["cost"])]
    parts += [_heading("The packages of others", "packages", "--peers"), _table(tables["packages"])]
    return parts


def machine() -> str:
    """The machine in words."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    return f"{os.cpu_count()} cores of {cpu}, Python {platform.python_version()}"


def _heading(title: str, family: str, option: str = "") -> str:
    command = " ".join(["python -m benchmarks.drift --only", family, *([option] if option else [])])
    return f"## {title}\n\n`{command}`"


def _image(name: str, words: str) -> str:
    return f"![{words}](images/drift-{name}.svg)"


def _aimed(aim: Any) -> Record:
    return {"": "✓" if aim.reached else "**missed**", "what": aim.what, "aimed at": aim.wanted, "measured": aim.found}


def _null(row: Record) -> Record:
    interval = f"{row['pages / budget']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    names = ("traffic", "streams", "N", "c", "references", "units", "pages", "most of one reference")
    return {name: row[name] for name in names} | {"pages / budget (95 %)": interval}


def _delays(rows: Sequence[Record]) -> list[Record]:
    found: list[Record] = []
    settings = dict.fromkeys((row["c"], row["N"]) for row in rows if row["change"] in SHIFTS)
    for c, units in settings:
        of = {row["change"]: row for row in rows if (row["c"], row["N"]) == (c, units) and row["change"] in SHIFTS}
        missed = sum(row["not found"] for row in of.values())
        first = next(iter(of.values()))
        start = {"c": c, "N": units, "runs": first["runs"], "not found": missed, "early": first["early pages"]}
        found.append(start | {name: told(row) for name, row in of.items()})
        if units == 10_000 and c in DELAYS:
            found.append(dict.fromkeys(start, "") | {"c": "*target*"} | dict(DELAYS[c]))
    return found


def _ramp(row: Record) -> Record:
    return {"ramp": row["change"], "delay": told(row)} | {name: row[name] for name in ("median", "runs", "not found")}


def _swap(row: Record) -> Record:
    shown = {name: value for name, value in row.items() if name != "error"}
    return shown | {"any": told({"delay": row["any"], "error": row["error"]})}


def _equal(row: Record) -> Record:
    start = {name: row[name] for name in ("mean time", "method", "N", "runs", "threshold")}
    return start | {name: f"{row[name]:,.0f} ± {row[f'{name} ±']:,.0f}" for name in SHIFTS}


def _said(row: Record) -> Record:
    names = ("change", "c", "N", "runs", "median", "exemplars from the change", "of", "at most")
    quartiles = " / ".join(f"{q:+,}" for q in row["beginning, quartiles of the error"])
    return {name: row[name] for name in names} | {"estimated less true units since the change, quartiles": quartiles}


def _curve(row: Record) -> Record:
    return {name: value for name, value in row.items() if name != "evidence"}


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if value.is_integer() or abs(value) >= 1_000 else f"{value:g}"
        case _:
            return str(value)


def _columns(rows: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _table(rows: Sequence[Record]) -> str:
    """Rows as a table in Markdown."""
    if not rows:
        return NOT_RUN
    names = _columns(rows)
    lines = [names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(tables: Tables) -> None:
    """The tables on the terminal."""
    shapes: Mapping[str, Callable[[Record], Record]] = {
        "null": _null,
        "equal": _equal,
        "swapped": _swap,
        "curves": _curve,
    }
    console = Console()
    for name, found in tables.items():
        rows = [shapes.get(name, dict)(row) for row in found]
        table = Table(*_columns(rows), title=name)
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in _columns(rows)))
        console.print(table)
