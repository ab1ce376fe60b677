"""A model to call and a client that publishes to a server which keeps what it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fake_openai import fake_openai
from tests.sdk.conftest import HttpServer
from tocsin import Client


@pytest.fixture(scope="session")
def model_url() -> Iterator[str]:
    with fake_openai() as url:
        yield url


@pytest.fixture
def client(server: HttpServer) -> Iterator[Client]:
    with Client("shop", url=server.url) as client:
        yield client


@pytest.fixture
def published(client: Client, server: HttpServer) -> Callable[[], list[dict[str, Any]]]:
    """What the client has published so far, without what no two calls share; nothing of it was invalid or dropped."""

    def read() -> list[dict[str, Any]]:
        assert client.flush(30)
        assert (client.stats.invalid, client.stats.dropped, client.stats.refused) == (0, 0, 0)
        found = [dict(each) for each in server.received]
        for each in found:
            assert each.pop("occurred_at")
            assert each.pop("latency_ms") > 0
            assert each.pop("interaction_id")
        return found

    return read
