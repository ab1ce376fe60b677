"""What the respond stage does besides its topics: sends the outbox, starts and follows runs, makes reports.

Each chore reads its work from the tables, so that a restart goes on where the killed process stood.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sinks.clickhouse import StoreUnavailable
from sinks.notification import Delivered, Notification, after_attempt, is_due
from sinks.recovery import Recovery
from sinks.report import ReportFailed, make_report
from sinks.retraining import Exited, Refused, Run, Started, Target
from sinks.retraining.bundle import BundleFailed, write_bundle
from sinks.retraining.token import callback_token
from streams.agents.respond import Surroundings, end_or_note_run, incident_of, write_incident
from streams.core.incidents import timeline_event, with_report
from streams.metrics import NOTIFICATIONS, OUTBOX
from tocsin.messages import RunStatus

logger = logging.getLogger(__name__)

SAMPLE = 2_000
POLL_SECONDS = 2.0


async def deliver(around: Surroundings) -> None:
    """Send what is due; a slow target does not hold up the others."""
    rows = await asyncio.to_thread(Recovery(around.store).pending_notifications)
    pending = [Notification(**row) for row in rows]
    OUTBOX.set(len(pending))
    retry = timedelta(seconds=around.settings.notification.retry_seconds)
    due = [row for row in pending if is_due(row, retry, around.clock()) and row.target in around.notifier.targets]
    by_target: dict[str, list[Notification]] = {}
    for row in due:
        by_target.setdefault(row.target, []).append(row)
    await asyncio.gather(*(_in_daemon_thread(partial(_send, around, rows)) for rows in by_target.values()))


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    """Like `asyncio.to_thread`, but the process need not wait for it to end: a target may hang for half a minute.

    What it was sending stays in the outbox and is sent again at the next start.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: StoreUnavailable | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def run() -> None:
        error: StoreUnavailable | None = None
        try:
            work()
        except StoreUnavailable as unavailable:
            error = unavailable
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="notify", daemon=True).start()
    await done


def _send(around: Surroundings, rows: Iterable[Notification]) -> None:
    for row in rows:
        result = around.notifier.send(row.target, row.title, row.body, row.notification_id)
        changed = after_attempt(row, result, around.clock())
        NOTIFICATIONS.labels("delivered" if isinstance(result, Delivered) else "failed").inc()
        if not isinstance(result, Delivered):
            logger.warning("notification %s to %s failed: %s", row.notification_id, row.target, result.reason)
        around.store.insert("notifications", [asdict(changed)])


class Runs:
    """Starts planned runs and notices those that ended without a word."""

    def __init__(self, around: Surroundings, target: Target, secret: bytes, directory: Path) -> None:
        self._around, self._target, self._secret, self._directory = around, target, secret, directory
        self._recovery = Recovery(around.store)

    def advance(self) -> None:
        """One round over all open runs; blocks."""
        for row in self._recovery.open_runs():
            if row["target"] != self._target.name:
                continue
            if row["state"] == "planned":
                self._start(row)
            else:
                self._follow(row)

    def _run(self, row: dict[str, Any]) -> Run:
        url = f"{self._around.public_url.rstrip('/')}/v1/retraining/{row['run_id']}/status"
        token = callback_token(self._secret, row["run_id"])
        return Run(row["run_id"], row["incident_id"], row["application"], url, token)

    def _start(self, row: dict[str, Any]) -> None:
        try:
            result = self._target.start(self._run(row), self._bundle(row))
        except BundleFailed as error:
            result = Refused(str(error))
        if isinstance(result, Started):
            now = self._around.clock()
            changed = {**row, "state": "started", "started_at": now, "version": row["version"] + 1}
            self._around.store.insert("retraining_runs", [changed])
        elif isinstance(result, Refused):
            self._fail(row, result.reason)

    def _follow(self, row: dict[str, Any]) -> None:
        limit = timedelta(hours=self._around.settings.retraining.timeout_hours)
        state = self._target.poll(self._run(row))
        if isinstance(state, Exited):
            # the callback may still be on its way through the broker
            if row["detail"] == _LEFT:
                self._fail(row, f"ended with code {state.code} and without a report")
            else:
                self._around.store.insert("retraining_runs", [{**row, "detail": _LEFT, "version": row["version"] + 1}])
        elif self._around.clock() - row["created_at"] > limit:
            self._fail(row, f"no word within {limit}")

    def _fail(self, row: dict[str, Any], reason: str) -> None:
        status = RunStatus(run_id=row["run_id"], state="failed", given_at=self._around.clock(), detail=reason)
        end_or_note_run(self._around.store, row, status)

    def _bundle(self, row: dict[str, Any]) -> Path:
        incident_row = self._recovery.incident(row["incident_id"])
        directory = self._directory / row["run_id"] / "bundle"
        if incident_row is None:
            raise BundleFailed("its incident is not stored")
        incident = incident_of(incident_row)
        reference = [
            member
            for each in self._recovery.references_in_force(incident.application)
            for member in self._recovery.interactions_by_id(each["members"][:SAMPLE])
        ]
        drifted = self._recovery.interactions_since(incident.application, incident.began_at, SAMPLE)
        pages = [page for page_id in incident.page_ids if (page := self._recovery.page(page_id))]
        manifest = {
            "run_id": row["run_id"],
            "incident_id": incident.incident_id,
            "application": incident.application,
            "title": incident.title,
            "began_at": incident.began_at.isoformat(),
            "pages": pages,
        }
        return write_bundle(directory, manifest, reference, drifted, self._recovery.rated(incident.application, SAMPLE))


_LEFT = "the job has ended, its report is awaited"


class Reports:
    """Makes an Evidently report for each incident, once; an incident whose report failed does without."""

    def __init__(self, around: Surroundings, directory: Path) -> None:
        self._around, self._directory, self._tried = around, directory, set[str]()
        self._cancelled = threading.Event()
        for draft in directory.glob(".report-*"):  # of a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
        self._recovery = Recovery(around.store)

    def cancel(self) -> None:
        """Give up the report in the making; it is made at the next start."""
        self._cancelled.set()

    async def make(self) -> None:
        """One report, if one is due."""
        due = await asyncio.to_thread(self._recovery.incidents_without_report)
        for row in due:
            if row["incident_id"] not in self._tried:
                self._tried.add(row["incident_id"])
                await self._make_one(row["incident_id"])
                return

    async def _make_one(self, incident_id: str) -> None:
        name = f"{incident_id}.html"
        try:
            await asyncio.to_thread(self._write, incident_id, self._directory / name)
        except ReportFailed as error:
            logger.warning("no report for incident %s: %s", incident_id, error)
            return
        async with self._around.writing:
            await asyncio.to_thread(self._link, incident_id, name)

    def _write(self, incident_id: str, out: Path) -> None:
        row = self._recovery.incident(incident_id)
        if row is None:
            raise ReportFailed("it is not stored")
        members = [each["members"] for each in self._recovery.references_in_force(row["application"])]
        if not members:
            raise ReportFailed("its application has no reference")
        reference = self._recovery.interactions_by_id(members[-1][-SAMPLE:])
        current = self._recovery.interactions_since(row["application"], row["began_at"], SAMPLE)
        before, now = ([each["signals"] for each in rows] for rows in (reference, current))
        make_report(before, now, out, cancelled=self._cancelled)

    def _link(self, incident_id: str, name: str) -> None:
        row = self._recovery.incident(incident_id)
        if row is not None:
            event = timeline_event(incident_id, "report", "", self._around.clock(), detail="the report is ready")
            write_incident(self._around.store, with_report(incident_of(row), name), [event])


async def do_chores(around: Surroundings, runs: Runs | None, reports: Reports) -> None:
    """For ever: send, start, follow, report; at once when there is work, otherwise every two seconds."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_for_ever(around, runs))
            group.create_task(_report_for_ever(reports))
    finally:
        reports.cancel()


async def _for_ever(around: Surroundings, runs: Runs | None) -> None:
    while True:
        try:
            await deliver(around)
            if runs is not None:
                await asyncio.to_thread(runs.advance)
        except StoreUnavailable as error:
            logger.warning("the store is away: %s", error)
        around.work.clear()
        try:
            await asyncio.wait_for(around.work.wait(), POLL_SECONDS)
        except TimeoutError:
            continue


async def _report_for_ever(reports: Reports) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            await reports.make()
        except StoreUnavailable as error:
            logger.warning("the store is away: %s", error)
