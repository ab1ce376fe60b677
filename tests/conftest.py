"""Real engines for the tests: an embedded broker, an Apache Kafka where one is installed, and a fresh database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sinks.clickhouse import Store
from streams.engines.broker import EmbeddedBroker
from tests.kafka_cluster import KafkaCluster

# A slow machine is no fault of a property: no clock in tests.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


@pytest.fixture(scope="module")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded broker that the tests of a file share; name your own topics and groups."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an Apache Kafka that the tests of a file share; skipped where there is none (set KAFKA_HOME)."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster.bootstrap


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
