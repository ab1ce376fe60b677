"""Memory under load for half an hour: `make soak`, or `python -m benchmarks.soak --minutes 5 --slow scorer`.

`tocsin up` with a scorer that costs nothing, and as much traffic as it can store: more is published as soon as what
waits falls below a limit. With `--slow` the scorer holds everything up, and traffic comes without a limit: it must pile
up in the broker, on disk, and not in memory. Says whether memory was flat; exit 1 if it was not.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated

import httpx
import typer

from benchmarks.chaos.faults import Fault, Scenario
from benchmarks.chaos.forms import open_system
from benchmarks.chaos.system import System
from benchmarks.chaos.traffic import interaction

BATCH = 100
MOST_WAITING = 20_000
SAMPLE_SECONDS = 5.0
GROWTH, GROWTH_BYTES = 0.1, 60_000_000
"""What may come on top from the second quarter of the time to the last: of what there is, or in all."""

Samples = dict[str, list[int]]


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 30.0,
    slow: Annotated[bool, typer.Option("--slow", help="A slow scorer, and traffic without a limit.")] = False,
) -> None:
    """Run it."""
    scenario = Scenario("together", "", (), 1.0)
    with tempfile.TemporaryDirectory(prefix="tocsin-soak-") as folder, open_system(scenario, Path(folder)) as system:
        if slow:
            system.begin(Fault("scorer", "slow", 0, 0))
        samples = _load(system, minutes * 60, without_limit=slow)
    grown = [name for name, sizes in samples.items() if _is_growing(sizes)]
    print("memory grows:" if grown else "memory is flat", *grown)
    sys.exit(bool(grown))


def _load(system: System, seconds: float, *, without_limit: bool) -> Samples:
    """Publish, sample and print."""
    stop, may_publish = threading.Event(), threading.Event()
    may_publish.set()
    publishing = threading.Thread(target=_publish, args=(system.url, stop, may_publish))
    publishing.start()
    samples: Samples = {}
    began, told = time.monotonic(), 0.0
    try:
        while (at := time.monotonic() - began) < seconds:
            stop.wait(SAMPLE_SECONDS)
            total = system.client.get("/v1/audit", timeout=60).json()["total"]
            if total["waiting"] < MOST_WAITING or without_limit:
                may_publish.set()
            else:
                may_publish.clear()
            for name, size in system.resident().items():
                samples.setdefault(name, []).append(size)
            if at >= told:
                sizes = ", ".join(f"{name} {sizes[-1] / 1e6:.0f}" for name, sizes in samples.items())
                print(f"{at:6.0f} s: {total['stored']:,} stored, {total['waiting']:,} wait; MB: {sizes}", flush=True)
                told = at + seconds / 30
    finally:
        stop.set()
        may_publish.set()
        publishing.join()
    return samples


def _publish(url: str, stop: threading.Event, may_publish: threading.Event) -> None:
    dice, numbers = random.Random(0), count()
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            may_publish.wait()
            now = datetime.now(UTC)
            batch = [interaction(dice, "shop", next(numbers), code=False, occurred=now) for _ in range(BATCH)]
            if client.post("/v1/interactions", json=batch).status_code != 202:
                stop.wait(1)


def _is_growing(sizes: list[int]) -> bool:
    """Whether the last quarter holds more than the second, by which caches have filled."""
    quarter = len(sizes) // 4
    before, after = (statistics.median(part) for part in (sizes[quarter : 2 * quarter], sizes[-quarter:]))
    return after - before > max(GROWTH * before, GROWTH_BYTES)


if __name__ == "__main__":
    typer.run(main)
