"""What the stages say to the next one: acknowledged by all replicas before it counts as said."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from types import TracebackType

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from pydantic import BaseModel

from streams.topics import BrokerMissing
from tocsin.transports import encoded

STOP_SECONDS = 3
_PARTITIONER = DefaultPartitioner()
BATCH_BYTES = 1_000_000  # a broker takes 1 MiB unless told otherwise


class Publisher:
    """An asynchronous context manager around one producer. Raises `aiokafka.errors.KafkaError`: try again.

    On entering it raises `BrokerMissing`.
    """

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
        try:
            await self._producer.start()
        except KafkaConnectionError:
            await self._producer.stop()
            raise BrokerMissing(self._bootstrap) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError):  # the broker is away: what was not acknowledged comes again
            async with asyncio.timeout(STOP_SECONDS):
                await self._producer.stop()

    async def publish(self, topic: str, messages: Sequence[tuple[str, BaseModel | bytes]]) -> None:
        """Send (key, message) pairs and wait until all of them are durable; what has one key stays in order.

        In batches of our own making: aiokafka's `send` costs a future, a task and a partitioner in Python for each.
        """
        if not messages:
            return
        partitions = sorted(await self._producer.partitions_for(topic))
        chosen: dict[bytes, int] = {}
        batches: dict[int, BatchBuilder] = {}
        sent: list[Awaitable[object]] = []
        for text, message in messages:
            key, value = text.encode(), message if isinstance(message, bytes) else encoded(message)
            if key not in chosen:
                chosen[key] = _PARTITIONER(key, partitions, partitions)
            place = chosen[key]
            if place not in batches or batches[place].append(timestamp=None, key=key, value=value) is None:
                if place in batches:  # and full
                    sent.append(await self._producer.send_batch(batches[place], topic, partition=place))
                batches[place] = self._producer.create_batch()
                batches[place].append(timestamp=None, key=key, value=value)
        for place, batch in batches.items():
            sent.append(await self._producer.send_batch(batch, topic, partition=place))
        await asyncio.gather(*sent)

    async def publish_everywhere(self, topic: str, message: BaseModel) -> None:
        """Send one message to every partition of a topic and wait until it is durable in each."""
        partitions = await self._producer.partitions_for(topic)
        sent = [await self._producer.send(topic, encoded(message), partition=partition) for partition in partitions]
        await asyncio.gather(*sent)
