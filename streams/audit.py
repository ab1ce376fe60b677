"""Proves that nothing was lost: what the broker has against what the ledger accounts for, for every partition."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sinks.clickhouse import Store, StoreError
from sinks.queries import Queries
from streams.metrics import LEDGER
from streams.topics import TopicError, end_offsets
from tocsin.messages import TOPICS

FRESH_SECONDS, REPEAT_SECONDS, PATIENCE_SECONDS = 10, 30, 3
FATES = ("produced", "stored", "dead_lettered", "duplicate", "waiting", "lost")


@dataclass(frozen=True)
class PartitionAudit:
    """One partition of one topic.

    Attributes:
        produced: messages that the broker acknowledged.
        stored: rows written.
        dead_lettered: messages that can never be read, kept with their reason.
        duplicate: messages whose id was stored before.
        waiting: messages that are not dealt with yet; they are safe in the broker.
        lost: messages that were passed over; anything but 0 is a defect.
    """

    topic: str
    partition: int
    produced: int
    stored: int
    dead_lettered: int
    duplicate: int
    waiting: int
    lost: int


def audit(store: Store, bootstrap: str, timeout: float = 30.0) -> list[PartitionAudit]:
    """Account for every message of every topic. Blocks; waits `timeout` seconds for the broker.

    Raises:
        TopicError: the broker cannot be asked.
        StoreError: the store cannot be asked.
    """
    known = {(row["topic"], int(row["partition"])): row for row in Queries(store).read("ledger")}
    found = []
    for (topic, partition), end in sorted(end_offsets(bootstrap, TOPICS, timeout).items()):
        row = known.get((topic, partition), {})
        first, upto = int(row.get("first_offset", 0)), int(row.get("next_offset", 0))
        found.append(
            PartitionAudit(
                topic=topic,
                partition=partition,
                produced=max(end, upto) - first,
                stored=int(row.get("stored", 0)),
                dead_lettered=int(row.get("dead_lettered", 0)),
                duplicate=int(row.get("duplicate", 0)),
                waiting=max(end - upto, 0),
                lost=int(row.get("missing", 0)) + int(row.get("unaccounted", 0)),
            )
        )
    return found


def as_json(found: Sequence[PartitionAudit]) -> dict[str, Any]:
    """The audit as plain JSON, with the sums."""
    totals = {name: sum(getattr(each, name) for each in found) for name in FATES}
    return {"partitions": [asdict(each) for each in found], "total": totals, "exact": totals["lost"] == 0}


class LatestAudit:
    """The audit for the pages and the metrics, made anew when somebody asks and it is older than ten seconds."""

    def __init__(self, store: Store, bootstrap: str) -> None:
        self._store, self._bootstrap = store, bootstrap
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._found: Sequence[PartitionAudit] | None = None

    def __call__(self) -> Sequence[PartitionAudit] | None:
        """The audit; None while the broker or the store is away. Blocks."""
        with self._lock:
            if time.monotonic() - self._at > FRESH_SECONDS:
                try:
                    self._found = audit(self._store, self._bootstrap, PATIENCE_SECONDS)
                except (TopicError, StoreError):
                    self._found = None
                self._at = time.monotonic()
                for each in self._found or ():
                    for fate in FATES:
                        LEDGER.labels(each.topic, str(each.partition), fate).set(getattr(each, fate))
            return self._found

    def waiting(self) -> Mapping[tuple[str, int], int] | None:
        """Messages that are not dealt with yet, by topic and partition; None where nobody knows. Blocks."""
        found = self()
        return None if found is None else {(each.topic, each.partition): each.waiting for each in found}

    async def repeat(self) -> None:
        """Keep the metrics up to date, for ever."""
        while True:
            await asyncio.to_thread(self)
            await asyncio.sleep(REPEAT_SECONDS)
