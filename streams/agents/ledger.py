"""Which offsets of a topic are dealt with, and what became of them: written last of all that a batch leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sinks.clickhouse import Store
from sinks.recovery import Recovery
from streams.worker import Record

Fate = Literal["stored", "dead_lettered", "duplicate"]


class Ledger:
    """One topic's ledger.

    It remembers nothing: a partition may have been with another worker since, and a worker that the broker took for
    dead may still be writing. So it is asked, right before each write, how far it has got.
    """

    def __init__(self, topic: str, store: Store) -> None:
        self._topic, self._store, self._recovery = topic, store, Recovery(store)

    def close(self, fates: Sequence[tuple[Record, Fate]]) -> None:
        """After a batch: write what became of its records, those that are not accounted for yet."""
        marks = self._recovery.next_offsets(self._topic, {record.partition for record, _ in fates})
        rows: dict[int, dict[str, Any]] = {}
        for record, fate in fates:
            if record.offset < marks.get(record.partition, 0):
                continue
            row = rows.setdefault(
                record.partition,
                {
                    "topic": self._topic,
                    "source_partition": record.partition,
                    "first_offset": record.offset,
                    "next_offset": record.offset + 1,
                    "last_offset": record.offset,
                    "stored": 0,
                    "dead_lettered": 0,
                    "duplicate": 0,
                },
            )
            row |= {"next_offset": record.offset + 1, "last_offset": record.offset, fate: row[fate] + 1}
        self._store.insert("ledger", list(rows.values()))
