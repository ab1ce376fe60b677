"""OpenAI's real client, watched: its calls behave as before, and each of them is an interaction."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, AsyncStream, InternalServerError, OpenAI, Stream
from pydantic import BaseModel

from tests.fake_openai import MODEL
from tocsin import Client
from tocsin.integrations.openai import about, watch

Published = Callable[[], list[dict[str, Any]]]

HELLO: Any = [{"role": "user", "content": "Hello there"}]
TURN = [{"role": "user", "content": "Hello there"}]
COMMON = {
    "schema_version": 1,
    "application": "shop",
    "environment": "production",
    "context": [],
    "attributes": {},
    "model": {"provider": "openai", "name": MODEL},
}
USAGE = {"input_tokens": 11, "output_tokens": 7}
PLAIN = {"prompt": TURN, "response": "Echo: Hello there", "finish_reason": "stop", "usage": USAGE}


@pytest.fixture
def openai(model_url: str, client: Client) -> OpenAI:
    return watch(OpenAI(base_url=model_url, api_key="x", max_retries=0), client)


@pytest.fixture
def asynchronous(model_url: str, client: Client) -> AsyncOpenAI:
    return watch(AsyncOpenAI(base_url=model_url, api_key="x", max_retries=0), client)


def test_a_completion_is_published_with_everything_that_is_known(openai: OpenAI, published: Published) -> None:
    with about(session_id="s-1", attributes={"tenant": "acme"}), about(attributes={"plan": "free"}):
        answer = openai.chat.completions.create(model="gpt", messages=HELLO, user="u-1")
    assert answer.choices[0].message.content == "Echo: Hello there"
    about_it = {"session_id": "s-1", "subject_id": "u-1", "attributes": {"tenant": "acme", "plan": "free"}}
    assert published() == [COMMON | PLAIN | about_it]


def test_a_stream_is_published_when_it_ends(openai: OpenAI, published: Published) -> None:
    with_usage: Any = {"include_usage": True}
    stream = openai.chat.completions.create(model="gpt", messages=HELLO, stream=True, stream_options=with_usage)
    assert isinstance(stream, Stream)
    assert stream.response.status_code == 200
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == "Echo: Hello there"
    (found,) = published()
    assert found.pop("time_to_first_token_ms") > 0
    assert found == COMMON | PLAIN


def test_a_stream_that_is_closed_early_is_published_as_far_as_it_came(openai: OpenAI, published: Published) -> None:
    with openai.chat.completions.create(model="gpt", messages=HELLO, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    (found,) = published()
    assert (found["response"], "finish_reason" in found) == ("Echo:", False)


def test_helpers_and_parsed_answers_are_published_once(openai: OpenAI, published: Published) -> None:
    class Anything(BaseModel):
        pass

    with openai.chat.completions.stream(model="gpt", messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Echo: Hello there"
    with pytest.raises(ValueError, match="JSON"):  # the echo is none: the library's error stays the library's
        openai.chat.completions.parse(model="gpt", messages=HELLO, response_format=Anything)
    first, second = published()
    assert first["response"] == "Echo: Hello there"
    assert second["error"] == "ValidationError"


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools_are_what_the_model_answered(openai: OpenAI, published: Published, stream: bool) -> None:
    ask: Any = [{"role": "user", "content": "use a tool"}]
    answer: Any = openai.chat.completions.create(model="gpt", messages=ask, stream=stream)
    if stream:
        list(answer)
    else:  # as services go on: the answer itself is a message of the next call
        openai.chat.completions.create(model="gpt", messages=[*ask, answer.choices[0].message, HELLO[0]])
        assert published()[1]["prompt"][1] == {"role": "assistant", "content": 'weather({"city": "Oslo"})'}
    found = published()[0]
    assert (found["response"], found["finish_reason"]) == ('weather({"city": "Oslo"})', "tool_calls")


def test_an_error_stays_the_service_s_and_is_published(openai: OpenAI, published: Published) -> None:
    with pytest.raises(InternalServerError, match="broken"):
        openai.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "fail"}])
    (found,) = published()
    assert (found["error"], found["response"], found["model"]["name"]) == ("InternalServerError", "", "gpt")


@pytest.mark.parametrize("stream", [False, True])
def test_responses_are_published(openai: OpenAI, published: Published, stream: bool) -> None:
    asked: Any = {"model": "gpt", "instructions": "Be brief.", "input": "Hello there", "conversation": "c-1"}
    answer: Any = openai.responses.create(**asked, stream=stream)
    if stream:
        assert [event.type for event in answer][-1] == "response.completed"
    (found,) = published()
    assert (found.pop("time_to_first_token_ms", 0) > 0) == stream
    turns = [{"role": "system", "content": "Be brief."}, *TURN]
    assert found == COMMON | PLAIN | {"prompt": turns, "session_id": "c-1", "finish_reason": "completed"}


def test_the_asynchronous_client_is_published_alike(asynchronous: AsyncOpenAI, published: Published) -> None:
    async def ask() -> None:
        with about(session_id="s-1"):
            await asynchronous.chat.completions.create(model="gpt", messages=HELLO)
        stream = await asynchronous.chat.completions.create(model="gpt", messages=HELLO, stream=True)
        assert isinstance(stream, AsyncStream)
        async with stream:
            assert len([chunk async for chunk in stream]) > 3
        with pytest.raises(InternalServerError):
            await asynchronous.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "fail"}])
        await asynchronous.responses.create(model="gpt", input="Hello there")
        await asynchronous.close()

    asyncio.run(ask())
    plain, streamed, failed, response = published()
    assert plain == COMMON | PLAIN | {"session_id": "s-1"}
    assert streamed.pop("time_to_first_token_ms") > 0
    assert streamed == {name: value for name, value in (COMMON | PLAIN).items() if name != "usage"}
    assert failed["error"] == "InternalServerError"
    assert response["response"] == "Echo: Hello there"


def test_a_raw_response_is_left_alone(openai: OpenAI, published: Published) -> None:
    raw = openai.chat.completions.with_raw_response.create(model="gpt", messages=HELLO)
    assert raw.parse().choices[0].message.content == "Echo: Hello there"
    assert published() == []


def test_what_goes_wrong_in_tocsin_never_reaches_the_call(model_url: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Client):
        def publish(self, *_: Any, **__: Any) -> str | None:
            raise RuntimeError("secret")

    away = Client("shop", url="http://127.0.0.1:9")
    for broken in (Broken("shop", url="http://127.0.0.1:9"), away):
        openai = watch(OpenAI(base_url=model_url, api_key="x", max_retries=0), broken)
        answer = openai.chat.completions.create(model="gpt", messages=HELLO)
        assert answer.choices[0].message.content == "Echo: Hello there"
        assert len(list(openai.chat.completions.create(model="gpt", messages=HELLO, stream=True))) > 3
        broken.close(0)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_client_that_is_watched_twice_publishes_once(openai: OpenAI, client: Client, published: Published) -> None:
    watch(openai, client).chat.completions.create(model="gpt", messages=HELLO)
    assert len(published()) == 1


def test_importing_tocsin_imports_none_of_the_libraries() -> None:
    code = "import sys, tocsin, tocsin.integrations; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"openai", "litellm", "langchain_core"} & set(loaded)
