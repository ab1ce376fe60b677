"""Which offsets of a topic are dealt with: read from the ledger on the first batch and whenever a partition jumps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from sinks.clickhouse import Store
from sinks.recovery import Recovery
from streams.worker import Record

Fate = Literal["stored", "dead_lettered", "duplicate"]


class Ledger:
    """One topic's ledger, for the partitions that this worker has."""

    def __init__(self, topic: str, store: Store) -> None:
        self.topic, self._store, self._recovery = topic, store, Recovery(store)
        self._next: dict[int, int] = {}

    def open(self, records: Sequence[Record]) -> None:
        """Before a batch: read the mark of every partition that does not go on where this worker left it."""
        for partition, first in _firsts(records).items():
            if self._next.get(partition) != first:
                self._next[partition] = self._recovery.next_offset(self.topic, partition)

    def is_new(self, record: Record) -> bool:
        """Whether the ledger does not cover the record yet."""
        return record.offset >= self._next[record.partition]

    def close(self, fates: Iterable[tuple[Record, Fate]]) -> None:
        """After a batch: write what became of its records, as the last thing before they are acknowledged."""
        rows: dict[int, dict[str, Any]] = {}
        for record, fate in fates:
            if not self.is_new(record):
                continue
            row = rows.setdefault(
                record.partition,
                {
                    "topic": self.topic,
                    "source_partition": record.partition,
                    "first_offset": record.offset,
                    "next_offset": record.offset + 1,
                    "stored": 0,
                    "dead_lettered": 0,
                    "duplicate": 0,
                },
            )
            row["next_offset"] = record.offset + 1
            row[fate] += 1
        if rows:
            self._store.insert("ledger", list(rows.values()))
        for partition, row in rows.items():
            self._next[partition] = row["next_offset"]


def _firsts(records: Sequence[Record]) -> dict[int, int]:
    firsts: dict[int, int] = {}
    for record in records:
        firsts.setdefault(record.partition, record.offset)
    return firsts
