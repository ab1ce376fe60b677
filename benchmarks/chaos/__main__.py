"""`python -m benchmarks.chaos --minutes 30 --seed 1`, or `--quick`: breaks tocsin, checks it, writes docs/chaos.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.chaos.check import Finding, check, record
from benchmarks.chaos.faults import QUICK, SCENARIOS, Planned, Scenario, plan, without
from benchmarks.chaos.forms import open_system
from benchmarks.chaos.report import Run, write
from benchmarks.chaos.system import System
from benchmarks.chaos.traffic import Load, interactions, until_now

OWN_MOUNTS = "TOCSIN_CHAOS_OWN_MOUNTS"
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")
INTERACTIONS, QUICK_INTERACTIONS = 100_000, 12_000
SETTLE_SECONDS = 600
SPARE = 0.45  # of the time, for starting, settling and checking
console = Console(highlight=False, soft_wrap=True)
app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(help="How long, all in all.")] = 30.0,
    seed: Annotated[int, typer.Option(help="The plan of faults and the traffic follow from it.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="Scenarios by name.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Four minutes; writes nothing.")] = False,
    count: Annotated[int, typer.Option(help="Interactions; 0: what the length is made for.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("docs"),
    keep: Annotated[Path | None, typer.Option(help="A folder to work in, which is kept.")] = None,
) -> None:
    """Break it and check it; exit 1 if anything does not hold."""
    scenarios = {name: each for name, each in (QUICK if quick else SCENARIOS).items() if name in (only or SCENARIOS)}
    if not _have_own_mounts():
        console.print("no mounts of our own here (unshare): no disk gets full")
        scenarios = {name: without(each, "disk") for name, each in scenarios.items()}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and so end what was started
    seconds = 60 * (4.0 if quick else minutes) / sum(each.share for each in scenarios.values())
    parts = {name: each.share * each.load for name, each in scenarios.items()}
    total = (count or (QUICK_INTERACTIONS if quick else INTERACTIONS)) / sum(parts.values())
    with tempfile.TemporaryDirectory(prefix="tocsin-chaos-") as folder:
        runs = [
            run(name, each, (keep or Path(folder)) / name, seconds * each.share, int(total * parts[name]), seed)
            for name, each in scenarios.items()
        ]
    if not quick:
        write(runs, minutes, seed, out)
    wrong = [
        f"{each.name}: {finding.what}: {finding.wrong}" for each in runs for finding in each.findings if finding.wrong
    ]
    sys.exit("\n".join(["WRONG", *wrong]) if wrong else 0)  # at the end, where a long log is looked at first


def run(name: str, scenario: Scenario, directory: Path, seconds: float, count: int, seed: int) -> Run:
    """One scenario, from an empty directory to its findings."""
    console.print(f"{name}: {scenario.words}; {count:,} interactions")
    began = time.monotonic()
    lines = interactions(count, seed, until_now())
    with open_system(scenario, directory) as system:
        busy = seconds * (1 - SPARE)
        load = Load(system.url, system.bootstrap, lines, busy, seed)
        load.start()
        _break(system, plan(scenario.faults, busy, scenario.pause, seed))
        load.finish(SETTLE_SECONDS)
        settled = _settled(system)
        recorded = record(system.bootstrap)
        system.stop()
        audited = system.audit()
        findings, figures = check(system, load, recorded, audited, system.store())
        done = Run(
            name=name,
            scenario=scenario,
            seconds=time.monotonic() - began,
            findings=[settled, *findings],
            figures=figures | {"tries that failed": load.refused, "ended by themselves": system.ended.total()},
            faults=dict(system.done),
            stops=system.stops,
        )
    _tell(done)
    return done


def _settled(system: System) -> Finding:
    what = f"within {SETTLE_SECONDS} s everything is dealt with"
    try:
        system.settle(SETTLE_SECONDS)
    except AssertionError as late:
        return Finding(what, str(late))
    return Finding(what)


def _break(system: System, planned: list[Planned]) -> None:
    """Do each fault at its time and undo it at its end."""
    steps = [(each.begin, system.begin, each.fault) for each in planned]
    steps += [(each.end, system.end, each.fault) for each in planned]
    began = time.monotonic()
    for at, act, fault in sorted(steps, key=lambda step: step[0]):
        while (left := began + at - time.monotonic()) > 0:
            system.supervise()
            time.sleep(min(left, 0.5))
        console.print(f"  {at:6.1f} s  {act.__name__} {fault.name}")
        act(fault)


def _tell(done: Run) -> None:
    for finding in done.findings:
        console.print(f"  {'WRONG' if finding.wrong else 'holds'}  {finding.what} {finding.wrong}")
    console.print(f"  {done.figures}, {sum(done.faults.values())} faults, {done.seconds:.0f} s")


def _have_own_mounts() -> bool:
    """Run again in a mount namespace of our own, where a small disk can be made without being root and ends with us.

    Returns:
        Whether we are in one; false where the machine allows none.
    """
    if OWN_MOUNTS in os.environ:
        return True
    try:
        subprocess.run([*UNSHARE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    os.environ[OWN_MOUNTS] = "1"
    os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, "-m", "benchmarks.chaos", *sys.argv[1:]])


if __name__ == "__main__":
    app()
