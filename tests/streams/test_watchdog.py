"""A worker that gets nowhere is ended; one that waits for an engine, or has nothing to do, is not."""

from __future__ import annotations

import asyncio
import threading
import uuid

import pytest
from kafka import KafkaProducer
from prometheus_client import REGISTRY

from sinks.clickhouse import StoreUnavailable
from streams.settings import Settings
from streams.watchdog import Progress, Watchdog
from streams.worker import Record, create_worker
from tests.streams.test_worker import SECONDS, publish

STUCK_SECONDS = 1.0
PLACE = ("t", 0)


def test_only_waiting_without_progress_is_being_stuck() -> None:
    progress = Progress(stuck_seconds=10)
    assert not progress.is_stuck({PLACE: (5, 9)}, tries=0, at=0)
    assert not progress.is_stuck({PLACE: (5, 9)}, tries=0, at=10)
    assert progress.is_stuck({PLACE: (5, 9)}, tries=0, at=11)


@pytest.mark.parametrize(
    ("committed", "end", "tries"),
    [(6, 9, 0), (5, 9, 1), (9, 9, 0)],
    ids=["a commit advanced", "a try was made", "nothing waits"],
)
def test_a_sign_of_life_begins_the_time_anew(committed: int, end: int, tries: int) -> None:
    progress = Progress(stuck_seconds=10)
    progress.is_stuck({PLACE: (5, 9)}, tries=0, at=0)
    assert not progress.is_stuck({PLACE: (committed, end)}, tries, at=11)
    assert not progress.is_stuck({PLACE: (committed, end + 1)}, tries, at=20)


@pytest.mark.integration
def test_a_worker_whose_batch_hangs_is_ended(broker: str) -> None:
    topic, ended, why = f"watched-{uuid.uuid4().hex}", threading.Event(), []
    publish(broker, topic, [b"1"])

    def end(reason: str) -> None:
        why.append(reason)
        ended.set()

    async def hang(_: list[Record]) -> None:
        await asyncio.Event().wait()

    async def run() -> bool:
        worker = create_worker(topic, {topic: hang}, Settings(), broker, batch=10, within=0.05)
        await worker.start()
        with Watchdog(worker, broker, STUCK_SECONDS, end):
            found = await asyncio.to_thread(ended.wait, SECONDS)
        await worker.stop()
        return found

    assert asyncio.run(run()), "the watchdog saw nothing"
    assert why == [f"{topic} is stuck: messages wait, and nothing has moved for {STUCK_SECONDS:g} s"]
    assert REGISTRY.get_sample_value("tocsin_lag", {"topic": topic}) == 1


@pytest.mark.integration
def test_a_try_that_failed_is_such_a_sign(embedded_broker: str) -> None:
    topic = f"tried-{uuid.uuid4().hex}"
    publish(embedded_broker, topic, [b"1"])
    again = asyncio.Event()

    async def run() -> int:
        async def try_in_vain(_: list[Record]) -> None:
            if worker.tries >= 2:
                again.set()
            raise StoreUnavailable("away")

        worker = create_worker(topic, {topic: try_in_vain}, Settings(), embedded_broker, batch=10, within=0.05)
        await worker.start()
        await asyncio.wait_for(again.wait(), SECONDS)
        await worker.stop()
        return worker.tries

    assert asyncio.run(run()) >= 2


@pytest.mark.integration
def test_a_spare_worker_is_not_ended_while_the_one_that_works_waits_for_a_store(kafka: str) -> None:
    topic, ended = f"spare-{uuid.uuid4().hex}", threading.Event()
    publish(kafka, topic, [])

    def send() -> None:
        producer = KafkaProducer(bootstrap_servers=kafka)
        producer.send(topic, b"1").get(SECONDS)
        producer.close()

    async def in_vain(_: list[Record]) -> None:
        raise StoreUnavailable("away")

    async def run() -> bool:
        workers = [create_worker(topic, {topic: in_vain}, Settings(), kafka, batch=10, within=0.05) for _ in range(2)]
        async with asyncio.timeout(SECONDS):
            for worker in workers:
                await worker.start()
            while not all(each.is_member for each in workers) or sum(each.owns(topic, 0) for each in workers) != 1:
                await asyncio.sleep(0.05)
            [spare] = [worker for worker in workers if not worker.owns(topic, 0)]
            await asyncio.to_thread(send)
            while not any(worker.tries for worker in workers):
                await asyncio.sleep(0.05)
        with Watchdog(spare, kafka, STUCK_SECONDS, lambda _: ended.set()):
            found = await asyncio.to_thread(ended.wait, 6 * STUCK_SECONDS)
        assert not spare.tries
        await asyncio.gather(*(worker.stop() for worker in workers))
        return found

    assert not asyncio.run(run())
