"""While the broker is away the gateway's disk takes its place: accepted is durable, and follows when it is back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
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

pytestmark = pytest.mark.integration

PROGRAM = """
import sys, uvicorn
from pathlib import Path
from streams.gateway import create_gateway
from streams.settings import Settings
data, bootstrap, port = sys.argv[1:]
app = create_gateway(Settings(data_directory=Path(data), disk_free_bytes=0), bootstrap, verify_run=lambda *_: False)
uvicorn.run(app, port=int(port), log_level="warning")
"""


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


def test_a_gateway_that_was_killed_delivers_its_spool_at_the_next_start(tmp_path: Path) -> None:
    port, broker_port = free_port(), free_port()
    address = f"127.0.0.1:{broker_port}"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "data"), address, str(port)]
    accepted: list[str] = []
    with subprocess.Popen(command) as process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        until(lambda: _answers(http))
        for i in range(50):
            answer = http.post("/v1/interactions", json=interactions(10, f"{i}."))
            assert answer.status_code == 202
            accepted += [f"{i}.{n}" for n in range(10)]
        process.send_signal(signal.SIGKILL)
    with EmbeddedBroker(tmp_path / "broker", broker_port):
        ensure_topics(Broker(bootstrap=address))
        with gateway(tmp_path / "data", address) as client:
            assert prompts(address, 500) == accepted
            until(lambda: metric(client, "tocsin_gateway_spooled") == 0)
    assert list((tmp_path / "data" / "spool").iterdir()) == []


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


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
