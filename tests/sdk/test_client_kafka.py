"""The direct way, against the embedded broker and a real Apache Kafka."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka.record import util

from streams.engines.broker import EmbeddedBroker, free_port
from streams.settings import Broker
from streams.topics import ensure_topics
from tests.kafka_cluster import KafkaCluster
from tocsin import Client, Interaction
from tocsin.transports import kafka, message_of

pytestmark = pytest.mark.integration
Stored = Callable[[str, str, str, int], list[Any]]


def test_what_was_acknowledged_is_stored_once_and_each_session_in_order(bootstrap: str, stored: Stored) -> None:
    with Client("ordered", bootstrap=bootstrap) as client:
        ids = [client.publish(f"turn {i}", "a", session_id=f"s{i % 20}") for i in range(2_000)]
        client.feedback(ids[0], rating=1.0)
        assert client.flush(60)
        assert client.stats.acknowledged == 2_001
    records = stored(bootstrap, "tocsin.interactions", "ordered", 2_000)
    interactions = [Interaction.model_validate_json(record.value) for record in records]
    assert sorted(one.interaction_id for one in interactions) == sorted(one for one in ids if one)
    turns, partitions = defaultdict(list), defaultdict(set)
    for record, interaction in zip(records, interactions, strict=True):
        turns[interaction.session_id].append(int(interaction.prompt_text.removeprefix("turn ")))
        partitions[interaction.session_id].add(record.partition)
    assert all(said == sorted(said) for said in turns.values())
    assert all(len(several) == 1 for several in partitions.values())
    assert len(set.union(*partitions.values())) > 1
    assert [json.loads(record.value)["value"] for record in stored(bootstrap, "tocsin.feedback", "ordered", 1)] == [1.0]


def test_checksums_are_not_made_by_the_interpreter() -> None:
    """In plain Python they take a thousand times as long, in the process of the service."""
    assert util.crc32c_c is not None


def test_what_is_queued_at_exit_is_stored(bootstrap: str, stored: Stored) -> None:
    program = f"""
import tocsin
client = tocsin.Client('exiting', bootstrap={bootstrap!r}, exit_timeout_seconds=30)
for i in range(777):
    client.publish(f'q{{i}}', 'a')
"""
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=90, capture_output=True, text=True)
    assert "Traceback" not in ended.stderr
    assert len(stored(bootstrap, "tocsin.interactions", "exiting", 777)) == 777


@pytest.mark.parametrize("logger", ["", "kafka"])
def test_content_stays_out_of_even_the_debug_log(bootstrap: str, caplog: pytest.LogCaptureFixture, logger: str) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger)
    with Client("quiet", bootstrap=bootstrap) as client:
        client.publish("a secret prompt", "a secret response")
        assert client.flush(60)
    assert "secret" not in caplog.text


def test_a_broker_that_crashes_and_comes_back_loses_nothing(apache_kafka: KafkaCluster, stored: Stored) -> None:
    bootstrap = apache_kafka.bootstrap
    ensure_topics(Broker(bootstrap=bootstrap))
    with Client("outage", bootstrap=bootstrap) as client:
        ids = [client.publish("before", "a") for _ in range(100)]
        assert client.flush(60)
        apache_kafka.kill(1)
        ids += [client.publish("meanwhile", "a") for _ in range(500)]
        assert not client.flush(1)
        apache_kafka.start(1)
        ids += [client.publish("after", "a") for _ in range(100)]
        assert client.flush(90)
        assert client.stats.dropped == client.stats.refused == 0
    there = {
        json.loads(record.value)["interaction_id"] for record in stored(bootstrap, "tocsin.interactions", "outage", 700)
    }
    assert there == set(ids)


def test_a_producer_that_delivers_nothing_for_long_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "REBUILD_AFTER_SECONDS", 0.0)
    impatient = {"request_timeout_ms": 1_000, "delivery_timeout_ms": 2_000, "max_block_ms": 2_000}
    port = free_port()
    transport = kafka.KafkaTransport([f"127.0.0.1:{port}"], impatient)
    messages = [message_of(Interaction(application="rebuilt", prompt="q", response="a"))]
    with EmbeddedBroker(tmp_path, port) as broker:
        ensure_topics(Broker(bootstrap=broker.bootstrap))
        assert transport.deliver(messages).acknowledged == 1
        first = transport._producer
    assert transport.deliver(messages).undelivered == messages
    with EmbeddedBroker(tmp_path, port):
        assert transport.deliver(messages).acknowledged == 1
    assert transport._producer is not first
    transport.close()


def test_a_client_that_starts_before_its_broker_delivers_once_the_broker_is_there(
    apache_kafka: KafkaCluster, stored: Stored
) -> None:
    bootstrap = apache_kafka.bootstrap
    ensure_topics(Broker(bootstrap=bootstrap))
    apache_kafka.kill(1)
    client = Client("early", bootstrap=bootstrap)
    started = time.perf_counter()
    client.publish("q", "a")
    assert time.perf_counter() - started < 5  # the producer's constructor would wait for the broker much longer
    assert not client.flush(1)
    apache_kafka.start(1)
    assert client.flush(90)
    assert client.close()
    assert len(stored(bootstrap, "tocsin.interactions", "early", 1)) == 1
