"""The names that instrumentations have used over the years say the same interaction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from streams.gateway.otlp.halves import LONGEST_SECONDS, MOST_CALLS, Halves
from streams.gateway.otlp.reading import NO_CONTENT, NO_ID, Part, Unusable, joined, logs_of, spans_of
from tocsin import Interaction

TRACE, SPAN, BEGAN = b"t" * 16, b"s" * 8, 1_800_000_000_000_000_000
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
PARTS = [{"role": each["role"], "parts": [{"type": "text", "content": each["content"]}]} for each in ASKED]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "Hi."}], "finish_reason": "stop"}]
USAGE = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 1}
OLD_USAGE = {"gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.completion_tokens": 1}
MODEL = {"gen_ai.provider.name": "openai", "gen_ai.response.model": "m-1", "gen_ai.request.model": "m"}
OLD_MODEL = {"gen_ai.system": "openai", "gen_ai.response.model": "m-1"}
SESSION = {"gen_ai.conversation.id": "s-1"}


def value(plain: Any) -> AnyValue:
    if isinstance(plain, dict):
        return AnyValue(kvlist_value=KeyValueList(values=pairs(plain)))
    if isinstance(plain, list):
        return AnyValue(array_value=ArrayValue(values=[value(each) for each in plain]))
    kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    return AnyValue(**{kinds[type(plain)]: plain})


def pairs(plain: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=value(each)) for name, each in plain.items()]


def span(attributes: dict[str, Any], *events: tuple[str, dict[str, Any]], **fields: Any) -> Span:
    fields = {"trace_id": TRACE, "span_id": SPAN, "start_time_unix_nano": BEGAN} | fields
    told = [Span.Event(name=name, time_unix_nano=BEGAN + 10**8, attributes=pairs(each)) for name, each in events]
    return Span(attributes=pairs(attributes), events=told, end_time_unix_nano=BEGAN + 10**9, **fields)


def read(one: Span, **resource: Any) -> Any:
    about = Resource(attributes=pairs(resource or {"service.name": "shop"}))
    (found,) = spans_of([ResourceSpans(resource=about, scope_spans=[{"spans": [one]}])])
    return found


DIALECTS: dict[str, Span] = {
    "current": span(
        {"gen_ai.operation.name": "chat", "gen_ai.input.messages": PARTS, "gen_ai.output.messages": ANSWER}
        | MODEL | USAGE | SESSION
    ),
    "current, written as JSON, instructions apart": span(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system_instructions": json.dumps(PARTS[0]["parts"]),
            "gen_ai.input.messages": json.dumps(PARTS[1:]),
            "gen_ai.output.messages": json.dumps(ANSWER),
        }
        | MODEL | USAGE | SESSION
    ),
    "current, as an event of the span": span(
        {"gen_ai.operation.name": "chat"} | MODEL | USAGE | SESSION,
        ("gen_ai.client.inference.operation.details",
         {"gen_ai.input.messages": json.dumps(PARTS), "gen_ai.output.messages": json.dumps(ANSWER)}),
    ),
    "events with the whole content": span(
        {"gen_ai.response.finish_reasons": ["stop"]} | OLD_MODEL | OLD_USAGE | SESSION,
        ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps(ASKED)}),
        ("gen_ai.content.completion", {"gen_ai.completion": json.dumps([{"role": "assistant", "content": "Hi."}])}),
    ),
    "events, one a message": span(
        {"gen_ai.operation.name": "chat"} | OLD_MODEL | OLD_USAGE | SESSION,
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"gen_ai.event.content": json.dumps({"role": "user", "content": "Hello?"})}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": json.dumps({"content": "Hi."})}),
    ),
    "OpenLLMetry, indexed": span(
        {
            "llm.request.type": "chat",
            "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief.",
            "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": "Hello?",
            "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Hi.",
            "gen_ai.completion.0.finish_reason": "stop",
            "traceloop.association.properties.session_id": "s-1",
        }
        | OLD_MODEL | OLD_USAGE
    ),
    "OpenLLMetry before gen_ai": span(
        {
            "llm.request.type": "chat", "llm.vendor": "openai", "llm.response.model": "m-1",
            "llm.prompts.0.role": "system", "llm.prompts.0.content": "Be brief.",
            "llm.prompts.1.role": "user", "llm.prompts.1.content": "Hello?",
            "llm.completions.0.content": "Hi.", "llm.completions.0.finish_reason": "stop",
            "llm.usage.prompt_tokens": 3, "llm.usage.completion_tokens": 1, "session.id": "s-1",
        }
    ),
    "OpenInference": span(
        {
            "openinference.span.kind": "LLM", "llm.system": "openai", "llm.model_name": "m-1", "session.id": "s-1",
            "llm.input_messages.0.message.role": "system", "llm.input_messages.0.message.content": "Be brief.",
            "llm.input_messages.1.message.role": "user",
            "llm.input_messages.1.message.contents.0.message_content.type": "text",
            "llm.input_messages.1.message.contents.0.message_content.text": "Hello?",
            "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Hi.",
            "llm.token_count.prompt": 3, "llm.token_count.completion": 1, "llm.finish_reason": "stop",
        }
    ),
    "OpenInference, values alone": span(
        {
            "openinference.span.kind": "LLM", "llm.provider": "openai", "llm.model_name": "m-1", "session.id": "s-1",
            "input.value": json.dumps({"messages": ASKED}),
            "output.value": json.dumps({"choices": [{"message": {"role": "assistant", "content": "Hi."}}]}),
            "llm.token_count.prompt": 3, "llm.token_count.completion": 1, "llm.finish_reason": "stop",
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_says_the_same_interaction(dialect: str) -> None:
    assert read(DIALECTS[dialect]) == Interaction.model_validate(
        {
            "interaction_id": f"{TRACE.hex()}-{SPAN.hex()}",
            "occurred_at": BEGAN // 10**9,
            "application": "shop",
            "prompt": ASKED,
            "response": "Hi.",
            "model": {"name": "m-1", "provider": "openai"},
            "session_id": "s-1",
            "usage": {"input_tokens": 3, "output_tokens": 1},
            "latency_ms": 1000,
            "finish_reason": "stop",
        }
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "POST"},
        {"gen_ai.operation.name": "embeddings", "gen_ai.input.messages": PARTS} | MODEL,
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.input.messages": PARTS, "gen_ai.output.messages": ANSWER},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "CHAIN", "input.value": "a", "output.value": "b"},
        {"traceloop.span.kind": "workflow", "traceloop.entity.input": "a"},
        {"llm.request.type": "embedding", "llm.request.model": "m"},
    ],
)
def test_what_is_no_call_of_a_language_model_is_something_else(attributes: dict[str, Any]) -> None:
    assert read(span(attributes)) is None


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (span({"gen_ai.operation.name": "chat"} | MODEL), NO_CONTENT),
        (span({"gen_ai.operation.name": "chat", "gen_ai.input.messages": PARTS}), NO_CONTENT),  # no answer, no error
        (span({"gen_ai.prompt": "a", "gen_ai.completion": "b"} | MODEL, trace_id=b""), NO_ID),
        (span({"gen_ai.prompt": "a", "gen_ai.completion": "b"} | MODEL, start_time_unix_nano=0), NO_ID),
    ],
)
def test_a_call_that_lacks_something_says_what(one: Span, reason: str) -> None:
    assert read(one) == Unusable(reason)


def test_text_completions_and_texts_that_look_like_json_stay_texts() -> None:
    for text in ("plain", "[1, 2]", '{"a": 1}', '["a"]', "[not json"):
        found = read(
            span({"gen_ai.operation.name": "text_completion", "gen_ai.prompt": "p", "gen_ai.completion": text})
        )
        assert found.prompt == "p"
        assert found.response == {'["a"]': "a"}.get(text, text)  # a list of completions


def test_the_application_can_be_named_and_custom_attributes_are_kept_in_bounds() -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.prompt": "a", "gen_ai.completion": "b"}
    own = {f"own{i}": "x" * 1000 for i in range(100)} | {"gen_ai.request.seed": 5, "tags": ["a"], "traceparent": True}
    found = read(span(call | own), **{"service.name": "shop", "tocsin.application": "bot", "host.name": "h"})
    assert found.application == "bot"
    assert len(found.attributes) == 32
    assert {len(each) for each in found.attributes.values()} == {200}
    assert read(span(call), **{"host.name": "h"}).application == "unknown_service"


def test_the_first_token_is_taken_from_an_event_or_an_attribute() -> None:
    call = {"gen_ai.operation.name": "chat", "gen_ai.prompt": "a", "gen_ai.completion": "b"}
    assert read(span(call, ("First Token Stream Event", {}))).time_to_first_token_ms == 100
    assert read(span(call | {"gen_ai.response.time_to_first_chunk": 0.25})).time_to_first_token_ms == 250


def test_an_error_of_the_call_is_an_interaction_without_an_answer() -> None:
    asked = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": PARTS}
    failed = Status(code=Status.STATUS_CODE_ERROR)
    assert read(span(asked | {"error.type": "timeout"})).error == "timeout"
    thrown = span(asked, ("exception", {"exception.type": "openai.APIError"}), status=failed)
    assert (read(thrown).error, read(thrown).response) == ("openai.APIError", "")
    assert read(span(asked, status=failed)).error == "error"


def logs(*records: tuple[str, Any]) -> list[Any]:
    made = [
        LogRecord(event_name=name, body=value(body), trace_id=TRACE, span_id=SPAN, observed_time_unix_nano=BEGAN + i)
        for i, (name, body) in enumerate(records)
    ]
    about = Resource(attributes=pairs({"service.name": "shop"}))
    return list(logs_of([ResourceLogs(resource=about, scope_logs=[{"log_records": made}])]))


def test_messages_logged_one_by_one_are_put_together_when_the_answer_comes() -> None:
    system, user, choice, other = logs(
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Hello?"}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "Hi."}}),
        ("device.app.lifecycle", {}),
    )
    assert other is None
    halves = Halves()
    for _ in range(2):  # an exporter that got no answer sends them again
        halves.keep([user, system], now=0)
    found = joined(halves.asked(choice.key), choice)
    assert isinstance(found, Interaction)
    assert [turn.model_dump() for turn in found.prompt if not isinstance(turn, str)] == ASKED
    assert (found.response, found.finish_reason) == ("Hi.", "stop")
    halves.forget(choice.key)
    assert isinstance(joined(halves.asked(choice.key), choice), Unusable)
    assert len(halves) == 0


def test_questions_without_an_answer_are_forgotten_the_oldest_first() -> None:
    halves = Halves()
    for i in range(MOST_CALLS + 5):
        halves.keep([Part((b"t", str(i).encode()), i, {"content": "q"}, "gen_ai.user.message", {})], now=0)
    assert len(halves) == MOST_CALLS
    assert halves.asked((b"t", b"4")) == []
    assert halves.asked((b"t", b"5")) != []
    halves.keep([Part((b"t", b"new"), 1, {}, "gen_ai.user.message", {})], now=LONGEST_SECONDS + 1)
    assert len(halves) == 1


JSON_VALUES = st.recursive(
    st.text(max_size=5) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(
    {each.key for one in DIALECTS.values() for each in one.attributes} | {"gen_ai.prompt", "gen_ai.completion"}
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON_VALUES | JSON_VALUES.map(json.dumps), max_size=8))
def test_attributes_of_any_shape_never_raise(attributes: dict[str, Any]) -> None:
    found = read(span(attributes))
    assert found is None or isinstance(found, Unusable | Interaction)
