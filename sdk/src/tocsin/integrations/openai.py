"""Watches OpenAI's client: chat completions and responses, plain, parsed and streamed, synchronous or not.

    client = watch(openai.OpenAI(), tocsin.Client("support-bot", url=…))
    with about(session_id="s-17"):
        client.chat.completions.create(model="…", messages=[…])

What a raw response (`with_raw_response`) holds is not read, and a stream that is neither read to its end nor closed is
not published. Copies of the client (`with_options`) are watched by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from tocsin.client import Client, InteractionFields
from tocsin.integrations.calls import Call, Fields, about
from tocsin.integrations.texts import message_text, turns_of

__all__ = ["about", "watch"]

PROVIDER = "openai"
WATCHED = "__tocsin_watched__"
SAID = ("message", "function_call")  # of what a response holds; the rest is reasoning and the provider's own tools

ClientT = TypeVar("ClientT", OpenAI, AsyncOpenAI)


def watch(client: ClientT, tocsin_client: Client, **fields: Unpack[InteractionFields]) -> ClientT:
    """Publish every call of this client from now on; its calls behave as before.

    Args:
        client: OpenAI's client; it is changed and returned.
        tocsin_client: publishes.
        fields: of every interaction, such as `application`; `about` says those of single calls.
    """
    watched = _asynchronous if isinstance(client, AsyncOpenAI) else _synchronous
    for resource, asked, pieces in (
        (client.chat.completions, _chat_asked, _ChatPieces),
        (client.responses, _response_asked, _ResponsePieces),
    ):
        for name in ("create", "parse"):
            original = getattr(resource, name)
            if not hasattr(original, WATCHED):
                begin = partial(_begin, tocsin_client, fields, asked)
                setattr(resource, name, watched(original, begin, pieces))
    return client


def _begin(client: Client, fields: Fields, asked: Callable[[Fields], Fields], given: Fields) -> Call:
    return Call(client, lambda: fields, lambda: asked(given))


def _synchronous(original: Callable[..., Any], begin: Callable[[Fields], Call], pieces: Callable[[], Any]) -> Any:
    @wraps(original)
    def watched(*arguments: Any, **given: Any) -> Any:
        call = begin(given)
        try:
            result = original(*arguments, **given)
        except BaseException as error:
            call.failed(error)
            raise
        if isinstance(result, Stream):
            return _WatchedStream(result, call, pieces())
        _answer(call, result)
        return result

    setattr(watched, WATCHED, True)
    return watched


def _asynchronous(original: Callable[..., Any], begin: Callable[[Fields], Call], pieces: Callable[[], Any]) -> Any:
    @wraps(original)
    async def watched(*arguments: Any, **given: Any) -> Any:
        call = begin(given)
        try:
            result = await original(*arguments, **given)
        except BaseException as error:
            call.failed(error)
            raise
        if isinstance(result, AsyncStream):
            return _WatchedAsyncStream(result, call, pieces())
        _answer(call, result)
        return result

    setattr(watched, WATCHED, True)
    return watched


def _answer(call: Call, result: object) -> None:
    if isinstance(result, ChatCompletion):
        call.answered(lambda: _chat_answered(result))
    elif isinstance(result, Response) and result.status not in ("queued", "in_progress"):
        call.answered(lambda: _response_answered(result))


def _chat_asked(given: Mapping[str, Any]) -> Fields:
    return {
        "prompt": turns_of(given.get("messages")),
        "model": {"provider": PROVIDER, "name": str(given.get("model"))},
        "subject_id": _text(given.get("safety_identifier")) or _text(given.get("user")),
    }


def _chat_answered(result: ChatCompletion) -> Fields:
    choice, usage = result.choices[0], result.usage
    return {
        "response": message_text(choice.message.model_dump(warnings=False)) or choice.message.refusal or "",
        "finish_reason": choice.finish_reason,
        "model": {"provider": PROVIDER, "name": result.model},
        "usage": usage and {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens},
    }


def _response_asked(given: Mapping[str, Any]) -> Fields:
    instructions, conversation = _text(given.get("instructions")), given.get("conversation")
    system = [{"role": "system", "content": instructions}] if instructions else []
    return {
        "prompt": system + turns_of(given.get("input")),
        "model": {"provider": PROVIDER, "name": str(given.get("model"))},
        "subject_id": _text(given.get("safety_identifier")) or _text(given.get("user")),
        "session_id": _text(conversation.get("id") if isinstance(conversation, Mapping) else conversation),
    }


def _response_answered(result: Response) -> Fields:
    usage, incomplete = result.usage, result.incomplete_details
    said = (message_text(item.model_dump(warnings=False)) for item in result.output if item.type in SAID)
    return {
        "response": "\n".join(text for text in said if text),
        "finish_reason": (incomplete and incomplete.reason) or result.status,
        "error": result.error and result.error.code,
        "model": {"provider": PROVIDER, "name": str(result.model)},
        "usage": usage and {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
    }


def _text(value: object) -> str | None:
    """A text that was given: the client has markers of its own for what was not."""
    return value if isinstance(value, str) and value else None


class _ChatPieces:
    """Chunks of a chat completion, put together."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._fields: dict[str, Any] = {}

    def take(self, chunk: Any) -> bool:
        """Add a chunk; whether it belongs to the answer."""
        if chunk.usage:
            usage = {"input_tokens": chunk.usage.prompt_tokens, "output_tokens": chunk.usage.completion_tokens}
            self._fields["usage"] = usage
        if not chunk.choices or chunk.choices[0].index:
            return False
        choice = chunk.choices[0]
        self._fields["model"] = {"provider": PROVIDER, "name": chunk.model}
        self._fields["finish_reason"] = choice.finish_reason or self._fields.get("finish_reason")
        if text := choice.delta.content or choice.delta.refusal:
            self._texts.append(text)
        for called in choice.delta.tool_calls or ():
            parts = self._calls.setdefault(called.index, [])
            parts += [part for part in (called.function.name, called.function.arguments) if part]
        return bool(text or choice.delta.tool_calls)

    def fields(self) -> Fields:
        """The answer so far."""
        calls = [f"{name}({''.join(arguments)})" for name, *arguments in self._calls.values()]
        return {"response": "\n".join(["".join(self._texts), *calls]).strip("\n"), **self._fields}


class _ResponsePieces:
    """Events of a response; the last one holds all of it."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._whole: Response | None = None

    def take(self, event: Any) -> bool:
        """Add an event; whether it belongs to the answer."""
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            self._whole = event.response
        if event.type == "response.output_text.delta":
            self._texts.append(event.delta)
        return str(event.type).endswith(".delta")

    def fields(self) -> Fields:
        """The answer so far."""
        return {"response": "".join(self._texts)} if self._whole is None else _response_answered(self._whole)


class _Proxy:
    """Stands for a stream, down to its class: what it does not know itself, the stream does."""

    def __init__(self, stream: Any, call: Call, pieces: Any) -> None:
        self._stream, self._call, self._pieces = stream, call, pieces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # programs ask isinstance(…, Stream)
        return type(self._stream)

    def _take(self, piece: Any) -> None:
        if self._pieces.take(piece):
            self._call.first_token()

    def _end(self) -> None:
        self._call.answered(self._pieces.fields)


class _WatchedStream(_Proxy):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            piece = next(self._stream)
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._call.failed(error)
            raise
        self._call.safely(lambda: self._take(piece))
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._end()
        self._stream.close()


class _WatchedAsyncStream(_Proxy):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            piece = await self._stream.__anext__()
        except StopAsyncIteration:
            self._end()
            raise
        except BaseException as error:
            self._call.failed(error)
            raise
        self._call.safely(lambda: self._take(piece))
        return piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        self._end()
        await self._stream.close()
