"""What the stages say to the next one: acknowledged by all replicas before it counts as said."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from aiokafka import AIOKafkaProducer
from pydantic import BaseModel

from tocsin.transports import encoded

STOP_SECONDS = 3
BATCH_BYTES = 1_000_000  # a broker takes 1 MiB unless told otherwise


class Publisher:
    """An asynchronous context manager around one producer. Raises `aiokafka.errors.KafkaError`: try again."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    async def __aenter__(self) -> Publisher:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            linger_ms=5,
            max_request_size=4_000_000,
            # one request to a partition is under way at a time: small ones would wait for each other
            max_batch_size=BATCH_BYTES,
        )
        # One request to a partition is under way at a time, so order holds while nothing is given up. By itself
        # aiokafka gives a batch up after 40 s; the one behind it could get through, and WATCH, which keeps the highest
        # offset that it has seen, would drop the first one when it comes again. There is no public setting for it.
        self._producer._message_accumulator._batch_ttl = math.inf
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError):  # the broker is away: what was not acknowledged comes again
            async with asyncio.timeout(STOP_SECONDS):
                await self._producer.stop()

    async def publish(self, topic: str, messages: Sequence[tuple[str, BaseModel]]) -> None:
        """Send (key, message) pairs and wait until all of them are durable."""
        sent = [await self._producer.send(topic, encoded(message), key=key.encode()) for key, message in messages]
        await asyncio.gather(*sent)

    async def publish_everywhere(self, topic: str, message: BaseModel) -> None:
        """Send one message to every partition of a topic and wait until it is durable in each."""
        partitions = await self._producer.partitions_for(topic)
        sent = [await self._producer.send(topic, encoded(message), partition=partition) for partition in partitions]
        await asyncio.gather(*sent)
