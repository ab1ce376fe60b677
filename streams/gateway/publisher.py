"""The producer behind the gateway and the pages: it connects by itself, and says when a message is durable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from streams.topics import ENVELOPE_BYTES, TopicError
from tocsin.messages import Source
from tocsin.transports import Message

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
PROBE_SECONDS = 2.0
STOP_SECONDS = 3.0


class BrokerAway(Exception):
    """Send again later: the broker did not acknowledge in time. Some of the messages may be stored all the same."""


class MessageRejected(Exception):
    """Do not send this again: the broker takes no message of this size."""


class Publisher:
    """Sends to the broker, at least once: what `send` returned for is on all in-sync replicas.

    Args:
        bootstrap: Kafka's bootstrap servers, separated by commas.
        timeout_seconds: how long `send` waits for the acknowledgement.
        max_message_bytes: size of the largest message's value.
        prepare: has the topics ready, before each try to connect; blocks, and raises `TopicError`.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        timeout_seconds: float,
        max_message_bytes: int,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        library = logging.getLogger("aiokafka")  # writes each record's content to its debug log
        library.setLevel(max(library.getEffectiveLevel(), logging.INFO))
        self._bootstrap = bootstrap
        self._timeout_seconds = timeout_seconds
        self._max_message_bytes = max_message_bytes
        self._prepare = prepare
        self._producer: Any = None  # aiokafka has no types
        self._connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect, and try until it works; `send` raises `BrokerAway` meanwhile. Needs a running loop."""
        self._connecting = asyncio.create_task(self._connect(), name="publisher-connect")

    async def connected(self) -> None:
        """Start, unless that was done, and wait until the broker was there once, up to the timeout.

        Raises:
            BrokerAway: it was not there in time.
        """
        if self._connecting is None:
            self.start()
        assert self._connecting is not None
        try:
            await asyncio.wait_for(asyncio.shield(self._connecting), self._timeout_seconds)
        except TimeoutError:
            raise BrokerAway("not connected to the broker yet") from None

    async def send(self, messages: Sequence[Message]) -> list[Source]:
        """Send all, then wait until all are durable; where each was put, in the same order.

        Raises:
            BrokerAway: not all were acknowledged in time.
            MessageRejected: a message is too large for the broker.
        """
        if not messages:
            return []
        if self._producer is None:
            raise BrokerAway("not connected to the broker yet")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                sent = [await self._producer.send(topic, value, key) for topic, key, value in messages]
                await asyncio.gather(*sent, return_exceptions=True)
            answers = [put.result() for put in sent]
        except TimeoutError:
            raise BrokerAway("no acknowledgement in time") from None
        except MessageSizeTooLargeError:
            raise MessageRejected("larger than the broker takes") from None
        except KafkaError as error:
            raise BrokerAway(type(error).__name__) from None
        return [Source(topic=put.topic, partition=put.partition, offset=put.offset) for put in answers]

    async def reachable(self) -> bool:
        """Whether the broker answers now, within two seconds."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return bool(await self._producer.client.force_metadata_update())
        except TimeoutError:
            return False

    async def close(self) -> None:
        """Flush for up to three seconds and disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await producer.stop()
            except TimeoutError:
                log.warning("the broker did not take the last messages in time")

    async def _connect(self) -> None:
        """aiokafka stays connected through restarts of the broker once it was connected; only the start may fail."""
        while True:
            producer = self._new_producer()
            try:
                await asyncio.to_thread(self._prepare)
                await producer.start()
            except (KafkaError, TopicError) as error:
                log.warning("not connected to the broker at %s yet: %s", self._bootstrap, error)
            except asyncio.CancelledError:
                await producer.stop()
                raise
            else:
                self._producer = producer
                return
            await producer.stop()
            await asyncio.sleep(RECONNECT_SECONDS)

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            request_timeout_ms=max(1, int(self._timeout_seconds * 1_000)),
            max_request_size=self._max_message_bytes + ENVELOPE_BYTES,
            max_batch_size=262_144,
            metadata_max_age_ms=30_000,
        )
