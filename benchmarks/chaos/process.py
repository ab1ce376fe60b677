"""`tocsin up` or `tocsin worker ROLE` with a scorer that costs nothing and a clock that can be set: as a program.

    python -m benchmarks.chaos.process up|score|watch|respond

While the file `clock` is in the working directory, its content is added to the clock, in seconds; while `slow` is
there, scoring is slow.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import typer

from benchmarks.chaos.words import WordScorer
from streams.cli.application import failing_in_one_line
from streams.engines import open_engines
from streams.logs import log_to_stderr
from streams.pipeline import ROLES, run_workers
from streams.service import leave, serve
from streams.settings import load
from tocsin.contracts import now

CLOCK, SLOW = Path("clock").absolute(), Path("slow").absolute()


def clock() -> datetime:
    """The time, as wrong as the file says."""
    try:
        return now() + timedelta(seconds=float(CLOCK.read_text()))
    except (FileNotFoundError, ValueError):  # right, or about to be set
        return now()


def main(what: str) -> None:
    """Run until SIGTERM."""
    settings, _ = load()
    log_to_stderr(settings.log_level)
    roles = ROLES if what == "up" else [role for role in ROLES if role == what]
    start = partial(run_workers, scorer=lambda _: WordScorer(SLOW), clock=clock)
    with failing_in_one_line(), open_engines(settings) as engines:
        announce = partial(print, "tocsin", what, "runs", flush=True)
        asyncio.run(serve(settings, engines, roles, gateway=what == "up", announce=announce, start=start))
    leave()


if __name__ == "__main__":
    typer.run(main)
