"""One broker with our topics, one scorer, and records as the worker would hand them over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from detectors.encoder import open_encoder
from detectors.scoring import Scorer
from streams.engines import EmbeddedBroker
from streams.settings import Broker
from streams.topics import ensure_topics
from streams.worker import Record
from tocsin.transports import encoded


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedBroker(tmp_path_factory.mktemp("stages")) as broker:
        ensure_topics(Broker(bootstrap=broker.bootstrap, partitions=2))
        yield broker.bootstrap


@pytest.fixture(params=["bootstrap", "kafka"])
def each_bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of a broker with our topics; the test runs once for each kind."""
    address: str = request.getfixturevalue(request.param)
    ensure_topics(Broker(bootstrap=address, partitions=2))
    return address


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    cache = Path(os.environ.get("TOCSIN_CACHE", Path.home() / ".cache" / "tocsin"))
    return Scorer(open_encoder("onnx", cache=cache))


class Topic:
    """Makes the records of one partition of a topic, with the offsets that a broker would give."""

    def __init__(self, name: str, partition: int = 0) -> None:
        self.name, self.partition, self.offset = name, partition, 0

    def record(self, value: BaseModel | bytes | None) -> Record:
        raw = encoded(value) if isinstance(value, BaseModel) else value
        record = Record(self.name, self.partition, self.offset, datetime.now(UTC), raw)
        self.offset += 1
        return record
