from __future__ import annotations

import os
import time
import uuid

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from streams.engines.broker import free_port
from streams.settings import Broker, Limits
from streams.topics import TopicError, end_offsets, ensure_topics
from tocsin.messages import COMMANDS, PAGES, TOPICS

pytestmark = pytest.mark.integration


@pytest.fixture
def topic(broker: str) -> str:
    """An empty topic of the test's own, with three partitions."""
    name = f"topic-{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics({name: {"num_partitions": 3, "replication_factor": 1}})
    admin.wait_for_topics([name])
    admin.close()
    return name


def test_missing_topics_are_created_and_found_again(broker: str) -> None:
    for _ in range(2):
        ensure_topics(Broker(bootstrap=broker, partitions=4))
    admin = KafkaAdminClient(bootstrap_servers=broker)
    try:
        assert {
            found["name"]: len(found["partitions"]) for found in admin.describe_topics(list(TOPICS))
        } == dict.fromkeys(TOPICS, 4) | {PAGES: 1, COMMANDS: 1}
    finally:
        admin.close()


def test_a_topic_with_fewer_partitions_than_configured_is_one_clear_line(broker: str) -> None:
    ensure_topics(Broker(bootstrap=broker, partitions=4))
    with pytest.raises(TopicError, match=r"^topic \S+ has 4 partitions, broker\.partitions asks for 5: .*$"):
        ensure_topics(Broker(bootstrap=broker, partitions=5))
    ensure_topics(Broker(bootstrap=broker, partitions=3))


def test_the_largest_message_that_is_accepted_fits_into_every_topic(broker: str) -> None:
    ensure_topics(Broker(bootstrap=broker))
    producer = KafkaProducer(bootstrap_servers=broker, enable_idempotence=False, max_request_size=4_000_000)
    largest = Limits().message_bytes
    for topic in TOPICS:
        assert producer.send(topic, os.urandom(largest), key=b"k" * 1_000).get(60).offset >= 0
    producer.close()


def test_a_topic_that_takes_no_message_as_large_is_one_clear_line_that_says_what_to_do(kafka: str) -> None:
    ensure_topics(Broker(bootstrap=kafka))
    with pytest.raises(TopicError, match=r"^topic \S+ takes messages of up to 8388608 bytes, limits\.message_bytes.*$"):
        ensure_topics(Broker(bootstrap=kafka), message_bytes=9_000_000)


def test_more_copies_than_there_are_brokers_is_one_clear_line(kafka: str) -> None:
    ensure_topics(Broker(bootstrap=kafka))
    with pytest.raises(TopicError, match=r"^topic \S+ has 1 copies, broker\.replication_factor asks for 3: .*$"):
        ensure_topics(Broker(bootstrap=kafka, replication_factor=3))


def test_without_a_broker_the_wait_ends_with_one_clear_line() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(TopicError, match=f"^no Kafka broker answers at {nowhere} within 1 s$"):
        ensure_topics(Broker(bootstrap=nowhere), timeout=1)
    assert time.monotonic() - began < 15


def test_the_end_of_a_partition_is_behind_its_last_record(broker: str, topic: str) -> None:
    assert end_offsets(broker, [topic]) == {(topic, 0): 0, (topic, 1): 0, (topic, 2): 0}
    producer = KafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=False, linger_ms=50)
    for count, expected in ((1, 1), (700, 701), (3, 704)):
        for _ in range(count):
            producer.send(topic, b"x" * 100, partition=1)
        producer.flush()
        assert end_offsets(broker, [topic]) == {(topic, 0): 0, (topic, 1): expected, (topic, 2): 0}
    producer.close()


def test_the_end_of_a_topic_that_is_not_there_is_an_error(broker: str) -> None:
    with pytest.raises(TopicError, match=r"^there is no topic nowhere$"):
        end_offsets(broker, ["nowhere"])
