"""`tocsin backtest`: the pages that a file of interactions would have sent, a summary last.

A reference is made of the file's beginning or of another file; the rest is watched. What a kill interrupts goes on at
its last checkpoint, and its output is that of a run which was not interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from detectors.drift.reference import LEAST_UNITS
from streams.core import reference as references
from streams.core import snapshot as snapshots
from streams.offline.checkpoint import Checkpoint
from streams.offline.records import Records, open_records
from streams.offline.replay import Replay, Standing, finding
from streams.offline.scoring import chunks
from streams.settings import ConfigurationError, Settings

FOLDER = "backtests"  # in the data directory
EDGE = 1 << 16


@dataclass(frozen=True)
class Plan:
    """What to replay.

    Attributes:
        file: interactions in the order of time; `-` is standard input.
        reference: a file of interactions that make the reference, or
        reference_first: how many from the beginning of `file` make it.
        fresh: forget what an interrupted run left.
        tolerant: leave records out that cannot be read, as the live system does, and count them.
    """

    file: Path
    reference: Path | None = None
    reference_first: int = 0
    fresh: bool = False
    tolerant: bool = False


class Onlooker:
    """Is told how a backtest gets on; this one does not care."""

    def resumed(self, standing: Standing) -> None:
        """It goes on where an interrupted run stood."""

    def advanced(self, standing: Standing, fraction: float | None) -> None:
        """A piece was taken in; `fraction` of the file in hand was read, which of a pipe nobody knows."""


def backtest(plan: Plan, settings: Settings, onlooker: Onlooker | None = None) -> Iterator[dict[str, Any]]:
    """The pages that a replay would have sent, then a summary.

    Args:
        plan: what to replay.
        settings: as they would be configured.
        onlooker: told how it gets on.

    Raises:
        ConfigurationError: a file cannot be read, is too short or holds what is no interaction, or the reference is
            refused.
    """
    began = time.monotonic()
    _require(plan)
    with ExitStack() as stack:
        file = stack.enter_context(open_records(plan.file))
        other = stack.enter_context(open_records(plan.reference)) if plan.reference else None
        lasting = file.lasting and (other is None or other.lasting)
        checkpoint = stack.enter_context(Checkpoint(_place(plan, settings) if lasting else None))
        if plan.fresh:
            checkpoint.clear()
        run = _Run(Replay(settings, tolerant=plan.tolerant), checkpoint, onlooker or Onlooker())
        yield from run.resume()
        standing = run.replay.standing
        file.skip(standing.taken)
        if not standing.learned:
            if other is not None:
                other.skip(standing.before)
                yield from run.take(other, its_own=True)
            yield from run.take(file, most=max(0, plan.reference_first - standing.taken))
            _require_enough(plan.file, standing.taken, plan.reference_first)
            run.replay.learn()
            checkpoint.save(run.replay)
            checkpoint.restore(run.replay)  # the monitors, under the rules that hold from now on
        yield from run.take(file)
        yield run.replay.summary() | {"seconds": round(time.monotonic() - began, 3)}
        checkpoint.remove()


@dataclass
class _Run:
    """A replay on its way, with its checkpoint."""

    replay: Replay
    checkpoint: Checkpoint
    onlooker: Onlooker

    def resume(self) -> Iterator[dict[str, Any]]:
        """Go on where an interrupted run stood; yields what it found."""
        if self.checkpoint.restore(self.replay):
            self.onlooker.resumed(self.replay.standing)
            yield from self.checkpoint.findings()

    def take(self, records: Records, *, its_own: bool = False, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Take records in, at most so many; `its_own` says that they are the reference's own file."""
        for chunk in chunks(islice(records, most)):
            messages, pages = self.replay.take(chunk, its_own=its_own)
            self.checkpoint.keep(messages)
            found = [finding(page) for page in pages]
            if found or self.checkpoint.due:
                self.checkpoint.save(self.replay, found)
            self.onlooker.advanced(self.replay.standing, records.fraction)
            yield from found


def _require(plan: Plan) -> None:
    """Say at once, and not after an hour of scoring, that a file is too short."""
    if plan.reference is None and plan.reference_first < LEAST_UNITS:
        raise ConfigurationError(
            f"backtest: --reference-first {plan.reference_first}: a reference needs {LEAST_UNITS} units at least"
        )
    for file, least in ((plan.file, max(1, plan.reference_first)), (plan.reference, LEAST_UNITS)):
        if file is not None:
            with open_records(file) as records:
                if records.lasting:
                    _require_enough(file, sum(1 for _ in islice(records, least)), least)


def _require_enough(file: Path, count: int, least: int) -> None:
    if count < least:
        raise ConfigurationError(
            f"backtest: {file}: it holds {count or 'no'} interactions, the reference alone takes {least}"
            if least > 1
            else f"backtest: {file}: it holds no interactions"
        )


def _place(plan: Plan, settings: Settings) -> Path:
    """Where the checkpoint is: named by the files, the settings and the program, so that it fits no other replay."""
    key = {
        "program": [version("tocsin-server"), snapshots.VERSION, references.VERSION],
        "settings": settings.model_dump(
            mode="json", include={"budget", "fairness", "watch", "scoring", "limits", "applications"}
        ),
        "files": [_identity(file) for file in (plan.file, plan.reference) if file is not None],
        "reference_first": plan.reference_first,
    }
    name = sha256(orjson.dumps(key, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return settings.data_directory / FOLDER / f"{name}.sqlite"


def _identity(file: Path) -> list[str | int]:
    """Size, time and edges of a file: enough to tell when it changed, without reading all of it."""
    status = file.stat()
    with file.open("rb") as opened:
        edges = sha256(opened.read(EDGE))
        opened.seek(max(0, status.st_size - EDGE))
        edges.update(opened.read())
    return [status.st_size, status.st_mtime_ns, edges.hexdigest()]
