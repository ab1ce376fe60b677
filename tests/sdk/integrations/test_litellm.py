"""The real LiteLLM with our callback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fake_openai import MODEL
from tests.program import until
from tests.sdk.conftest import HttpServer
from tocsin import Client

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks the network

import litellm

from tocsin.integrations.litellm import TocsinLogger

HELLO = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def asked(client: Client, model_url: str) -> Iterator[dict[str, Any]]:
    """What every call is given."""
    litellm.callbacks = [TocsinLogger(client)]
    yield {"model": "openai/gpt", "api_base": model_url, "api_key": "x", "messages": HELLO, "max_retries": 0}
    litellm.logging_callback_manager._reset_all_callbacks()  # it keeps one of a class


def await_published(published: Callable[[], list[dict[str, Any]]], server: HttpServer, count: int) -> list[Any]:
    """LiteLLM calls back from a thread of its own, after the answer."""
    until(lambda: len(published()) >= count, f"{count} are published", 30)
    return published()


def test_completions_are_published_plain_streamed_and_failed(
    asked: dict[str, Any], published: Callable[[], list[dict[str, Any]]], server: HttpServer
) -> None:
    answer = litellm.completion(**asked, metadata={"session_id": "s-1"}, user="u-1")
    assert answer.choices[0].message.content == "Echo: Hello there"
    (plain,) = await_published(published, server, 1)
    assert plain == {
        "schema_version": 1,
        "application": "shop",
        "environment": "production",
        "prompt": HELLO,
        "response": "Echo: Hello there",
        "context": [],
        "attributes": {},
        "model": {"provider": "openai", "name": MODEL},
        "session_id": "s-1",
        "subject_id": "u-1",
        "usage": {"input_tokens": 11, "output_tokens": 7},
        "finish_reason": "stop",
    }
    assert server.received[0]["interaction_id"] == answer._hidden_params["litellm_call_id"]
    assert len(list(litellm.completion(**asked, stream=True))) > 2
    _, streamed = await_published(published, server, 2)
    assert streamed["response"] == "Echo: Hello there"
    assert streamed["time_to_first_token_ms"] > 0
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(**asked | {"messages": [{"role": "user", "content": "fail"}]})
    *_, failed = await_published(published, server, 3)
    assert (failed["error"], failed["response"]) == ("InternalServerError", "")


def test_asynchronous_completions_are_published_once_each(
    asked: dict[str, Any], published: Callable[[], list[dict[str, Any]]], server: HttpServer
) -> None:
    async def ask() -> None:
        await litellm.acompletion(**asked)
        async for _ in await litellm.acompletion(**asked, stream=True):
            pass
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(**asked | {"messages": [{"role": "user", "content": "fail"}]})
        await litellm.aembedding(model="openai/e", input="no", api_base=asked["api_base"], api_key="x")
        while len(server.received) < 3:  # it calls back from tasks of this loop
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(ask(), 30))
    found = published()
    assert sorted(each["response"] for each in found) == ["", "Echo: Hello there", "Echo: Hello there"]
    assert [each.get("error") for each in found].count("InternalServerError") == 1
