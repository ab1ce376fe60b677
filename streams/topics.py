"""Our topics on any broker of the Kafka protocol: made if missing, checked if there, measured exactly."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, for_code

from streams.settings import Broker, Limits
from tocsin.messages import COMMANDS, PAGES, TOPICS

logger = logging.getLogger(__name__)

TOPIC_ALREADY_EXISTS = 36
UNKNOWN_TOPIC = 3
SIZE = "max.message.bytes"
ROOMY_BYTES = 8_388_608
"""More than what is accepted, so that what is too large becomes a dead letter and is not lost at its producer."""

OF_ONE_PARTITION = (PAGES, COMMANDS)
"""Whoever holds the partition of pages responds, so the group of the respond workers elects one of them."""

ENVELOPE_BYTES = 4_096
"""What the key, the headers and the batch around a message may add to it."""


class TopicError(Exception):
    """The broker cannot be reached, or its topics cannot be used as configured; one line. The process stops."""


class BrokerMissing(TopicError):
    """No broker answered in time: try again later."""

    def __init__(self, bootstrap: str, seconds: float | None = None) -> None:
        within = "" if seconds is None else f" within {seconds:g} s"
        super().__init__(f"no Kafka broker answers at {bootstrap}{within}")


@contextmanager
def _client(kind: type[Any], bootstrap: str, timeout: float, **options: object) -> Iterator[Any]:
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs every try, and what we cut short by closing
    try:
        client = kind(
            bootstrap_servers=bootstrap.split(","),
            bootstrap_timeout_ms=int(timeout * 1000),
            reconnect_backoff_max_ms=1000,
            **options,
        )
    except KafkaError:
        raise BrokerMissing(bootstrap, timeout) from None
    try:
        yield client
    except KafkaError as error:
        raise TopicError(f"broker {bootstrap}: {type(error).__name__}: {error}") from error
    finally:
        client.close()


def ensure_topics(broker: Broker, timeout: float = 30.0, message_bytes: int = Limits().message_bytes) -> None:
    """Create the topics that are missing and check the others; harmless when several workers do it at once.

    Args:
        broker: `bootstrap` must be set, to the embedded broker's address if that is used.
        timeout: seconds to wait for a broker.
        message_bytes: size of the largest message that is accepted.

    Raises:
        BrokerMissing: no broker answers.
        TopicError: not allowed, or a topic has fewer partitions or copies, or takes smaller messages, than configured.
    """
    with _client(KafkaAdminClient, broker.bootstrap, timeout) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(TOPICS))}
        missing = [name for name in TOPICS if described.get(name, {}).get("error_code") == UNKNOWN_TOPIC]
        if missing:
            _create(admin, missing, broker, message_bytes + ENVELOPE_BYTES)
            admin.wait_for_topics(missing, timeout_ms=int(timeout * 1000))
            described = {topic["name"]: topic for topic in admin.describe_topics(list(TOPICS))}
        sizes = _sizes(admin)
    for name in TOPICS:
        _check(described[name], broker)
        _check_size(name, sizes.get(name), message_bytes + ENVELOPE_BYTES)


def _create(admin: KafkaAdminClient, names: list[str], broker: Broker, least_bytes: int) -> None:
    configs = {SIZE: str(max(ROOMY_BYTES, least_bytes))}
    if broker.replication_factor > 1:
        # acknowledged then means: on half of the copies at least, so on two of three
        configs["min.insync.replicas"] = str((broker.replication_factor + 1) // 2)
    wanted = {
        name: {
            "num_partitions": _partitions_of(name, broker),
            "replication_factor": broker.replication_factor,
            "configs": configs,
        }
        for name in names
    }
    answer = admin.create_topics(wanted, raise_errors=False)
    for topic in answer["topics"]:
        if topic["error_code"] not in (0, TOPIC_ALREADY_EXISTS):
            reason = topic.get("error_message") or for_code(topic["error_code"]).__name__
            raise TopicError(f"topic {topic['name']} cannot be created: {reason}")


def _partitions_of(name: str, broker: Broker) -> int:
    return 1 if name in OF_ONE_PARTITION else broker.partitions


def _check(topic: dict[str, Any], broker: Broker) -> None:
    if topic["error_code"]:
        raise TopicError(f"topic {topic['name']}: {for_code(topic['error_code']).__name__}")
    partitions = topic["partitions"]
    if len(partitions) < _partitions_of(topic["name"], broker):
        raise TopicError(
            f"topic {topic['name']} has {len(partitions)} partitions, broker.partitions asks for {broker.partitions}: "
            "add partitions, or lower the setting"
        )
    if topic["name"] in OF_ONE_PARTITION and len(partitions) > 1:
        logger.warning(
            "topic %s has %d partitions instead of 1: run one respond worker", topic["name"], len(partitions)
        )
    copies = min(len(partition["replica_nodes"]) for partition in partitions)
    if copies < broker.replication_factor:
        raise TopicError(
            f"topic {topic['name']} has {copies} copies, broker.replication_factor asks for "
            f"{broker.replication_factor}: reassign its partitions, or lower the setting"
        )


def _sizes(admin: KafkaAdminClient) -> dict[str, int]:
    """The largest message of each topic; nothing for one where the broker does not say."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in TOPICS]  # the embedded broker takes no filter
    found = admin.describe_configs(asked, config_filter="all")["topic"]
    return {name: int(values[SIZE]["value"]) for name, values in found.items() if SIZE in values}


def _check_size(name: str, taken: int | None, wanted: int) -> None:
    if taken is not None and taken < wanted:
        raise TopicError(
            f"topic {name} takes messages of up to {taken} bytes, limits.message_bytes asks for {wanted}: "
            f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {SIZE}={wanted}, "
            "or lower the setting"
        )


def end_offsets(bootstrap: str, topics: Iterable[str], timeout: float = 30.0) -> dict[tuple[str, int], int]:
    """The offset behind the last record of each partition, by topic and partition; 0 where nothing was ever written.

    A broker's own answer is not enough: the embedded one names the first record of the last batch. So that batch is
    read to its end. Records that arrive meanwhile may be counted or not.

    Raises:
        TopicError: no broker, no such topic, or a last record that cannot be read within `timeout` seconds.
    """
    with _client(
        KafkaConsumer,
        bootstrap,
        timeout,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_poll_records=1_000_000,  # a batch whole
    ) as consumer:
        partitions = [TopicPartition(topic, number) for topic in topics for number in _partitions(consumer, topic)]
        first, answered = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        waiting = {partition for partition in partitions if answered[partition] > first[partition]}
        consumer.assign(list(waiting))
        for partition in waiting:
            consumer.seek(partition, answered[partition] - 1)
        deadline = time.monotonic() + timeout
        while waiting:
            for partition, records in consumer.poll(timeout_ms=500).items():
                answered[partition] = records[-1].offset + 1
                waiting.discard(partition)
                consumer.pause(partition)
            if waiting and time.monotonic() > deadline:
                raise TopicError(f"broker {bootstrap}: the end of {len(waiting)} partitions cannot be read")
    return {(partition.topic, partition.partition): end for partition, end in answered.items()}


def committed_offsets(
    bootstrap: str, group: str, topics: Iterable[str], timeout: float = 30.0
) -> dict[tuple[str, int], tuple[int, int]]:
    """What a consumer group has committed, and the end as the broker says it, by topic and partition.

    Raises:
        TopicError: no broker, or no such topic.
    """
    with _client(KafkaConsumer, bootstrap, timeout, group_id=group, enable_auto_commit=False) as consumer:
        partitions = [TopicPartition(topic, number) for topic in topics for number in _partitions(consumer, topic)]
        first, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        return {
            (each.topic, each.partition): (consumer.committed(each) or first[each], ends[each]) for each in partitions
        }


def _partitions(consumer: KafkaConsumer, topic: str) -> list[int]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise TopicError(f"there is no topic {topic}")
    return sorted(numbers)
