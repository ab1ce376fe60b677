"""Deals tasks out to processes of one thread each, until all are done or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib import import_module
from multiprocessing import get_context

from rich.progress import Progress

from benchmarks.drift.encoded import Sets
from benchmarks.drift.ledger import Ledger, Record, Task

Run = Callable[[Task, Sets], list[Record]]


def run_task(task: Task, sets: Sets) -> tuple[list[Record], float]:
    """Every seed of a task, in its family's module, and the seconds that it took."""
    began = time.monotonic()
    family = import_module(f"benchmarks.drift.{task.cell.family}")
    return [family.run(dict(task.cell.parameters), task.first + i, sets) for i in range(task.count)], (
        time.monotonic() - began
    )


def work(tasks: Sequence[Task], ledger: Ledger, sets: Sets, workers: int, deadline: float, progress: Progress) -> int:
    """Run what is missing, all cells at the same pace; returns how many tasks were left when the time was up.

    Raises:
        Exception: whatever a task raised; what the others found by then is kept.
    """
    waiting = sorted((task for task in tasks if not ledger.has(task)), key=lambda task: task.progress)
    bar = progress.add_task("", total=len(waiting))
    running: dict[Future[tuple[list[Record], float]], Task] = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        while waiting or running:
            while waiting and len(running) < workers and time.monotonic() < deadline:
                task = waiting.pop(0)
                running[pool.submit(run_task, task, sets)] = task
            if not running:
                break
            progress.update(bar, description=_described(list(running.values()), waiting, ledger, workers))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                ledger.add(running.pop(future), *future.result())
                progress.advance(bar)
    progress.remove_task(bar)
    return len(waiting)


def estimated(tasks: Sequence[Task], ledger: Ledger, workers: int) -> float:
    """Seconds for tasks, from what their cells took before; those that never ran count like the mean of the others."""
    known = [seconds for task in tasks if (seconds := ledger.estimate(task)) is not None]
    return sum(known) / max(len(known), 1) * len(tasks) / workers


def _described(running: Sequence[Task], waiting: Sequence[Task], ledger: Ledger, workers: int) -> str:
    left = estimated([*running, *waiting], ledger, workers)
    return f"{running[0].cell.family}, about {left / 60:.0f} min left"
