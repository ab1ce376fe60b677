"""The GenAI attribute names, current and older, and what they say about a call of a model.

Four dialects: OpenTelemetry's `gen_ai.*` as it is, the same as it was (`gen_ai.prompt`, `gen_ai.usage.prompt_tokens`),
OpenLLMetry's indexed attributes (`gen_ai.prompt.0.content`, `llm.prompts.0.content`), and OpenInference
(`llm.input_messages.0.message.content`, `input.value`). Where several say the same thing, the current one counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from tocsin.integrations.texts import message_text, text_of, turns_of

Attributes = Mapping[str, Any]
Prompt = str | list[dict[str, str]]

CALLS = ("chat", "completion", "text_completion", "generate_content")
MODEL = (
    "gen_ai.response.model", "gen_ai.request.model", "llm.response.model", "llm.model_name", "llm.request.model",
)  # fmt: skip
PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "llm.vendor")
SESSION = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
SUBJECT = ("user.id", "enduser.pseudo.id", "enduser.id", "traceloop.association.properties.user_id")
TEMPLATE = ("gen_ai.prompt.name", "traceloop.prompt.key")
TEMPLATE_VERSION = ("gen_ai.prompt.version", "traceloop.prompt.version")
FINISH = (
    "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "llm.response.finish_reason",
    "llm.finish_reason",
)  # fmt: skip
USAGE = {
    "input_tokens": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
        "llm.token_count.completion",
    ),
    "cost": ("gen_ai.usage.cost", "llm.cost.total"),
}  # fmt: skip
FIRST_TOKEN_SECONDS = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
FIRST_TOKEN_EVENTS = frozenset({"First Token Stream Event", "gen_ai.content.completion.chunk"})

INDEX = re.compile(r"(\d{1,4})\.(.+)", re.ASCII)


def first(attributes: Attributes, *names: str) -> Any:
    """The value of the first of these names that is there; None if none is."""
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def is_call(attributes: Attributes) -> bool:
    """Whether this is a call of a language model, and no embedding, tool, agent or anything else."""
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None:
        return operation in CALLS
    kind = first(attributes, "openinference.span.kind", "traceloop.span.kind")
    if kind is not None:
        return bool(kind == "LLM")
    request = attributes.get("llm.request.type")
    return request in CALLS if request is not None else first(attributes, *MODEL) is not None


def prompt_of(attributes: Attributes) -> Prompt | None:
    """What the model was asked: turns, or a text where it was one; None without content."""
    instructions = loaded(attributes.get("gen_ai.system_instructions"))
    system = [{"role": "system", "content": text_of(instructions)}] if instructions else []
    for said in (
        turns_of(loaded(attributes["gen_ai.input.messages"])) if "gen_ai.input.messages" in attributes else [],
        turns_of([_message(each) for each in _indexed(attributes, "gen_ai.prompt.", "llm.prompts.")]),
        turns_of([_message(each) for each in _indexed(attributes, "llm.input_messages.")]),
    ):
        if said:
            return system + said
    raw = first(attributes, "gen_ai.prompt", "llm.prompts", "input.value")
    if raw is None:
        return None
    plain = loaded(raw)
    if isinstance(plain, Mapping):
        plain = plain.get("messages", plain.get("input", plain.get("prompt", raw)))
    said = turns_of(plain)
    return system + said if said and not isinstance(plain, str) else str(raw)


def response_of(attributes: Attributes) -> tuple[str, str | None] | None:
    """What the first choice answered, and why it ended; None without content."""
    messages = loaded(attributes.get("gen_ai.output.messages")) or []
    messages = messages if isinstance(messages, list) else [messages]
    indexed = [
        _message(each)
        for each in _indexed(
            attributes, "gen_ai.completion.", "llm.completions.", "llm.output_messages.", "llm.choices."
        )
    ]
    for said in (messages, indexed):
        choice = next((each for each in said if isinstance(each, Mapping)), None)
        if choice is not None:
            return message_text(choice), _name(choice.get("finish_reason"))
    raw = first(attributes, "gen_ai.completion", "llm.completions", "output.value")
    return None if raw is None else (_answer_text(loaded(raw)) or str(raw), None)


def fields_of(attributes: Attributes) -> dict[str, Any]:
    """The other fields of an interaction that the attributes say; those that they do not say are left out."""
    found: dict[str, Any] = {
        "session_id": _name(first(attributes, *SESSION)),
        "subject_id": _name(first(attributes, *SUBJECT)),
        "finish_reason": _name(first(attributes, *FINISH)),
        "error": _name(attributes.get("error.type")),
        "time_to_first_token_ms": _number(first(attributes, *FIRST_TOKEN_SECONDS), 1000),
    }
    if (model := _name(first(attributes, *MODEL))) is not None:
        found["model"] = {"name": model, "provider": _name(first(attributes, *PROVIDER))}
    if (template := _name(first(attributes, *TEMPLATE))) is not None:
        found["prompt_template"] = {"name": template, "version": _name(first(attributes, *TEMPLATE_VERSION))}
    usage = {name: _number(first(attributes, *names)) for name, names in USAGE.items()}
    if any(each is not None for each in usage.values()):
        found["usage"] = usage
    return {name: value for name, value in found.items() if value is not None}


def loaded(value: Any) -> Any:
    """A value that may be written as JSON: attributes of spans had no structure for years."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _indexed(attributes: Attributes, *prefixes: str) -> list[dict[str, Any]]:
    """`prefix0.a`, `prefix0.b`, `prefix1.a` … as one mapping for each index, of the first prefix that is there."""
    for prefix in prefixes:
        found: dict[int, dict[str, Any]] = {}
        for name, value in attributes.items():
            if name.startswith(prefix) and (match := INDEX.fullmatch(name[len(prefix) :])):
                found.setdefault(int(match[1]), {})[match[2]] = value
        if found:
            return [found[i] for i in sorted(found)]
    return []


def _message(flat: dict[str, Any]) -> dict[str, Any]:
    """One indexed message with its parts and calls put together."""
    flat = {name.removeprefix("message."): value for name, value in flat.items()}
    parts = [first(each, "message_content.text") for each in _indexed(flat, "contents.")]
    calls = [
        {
            "type": "tool_call",
            "name": first(each, "name", "tool_call.function.name"),
            "arguments": first(each, "arguments", "tool_call.function.arguments") or "",
        }
        for each in _indexed(flat, "tool_calls.")
    ]
    content = first(flat, "content", "prompt.text", "completion.text")
    said = loaded(content) if content is not None else [part for part in parts if part is not None]
    several = isinstance(said, list) and (content is None or all(isinstance(part, Mapping) for part in said))
    return {
        "role": flat.get("role", "user"),
        "content": said if several else content,
        "tool_calls": calls,
        "finish_reason": flat.get("finish_reason"),
    }


def _answer_text(plain: Any) -> str:
    """The text of a response that was recorded whole, in whatever form the library has."""
    if isinstance(plain, Mapping) and isinstance(choices := plain.get("choices"), list) and choices:
        plain = choices[0].get("message", choices[0]) if isinstance(choices[0], Mapping) else choices[0]
    if isinstance(plain, list):
        plain = plain[0] if plain else ""
    if not isinstance(plain, Mapping):
        return plain if isinstance(plain, str) else ""
    return message_text(plain) or text_of(plain.get("text", ""))


def _name(value: Any) -> str | None:
    """A short text; of a list its first one."""
    value = value[0] if isinstance(value, list) and value else value
    return str(value).strip()[:200] or None if isinstance(value, str | int | float) else None


def _number(value: Any, factor: float = 1) -> float | None:
    """A number from 0 on, also where a library wrote it as a text."""
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < 2**53 else None
