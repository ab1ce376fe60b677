"""What a chat message says, as one text, in the forms of OpenAI's API and of OpenTelemetry's GenAI conventions.

A call of a tool reads `name(arguments)`; a picture or a file is named by its kind in brackets; reasoning is no answer
and left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

READABLE = ("text", "input_text", "output_text", "refusal", "tool_call_response", "function_call_output", "tool_result")
WORDS = ("text", "content", "refusal", "response", "result", "output")
CALLS = ("tool_call", "function_call", "function", "tool_use")
SILENT = ("reasoning", "thinking", "redacted_thinking", "compaction")
MESSAGE_ITEMS = ("message", "function_call", "function_call_output")


def text_of(content: object) -> str:
    """The text of a message's content: a text, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else [content]
    return "\n".join(text for part in parts if (text := _part(part)))


def message_text(message: Mapping[str, Any]) -> str:
    """What a message says: its content or parts, then the tools that it calls."""
    if message.get("type") in ("function_call", "function_call_output"):  # an item of the responses API
        return _part(message)
    said = text_of(message.get("parts", message.get("content")))
    calls = text_of(message.get("tool_calls") or [])
    return "\n".join(text for text in (said, calls) if text)


def turns_of(messages: object) -> list[dict[str, str]]:
    """Messages as the turns of an interaction; what is no message is left out."""
    items = messages if isinstance(messages, Sequence) and not isinstance(messages, str) else [messages]
    turns = []
    for item in items:
        if hasattr(item, "model_dump"):  # libraries take their own answers as messages
            item = item.model_dump()
        if isinstance(item, str):
            turns.append({"role": "user", "content": item})
        elif isinstance(item, Mapping) and item.get("type", "message") in MESSAGE_ITEMS:
            spoken_by = "tool" if item.get("type") == "function_call_output" else "assistant"
            turns.append({"role": str(item.get("role") or spoken_by)[:200], "content": message_text(item)})
    return turns


def call_text(name: object, arguments: object) -> str:
    """A call of a tool."""
    return f"{name}({arguments if isinstance(arguments, str) else _json(arguments)})"


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    kind = part.get("type", "text")
    if kind in CALLS:
        called = part.get("function", part)
        called = called if isinstance(called, Mapping) else {}
        return call_text(called.get("name"), called.get("arguments", called.get("input", "")))
    if kind in READABLE:
        found = next((part[word] for word in WORDS if part.get(word) is not None), "")
        return found if isinstance(found, str) else _json(found)
    return "" if kind in SILENT else f"[{kind}]"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
