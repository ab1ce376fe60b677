"""Real engines for the tests: an embedded broker, an Apache Kafka where one is installed, and a fresh database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.clickhouse import Store
from streams.engines.broker import EmbeddedBroker, free_port

KAFKA_LIBRARIES = [
    Path(os.environ.get("KAFKA_HOME", "/opt/kafka")) / "libs",
    Path(__file__).parents[2] / "shared" / "kafka" / "libs",
]
KAFKA_SECONDS = 60


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded broker that the whole run shares; name your own topics and groups."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an Apache Kafka that the whole run shares; skipped where there is none (set KAFKA_HOME)."""
    java = shutil.which("java")
    libraries = next((folder for folder in KAFKA_LIBRARIES if folder.is_dir()), None)
    if java is None or libraries is None:
        pytest.skip("Apache Kafka: needs Java and KAFKA_HOME")
    directory, port = tmp_path_factory.mktemp("kafka"), free_port()
    configuration = directory / "server.properties"
    configuration.write_text(_kafka_properties(directory, port, free_port()))
    run = [java, "-cp", f"{libraries}/*", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    cluster = "dG9jc2luLXRlc3RzLWthZg"
    format_ = [*run, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(configuration)]
    subprocess.run(format_, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen([*run, "kafka.Kafka", str(configuration)], stdout=log, stderr=log)
    try:
        _await_port(port, server, directory / "log")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _kafka_properties(directory: Path, port: int, controller: int) -> str:
    return f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={directory}/data
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + KAFKA_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text()[-2000:]
        time.sleep(0.1)
    pytest.fail(f"Apache Kafka does not serve after {KAFKA_SECONDS} s: {log.read_text()[-2000:]}")


@pytest.fixture(params=["embedded_broker", "kafka"])
def broker(request: pytest.FixtureRequest) -> str:
    """The address of a broker; the test runs once for each kind."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the embedded store of this process is: it can open one directory only."""
    return tmp_path_factory.mktemp("clickhouse")


@pytest.fixture
def store(store_path: Path) -> Iterator[Store]:
    """The store with a database of the test's own, migrated and empty."""
    opened = Store.embedded(store_path, f"test_{uuid.uuid4().hex}")
    opened.migrate()
    yield opened
    opened.close()
