"""A LangChain callback handler, for every model that LangChain calls, streamed or not, synchronous or not.

    model.invoke("…", {"callbacks": [TocsinCallbackHandler(client)], "metadata": {"session_id": "s-17"}})

`session_id` (or `thread_id`) and `user_id` of a run's metadata are the session and the person; its other plain values
become attributes. The interaction's id is the id of LangChain's run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from tocsin.client import Client
from tocsin.integrations.calls import Call, Fields
from tocsin.integrations.texts import call_text, text_of

__all__ = ["TocsinCallbackHandler"]

MOST_RUNS = 10_000
MOST_ATTRIBUTES = 32
ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
SESSION, SUBJECT = ("session_id", "conversation_id", "thread_id"), ("user_id",)
OF_THE_LIBRARY = ("ls_", "lc_", "langgraph_", "__", "checkpoint_")


class TocsinCallbackHandler(BaseCallbackHandler):
    """Publishes the calls of models; LangChain calls it in the middle of them."""

    run_inline = True  # microseconds; another thread could tell the end before the beginning

    def __init__(self, client: Client) -> None:
        self._client = client
        self._runs: OrderedDict[UUID, Call] = OrderedDict()

    def on_chat_model_start(
        self, serialized: dict[str, Any] | None, messages: list[list[BaseMessage]], *, run_id: UUID, **told: Any
    ) -> None:
        """A chat model is asked."""
        self._begin(run_id, lambda: {"prompt": [_turn(message) for message in messages[0]], **_asked(run_id, told)})

    def on_llm_start(self, serialized: dict[str, Any] | None, prompts: list[str], *, run_id: UUID, **told: Any) -> None:
        """A text model is asked."""
        self._begin(run_id, lambda: {"prompt": prompts[0], **_asked(run_id, told)})

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **told: Any) -> None:
        """A stream goes on."""
        if (call := self._runs.get(run_id)) is not None:
            call.first_token()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **told: Any) -> None:
        """It has answered."""
        if (call := self._runs.pop(run_id, None)) is not None:
            call.answered(lambda: _answered(response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """It has failed."""
        if (call := self._runs.pop(run_id, None)) is not None:
            call.failed(error)

    def _begin(self, run_id: UUID, asked: Any) -> None:
        self._runs[run_id] = Call(self._client, asked)
        if len(self._runs) > MOST_RUNS:  # runs that were never ended
            self._runs.popitem(last=False)


def _asked(run_id: UUID, told: Mapping[str, Any]) -> Fields:
    metadata = told.get("metadata") or {}
    own = {
        str(name)[:200]: str(value)[:200]
        for name, value in metadata.items()
        if isinstance(value, str | int | float)
        and name not in (*SESSION, *SUBJECT)
        and not name.startswith(OF_THE_LIBRARY)
    }
    name, provider = metadata.get("ls_model_name"), metadata.get("ls_provider")
    return {
        "interaction_id": str(run_id),
        "session_id": _first(metadata, SESSION),
        "subject_id": _first(metadata, SUBJECT),
        "attributes": dict(list(own.items())[:MOST_ATTRIBUTES]),
        "model": {"name": name, "provider": provider} if name else None,
    }


def _answered(result: LLMResult) -> Fields:
    generation = result.generations[0][0]
    if not isinstance(generation, ChatGeneration):
        return _text_answered(generation, result.llm_output or {})
    message = generation.message
    told = {**(generation.generation_info or {}), **message.response_metadata}
    usage = getattr(message, "usage_metadata", None) or {}
    fields: dict[str, Any] = {
        "response": _turn(message)["content"],
        "finish_reason": told.get("finish_reason") or told.get("stop_reason"),
        "usage": _usage(usage.get("input_tokens"), usage.get("output_tokens")),
    }
    if name := told.get("model_name") or told.get("model"):
        fields["model"] = {"name": name, "provider": told.get("model_provider")}
    return fields


def _text_answered(generation: Generation, output: Mapping[str, Any]) -> Fields:
    usage = output.get("token_usage") or {}
    return {
        "response": generation.text,
        "finish_reason": (generation.generation_info or {}).get("finish_reason"),
        "usage": _usage(usage.get("prompt_tokens"), usage.get("completion_tokens")),
    }


def _usage(input_tokens: Any, output_tokens: Any) -> Fields | None:
    known = input_tokens is not None or output_tokens is not None
    return {"input_tokens": input_tokens, "output_tokens": output_tokens} if known else None


def _turn(message: BaseMessage) -> dict[str, str]:
    content: Any = message.content
    if isinstance(content, Sequence) and not isinstance(content, str):  # calls of tools are told below, once
        content = [part for part in content if not (isinstance(part, Mapping) and part.get("type") == "tool_use")]
    calls = [call_text(each["name"], each["args"]) for each in getattr(message, "tool_calls", ())]
    said = [text for text in (text_of(content), *calls) if text]
    return {"role": ROLES.get(message.type, message.type), "content": "\n".join(said)}


def _first(metadata: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((str(metadata[name])[:200] for name in names if metadata.get(name)), None)
