from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from sinks.clickhouse import StoreUnavailable
from streams.settings import Settings
from streams.worker import Record, create_worker

pytestmark = pytest.mark.integration

SECONDS = 60


def publish(bootstrap: str, topic: str, values: Sequence[bytes]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
    admin.wait_for_topics([topic])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=False)
    for value in values:
        producer.send(topic, value, partition=0)
    producer.flush(SECONDS)
    producer.close()


async def work(name: str, bootstrap: str, topic: str, poison: bytes, wanted: int) -> tuple[list[bytes], object]:
    """Run a worker that cannot take the poison until it ended or took that many; what it took, and why it ended."""
    taken: list[bytes] = []
    enough = asyncio.Event()

    async def take(records: list[Record]) -> None:
        if poison in (record.value for record in records):
            raise LookupError("a defect")
        taken.extend(record.value or b"" for record in records)
        if len(taken) >= wanted:
            enough.set()

    worker = create_worker(name, {topic: take}, Settings(), bootstrap, batch=10, within=0.05)
    await worker.start()
    ended = [asyncio.create_task(enough.wait()), asyncio.create_task(worker.wait_until_stopped())]
    await asyncio.wait(ended, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
    reason = worker.crash_reason
    await asyncio.wait_for(worker.stop(), SECONDS)
    for task in ended:
        task.cancel()
    return taken, reason


def test_a_batch_that_fails_ends_the_worker_and_comes_again(broker: str) -> None:
    topic = f"poison-{uuid.uuid4().hex}"
    values = [str(number).encode() for number in range(200)]
    publish(broker, topic, values)
    before, reason = asyncio.run(work(topic, broker, topic, poison=b"100", wanted=200))
    assert isinstance(reason, LookupError)
    assert before == values[: len(before)] and 0 < len(before) <= 100
    after, reason = asyncio.run(work(topic, broker, topic, poison=b"", wanted=200 - len(before)))
    assert reason is None
    assert set(before) | set(after) == set(values)
    assert after[-1] == values[-1]


def test_a_worker_ends_at_once_though_its_batch_waits_for_the_store(broker: str) -> None:
    topic = f"waiting-{uuid.uuid4().hex}"
    publish(broker, topic, [b"1"])
    waiting = asyncio.Event()

    async def take(_: list[Record]) -> None:
        waiting.set()
        raise StoreUnavailable("away")

    async def stop_in_the_middle() -> float:
        worker = create_worker(topic, {topic: take}, Settings(), broker, batch=10, within=0.05)
        await worker.start()
        await asyncio.wait_for(waiting.wait(), SECONDS)
        began = time.monotonic()
        await worker.stop()
        return time.monotonic() - began

    assert asyncio.run(stop_in_the_middle()) < 5
    after, _ = asyncio.run(work(topic, broker, topic, poison=b"", wanted=1))
    assert after == [b"1"]
