"""The Evidently report of an incident: its window's scores against the reference's, as one self-contained page.

Evidently is large and takes seconds to import, so it runs in a process of its own, at low priority and with its
telemetry off:

    python -m sinks.report REFERENCE.jsonl CURRENT.jsonl OUT.html
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import pandas

FEWEST_VALUES = 10
"""A score with fewer values on either side is left out: nothing can be said of it."""
MOST_ROWS = 5_000
"""More rows are sampled down; the page shows distributions, and those do not get clearer."""

_QUIET = {"DO_NOT_TRACK": "1", "EVIDENTLY_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class ReportFailed(Exception):
    """There is no report; the message says why in one line. The incident does without."""


def make_report(
    reference_rows: Sequence[Mapping[str, float]],
    current_rows: Sequence[Mapping[str, float]],
    out: Path,
    timeout_seconds: float = 120,
    cancelled: threading.Event | None = None,
) -> Path:
    """Compare the scores of two sets of interactions; blocks for about ten seconds. Returns `out`.

    Args:
        reference_rows: one mapping from score to value an interaction; absent, NaN and infinite values are skipped.
        current_rows: the same, of the incident's window.
        out: the page to write, HTML; appears whole or not at all.
        timeout_seconds: the process is killed after that.
        cancelled: the process is killed within half a second once this is set.

    Raises:
        ReportFailed: too few values, too slow, no space, or Evidently failed.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=out.parent) as scratch:
            room = Path(scratch)
            for name, rows in (("reference", reference_rows), ("current", current_rows)):
                (room / name).write_bytes(b"".join(orjson.dumps(dict(row)) + b"\n" for row in rows))
            _run(room, timeout_seconds, cancelled or threading.Event())
            (room / "out").replace(out)
    except OSError as error:
        raise ReportFailed(f"{type(error).__name__}: {error.strerror}") from error
    return out


def _run(room: Path, timeout_seconds: float, cancelled: threading.Event) -> None:
    """Run this module as a program on the files of a directory. A new program, not a fork: the caller has chDB open."""
    paths = [str(room / name) for name in ("reference", "current", "out")]
    command = [sys.executable, "-P", "-m", "sinks.report", *paths]
    deadline = time.monotonic() + timeout_seconds
    quiet = os.environ | _QUIET
    with subprocess.Popen(command, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while True:
            try:
                _, errors = process.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                if cancelled.is_set() or time.monotonic() > deadline:
                    process.kill()
                    reason = (
                        "the system stops" if cancelled.is_set() else f"not ready within {timeout_seconds:g} seconds"
                    )
                    raise ReportFailed(reason) from None
    if process.returncode:
        raise ReportFailed(_last_line(errors) or f"the report process ended with {process.returncode}")


def comparable(reference: pandas.DataFrame, current: pandas.DataFrame) -> list[str]:
    """The scores that both sides have enough values of, sorted."""
    enough = [{name for name in side if side[name].count() >= FEWEST_VALUES} for side in (reference, current)]
    return sorted(set.intersection(*enough))


def write_report(reference: pandas.DataFrame, current: pandas.DataFrame, out: Path) -> None:
    """Write the page; this is what runs in the process of its own.

    Raises:
        ReportFailed: no score can be compared.
    """
    scores = comparable(reference, current)
    if not scores:
        raise ReportFailed(f"no score has {FEWEST_VALUES} values in both the reference and the incident's window")
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    definition = DataDefinition(numerical_columns=scores)
    sides = [Dataset.from_pandas(side[scores], definition) for side in (current, reference)]
    # By default its headline denies a drift of fewer than half of the scores; people may have been paged for one.
    presets = [DataDriftPreset(drift_share=1 / len(scores)), DataSummaryPreset()]
    Report(presets).run(*sides).save_html(str(out))


def read_rows(path: Path) -> pandas.DataFrame:
    """Rows of JSON lines as numbers; what is none is missing. At most `MOST_ROWS`, the same ones each time."""
    import pandas

    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    frame = pandas.DataFrame(rows, dtype="float64").replace([math.inf, -math.inf], math.nan)
    return frame if len(frame) <= MOST_ROWS else frame.sample(MOST_ROWS, random_state=0)


def main(arguments: Sequence[str]) -> int:
    """Make a report from files; one line on standard error and exit 1 where there is none."""
    os.nice(15)
    reference, current, out = (Path(argument) for argument in arguments)
    try:
        write_report(read_rows(reference), read_rows(current), out)
    except ReportFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
