"""What the stages say to each other survives an outage of the broker, in order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from streams.engines import EmbeddedBroker
from streams.publisher import Publisher
from streams.settings import Broker
from streams.topics import BrokerMissing, ensure_topics
from tests.kafka_cluster import KafkaCluster
from tocsin.messages import SIGNALS, Joined

MESSAGES = [("shop", Joined(application=f"shop {i}")) for i in range(200)]


@pytest.mark.parametrize("kind", [EmbeddedBroker, KafkaCluster], ids=["embedded", "kafka"])
def test_messages_wait_for_a_broker_that_is_away_and_keep_their_order(
    tmp_path: Path, kind: type[EmbeddedBroker | KafkaCluster]
) -> None:
    async def publish(broker: EmbeddedBroker | KafkaCluster) -> None:
        async with Publisher(broker.bootstrap) as publisher:
            await publisher.publish(SIGNALS, MESSAGES[:10])
            _kill(broker)
            publishing = asyncio.create_task(publisher.publish(SIGNALS, MESSAGES[10:]))
            if isinstance(broker, KafkaCluster):  # the embedded one is started again by itself
                await asyncio.to_thread(broker.start, 1)
            await publishing
            assert publisher._producer._message_accumulator._batch_ttl == float("inf")

    with kind(tmp_path) as broker:
        ensure_topics(Broker(bootstrap=broker.bootstrap, partitions=1))
        asyncio.run(publish(broker))
        said = _messages(broker.bootstrap)
    # what was in flight at the kill may be there twice; the first copies are in order
    assert list(dict.fromkeys(said)) == [message.application for _, message in MESSAGES]


def test_a_broker_that_is_not_there_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def enter() -> None:
        async with Publisher("127.0.0.1:1"):
            pass

    with pytest.raises(BrokerMissing, match=r"^no Kafka broker answers at 127\.0\.0\.1:1$"):
        asyncio.run(enter())
    gc.collect()
    assert "Unclosed" not in caplog.text


def test_leaving_does_not_wait_for_a_broker_that_is_gone(tmp_path: Path) -> None:
    async def leave() -> None:
        broker = EmbeddedBroker(tmp_path)
        with broker:
            ensure_topics(Broker(bootstrap=broker.bootstrap, partitions=1))
            publisher = await Publisher(broker.bootstrap).__aenter__()
            await publisher.publish(SIGNALS, MESSAGES[:1])
        waiting = asyncio.create_task(publisher.publish(SIGNALS, MESSAGES[1:]))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await publisher.__aexit__(None, None, None)
        waiting.cancel()

    asyncio.run(leave())


def _messages(bootstrap: str) -> list[str]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=5_000)
    consumer.assign([TopicPartition(SIGNALS, 0)])
    said = [Joined.model_validate_json(message.value).application for message in consumer]
    consumer.close()
    return said


def _kill(broker: EmbeddedBroker | KafkaCluster) -> None:
    """kill -9; of the embedded brokers that this process has started, all."""
    if isinstance(broker, KafkaCluster):
        return broker.kill(1)
    tasks = Path("/proc/self/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    brokers = [child for child in children if b"--listener-url" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert brokers
    for process_id in brokers:
        os.kill(process_id, signal.SIGKILL)
