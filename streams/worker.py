"""Faust around a stage: batches in, acknowledgement only after the stage has stored what they hold.

What a stage may rely on: batches come in the order of their partitions, one at a time; one that was not acknowledged
comes again after a crash or a rebalance. What it must do: be done, or raise one of `RETRIED`. Any other exception ends
the worker, because going on would acknowledge what was never stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from mode.supervisors import CrashingSupervisor
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from sinks.clickhouse import StoreUnavailable
from streams.core.decoding import Origin
from streams.metrics import BATCHES, RETRIES
from streams.settings import Settings
from streams.slices import FEWEST, Buffer, Slice, SliceThread, SliceTransport

logger = logging.getLogger(__name__)

RETRIED = (StoreUnavailable, KafkaError)
SLICES = 64  # that are in hand; as many wait behind them
BATCH_SECONDS = 2.0  # a partition that moves waits for the batch in hand


@dataclass(frozen=True)
class Record(Origin):
    """One message of a topic."""

    value: bytes | None


Handler = Callable[[list[Record]], Awaitable[None]]


class Pace:
    """How many records to take at once, so that a batch takes about `BATCH_SECONDS`, whatever one record costs.

    Large batches are cheap, small ones are soon done: with a real encoder a batch is some hundred records, while the
    store alone takes thousands in that time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = min(SLICES, most)

    @property
    def slice_records(self) -> int:
        """Of one slice, when all slices in hand are full."""
        return max(1, self._size // SLICES)

    def took(self, records: int, seconds: float) -> None:
        """A batch was done: half as many at least, and twice as many at most, next time."""
        fitting = records * BATCH_SECONDS / max(seconds, 0.001)
        if records >= self._size / 2 or fitting < self._size:
            self._size = int(min(max(fitting, self._size / 2, min(SLICES, self._most)), self._size * 2, self._most))


class Worker(faust.App):
    """A Faust application that ends at once: the batch in hand comes again, and may be waiting for a store.

    Attributes:
        handled: topics that it has handlers for.
        tries: batches that a store or broker which is away did not take; whoever tries is not stuck.
        slice_records: of each topic, the most records that Faust is given as one message.
    """

    logger = logging.getLogger("faust")
    handled: tuple[str, ...] = ()
    tries = 0
    slice_records: dict[str, int]

    def holds(self, topic: str, partition: int) -> bool:
        """Whether the broker gave the partition to this worker. Safe in any thread."""
        return TP(topic, partition) in self.consumer.assignment()

    @property
    def is_member(self) -> bool:
        """Whether the broker said within the session timeout that it is one of its group. Safe in any thread."""
        return time.monotonic() - self._fetching.alive_at < self.conf.broker_session_timeout

    def owns(self, topic: str, partition: int) -> bool:
        """Whether it holds the partition and no other worker can. Safe in any thread."""
        return self.holds(topic, partition) and self.is_member and not self._fetching.is_moving

    @property
    def _fetching(self) -> SliceThread:
        thread: SliceThread = self.consumer._thread  # type: ignore[attr-defined]
        return thread

    def note(self, state: RetryCallState) -> None:
        """Count and tell a try that failed."""
        self.tries += 1
        error = state.outcome.exception() if state.outcome else None
        RETRIES.labels(type(error).__name__).inc()
        logger.warning("not stored yet, trying again (attempt %d): %s", state.attempt_number, type(error).__name__)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.slice_records = {}

    def FlowControlQueue(self, maxsize: int | None = None, *, clear_on_resume: bool = False) -> Buffer:  # noqa: N802
        """What Faust puts between the consumer and a stream."""
        return Buffer(maxsize or 0, flow_control=self.flow_control, clear_on_resume=clear_on_resume)

    def _new_transport(self) -> SliceTransport:
        return SliceTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None: they are for tables, of which there are none."""

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        if not self.should_stop:  # partitions move to another worker: what is in hand is finished before
            await super()._consumer_wait_empty(consumer, logger)


def create_worker(
    name: str, handlers: Mapping[str, Handler], settings: Settings, bootstrap: str, *, batch: int, within: float
) -> Worker:
    """A Faust application whose consumer group is `name`, with one agent for each topic."""
    app = Worker(
        name,
        broker=";".join(f"kafka://{address.strip()}" for address in bootstrap.split(",")),
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        topic_disable_leader=True,
        table_standby_replicas=1,  # with none Faust takes another assignor, which spreads what belongs together
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=True,
        # by default an agent that failed is started again, behind the batch that it failed on
        agent_supervisor=CrashingSupervisor,
        broker_session_timeout=settings.broker.session_timeout_seconds,
        broker_heartbeat_interval=settings.broker.session_timeout_seconds / 6,
        broker_commit_interval=1.0,
        stream_buffer_maxsize=SLICES,
        broker_max_poll_records=FEWEST,  # at first; then as their size allows
        consumer_max_fetch_size=8_000_000,
        web_enabled=False,
        autodiscover=False,
        loghandlers=[],
    )
    app.handled = tuple(handlers)
    for topic, handler in handlers.items():
        _add_agent(app, topic, handler, batch, within)
    return app


def _add_agent(app: Worker, topic: str, handler: Handler, batch: int, within: float) -> None:
    pace = Pace(batch)
    app.slice_records[topic] = pace.slice_records

    @app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"), name=f"{app.conf.id}:{topic}")
    async def take(stream: Any) -> None:  # Faust's type of it lacks noack_take
        # noack_take, since take() acknowledges a batch even if its body raises
        async for events in stream.noack_take(min(SLICES, batch), within=within):
            records = [record for event in events for record in _records(event.message)]
            began = time.monotonic()
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(RETRIED),
                wait=wait_random_exponential(max=15),
                before_sleep=app.note,
            ):
                with attempt:
                    await handler(records)
            pace.took(len(records), time.monotonic() - began)
            app.slice_records[topic] = pace.slice_records
            for event in events:
                event.ack()
            BATCHES.labels(topic).inc()


def _records(piece: Slice) -> Iterator[Record]:
    for each in piece.records:
        yield Record(
            each.topic,
            each.partition,
            each.offset,
            datetime.fromtimestamp((each.timestamp or 0) / 1_000, UTC),
            each.value,
        )
