"""From spans and log records to interactions: what is a call of a model, what it lacks, and what is something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status
from pydantic import ValidationError

from streams.gateway.otlp.conventions import (
    FIRST_TOKEN_EVENTS,
    SESSION,
    SUBJECT,
    fields_of,
    first,
    is_call,
    loaded,
    prompt_of,
    response_of,
)
from streams.gateway.otlp.wire import attributes_of, value_of
from tocsin.contracts import Interaction
from tocsin.integrations.texts import message_text, turns_of

NO_CONTENT = (
    "calls without content: turn the capture of messages on in the instrumentation, "
    "or export its log events to /v1/logs"
)
NO_ID = "calls without trace id, span id or time"

DETAILS = "gen_ai.client.inference.operation.details"
CHOICE = "gen_ai.choice"
MESSAGES = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
CONTENT_EVENTS = frozenset({DETAILS, "gen_ai.content.prompt", "gen_ai.content.completion"})

TECHNICAL = re.compile(
    r"(gen_ai|llm|input|output|openinference|openai|embedding|traceloop|tocsin|session|user|enduser|service|telemetry|otel|"
    r"server|client|peer|network|net|http|url|rpc|db|messaging|user_agent|thread|code|error|exception|event|process|host|"
    r"os|container|k8s|cloud|deployment)\..*"
)
ASSOCIATION = "traceloop.association.properties."
MOST_ATTRIBUTES, LONGEST_ATTRIBUTE = 32, 200

Key = tuple[bytes, bytes]


@dataclass(frozen=True)
class Unusable:
    """A call of a model that is no interaction, and why."""

    reason: str


@dataclass(frozen=True)
class Part:
    """A piece of a call that older instrumentations log message by message.

    Attributes:
        key: trace id and span id of the call.
        at: nanoseconds since the epoch.
        body: the message, or the choice.
        name: of the log event.
        about: what resource and record say of the call.
    """

    key: Key
    at: int
    body: Mapping[str, Any]
    name: str
    about: Mapping[str, Any] = field(repr=False)


Read = Interaction | Unusable | None
"""None is something else than a call of a model."""


def spans_of(resources: Iterable[ResourceSpans]) -> Iterator[Read]:
    """What each span is."""
    for resource in resources:
        about = attributes_of(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(span, about)


def logs_of(resources: Iterable[ResourceLogs]) -> Iterator[Read | Part]:
    """What each log record is: a whole call, a part of one, or something else."""
    for resource in resources:
        about = attributes_of(resource.resource.attributes)
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield _log(record, about)


def joined(asked: Iterable[Part], choice: Part) -> Read:
    """The call whose messages and first choice these are."""
    asked = list(asked)
    if not asked:
        return Unusable("answers whose questions are not known (any more)")
    messages = [{"role": MESSAGES[each.name], **each.body} for each in asked]
    answer = choice.body.get("message")
    fields = {"finish_reason": choice.body.get("finish_reason"), **fields_of(choice.about)}
    said = message_text(answer) if isinstance(answer, Mapping) else ""
    return _interaction(choice.key, asked[0].at, choice.at, choice.about, turns_of(messages), said, fields)


def _span(span: Span, resource: Mapping[str, Any]) -> Read:
    own = attributes_of(span.attributes)
    if not is_call(own):
        return None
    events = [(event.name, event.time_unix_nano, attributes_of(event.attributes)) for event in span.events]
    said = {
        **own,
        **{name: each for event, _, told in events if event in CONTENT_EVENTS for name, each in told.items()},
    }
    fields = fields_of(said)
    if span.status.code == Status.STATUS_CODE_ERROR and "error" not in fields:
        thrown = (told.get("exception.type") for event, _, told in events if event == "exception")
        fields["error"] = str(next(thrown, "error"))[:200]
    begun = [at for event, at, _ in events if event in FIRST_TOKEN_EVENTS]
    if begun and begun[0] >= span.start_time_unix_nano:
        fields.setdefault("time_to_first_token_ms", (begun[0] - span.start_time_unix_nano) / 1e6)
    prompt, response = prompt_of(said), response_of(said)
    if prompt is None and response is None:
        prompt, response = _message_events(events)
    if not prompt or (response is None and "error" not in fields):
        return Unusable(NO_CONTENT)
    answer, reason = response or ("", None)
    if reason is not None:
        fields.setdefault("finish_reason", reason)
    about, key = {**resource, **own}, (span.trace_id, span.span_id)
    return _interaction(key, span.start_time_unix_nano, span.end_time_unix_nano, about, prompt, answer, fields)


def _message_events(
    events: Iterable[tuple[str, int, Mapping[str, Any]]],
) -> tuple[list[dict[str, str]], tuple[str, str | None] | None]:
    """Messages that were recorded as events of the span."""
    asked, response = [], None
    for name, _, told in events:
        body = loaded(told.get("gen_ai.event.content")) or told
        if not isinstance(body, Mapping):
            continue
        if name in MESSAGES:
            asked.append({"role": MESSAGES[name], **body})
        elif name == CHOICE and response is None:
            answer = loaded(body.get("message"))
            said = message_text(answer if isinstance(answer, Mapping) else body)
            response = (said, str(body["finish_reason"])[:200] if body.get("finish_reason") else None)
    return turns_of(asked), response


def _log(record: LogRecord, resource: Mapping[str, Any]) -> Read | Part:
    told = attributes_of(record.attributes)
    name = record.event_name or told.get("event.name", "")
    if name not in (DETAILS, CHOICE) and name not in MESSAGES:
        return None
    key, at = (record.trace_id, record.span_id), record.time_unix_nano or record.observed_time_unix_nano
    body, about = value_of(record.body), {**resource, **told}
    if name != DETAILS:
        return Part(key, at, body if isinstance(body, Mapping) else {}, name, about)
    told = {**told, **(body if isinstance(body, Mapping) else {})}
    if not is_call(told):
        return None
    prompt, response, fields = prompt_of(told), response_of(told), fields_of(told)
    if not prompt or (response is None and "error" not in fields):
        return Unusable(NO_CONTENT)
    answer, reason = response or ("", None)
    return _interaction(key, at, at, about, prompt, answer, {"finish_reason": reason, **fields})


def _interaction(
    key: Key,
    began: int,
    ended: int,
    about: Mapping[str, Any],
    prompt: str | list[dict[str, str]],
    response: str,
    fields: Mapping[str, Any],
) -> Read:
    trace, span = key
    if not (trace and span and began):
        return Unusable(NO_ID)
    values = {
        "interaction_id": f"{trace.hex()}-{span.hex()}",
        "occurred_at": datetime.fromtimestamp(began / 1e9, UTC),
        "application": str(first(about, "tocsin.application", "service.name") or "unknown_service")[:200],
        "environment": str(first(about, "deployment.environment.name", "deployment.environment") or "production")[:200],
        "prompt": prompt,
        "response": response,
        "attributes": dict(_kept(about)),
        "latency_ms": (ended - began) / 1e6 if ended > began else None,
        **fields,
    }
    try:
        return Interaction.model_validate(values)
    except ValidationError as error:  # names of fields only: values are content
        places = {str(fault["loc"][0]) for fault in error.errors(include_input=False, include_context=False)}
        return Unusable(f"calls with fields that are not valid: {', '.join(sorted(places))}")


def _kept(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A bounded number of the service's own attributes; what libraries say of themselves is left out."""
    own = {name.removeprefix(ASSOCIATION): value for name, value in about.items() if _is_own(name)}
    scalars = ((name, value) for name, value in own.items() if isinstance(value, str | int | float))
    for name, value in islice(scalars, MOST_ATTRIBUTES):
        if name.strip() and len(name) <= LONGEST_ATTRIBUTE:
            yield name, str(value)[:LONGEST_ATTRIBUTE]


def _is_own(name: str) -> bool:
    if name in SESSION or name in SUBJECT:
        return False  # fields of their own
    return name == "service.version" or name.startswith(ASSOCIATION) or not TECHNICAL.fullmatch(name)
