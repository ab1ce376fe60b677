"""The real LangChain with our callback handler, on a model that is really asked over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI, OpenAI

from tests.fake_openai import MODEL
from tocsin import Client
from tocsin.integrations.langchain import TocsinCallbackHandler

Published = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def config(client: Client) -> RunnableConfig:
    metadata = {"session_id": "s-1", "user_id": "u-1", "tenant": "acme"}
    return {"callbacks": [TocsinCallbackHandler(client)], "metadata": metadata}


@pytest.fixture
def model(model_url: str) -> ChatOpenAI:
    return ChatOpenAI(model="gpt", base_url=model_url, api_key="x", max_retries=0)


def test_a_call_is_published_with_everything_that_is_known(
    model: ChatOpenAI, config: RunnableConfig, published: Published
) -> None:
    assert model.invoke([("system", "Be brief."), ("user", "Hello there")], config).content == "Echo: Hello there"
    assert published() == [
        {
            "schema_version": 1,
            "application": "shop",
            "environment": "production",
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}],
            "response": "Echo: Hello there",
            "context": [],
            "attributes": {"tenant": "acme"},
            "model": {"provider": "openai", "name": MODEL},
            "session_id": "s-1",
            "subject_id": "u-1",
            "usage": {"input_tokens": 11, "output_tokens": 7},
            "finish_reason": "stop",
        }
    ]


def test_streams_tools_errors_and_text_models_are_published(
    model: ChatOpenAI, config: RunnableConfig, published: Published, model_url: str
) -> None:
    assert len(list(model.stream("Hello there", config))) > 2
    model.invoke("use a tool", config)
    with pytest.raises(Exception, match="broken"):
        model.invoke("fail", config)
    OpenAI(model="gpt", base_url=model_url, api_key="x", max_retries=0).invoke("Hello there", config)
    streamed, tool, failed, text = published()
    assert streamed["response"] == "Echo: Hello there"
    assert streamed["time_to_first_token_ms"] > 0
    assert (tool["response"], tool["finish_reason"]) == ('weather({"city": "Oslo"})', "tool_calls")
    assert failed["error"].endswith("Error")
    assert (text["prompt"], text["response"], text["usage"]["output_tokens"]) == ("Hello there", "Echo: Hello there", 7)


def test_asynchronous_calls_and_batches_keep_apart(
    model: ChatOpenAI, config: RunnableConfig, published: Published
) -> None:
    async def ask() -> None:
        await model.abatch(["a", "b", "c"], config)
        assert [chunk.content async for chunk in model.astream("d", config)]

    asyncio.run(ask())
    found = {each["prompt"][0]["content"]: each["response"] for each in published()}
    assert found == {name: f"Echo: {name}" for name in "abcd"}


def test_any_model_of_langchain_is_published(config: RunnableConfig, published: Published) -> None:
    content: Any = [{"type": "text", "text": "Let me see."}, {"type": "tool_use", "name": "f", "input": {}, "id": "1"}]
    said = AIMessage(content, tool_calls=[{"name": "f", "args": {}, "id": "1"}])
    GenericFakeChatModel(messages=iter([said])).invoke([HumanMessage("q")], config)
    (found,) = published()
    assert found["response"] == "Let me see.\nf({})"
