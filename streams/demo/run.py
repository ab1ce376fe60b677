"""Runs the demonstration and sums it up."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

import tocsin
from sinks.recovery import UNDELIVERED
from streams.demo.phases import APPLICATION, REFERENCE_UNITS, SPAN, Phase, phases
from streams.demo.receiver import Receiver
from streams.demo.system import System
from streams.listening import require_port
from streams.settings import ConfigurationError

RUN_SECONDS = 60
MARKER = ".tocsin-demo"


def run_demo(directory: Path, port: int, *, quiet: bool) -> dict[str, Any]:
    """Replay everything, and return the summary.

    Raises:
        EngineError: the system did not start or does not get on.
        ConfigurationError: the directory holds something that is not the demonstration's.
    """
    console = Console(stderr=True, highlight=False, quiet=quiet)
    require_port("127.0.0.1", port)
    _make_room(directory)
    began = time.monotonic()
    console.print("[bold]tocsin demo[/]: reading real conversations, starting broker, store and workers…")
    script = phases(datetime.now(UTC))
    with Receiver() as receiver, System(directory, port, receiver.url, REFERENCE_UNITS) as system:
        console.print(f"dashboard while it runs: [bold]{system.url}/?range=30d[/]")
        replay = _Replay(system, script)
        replay.run(console)
        replay.wait_for_runs()
        summary = replay.summary(receiver, time.monotonic() - began)
        _report(console, summary, replay, receiver)
    console.print(f"look again: tocsin up --config {directory / 'tocsin.toml'}", markup=False, soft_wrap=True)
    return summary


class _Replay:
    """The script on its way through the system."""

    def __init__(self, system: System, script: Sequence[Phase]) -> None:
        self._system, self._script = system, script
        self.published = 0
        self.replay_seconds = 0.0

    def run(self, console: Console) -> None:
        """Publish phase after phase; at the end of each, an operator resolves what was paged."""
        began = time.monotonic()
        columns = (TextColumn("{task.description:<52}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress, self._client() as client:
            for phase in self._script:
                task = progress.add_task(phase.title, total=len(phase.events))
                before = self.published
                for event in phase.events:
                    client.publish_interaction(event.interaction)
                    if event.rating is not None:
                        client.feedback(event.interaction.interaction_id, rating=event.rating)
                self.published += len(phase.events)
                client.flush(60)
                self._system.settle(_advancing(progress, task, before))
                pages = self._pages_of(phase)
                console.print(f"  {phase.title}: {_told(pages)}", highlight=False, soft_wrap=True)
                self._resolve()
        self.replay_seconds = time.monotonic() - began

    def _client(self) -> tocsin.Client:
        return tocsin.Client(APPLICATION, url=self._system.url, environment="demonstration")

    def _resolve(self) -> None:
        rows = self._system.sql("SELECT incident_id FROM incidents FINAL WHERE state != 'resolved'")
        for row in rows:
            self._system.command({"kind": "resolve", "incident_id": row["incident_id"], "note": "the phase is over"})
        if rows:
            self._system.settle()

    def _pages_of(self, phase: Phase) -> list[dict[str, Any]]:
        """Pages that an interaction of the phase completed, with the delay since the phase began."""
        positions = {event.interaction.interaction_id: i + 1 for i, event in enumerate(phase.events)}
        rows = self._system.sql(
            "SELECT stream, lane, JSONExtractString(explanation, 'interaction_id') AS interaction_id"
            " FROM pages FINAL ORDER BY occurred_at"
        )
        return [
            {"stream": row["stream"], "phase": phase.name, "delay": positions[row["interaction_id"]]}
            for row in rows
            if row["interaction_id"] in positions
        ]

    def wait_for_runs(self) -> None:
        """Give the retraining jobs and the last notifications the time to end."""
        deadline = time.monotonic() + RUN_SECONDS
        runs = "SELECT count() AS n FROM retraining_runs FINAL WHERE state IN ('planned', 'started', 'running')"
        while any(self._system.sql(each)[0]["n"] for each in (runs, UNDELIVERED)) and time.monotonic() < deadline:
            time.sleep(0.5)
        self._system.settle()

    def runs(self) -> list[dict[str, Any]]:
        """The retraining runs, oldest first."""
        return self._system.sql("SELECT run_id, state, reason, metrics FROM retraining_runs FINAL ORDER BY created_at")

    def summary(self, receiver: Receiver, seconds: float) -> dict[str, Any]:
        """The last line of the output."""
        audit = self._system.audit()
        mine = [each for each in audit["partitions"] if each["topic"] == "tocsin.interactions"]
        sums = {name: sum(each[name] for each in mine) for name in ("stored", "dead_lettered", "duplicate")}
        pages = [page for phase in self._script for page in self._pages_of(phase)]
        return {
            "published": self.published,
            "stored": sums["stored"],
            "dead_letters": sums["dead_lettered"],
            "duplicates": sums["duplicate"],
            "lost": self.published - sum(sums.values()),
            "pages": pages,
            "false_pages": sum(page["phase"] in ("reference", "baseline") for page in pages),
            "pages_told": len(receiver.page_ids),
            "notifications": len(receiver.received),
            "retraining_runs": [{"status": run["state"]} for run in self.runs()],
            "events_per_second": round(self.published / self.replay_seconds, 1),
            "seconds": round(seconds, 1),
        }


def _advancing(progress: Progress, task: TaskID, before: int) -> Callable[[int], None]:
    return lambda stored: progress.update(task, completed=stored - before)


def _told(pages: Sequence[dict[str, Any]]) -> str:
    if not pages:
        return "no page"
    return ", ".join(f"[bold]{page['stream']}[/] after {page['delay']} interactions" for page in pages)


def _report(console: Console, summary: dict[str, Any], replay: _Replay, receiver: Receiver) -> None:
    table = Table(title="What happened", title_justify="left", box=None)
    for name in ("phase", "pages", "first after"):
        table.add_column(name)
    counts = Counter(page["phase"] for page in summary["pages"])
    for phase in replay._script:
        delays = [page["delay"] for page in summary["pages"] if page["phase"] == phase.name]
        table.add_row(phase.title, str(counts[phase.name]), f"{min(delays)} interactions" if delays else "–")
    console.print(table)
    console.print(
        f"Simulated: {SPAN.days} days of event time under a budget of 1 false page in 30 days. "
        f"{summary['published']} published, {summary['stored']} stored, {summary['lost']} lost; "
        f"{summary['pages_told']} of {len(summary['pages'])} pages told, in {summary['notifications']} notifications.",
        soft_wrap=True,
    )
    for run in replay.runs():
        metrics = json.loads(run["metrics"]).get("metrics", {})
        told = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
        console.print(f"retraining run {run['run_id'][:8]} {run['state']}: {told}", markup=False, soft_wrap=True)
    for title in list(receiver.received.values())[:3]:
        console.print(f"told, for example: {title}", markup=False, soft_wrap=True)


def _make_room(directory: Path) -> None:
    """Empty the directory of an earlier demonstration, and of nothing else."""
    if directory.exists() and any(directory.iterdir()) and not (directory / MARKER).exists():
        raise ConfigurationError(f"--data {directory}: it holds something else; name an empty directory")
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir(parents=True)
        (directory / MARKER).touch()
    except OSError as error:
        raise ConfigurationError(f"--data {directory}: {error.strerror}") from None
