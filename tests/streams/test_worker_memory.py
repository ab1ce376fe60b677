"""A worker whose store is away holds a bounded number of bytes, however large the messages are that wait for it."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
from kafka import KafkaAdminClient, KafkaProducer

pytestmark = pytest.mark.integration

MESSAGES, BYTES = 600, 1_000_000
MOST = 400_000_000

PROGRAM = """
import asyncio, os, sys
from sinks.clickhouse import StoreUnavailable
from streams.settings import Settings
from streams.worker import create_worker

topic, bootstrap = sys.argv[1:]
waiting = asyncio.Event()

def peak():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) * 1024  # getrusage's would begin at what the parent has

async def take(records):
    waiting.set()
    raise StoreUnavailable("away")

async def main():
    worker = create_worker(topic, {topic: take}, Settings(), bootstrap, batch=500, within=0.2)
    before = peak()
    await worker.start()
    await waiting.wait()
    seen = 0
    while peak() > seen:  # until it fetches no more
        seen = peak()
        await asyncio.sleep(5)
    print(seen - before, flush=True)
    os._exit(0)

asyncio.run(main())
"""


def test_messages_that_wait_for_a_store_stay_in_the_broker(embedded_broker: str) -> None:
    topic = f"large-{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=embedded_broker)
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}})
    admin.wait_for_topics([topic])
    admin.close()
    # compressed a thousand times: what the broker is asked for in bytes says nothing of what they become
    producer = KafkaProducer(bootstrap_servers=embedded_broker, compression_type="gzip", enable_idempotence=False)
    for number in range(MESSAGES):
        producer.send(topic, b"a" * BYTES, partition=number % 2)
    producer.flush(120)
    producer.close()
    command = [sys.executable, "-c", PROGRAM, topic, embedded_broker]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)
    assert grown < MOST < MESSAGES * BYTES
