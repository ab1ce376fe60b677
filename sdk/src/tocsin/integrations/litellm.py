"""A LiteLLM callback: `litellm.callbacks.append(TocsinLogger(tocsin.Client("support-bot", url=…)))`.

A session is `metadata={"session_id": …}` of a call, as LiteLLM has it, and a person its `user`. The interaction's id is
LiteLLM's id of the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from tocsin.client import Client
from tocsin.integrations.calls import Call, Fields
from tocsin.integrations.texts import message_text, turns_of

__all__ = ["TocsinLogger"]

CALLS = ("completion", "acompletion", "text_completion", "atext_completion")


class TocsinLogger(CustomLogger):
    """Publishes the completions that LiteLLM makes, streamed or not; called by LiteLLM when a call has ended."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call was answered."""
        self._ended(kwargs, response_obj, start_time, end_time)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call failed."""
        self._ended(kwargs, None, start_time, end_time)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call was answered."""
        self._ended(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call failed."""
        self._ended(kwargs, None, start_time, end_time)

    def _ended(self, told: Mapping[str, Any], answer: Any, began: datetime, ended: datetime) -> None:
        if told.get("call_type") in CALLS:
            call = Call(self._client, lambda: _asked(told, began, ended))
            call.answered(lambda: _failure(told) if answer is None else _answered(told, answer))


def _asked(told: Mapping[str, Any], began: datetime, ended: datetime) -> Fields:
    parameters = told.get("litellm_params") or {}
    metadata = parameters.get("metadata") or {}
    first = told.get("completion_start_time") if told.get("stream") else None
    return {
        "interaction_id": told.get("litellm_call_id"),
        "occurred_at": began.astimezone(),  # LiteLLM's times are the machine's own
        "prompt": turns_of(told.get("messages")),
        "session_id": metadata.get("session_id") or parameters.get("litellm_session_id"),
        "subject_id": told.get("user"),
        "latency_ms": (ended - began).total_seconds() * 1000,
        "time_to_first_token_ms": first and (first - began).total_seconds() * 1000,
        "model": _model(told, told.get("model")),
    }


def _answered(told: Mapping[str, Any], answer: Any) -> Fields:
    choice, usage = answer.choices[0], getattr(answer, "usage", None)
    message = getattr(choice, "message", None)
    return {
        "latency_ms": None,  # what the library measured counts
        "response": choice.text if message is None else message_text(message.model_dump()),
        "finish_reason": choice.finish_reason,
        "model": _model(told, answer.model),
        "usage": usage
        and {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "cost": told.get("response_cost"),
        },
    }


def _failure(told: Mapping[str, Any]) -> Fields:
    return {"latency_ms": None, "response": "", "error": type(told.get("exception")).__name__}


def _model(told: Mapping[str, Any], name: object) -> Fields | None:
    return {"provider": told.get("custom_llm_provider"), "name": str(name)} if name else None
