"""While the broker is away the gateway's disk takes its place: accepted is durable, and follows when it is back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka import KafkaConsumer, TopicPartition
from starlette.testclient import TestClient

from streams.engines.broker import EmbeddedBroker, free_port
from streams.gateway import create_gateway
from streams.settings import Broker, Gateway, Settings
from streams.topics import ensure_topics
from tests.program import TOCSIN, Program

pytestmark = pytest.mark.integration


def gateway(data: Path, bootstrap: str, spool_bytes: int = 100_000_000) -> TestClient:
    settings = Settings(data_directory=data, disk_free_bytes=0, gateway=Gateway(spool_bytes=spool_bytes))
    return TestClient(create_gateway(settings, bootstrap, verify_run=lambda *_: False), base_url="http://127.0.0.1")


def interactions(count: int, prompt: str = "q", size: int = 10) -> list[dict[str, Any]]:
    return [
        {"application": "shop", "prompt": f"{prompt}{i}", "response": "a" * size, "session_id": "s"}
        for i in range(count)
    ]


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def prompts(bootstrap: str, expected: int) -> list[str]:
    """The prompts in the topic, in the order of their partition, when there are as many as expected."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    topic = "tocsin.interactions"
    consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
    found: list[str] = []
    deadline = time.monotonic() + 60
    while len(found) < expected and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=200).values():
            found += [json.loads(record.value)["prompt"] for record in records]
    consumer.close()
    return found


def metric(client: TestClient, name: str) -> float:
    return next(float(line.split()[-1]) for line in client.get("/metrics").text.splitlines() if line.startswith(name))


def test_what_is_accepted_while_the_broker_is_away_follows_in_order_before_what_comes_later(tmp_path: Path) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    with gateway(tmp_path / "data", address) as client:
        assert client.get("/readyz").json() == {"status": "spooling"}
        for start in range(5):
            assert client.post("/v1/interactions", json=interactions(100, f"{start}.")).status_code == 202
        assert metric(client, "tocsin_gateway_spooled") == 500
        with EmbeddedBroker(tmp_path / "broker", port):
            ensure_topics(Broker(bootstrap=address))
            until(lambda: metric(client, "tocsin_gateway_spooled") == 0)
            assert client.post("/v1/interactions", json=interactions(1, "last")).status_code == 202
            assert client.get("/readyz").json() == {"status": "ready"}
            wanted = [f"{start}.{i}" for start in range(5) for i in range(100)] + ["last0"]
            assert prompts(address, 501) == wanted
        # a broker that goes away in the middle of it is noticed, and the spool takes over again
        until(lambda: client.post("/v1/interactions", json=interactions(1, "again")).status_code == 202)
        assert metric(client, "tocsin_gateway_spooled") >= 1
    assert list((tmp_path / "data" / "spool").glob("*/*.spool"))


def test_the_gateway_starts_while_broker_and_store_are_away_and_delivers_though_it_was_killed(tmp_path: Path) -> None:
    port, broker_port = free_port(), free_port()
    settings = {
        "TOCSIN_BROKER__BOOTSTRAP": f"127.0.0.1:{broker_port}",
        "TOCSIN_CLICKHOUSE__HOST": "127.0.0.1",
        "TOCSIN_CLICKHOUSE__PORT": str(free_port()),
        "TOCSIN_DISK_FREE_BYTES": "0",
    }
    address = f"http://127.0.0.1:{port}"
    with Program([*TOCSIN, "gateway", "--port", str(port)], tmp_path, settings, " runs ") as program:
        for life in range(2):
            program.start().await_ready()
            assert httpx.get(f"{address}/healthz").json() == {"status": "alive"}
            assert httpx.get(f"{address}/readyz").json() == {"status": "spooling"}
            answer = httpx.post(f"{address}/v1/interactions", json=interactions(100, f"{life}."), timeout=30)
            assert answer.status_code == 202
            if life == 0:
                program.kill()
        with EmbeddedBroker(tmp_path / "broker", broker_port):  # without topics: the gateway makes them
            until(lambda: httpx.get(f"{address}/readyz").json() == {"status": "ready"})
            wanted = [f"{life}.{i}" for life in range(2) for i in range(100)]
            assert prompts(settings["TOCSIN_BROKER__BOOTSTRAP"], 200) == wanted
            until(lambda: "tocsin_gateway_spooled 0.0" in httpx.get(f"{address}/metrics").text)


def test_a_full_spool_answers_503_and_forgets_nothing_that_it_accepted(tmp_path: Path) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    with gateway(tmp_path / "data", address, spool_bytes=1_000_000) as client:
        codes = [client.post("/v1/interactions", json=interactions(10, f"{i}.", 10_000)).status_code for i in range(15)]
        assert codes == sorted(codes)
        assert set(codes) == {202, 503}
        with EmbeddedBroker(tmp_path / "broker", port):
            ensure_topics(Broker(bootstrap=address))
            assert len(prompts(address, 10 * codes.count(202))) == 10 * codes.count(202)


def test_many_requests_at_once_are_each_written_before_they_are_answered(tmp_path: Path) -> None:
    answers: list[int] = []
    with gateway(tmp_path, "127.0.0.1:9") as client:
        threads = [
            threading.Thread(
                target=lambda: answers.append(client.post("/v1/interactions", json=interactions(5)).status_code)
            )
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [202] * 20
    lines = [line for file in (tmp_path / "spool").glob("*/*.spool") for line in file.read_bytes().splitlines()]
    assert len(lines) == 100


def test_a_message_that_no_broker_may_take_is_refused_while_somebody_can_still_be_told(tmp_path: Path) -> None:
    with gateway(tmp_path, "127.0.0.1:9") as client:
        assert client.post("/v1/interactions", json=interactions(1, size=1_020_000)).status_code == 413
