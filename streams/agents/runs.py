"""Retraining runs: their rows, and what starts and follows them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sinks.clickhouse import Store
from sinks.recovery import Recovery
from sinks.retraining import Exited, Refused, Run, Started, Target
from sinks.retraining.bundle import BundleFailed, write_bundle
from sinks.retraining.token import callback_token
from streams.agents.rounds import Leads, always
from streams.core.incidents import Incident, timeline_event
from tocsin.messages import RunStatus

logger = logging.getLogger(__name__)

OPEN_STATES = ("planned", "started", "running")
SAMPLE = 2_000
LEFT = "the job has ended, its report is awaited"


class RunRecords:
    """Rows of `retraining_runs`: changed one at a time, from any thread, and never once a run has ended.

    A job may report at the very moment in which its end is noticed; whoever comes second must see what the first wrote.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._recovery, self._lock = store, Recovery(store), threading.Lock()

    def plan(self, run_id: str, incident: Incident, target: str, now: datetime) -> None:
        """A run that is to be started."""
        row = {
            "run_id": run_id,
            "incident_id": incident.incident_id,
            "application": incident.application,
            "target": target,
            "state": "planned",
            "reason": incident.title,
            "created_at": now,
            "started_at": None,
            "finished_at": None,
            "model_version": "",
            "metrics": "{}",
            "detail": "",
            "version": 1,
        }
        self._store.insert("retraining_runs", [row])

    def change(self, run_id: str, **changes: object) -> dict[str, Any] | None:
        """Change an open run; None if there is no such run or it has ended."""
        with self._lock:
            row = self._open(run_id)
            return self._changed(row, changes) if row else None

    def _open(self, run_id: str) -> dict[str, Any] | None:
        row = self._recovery.run(run_id)
        return row if row and row["state"] in OPEN_STATES else None

    def _changed(self, row: dict[str, Any], changes: dict[str, object]) -> dict[str, Any]:
        changed = {**row, **changes, "version": row["version"] + 1}
        self._store.insert("retraining_runs", [changed])
        return changed

    def report(self, status: RunStatus) -> None:
        """Note what a run reported, in its row and on the incident's timeline."""
        ended = status.state != "running"
        changes: dict[str, object] = {"state": status.state, "detail": status.detail}
        changes |= {"finished_at": status.given_at} if ended else {}
        changes |= {"model_version": status.model_version} if status.model_version else {}
        changes |= {"metrics": status.model_dump_json(include={"metrics"})} if status.metrics else {}
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in status.metrics.items())
        detail = "; ".join(part for part in (f"run {status.run_id}", metrics, status.detail) if part)
        kind = f"retraining {status.state}"
        with self._lock:
            row = self._open(status.run_id)
            if row is not None:
                # the row last: once it says that the run has ended, a report that comes again says nothing
                at = status.given_at
                event = timeline_event(row["incident_id"], kind, status.run_id, at, "retraining job", detail)
                self._store.insert("incident_events", [asdict(event)])
                self._changed(row, changes)


class Runs:
    """Starts planned runs and notices those that ended without a word."""

    def __init__(
        self,
        store: Store,
        records: RunRecords,
        target: Target,
        secret: bytes,
        directory: Path,
        public_url: str,
        limit: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._recovery, self._records, self._target = Recovery(store), records, target
        self._secret, self._directory, self._public_url = secret, directory, public_url.rstrip("/")
        self._limit, self._clock = limit, clock

    def advance(self, leads: Leads = always) -> None:
        """One round over all open runs, as long as this worker leads; blocks."""
        for row in self._recovery.open_runs():
            if not leads():
                return
            if row["target"] != self._target.name:
                continue
            if row["state"] == "planned":
                self._start(row)
            else:
                self._follow(row)

    def _run(self, row: dict[str, Any]) -> Run:
        url = f"{self._public_url}/v1/retraining/{row['run_id']}/status"
        token = callback_token(self._secret, row["run_id"])
        return Run(row["run_id"], row["incident_id"], row["application"], url, token)

    def _start(self, row: dict[str, Any]) -> None:
        incident = self._recovery.incident(row["incident_id"])
        if incident is None:  # it is written after its run, or when its page comes again
            if self._clock() - row["created_at"] > self._limit:
                self._fail(row, "its incident is not stored")
            return
        try:
            result = self._target.start(self._run(row), self._bundle(row, incident))
        except BundleFailed as error:
            result = Refused(str(error))
        except OSError as error:  # the disk is full, say: planned it stays
            logger.warning("the bundle of run %s cannot be written: %s", row["run_id"], error.strerror)
            return
        if isinstance(result, Started):
            self._records.change(row["run_id"], state="started", started_at=self._clock())
        elif isinstance(result, Refused):
            self._fail(row, result.reason)
        else:
            logger.warning("run %s cannot be started yet: %s", row["run_id"], result.reason)

    def _follow(self, row: dict[str, Any]) -> None:
        state = self._target.poll(self._run(row))
        if isinstance(state, Exited):
            # one round more, since its report may still be on its way through the broker
            if row["detail"] == LEFT:
                self._fail(row, f"ended with code {state.code} and without a report")
            else:
                self._records.change(row["run_id"], detail=LEFT)
        elif self._clock() - row["created_at"] > self._limit:
            self._fail(row, f"no word within {self._limit}")

    def _fail(self, row: dict[str, Any], reason: str) -> None:
        self._records.report(
            RunStatus(run_id=row["run_id"], state="failed", given_at=self._clock(), detail=reason[:2000])
        )

    def _bundle(self, row: dict[str, Any], incident: dict[str, Any]) -> Path:
        application = incident["application"]
        reference = [
            member
            for each in self._recovery.references_in_force(application)
            for member in self._recovery.interactions_by_id(application, each["members"][:SAMPLE])
        ]
        drifted = self._recovery.interactions_since(application, incident["began_at"], SAMPLE)
        pages = [page for page_id in incident["page_ids"] if (page := self._recovery.page(page_id))]
        manifest = {
            "run_id": row["run_id"],
            "incident_id": incident["incident_id"],
            "application": application,
            "title": incident["title"],
            "began_at": incident["began_at"].isoformat(),
            "pages": pages,
        }
        directory = self._directory / row["run_id"] / "bundle"
        return write_bundle(directory, manifest, reference, drifted, self._recovery.rated(application, SAMPLE))
