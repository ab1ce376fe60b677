"""A gateway that really listens, with a real broker behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn
from kafka import KafkaConsumer, TopicPartition

from streams.access import new_key
from streams.engines.broker import EmbeddedBroker, free_port
from streams.gateway import create_gateway
from streams.settings import Broker, Gateway, Key, Settings
from streams.topics import ensure_topics
from tocsin import Interaction
from tocsin.messages import INTERACTIONS

SECONDS = 60
KEY, DIGEST = new_key()


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        ensure_topics(Broker(bootstrap=broker.bootstrap))
        yield broker.bootstrap


@pytest.fixture(scope="module")
def gateway_url(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that asks for a key with the scope `publish`."""
    keys = [Key(name="shop", sha256=DIGEST, scopes=["publish"])]
    directory = tmp_path_factory.mktemp("gateway")
    settings = Settings(data_directory=directory, disk_free_bytes=0, gateway=Gateway(keys=keys))
    port = free_port()
    app = create_gateway(settings, bootstrap, verify_run=lambda *_: False)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + SECONDS
    while not server.started or httpx.get(f"{url}/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url
    server.should_exit = True
    thread.join()


@pytest.fixture
def published(bootstrap: str) -> Callable[[str, int], list[Interaction]]:
    """The interactions of an application, by time, once there are as many as expected."""

    def read(application: str, expected: int) -> list[Interaction]:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(INTERACTIONS, each) for each in consumer.partitions_for_topic(INTERACTIONS)])
        found: list[Interaction] = []
        deadline, more = time.monotonic() + SECONDS, True
        while more or (len(found) < expected and time.monotonic() < deadline):
            polled = consumer.poll(timeout_ms=500)
            more = bool(polled)  # also what should not be there is read
            for records in polled.values():
                found += [Interaction.model_validate_json(record.value) for record in records]
        consumer.close()
        return sorted((each for each in found if each.application == application), key=lambda each: each.occurred_at)

    return read
