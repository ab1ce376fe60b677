"""What the stages read to go on after a crash, a restart or a rebalance: every statement that is not for people."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Protocol

from tocsin.contracts import Feedback, Interaction

Row = dict[str, Any]

UNDELIVERED = """SELECT count() AS n FROM outbox FINAL WHERE (target, page_id) NOT IN
                 (SELECT target, arrayJoin(page_ids) FROM notifications FINAL WHERE state = 'sent')"""
"""How many pages have still to reach a target, each target counted: for whoever waits until everybody is told."""


class Reader(Protocol):
    """What is needed of a store: one parametrised SELECT."""

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """The rows."""
        ...


class Recovery:
    """Named reads over a store; they block."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def next_offsets(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """The offset after the last range of each partition that was dealt with; nothing where there is none."""
        sql = """SELECT source_partition, max(next_offset) AS next_offset FROM ledger
                 WHERE topic = {topic:String} AND source_partition IN {partitions:Array(UInt32)}
                 GROUP BY source_partition"""
        rows = self._reader.query(sql, {"topic": topic, "partitions": list(partitions)})
        return {int(row["source_partition"]): int(row["next_offset"]) for row in rows}

    def stored_interactions(self, found: Iterable[Interaction]) -> list[Row]:
        """Where stored interactions with the ids of these came from, and in which hour they lie.

        Looks a day around the times of these: what it reads must not grow with the table.
        """
        ids, applications, hours = set[str](), set[str](), set[datetime]()
        for each in found:
            ids.add(each.interaction_id)
            applications.add(each.application)
            hours.add(each.occurred_at.replace(minute=0, second=0, microsecond=0))
        around = {hour + timedelta(hours=shift) for hour in hours for shift in range(-24, 25)}
        sql = """SELECT interaction_id, application, toUnixTimestamp(toStartOfHour(occurred_at)) AS hour,
                        source_partition, source_offset
                 FROM interactions
                 WHERE application IN {applications:Array(String)}
                   AND toStartOfHour(occurred_at) IN {hours:Array(DateTime('UTC'))}
                   AND interaction_id IN {ids:Array(String)}"""
        values = {"applications": list(applications), "hours": list(around), "ids": list(ids)}
        return self._reader.query(sql, values) if ids else []

    def stored_feedback(self, found: Collection[Feedback]) -> list[Row]:
        """Where stored feedback with the ids of these came from."""
        sql = """SELECT feedback_id, source_partition, source_offset
                 FROM feedback
                 WHERE application IN {applications:Array(String)} AND interaction_id IN {interactions:Array(String)}
                   AND feedback_id IN {ids:Array(String)}"""
        values = {
            "applications": [each.application for each in found],
            "interactions": [each.interaction_id for each in found],
            "ids": [each.feedback_id for each in found],
        }
        return self._reader.query(sql, values) if found else []

    def detector_states(self, partition: int) -> tuple[int, dict[str, dict[str, bytes]]]:
        """The next offset of `tocsin.signals` to take in, and the states of each application (and of '') by segment."""
        sql = """SELECT application, segment, max(s.next_offset) AS upto, argMax(s.state, s.next_offset) AS state
                 FROM detector_states AS s WHERE signals_partition = {partition:UInt32}
                 GROUP BY application, segment"""
        rows = self._reader.query(sql, {"partition": partition})
        upto = max((int(row["upto"]) for row in rows), default=0)
        states: dict[str, dict[str, bytes]] = {}
        for row in rows:
            states.setdefault(row["application"], {})[row["segment"]] = base64.b64decode(row["state"])
        return upto, states

    def units(self, application: str, ids: Iterable[str]) -> list[Row]:
        """What the watch stage keeps of an application's interactions; another one may use the same ids."""
        sql = """SELECT interaction_id, application, occurred_at, model_name, model_version,
                        template_name, template_version, attributes, signals, labels,
                        prompt_vector, response_vector, encoder
                 FROM interactions
                 WHERE application = {application:String} AND interaction_id IN {ids:Array(String)}
                   AND NOT has(flags, 'id_conflict')
                 LIMIT 1 BY interaction_id"""
        wanted, rows = list(ids), []
        for start in range(0, len(wanted), 2_000):
            part = {"application": application, "ids": wanted[start : start + 2_000]}
            rows += self._reader.query(sql, part)
        return rows

    def reference(self, reference_id: str) -> bytes | None:
        """A fitted reference."""
        sql = """SELECT fitted FROM references FINAL WHERE reference_id = {reference_id:String}"""
        rows = self._reader.query(sql, {"reference_id": reference_id})
        return base64.b64decode(rows[0]["fitted"]) if rows else None

    def reference_row(self, reference_id: str) -> Row | None:
        """The row of a reference, with its version."""
        sql = "SELECT * FROM references FINAL WHERE reference_id = {reference_id:String}"
        rows = self._reader.query(sql, {"reference_id": reference_id})
        return rows[0] if rows else None

    def references_in_force(self, application: str) -> list[Row]:
        """References of a whole application that are marked as current; the newest last."""
        sql = """SELECT * FROM references FINAL
                 WHERE application = {application:String} AND segment = '' AND status = 'current'
                 ORDER BY created_at"""
        return self._reader.query(sql, {"application": application})

    def references_before(self, application: str, segment: str, reference_id: str) -> list[Row]:
        """References of an application or a segment, current or proposed, that one which is now in force replaces."""
        sql = """SELECT * FROM references FINAL
                 WHERE application = {application:String} AND segment = {segment:String}
                   AND status IN ('current', 'proposed') AND reference_id != {reference_id:String}"""
        return self._reader.query(sql, {"application": application, "segment": segment, "reference_id": reference_id})

    def incidents_for(self, application: str, page_id: str) -> list[Row]:
        """The incidents that a page of the application may belong to."""
        sql = """SELECT * FROM incidents FINAL
                 WHERE application = {application:String} AND (state != 'resolved' OR has(page_ids, {page_id:String}))
                 ORDER BY opened_at"""
        return self._reader.query(sql, {"application": application, "page_id": page_id})

    def incident(self, incident_id: str) -> Row | None:
        """One incident."""
        sql = "SELECT * FROM incidents FINAL WHERE incident_id = {incident_id:String}"
        rows = self._reader.query(sql, {"incident_id": incident_id})
        return rows[0] if rows else None

    def incidents_without_report(self) -> list[Row]:
        """The latest incidents that have no report yet, the newest first."""
        return self._reader.query(
            "SELECT incident_id FROM incidents FINAL WHERE report = '' ORDER BY opened_at DESC LIMIT 20"
        )

    def page(self, page_id: str) -> str | None:
        """The explanation of a page, as JSON."""
        sql = "SELECT explanation FROM pages FINAL WHERE page_id = {page_id:String}"
        rows = self._reader.query(sql, {"page_id": page_id})
        return str(rows[0]["explanation"]) if rows else None

    def untold(self) -> list[Row]:
        """Pages in the outbox that no message tells of, by target; the first that came first."""
        sql = """SELECT * FROM outbox FINAL
                 WHERE (target, page_id) NOT IN (SELECT target, arrayJoin(page_ids) FROM notifications)
                 ORDER BY added_at, page_id"""
        return self._reader.query(sql)

    def notifications(self, incident_id: str, target: str) -> list[Row]:
        """Messages to a target about an incident."""
        sql = """SELECT * EXCEPT page_id FROM notifications FINAL
                 WHERE incident_id = {incident_id:String} AND target = {target:String}"""
        return self._reader.query(sql, {"incident_id": incident_id, "target": target})

    def pending_notifications(self) -> list[Row]:
        """Messages that have not been delivered."""
        sql = "SELECT * EXCEPT page_id FROM notifications FINAL WHERE state = 'pending' ORDER BY created_at"
        return self._reader.query(sql)

    def latest_run(self, application: str) -> Row | None:
        """The newest retraining run of an application."""
        sql = """SELECT * FROM retraining_runs FINAL WHERE application = {application:String}
                 ORDER BY created_at DESC LIMIT 1"""
        rows = self._reader.query(sql, {"application": application})
        return rows[0] if rows else None

    def run(self, run_id: str) -> Row | None:
        """One retraining run."""
        rows = self._reader.query(
            "SELECT * FROM retraining_runs FINAL WHERE run_id = {run_id:String}", {"run_id": run_id}
        )
        return rows[0] if rows else None

    def open_runs(self) -> list[Row]:
        """Retraining runs that are planned or have not ended."""
        return self._reader.query(
            "SELECT * FROM retraining_runs FINAL WHERE state IN ('planned', 'started', 'running') ORDER BY created_at"
        )

    def interactions_by_id(self, application: str, ids: Collection[str]) -> list[Row]:
        """Texts and signals of an application's interactions, for reports and bundles."""
        sql = """SELECT interaction_id, occurred_at, session_id, prompt, response,
                        model_name, model_version, signals, labels
                 FROM interactions
                 WHERE application = {application:String} AND interaction_id IN {ids:Array(String)}
                 ORDER BY occurred_at LIMIT 1 BY interaction_id"""
        return self._reader.query(sql, {"application": application, "ids": list(ids)})

    def interactions_since(self, application: str, since: Any, limit: int) -> list[Row]:
        """The first interactions of an application from a time on."""
        sql = """SELECT interaction_id, occurred_at, session_id, prompt, response,
                        model_name, model_version, signals, labels
                 FROM interactions
                 WHERE application = {application:String} AND occurred_at >= {since:DateTime64(3, 'UTC')}
                 ORDER BY occurred_at LIMIT 1 BY interaction_id LIMIT {limit:UInt32}"""
        return self._reader.query(sql, {"application": application, "since": since, "limit": limit})

    def rated(self, application: str, limit: int) -> list[Row]:
        """Interactions that people rated or labelled, the newest first."""
        sql = """SELECT f.interaction_id AS interaction_id, f.kind AS kind, f.rating AS rating, f.text AS text,
                        i.prompt AS prompt, i.response AS response
                 FROM (SELECT * FROM feedback FINAL WHERE application = {application:String}
                       ORDER BY given_at DESC LIMIT {limit:UInt32}) AS f
                 INNER JOIN (SELECT interaction_id, prompt, response FROM interactions
                             WHERE application = {application:String} LIMIT 1 BY interaction_id) AS i
                 ON f.interaction_id = i.interaction_id"""
        return self._reader.query(sql, {"application": application, "limit": limit})

    def ledger(self) -> list[Row]:
        """Every range of offsets that was dealt with."""
        return self._reader.query(
            """SELECT topic, source_partition, first_offset, next_offset, stored, dead_lettered, duplicate
               FROM ledger FINAL ORDER BY topic, source_partition, first_offset"""
        )
