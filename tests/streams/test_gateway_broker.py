"""The gateway with a real broker: acknowledged means stored, and a broker that goes away comes back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from kafka import KafkaConsumer, TopicPartition
from starlette.testclient import TestClient

from streams.access import new_key
from streams.engines.broker import EmbeddedBroker, free_port
from streams.gateway import create_gateway
from streams.settings import Broker, Gateway, Key, Settings
from streams.topics import ensure_topics
from tests.kafka_cluster import KafkaCluster
from tocsin import Client, Interaction
from tocsin.messages import COMMAND, Acknowledge, PromoteReference, ProposeReference, RunStatus
from tocsin.transports import message_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=[EmbeddedBroker, KafkaCluster], ids=["embedded", "kafka"])
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with request.param(tmp_path_factory.mktemp("broker")) as broker:
        ensure_topics(Broker(bootstrap=broker.bootstrap))
        yield broker.bootstrap


def gateway(bootstrap: str, **options: Any) -> TestClient:
    settings = Settings(disk_free_bytes=0, gateway=Gateway(spool_bytes=0, **options))
    app = create_gateway(settings, bootstrap, verify_run=lambda run_id, token: token == f"token of {run_id}")
    return TestClient(app, base_url="http://127.0.0.1:8321")


def until_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 60
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def values(bootstrap: str, topic: str, expected: int) -> list[tuple[bytes, bytes]]:
    """The keys and values of a topic, when there are as many as expected."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    found: list[tuple[bytes, bytes]] = []
    deadline = time.monotonic() + 60
    while len(found) < expected and time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=200).values():
            found += [(record.key, record.value) for record in records]
    consumer.close()
    return found


def test_what_is_accepted_is_stored_in_its_canonical_form(bootstrap: str) -> None:
    sent = [
        Interaction(application="shop", prompt=f"q{i}", response="ä\u2028😀", session_id=f"s{i % 5}")
        for i in range(1_000)
    ]
    with gateway(bootstrap) as client:
        until_ready(client)
        body = [json.loads(one.model_dump_json()) for one in sent]  # with the nulls that the canonical form leaves out
        answer = client.post("/v1/interactions", json=body)
        assert answer.status_code == 202
        assert answer.json() == {"accepted": 1_000, "ids": [one.interaction_id for one in sent]}
        assert client.post("/v1/interactions", json=[body[0], {}]).status_code == 400  # none of this is stored
        alone = client.post("/v1/interactions", json={"application": "shop", "prompt": "alone", "response": "a"})
        assert client.post("/v1/feedback", json={
            "application": "shop", "interaction_id": alone.json()["ids"][0], "kind": "rating", "value": 1,
        }).status_code == 202  # fmt: skip
        assert 'tocsin_gateway_acknowledged_total{topic="tocsin.interactions"} 1001.0' in client.get("/metrics").text
    found = values(bootstrap, "tocsin.interactions", 1_001)
    assert len(found) == 1_001
    assert {message_of(one)[1:] for one in sent} < set(found)
    assert len(values(bootstrap, "tocsin.feedback", 1)) == 1


def test_commands_and_reports_arrive_with_who_gave_them(bootstrap: str) -> None:
    key, digest = new_key()
    headers = {"Authorization": f"Bearer {key}"}
    with gateway(bootstrap, keys=[Key(name="on-call", sha256=digest, scopes=["operate"])]) as client:
        until_ready(client)
        commands = [
            {"kind": "acknowledge", "incident_id": "i-1"},
            {"kind": "propose", "application": "bakery"},
            {"kind": "promote", "application": "shop", "reference_id": "r-2"},
        ]
        for command in commands:
            assert client.post("/v1/commands", json=command, headers=headers).status_code == 202
        report = {"state": "succeeded", "model_version": "2", "metrics": {"f1": 0.9}}
        path, token = "/v1/retraining/run-1/status", {"Authorization": "Bearer token of run-1"}
        assert client.post(path, json=report, headers=token).status_code == 202
    found = {key: COMMAND.validate_json(value) for key, value in values(bootstrap, "tocsin.commands", 4)}
    acknowledged, promoted, reported = found[b"i-1"], found[b"shop"], found[b"run-1"]
    assert isinstance(acknowledged, Acknowledge)
    assert acknowledged.actor == "on-call"
    assert isinstance(promoted, PromoteReference)
    assert isinstance(found[b"bakery"], ProposeReference)
    assert isinstance(reported, RunStatus)
    assert (reported.state, reported.metrics) == ("succeeded", {"f1": 0.9})


def test_the_gateway_starts_before_its_broker_and_outlives_it(tmp_path: Path) -> None:
    port = free_port()
    valid = {"application": "shop", "prompt": "q", "response": "a"}
    with gateway(f"127.0.0.1:{port}", acknowledge_timeout_seconds=1.5) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.post("/v1/interactions", json=valid).status_code == 503
        for _ in range(2):  # the first time it appears, the second time it comes back
            with EmbeddedBroker(tmp_path, port):
                ensure_topics(Broker(bootstrap=f"127.0.0.1:{port}"))
                until_ready(client)
                deadline = time.monotonic() + 60
                while (answer := client.post("/v1/interactions", json=valid)).status_code != 202:
                    assert answer.status_code == 503
                    assert time.monotonic() < deadline
            answer = client.post("/v1/interactions", json=valid)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]


def test_a_service_publishes_through_the_gateway_with_the_client(bootstrap: str) -> None:
    key, digest = new_key()
    settings = Settings(
        disk_free_bytes=0, gateway=Gateway(keys=[Key(name="svc", sha256=digest, scopes=["publish"])], max_batch=200)
    )
    app = create_gateway(settings, bootstrap, verify_run=lambda *_: False)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with Client("through", url=f"http://127.0.0.1:{port}", api_key=key) as client:
            ids = {client.publish(f"q{i}", "a") for i in range(500)}
            assert client.flush(60)
            assert client.stats.acknowledged == 500
    finally:
        server.should_exit = True
        thread.join()
    found = [json.loads(value) for _, value in values(bootstrap, "tocsin.interactions", 1_501)]
    assert {one["interaction_id"] for one in found if one["application"] == "through"} == ids
