"""Faust's Kafka transport, with one Faust message for many of Kafka's: a slice, consecutive records of one partition.

Faust spends several tasks and some 300 µs of processor time on each message on its way to a stream. A slice costs as
much as one message did. Its offset is that of its last record: to acknowledge it is to acknowledge them all.

A worker that is behind takes the records of all its partitions in the order of their times, whatever the order in which
the broker answers; this is how Kafka Streams chooses the next record
(https://kafka.apache.org/41/documentation/streams/core-concepts#streams_out_of_order).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, Protocol, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import SchedulingStrategyT
from faust.types.tuples import ConsumerMessage
from mode.utils.queues import ThrowableQueue

FAUST = logging.getLogger("faust.transport")

BYTES = 250_000
POLL_BYTES, FEWEST, MOST = 32_000_000, 32, 4_096  # of one partition at a time: about so many bytes, so many records
ROOM_SECONDS = 0.05  # between looks whether a stream that is full has room again
PATIENCE = 10.0  # seconds that others wait for a partition that is behind, once: its broker may be away


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


def in_time(records: Mapping[TP, Sequence[Any]]) -> Iterator[tuple[TP, Any]]:
    """All records by time; those of one partition keep their order, whatever their times."""
    by_partition = ([(record.timestamp or 0, tp, record) for record in found] for tp, found in records.items())
    return ((tp, record) for _, tp, record in heapq.merge(*by_partition, key=lambda each: each[0]))


class Cuts(SchedulingStrategyT):
    """Slices by time: one of each partition that reach to about the same time, then the next of each."""

    def __init__(self, most: Mapping[str, int]) -> None:
        self._most = most  # records of a slice by topic, as it is now: the worker changes it

    def iterate(self, records: Mapping[TP, Sequence[Any]]) -> Iterator[tuple[TP, Any]]:
        """Each partition's records in slices."""
        for topic, places in groupby(sorted(records), key=lambda tp: tp.topic):
            of_topic = {tp: records[tp] for tp in places}
            merged = in_time(of_topic)
            while cut := list(islice(merged, self._most[topic] * len(of_topic))):
                parts: dict[TP, list[Any]] = {}
                for tp, record in cut:
                    parts.setdefault(tp, []).append(record)
                for tp, part in parts.items():
                    yield from ((tp, piece) for piece in slices(part, self._most[topic]))


def released(held: Mapping[TP, deque[Any]], behind: Collection[TP]) -> dict[TP, list[Any]]:
    """Take out of `held` what can be given: nothing that is later than what may still come.

    Args:
        held: fetched records that were not given yet.
        behind: partitions of which the broker has more; the last record held tells how far they are known.
    """
    until = min((max(each.timestamp or 0 for each in held[tp]) for tp in behind if held[tp]), default=None)
    found: dict[TP, list[Any]] = {}
    for tp, records in held.items():
        while records and (until is None or (records[0].timestamp or 0) <= until):
            found.setdefault(tp, []).append(records.popleft())
    return found


class SliceThread(driver.AIOKafkaConsumerThread):
    """Faust's thread around aiokafka's consumer."""

    logger = FAUST  # else one of our own, which tells of every start
    alive_at = -math.inf
    """When the broker was last asked whether this is a member of the group, and said yes; on the monotonic clock."""

    async def on_start(self) -> None:
        """Start the consumer, and note its heartbeats: aiokafka tells nobody of them."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def noted() -> bool:
            asked = time.monotonic()
            alive: bool = await beat()
            if alive:
                self.alive_at = asked
            return alive

        coordinator._do_heartbeat = noted

    @property
    def is_moving(self) -> bool:
        """Whether partitions are being given out anew."""
        return bool(self._ensure_consumer()._subscription.reassignment_in_progress)

    async def on_thread_stop(self) -> None:
        """Close the consumer, also while a broker is away."""
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            # aiokafka cancels its requests and waits for them; one that was about to be tried again says that it was
            # cancelled, and the connections would stay open
            await self._ensure_consumer()._client.close()


class SliceConsumer(driver.Consumer):
    """A consumer of slices: what is committed ends before the first slice of a partition that is not acknowledged."""

    logger = FAUST

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.scheduler = Cuts(cast(App, self.app).slice_records)
        self._given: defaultdict[TP, deque[Slice]] = defaultdict(deque)
        self._held: defaultdict[TP, deque[Any]] = defaultdict(deque)
        self._waited: dict[TP, float] = {}  # since when others wait for a partition

    def _new_consumer_thread(self) -> SliceThread:
        return SliceThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        active = active_partitions or set()
        full = {tp.topic for tp in self._buffered_partitions}
        open_ = {tp for tp in active if tp.topic not in full}
        if full:
            await self.sleep(ROOM_SECONDS)
        # also where there is no room: aiokafka asks a broker for nothing of a partition while records of it wait here,
        # and that request may wait at the broker, for others
        most = self._thread._ensure_consumer()._max_poll_records / 4
        short = {tp for tp in active if len(self._held[tp]) < most}
        idle = not full and (not any(map(self._held.get, open_)) or any(self._is_missed(tp) for tp in open_))
        found = await self._fetched(short, timeout if idle else 0)
        for tp, records in found.items():
            self._held[tp].extend(records)
        missed = {tp.topic for tp in open_ if self._is_missed(tp)}
        ready = {tp: self._held[tp] for tp in open_ if tp.topic not in missed}
        given: dict[TP, list[Any]] = {}
        for topic in {tp.topic for tp in ready}:
            of_topic = {tp: records for tp, records in ready.items() if tp.topic == topic}
            given |= released(of_topic, {tp for tp in of_topic if self._is_behind(tp)})
        return given

    def on_buffer_full(self, tp: TP) -> None:
        """A stream has no room: its topic waits as a whole, or the other partitions would go ahead."""
        self._buffered_partitions.add(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        """There is room again."""
        self._buffered_partitions.discard(tp)

    async def _fetched(self, places: set[TP], timeout: float) -> dict[TP, list[Any]]:
        """The next records of these partitions, as soon as there are any."""
        if not places:  # to aiokafka none would be all
            return {}
        poll = self._thread._ensure_consumer()
        found = dict(await super()._getmany(active_partitions=places, timeout=timeout))
        if sum(map(len, found.values())) >= poll._max_poll_records:
            # there is more: aiokafka gives all of one partition first
            for tp in places - found.keys():
                found |= await super()._getmany(active_partitions={tp}, timeout=0)
        sizes = [len(record.value or b"") for records in found.values() for record in records]
        if sizes:  # what is fetched is bounded in compressed bytes; the number of records bounds what they become
            poll._max_poll_records = max(FEWEST, min(MOST, POLL_BYTES * len(sizes) // max(sum(sizes), 1)))
        return found

    def _is_missed(self, tp: TP) -> bool:
        """Whether the others wait for records of it."""
        if self._held[tp] or not self._is_behind(tp):
            self._waited.pop(tp, None)
            return False
        now = time.monotonic()
        return now - self._waited.setdefault(tp, now) < PATIENCE

    def _is_behind(self, tp: TP) -> bool:
        """Whether the broker has more of it than was fetched, as far as it has told."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assigned = subscription.assignment if subscription else None
        if assigned is None or tp not in assigned.tps:
            return False
        state = assigned.state_value(tp)
        return not state.has_valid_position or state.highwater is None or state.position < state.highwater

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
        self.forget({*self._given, *self._held})
        await super().perform_seek()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was given of partitions that move to another worker."""
        await super().on_partitions_revoked(revoked)
        self.forget(revoked)

    def forget(self, places: set[TP]) -> None:
        """Wait no longer for what was given of these partitions, nor give what is held: it comes again."""
        for tp in places:
            self._given.pop(tp, None)
            self._held.pop(tp, None)
            self._waited.pop(tp, None)


class Buffer(ThrowableQueue[Any]):
    """The slices that a stream has not taken yet."""

    def clear(self) -> None:
        """Forget them, and say that there is room again: nobody else would, and the stream may wait for new ones."""
        super().clear()
        self.maybe_endorse_pressure_drop()


class SliceTransport(driver.Transport):
    """The transport of `SliceConsumer`."""

    Consumer = SliceConsumer
