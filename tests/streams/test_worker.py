from __future__ import annotations

import asyncio
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from sinks.clickhouse import StoreUnavailable
from streams.settings import Settings
from streams.worker import SLICES, Record, create_worker
from tests.kafka_cluster import KafkaCluster

pytestmark = pytest.mark.integration

SECONDS = 60


def publish(
    bootstrap: str, topic: str, *partitions: Sequence[bytes], start: int | None = None, replicas: int = 1
) -> None:
    """Partition by partition; with a start, in ms, those of one index have one time, a second after those before."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    admin.create_topics({topic: {"num_partitions": len(partitions), "replication_factor": replicas}})
    admin.wait_for_topics([topic])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", enable_idempotence=False)
    for partition, values in enumerate(partitions):
        for index, value in enumerate(values):
            producer.send(topic, value, partition=partition, timestamp_ms=start and start + 1_000 * index)
    producer.flush(SECONDS)
    producer.close()


async def work(
    name: str, bootstrap: str, topic: str, poison: bytes, wanted: int, batch: int = 10
) -> tuple[list[bytes], object]:
    """Run a worker that cannot take the poison until it ended or took that many; what it took, and why it ended."""
    taken: list[bytes] = []
    enough = asyncio.Event()

    async def take(records: list[Record]) -> None:
        if poison in (record.value for record in records):
            raise LookupError("a defect")
        taken.extend(record.value or b"" for record in records)
        if len(taken) >= wanted:
            enough.set()

    worker = create_worker(name, {topic: take}, Settings(), bootstrap, batch=batch, within=0.05)
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


def test_a_backlog_of_several_partitions_is_worked_off_by_time(broker: str) -> None:
    topic, count, batch = f"backlog-{uuid.uuid4().hex}", 600, 256
    values = [b"%d".ljust(size) % index for size in (50_000, 5, 5_000, 5) for index in range(count)]
    parts = [values[start : start + count] for start in range(0, len(values), count)]
    publish(broker, topic, *parts, start=1_700_000_000_000)
    taken, _ = asyncio.run(work(topic, broker, topic, poison=b"", wanted=len(values), batch=batch))
    times = [int(value) for value in taken]
    assert sorted(times) == sorted(int(value) for value in values)
    late = [ahead - time_ for ahead, time_ in zip(itertools.accumulate(times, max), times, strict=True)]
    assert max(late) <= 2 * batch / SLICES, "a slice is as far as one partition may be ahead of another"


def test_partitions_of_a_stream_that_is_full_move_to_another_worker(broker: str) -> None:
    topic, count = f"full-{uuid.uuid4().hex}", 20_000
    values = [str(number).encode() for number in range(count)]
    publish(broker, topic, *(values[part::4] for part in range(4)))

    async def share() -> list[set[bytes]]:
        taken: list[set[bytes]] = [set(), set()]
        store = asyncio.Event()

        async def take(by: int, records: list[Record]) -> None:
            if not store.is_set():
                raise StoreUnavailable("away")
            taken[by].update(record.value or b"" for record in records)

        first, second = (
            create_worker(topic, {topic: partial(take, by)}, Settings(), broker, batch=SLICES, within=0.05)
            for by in range(2)
        )
        await first.start()
        async with asyncio.timeout(SECONDS):
            while not first.consumer._buffered_partitions:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            joined = asyncio.create_task(second.start())
            while not first.rebalancing:
                await asyncio.sleep(0.01)
            store.set()
            await joined
            while len(taken[0] | taken[1]) < count or not taken[1]:
                await asyncio.sleep(0.05)
        await asyncio.gather(first.stop(), second.stop())
        return taken

    both = asyncio.run(share())
    assert both[0] | both[1] == set(values)
    assert both[1], "the second worker has none of them"


def test_a_worker_ends_in_order_though_a_broker_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)

    async def stop_without_a_broker(bootstrap: str, kill: Callable[[], None]) -> None:
        given = asyncio.Event()

        async def take(_: list[Record]) -> None:
            given.set()

        worker = create_worker("outage", {"outage": take}, Settings(), bootstrap, batch=10, within=0.05)
        await worker.start()
        await asyncio.wait_for(given.wait(), SECONDS)
        kill()
        await asyncio.sleep(0.6)  # by now it asks the one that is away again and again
        await asyncio.wait_for(worker.stop(), SECONDS)

    with KafkaCluster(tmp_path, brokers=3) as cluster:
        publish(cluster.bootstrap, "outage", *[[b"1"]] * 6, replicas=3)
        asyncio.run(stop_without_a_broker(cluster.bootstrap, lambda: cluster.kill(2)))
    assert not failed
