"""Faust's Kafka transport, with one Faust message for many of Kafka's: a slice, consecutive records of one partition.

Faust spends several tasks and some 300 µs of processor time on each message on its way to a stream. A slice costs as
much as one message did. Its offset is that of its last record: to acknowledge it is to acknowledge them all.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

BYTES = 250_000
POLL_BYTES, FEWEST, MOST = 32_000_000, 32, 4_096  # of one partition at a time: about so many bytes, so many records


class App(Protocol):
    """What is needed of the application."""

    slice_records: dict[str, int]


class Slice(ConsumerMessage):
    """A message to Faust; `records` are aiokafka's `ConsumerRecord`s, at least one, in their order."""

    __slots__ = ("records",)

    def __init__(self, tp: TP, records: Sequence[Any], generation: int) -> None:
        last = records[-1]
        super().__init__(
            tp.topic,
            tp.partition,
            last.offset,
            (last.timestamp or 0) / 1_000,  # the oldest format of messages has none
            last.timestamp_type,
            None,
            None,
            None,
            None,
            tp=tp,
            generation_id=generation,
        )
        self.records = records


def slices(records: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """Records in pieces of at most `most`, and of about `BYTES` where they are large."""
    start = size = 0
    for end, record in enumerate(records):
        length = len(record.value or b"")
        if end > start and (end - start == most or size + length > BYTES):
            yield records[start:end]
            start, size = end, 0
        size += length
    if records:
        yield records[start:]


class SliceConsumer(driver.Consumer):
    """A consumer of slices: what is committed ends before the first slice of a partition that is not acknowledged."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most = cast(App, self.app).slice_records  # as it is now: the worker changes it
        self._given: defaultdict[TP, deque[Slice]] = defaultdict(deque)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Sequence[Any]]]:
        poll = self._thread._ensure_consumer()
        found = dict(await super()._getmany(active_partitions=active_partitions, timeout=timeout))
        if sum(map(len, found.values())) >= poll._max_poll_records:
            # there is more: aiokafka gives all of one partition first, and the others would fall behind in time
            for tp in (active_partitions or set()) - found.keys():
                found |= await super()._getmany(active_partitions={tp}, timeout=0)
        sizes = [len(record.value or b"") for records in found.values() for record in records]
        if sizes:  # what is fetched is bounded in compressed bytes; the number of records bounds what they become
            poll._max_poll_records = max(FEWEST, min(MOST, POLL_BYTES * len(sizes) // max(sum(sizes), 1)))
        return {tp: list(slices(records, self._most[tp.topic])) for tp, records in found.items()}

    def _to_message(self, tp: TP, records: Sequence[Any]) -> Slice:
        given = Slice(tp, records, self.app.consumer_generation_id)
        self._given[tp].append(given)
        return given

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: the offsets between two slices belong to the second one."""

    def _new_offset(self, tp: TP) -> int | None:
        """Where to go on after a crash; None if nothing is acknowledged since the last time."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        given, reached = self._given[tp], None
        while given and given[0].acked:
            reached = given.popleft().offset + 1
        return reached

    async def perform_seek(self) -> None:
        """Go back to what is committed; whatever was given comes again."""
        self.forget(set(self._given))
        await super().perform_seek()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was given of partitions that move to another worker."""
        await super().on_partitions_revoked(revoked)
        self.forget(revoked)

    def forget(self, places: set[TP]) -> None:
        """Wait no longer for what was given of these partitions: it comes again, here or elsewhere."""
        for tp in places:
            self._given.pop(tp, None)


class SliceTransport(driver.Transport):
    """The transport of `SliceConsumer`."""

    Consumer = SliceConsumer
