"""OTLP's two forms, protobuf and JSON, to messages and plain values, and answers in the form of the question."""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from starlette.responses import Response

from streams.gateway.body import parse
from streams.gateway.refusal import Refusal

Form = Literal["application/x-protobuf", "application/json"]
PROTOBUF: Form = "application/x-protobuf"
JSON: Form = "application/json"

IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")

MessageT = TypeVar("MessageT", bound=Message)


def decoded(raw: bytes, form: Form, into: MessageT) -> MessageT:
    """The message that a body holds.

    Raises:
        Refusal: 400; the exporter must not send it again.
    """
    try:
        if form == PROTOBUF:
            into.ParseFromString(raw)
        else:
            document = parse(raw)
            if not isinstance(document, dict):
                raise Refusal(400, "the body must be one object")
            ParseDict(_with_base64_ids(document), into, ignore_unknown_fields=True)
    except (DecodeError, ParseError, binascii.Error, RecursionError):
        raise Refusal(400, f"the body is not a {into.DESCRIPTOR.name}") from None
    return into


def answered(message: Message, form: Form, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the form of the question."""
    body = message.SerializeToString() if form == PROTOBUF else MessageToJson(message, indent=None).encode()
    return Response(body, status, dict(headers or {}), media_type=form)


def refused(refusal: Refusal, form: Form) -> Response:
    """A refusal as OTLP has it: a status message."""
    return answered(Status(message=str(refusal)), form, refusal.status, refusal.headers)


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    """A value as Python has it; None for none."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _with_base64_ids(document: Any) -> Any:
    """OTLP's JSON writes ids in hexadecimal where protobuf's mapping wants base64."""
    if isinstance(document, dict):
        return {
            name: b64encode(binascii.unhexlify(value)).decode()
            if name in IDS and isinstance(value, str) and value.isascii()
            else _with_base64_ids(value)
            for name, value in document.items()
        }
    return [_with_base64_ids(each) for each in document] if isinstance(document, list) else document
