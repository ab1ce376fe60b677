"""An Apache Kafka that tests may crash, and a small HTTP server that answers as it is told."""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from streams.settings import Broker
from streams.topics import ensure_topics
from tests.kafka_cluster import KafkaCluster


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One node that a test may kill and start again."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(params=["embedded_broker", "apache_kafka"])
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of a broker with our topics; the test runs once for each kind."""
    broker = request.getfixturevalue(request.param)
    address = broker.bootstrap if isinstance(broker, KafkaCluster) else str(broker)
    ensure_topics(Broker(bootstrap=address))
    return address


@pytest.fixture
def stored() -> Callable[[str, str, str, int], list[Any]]:
    """Reads the records of one application in a topic, each partition in its order, until there are as many."""
    return _stored


def _stored(bootstrap: str, topic: str, application: str, expected: int) -> list[Any]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
    found: list[Any] = []
    deadline = time.monotonic() + 60
    more = True
    while more or (len(found) < expected and time.monotonic() < deadline):
        polled = consumer.poll(timeout_ms=500)
        more = bool(polled)  # also what should not be there is read
        for records in polled.values():
            found += [record for record in records if json.loads(record.value)["application"] == application]
    consumer.close()
    return found


@dataclass
class HttpServer:
    """Answers each POST with the next of `answers`, 202 when there are none left, and keeps what was posted."""

    url: str
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    refuse: str = ""
    posts: list[tuple[str, dict[str, str], list[dict[str, Any]]]] = field(default_factory=list)

    @property
    def received(self) -> list[dict[str, Any]]:
        return [one for _, _, body in self.posts for one in body]


@pytest.fixture
def server() -> Iterator[HttpServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                raw = zlib.decompress(raw, 31)
            body = json.loads(raw)
            status, headers = told.answers.popleft() if told.answers else (202, {})
            if told.refuse and any(told.refuse == one.get("response") for one in body):
                status = 400
            if status == 202:
                told.posts.append((self.path, dict(self.headers), body))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        told = HttpServer(f"http://127.0.0.1:{http.server_address[1]}")
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield told
        http.shutdown()
        thread.join()
