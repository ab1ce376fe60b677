"""Proves that nothing was lost: what the broker has against what the ledger accounts for, for every partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sinks.clickhouse import Store
from sinks.queries import Queries
from streams.topics import end_offsets
from tocsin.messages import TOPICS


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


def audit(store: Store, bootstrap: str) -> list[PartitionAudit]:
    """Account for every message of every topic. Blocks.

    Raises:
        TopicError: the broker cannot be asked.
        StoreError: the store cannot be asked.
    """
    known = {(row["topic"], int(row["partition"])): row for row in Queries(store).read("ledger")}
    found = []
    for (topic, partition), end in sorted(end_offsets(bootstrap, TOPICS).items()):
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
    names = ("produced", "stored", "dead_lettered", "duplicate", "waiting", "lost")
    totals = {name: sum(getattr(each, name) for each in found) for name in names}
    return {"partitions": [asdict(each) for each in found], "total": totals, "exact": totals["lost"] == 0}
