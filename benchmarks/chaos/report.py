"""Writes docs/chaos.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.check import Finding
from benchmarks.chaos.faults import Scenario

INTRODUCTION = """# Broken on purpose

Written by `make chaos`; do not edit. {minutes:g} minutes, seed {seed}, {machine}. The plan of faults and the traffic
follow from the seed; what they meet differs from run to run. Whoever ended was started again, as a supervisor does.

Traffic: two applications that use the same ids; requests that become code after a reference of 2,000 units; repeats,
disorder, times days behind; one message in fifty is nonsense, in one of eleven ways. A fifth goes through the client
library, the rest through the gateway. An operator resolves every incident, so that more pages come.
"""

CHECKED = """By code that reads the topics and the tables and works out each record's fate by itself; only for the
detectors does the product's own code run again, once, over the recorded order of `tocsin.signals`."""

NOT_COVERED = """## What this does not show

Lost disks: a broker or a store that loses what it had confirmed. Networks that deliver to some and not to others. A
ClickHouse server: the store here is the embedded engine behind an HTTP front. Clocks are wrong in the stages, not in
the kernel."""


@dataclass(frozen=True)
class Run:
    """One scenario's outcome.

    Attributes:
        name, scenario: which one.
        seconds: that it took, all in all.
        findings: what was checked.
        figures: counts, by what the report calls them.
        faults: how often each was done.
        stops: whom SIGTERM was sent to, and the seconds until it had ended.
    """

    name: str
    scenario: Scenario
    seconds: float
    findings: list[Finding]
    figures: dict[str, int]
    faults: dict[str, int]
    stops: list[tuple[str, float]]


def write(runs: Sequence[Run], minutes: float, seed: int, out: Path) -> None:
    """The document."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    parts = [INTRODUCTION.format(minutes=minutes, seed=seed, machine=machine).strip()]
    parts += ["\n".join(f"* *{run.name}*: {run.scenario.words}{_brokers(run.scenario)}" for run in runs)]
    parts += ["## Counts", _table(["", *(run.name for run in runs)], _counts(runs))]
    parts += ["## Faults", _table(["", *(run.name for run in runs)], _faults(runs))]
    parts += ["## What held", CHECKED, _table(["", *(run.name for run in runs)], _held(runs))]
    (out / "chaos.md").write_text("\n\n".join([*parts, NOT_COVERED]) + "\n", encoding="utf-8")


def _brokers(scenario: Scenario) -> str:
    brokers = {1: "one broker", 3: "three brokers, three copies of everything"}[scenario.brokers]
    return f" ({brokers})" if scenario.form == "apart" else ""


def _counts(runs: Sequence[Run]) -> list[list[str]]:
    rows = [[name, *(f"{run.figures[name]:,}" for run in runs)] for name in runs[0].figures]
    kills = [sum(count for name, count in run.faults.items() if name.startswith("kill")) for run in runs]
    slowest = [f"{max((seconds for _, seconds in run.stops), default=0):.1f} s" for run in runs]
    minutes = [f"{run.seconds / 60:.1f}" for run in runs]
    rows += [["kills", *map(str, kills)], ["SIGTERM, the slowest of all", *slowest], ["minutes", *minutes]]
    return rows


def _faults(runs: Sequence[Run]) -> list[list[str]]:
    names = sorted({name for run in runs for name in run.faults})
    return [[name, *(str(run.faults.get(name, "")) for run in runs)] for name in names]


def _held(runs: Sequence[Run]) -> list[list[str]]:
    verdicts = [{finding.what: finding.wrong for finding in run.findings} for run in runs]
    return [[what, *("**no**: " + each[what] if each[what] else "✓" for each in verdicts)] for what in verdicts[0]]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
