"""What the respond stage does besides its topics: delivers the outbox, starts and follows runs, makes reports.

Each chore reads its work from the tables, so that a restart goes on where the killed process stood.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from pathlib import Path

from sinks.recovery import Recovery
from sinks.report import ReportFailed, make_report
from streams.agents.delivery import deliver
from streams.agents.respond import Surroundings, incident_of, write_incident
from streams.agents.rounds import Leads, go_round
from streams.agents.runs import SAMPLE, Runs
from streams.core.incidents import timeline_event, with_report

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0


class Reports:
    """Makes an Evidently report for each incident, once; an incident whose report failed does without."""

    def __init__(self, around: Surroundings, directory: Path) -> None:
        self._around, self._directory, self._tried = around, directory, set[str]()
        self._cancelled = threading.Event()
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
        reference = self._recovery.interactions_by_id(row["application"], members[-1][-SAMPLE:])
        current = self._recovery.interactions_since(row["application"], row["began_at"], SAMPLE)
        before, now = ([each["signals"] for each in rows] for rows in (reference, current))
        for draft in self._directory.glob(".report-*"):  # of a process that was killed
            shutil.rmtree(draft, ignore_errors=True)
        make_report(before, now, out, cancelled=self._cancelled)

    def _link(self, incident_id: str, name: str) -> None:
        row = self._recovery.incident(incident_id)
        if row is not None:
            event = timeline_event(incident_id, "report", "", self._around.clock(), detail="the report is ready")
            write_incident(self._around.store, with_report(incident_of(row), name), [event])


async def do_chores(around: Surroundings, runs: Runs | None, reports: Reports, leads: Leads) -> None:
    """While this worker leads: send, start, follow, report; at once when there is work, otherwise every two seconds."""

    async def send_and_start() -> None:
        await deliver(around, leads)
        if runs is not None:
            await asyncio.to_thread(runs.advance, leads)

    try:
        async with asyncio.TaskGroup() as group:
            # no `leads`: a worker that leads no more still writes down what it sent
            group.create_task(go_round("messages", send_and_start, POLL_SECONDS, woken=around.work))
            group.create_task(go_round("reports", reports.make, POLL_SECONDS, leads=leads))
    finally:
        reports.cancel()
