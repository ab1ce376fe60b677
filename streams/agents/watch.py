"""WATCH: signals in; evidence, references and pages out.

Order of the writes: references, pages and evidence, the pages' messages, the snapshot, the ledger, acknowledgement.
What a crash repeats has the same ids, because a restored monitor decides bit for bit alike.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from detectors.encoder.bfloat16 import to_bfloat16
from sinks.clickhouse import Store
from sinks.recovery import Recovery
from sinks.rows import dead_letter_row, page_row
from streams.agents.ledger import Fate, Ledger
from streams.core import reference as references
from streams.core import snapshot as snapshots
from streams.core.archive import Outdated
from streams.core.decoding import DeadLetter, bounds_of, decode
from streams.core.events import Compared, Comparison, Event, Learned, Raised, Retired, Shown
from streams.core.monitor import ApplicationMonitor
from streams.core.partition import PartitionMonitor
from streams.core.reference import Reference
from streams.core.rules import Rules
from streams.core.units import Unit, Vectors, fields_of
from streams.metrics import DEAD_LETTERS, LATE, PAGES
from streams.publisher import Publisher
from streams.settings import Settings
from streams.worker import Record
from tocsin import messages
from tocsin.messages import SIGNALS, SIGNALS_MESSAGE, Joined, Promote, Scored, SignalsMessage

logger = logging.getLogger(__name__)

LATE_SECONDS = 3_600.0


class WatchStage:
    """The handler of `tocsin.signals`."""

    def __init__(self, store: Store, publisher: Publisher, rules: Rules, settings: Settings) -> None:
        self._store, self._publisher, self._rules = store, publisher, rules
        self._recovery, self._ledger = Recovery(store), Ledger(SIGNALS, store)
        self._bounds, self._limits = bounds_of(settings.limits), settings.limits
        self._partitions: dict[int, tuple[int, PartitionMonitor]] = {}
        self._warned_of: set[str] = set()

    async def __call__(self, records: list[Record]) -> None:
        """Take a batch in; on failure nothing is kept in memory, so that the next try begins at the snapshot."""
        try:
            events = await asyncio.to_thread(self._apply, records)
            await self._publisher.publish(
                messages.PAGES, [(event.page.application, event.page) for event in events if isinstance(event, Raised)]
            )
            for event in events:
                if isinstance(event, Learned) and not event.proposed and not event.reference.segment:
                    joined = Joined(application=event.reference.application)
                    await self._publisher.publish_everywhere(SIGNALS, joined)
            await asyncio.to_thread(self._close, records)
        except BaseException:
            for partition in {record.partition for record in records}:
                self._partitions.pop(partition, None)
            raise
        self._tell_late()
        for event in events:
            if isinstance(event, Raised):
                PAGES.labels(event.page.application).inc()

    def _apply(self, records: list[Record]) -> list[Event]:
        events: list[Event] = []
        self._fates: list[tuple[Record, Fate]] = []
        self._late: list[tuple[str, datetime, datetime]] = []
        dead: list[dict[str, Any]] = []
        for partition in sorted({record.partition for record in records}):
            mine = [record for record in records if record.partition == partition]
            upto, monitor = self._open(partition, mine[0].offset)
            read: list[SignalsMessage] = []
            for record in mine:
                result = decode(record.value, SIGNALS_MESSAGE, self._bounds)
                if isinstance(result, DeadLetter):
                    DEAD_LETTERS.labels(SIGNALS, result.reason).inc()
                    days = self._limits.dead_letter_days
                    dead.append(
                        dead_letter_row(record.source, record.at, result.reason, result.detail, record.value, days)
                    )
                    self._fates.append((record, "dead_lettered"))
                    continue
                self._fates.append((record, "stored"))
                if record.offset >= upto:
                    read.append(result.value)
            self._find_late(monitor, read)
            events += monitor.apply(read, self._references(read))
            self._partitions[partition] = (max(upto, mine[-1].offset + 1), monitor)
        if dead:
            self._store.insert("dead_letters", dead)
        self._write(events)
        return events

    def _find_late(self, monitor: PartitionMonitor, read: Sequence[SignalsMessage]) -> None:
        for message in (each for each in read if isinstance(each, Scored)):
            known = monitor.applications.get(message.application)
            if known is not None and message.occurred_at.timestamp() <= known.clock - LATE_SECONDS:
                self._late.append((message.application, message.occurred_at, _moment(known.clock)))

    def _tell_late(self) -> None:
        """Budget comes with time: traffic of a time that has passed brings none, which people should know of."""
        for application, occurred_at, latest in self._late:
            LATE.labels(application).inc()
            if application not in self._warned_of:
                self._warned_of.add(application)
                logger.warning(
                    "%s: interactions of %s come after those of %s; they bring no page budget, so a change in them "
                    "may not page: import history before live traffic begins, or look at it with tocsin backtest",
                    application,
                    f"{occurred_at:%Y-%m-%d %H:%M}",
                    f"{latest:%Y-%m-%d %H:%M}",
                )

    def _close(self, records: list[Record]) -> None:
        for partition in sorted({record.partition for record in records}):
            self._snapshot(partition)
        self._ledger.close(self._fates)

    # -- going on after a crash or a rebalance ---------------------------------------------------------------------

    def _open(self, partition: int, first: int) -> tuple[int, PartitionMonitor]:
        """The monitor of a partition: the one in memory if this batch goes on where it stands, else the stored one."""
        known = self._partitions.get(partition)
        if known is None or known[0] != first:
            known = self._restore(partition)
            self._partitions[partition] = known
        return known

    def _restore(self, partition: int) -> tuple[int, PartitionMonitor]:
        upto, states = self._recovery.detector_states(partition)
        monitor = PartitionMonitor(self._rules)
        common = orjson.loads(states.pop("", {}).get("", b"{}"))
        monitor.sharing = set(common.get("sharing", ()))
        monitor.marks = {(topic, source): offset for topic, source, offset in common.get("marks", ())}
        for application, parts in states.items():
            try:
                monitor.applications[application] = self._restored(application, parts)
            except Outdated as reason:
                logger.warning("%s: %s; its references are made again", application, reason)
                monitor.applications[application] = self._begun_again(application)
        return upto, monitor

    def _restored(self, application: str, parts: Mapping[str, bytes]) -> ApplicationMonitor:
        stored = snapshots.read_parts(parts)
        units = self._units(application, stored.unit_ids)
        return snapshots.restore(stored, self._rules, units, self._fitted(stored.reference_ids))

    def _begun_again(self, application: str) -> ApplicationMonitor:
        """After an upgrade: a monitor that has collected what the reference in force was made of."""
        monitor = ApplicationMonitor(application, self._rules)
        for row in self._recovery.references_in_force(application)[-1:]:
            units = self._units(application, row["members"])
            monitor.collect(units[name] for name in row["members"] if name in units)
        return monitor

    def _units(self, application: str, ids: Iterable[str]) -> dict[str, Unit]:
        return {row["interaction_id"]: unit_of(row) for row in self._recovery.units(application, ids)}

    def _snapshot(self, partition: int) -> None:
        upto, monitor = self._partitions[partition]
        common = {
            "sharing": sorted(monitor.sharing),
            "marks": [[topic, source, offset] for (topic, source), offset in sorted(monitor.marks.items())],
        }
        states = {("", ""): orjson.dumps(common)}
        for name in sorted(monitor.changed):
            parts = snapshots.changed_parts(monitor.applications[name])
            states |= {(name, segment): part for segment, part in parts.items()}
        self._store.insert(
            "detector_states",
            [
                {
                    "signals_partition": partition,
                    "application": application,
                    "segment": segment,
                    "next_offset": upto,
                    "state_version": snapshots.VERSION,
                    "state": base64.b64encode(state).decode(),
                }
                for (application, segment), state in states.items()
            ],
        )
        monitor.changed.clear()

    def _references(self, read: Sequence[SignalsMessage]) -> dict[str, Reference]:
        return self._fitted({message.reference_id for message in read if isinstance(message, Promote)})

    def _fitted(self, reference_ids: Iterable[str]) -> dict[str, Reference]:
        found: dict[str, Reference] = {}
        for name in reference_ids:
            data = self._recovery.reference(name)
            if data is not None:
                try:
                    found[name] = references.load(data)
                except Outdated as reason:  # proposed before an upgrade, and promoted after it
                    logger.warning("reference %s cannot be used: %s", name, reason)
        return found

    # -- what people and later stages see --------------------------------------------------------------------------

    def _write(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Learned():
                    self._store.insert("references", self._learned_rows(event))
                case Retired():
                    self._store.insert("references", [reference_row(event.reference, "superseded", 3)])
        pages = [page_row(event.page) for event in events if isinstance(event, Raised)]
        if pages:
            self._store.insert("pages", pages)
        compared = [comparison_row(one) for event in events if isinstance(event, Compared) for one in event.comparisons]
        if compared:
            self._store.insert("fairness", compared)
        shown = [
            {
                "application": event.application,
                "segment": event.segment,
                "stream": event.stream,
                "occurred_at": _moment(event.occurred_at),
                "units": event.units,
                "evidence": event.evidence,
                "latched": int(event.latched),
            }
            for event in events
            if isinstance(event, Shown)
        ]
        if shown:
            self._store.insert("evidence", shown)

    def _learned_rows(self, event: Learned) -> list[dict[str, Any]]:
        """The row of a reference, and of the ones that it replaces."""
        reference = event.reference
        if event.proposed:
            return [reference_row(reference, "proposed", 1)]
        former = self._recovery.references_before(reference.application, reference.segment, reference.reference_id)
        replaced = [{**row, "status": "superseded", "version": row["version"] + 1} for row in former]
        return [reference_row(reference, "current", 2), *replaced]


def unit_of(row: dict[str, Any]) -> Unit:
    """A unit out of a row of `interactions`: the same as from its message."""
    return Unit(
        interaction_id=row["interaction_id"],
        occurred_at=row["occurred_at"].timestamp(),
        encoder=row["encoder"],
        vectors=Vectors(
            {side: to_bfloat16(np.asarray(row[f"{side}_vector"], np.float32)) for side in ("prompt", "response")}
        ),
        signals=dict(row["signals"]),
        fields=fields_of(
            row["attributes"],
            row["labels"],
            (row["model_name"], row["model_version"]),
            (row["template_name"], row["template_version"]),
        ),
    )


def reference_row(reference: Reference, status: str, version: int) -> dict[str, Any]:
    """A row of `references`; the higher version of a row counts."""
    return {
        "reference_id": reference.reference_id,
        "application": reference.application,
        "segment": reference.segment,
        "status": status,
        "created_at": _moment(reference.last_at),
        "first_at": _moment(reference.first_at),
        "last_at": _moment(reference.last_at),
        "units": len(reference.members),
        "streams": list(reference.streams),
        "encoder": reference.encoder,
        "model_version": "",
        "run_id": reference.run_id,
        "members": list(reference.members),
        "fitted": base64.b64encode(references.dump(reference)).decode(),
        "version": version,
    }


def comparison_row(comparison: Comparison) -> dict[str, Any]:
    """A row of `fairness`; the one with the most units counts."""
    times = {"began_at": _moment(comparison.began_at), "compared_at": _moment(comparison.compared_at)}
    return asdict(comparison) | times | {"paged": int(comparison.paged)}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
