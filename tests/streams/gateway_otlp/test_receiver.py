"""What the gateway answers to exporters: in their form, in OTLP's words, and what may be sent again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from starlette.testclient import TestClient

from streams.access import new_key
from streams.gateway import create_gateway
from streams.settings import Gateway, Key, Limits, Settings
from tests.streams.gateway_otlp.conftest import KEY
from tests.streams.gateway_otlp.test_dialects import DIALECTS, MODEL, SPAN, TRACE, pairs, span
from tocsin import Interaction

PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}
CALL = DIALECTS["current"]
WITHOUT_CONTENT = span({"gen_ai.operation.name": "chat"} | MODEL, span_id=b"n" * 8)
NO_CALL = span({"http.request.method": "GET"}, span_id=b"h" * 8)


def traces(application: str, *spans: Any) -> ExportTraceServiceRequest:
    about = Resource(attributes=pairs({"service.name": application}))
    return ExportTraceServiceRequest(resource_spans=[{"resource": about, "scope_spans": [{"spans": spans}]}])


def as_json(request: ExportTraceServiceRequest) -> bytes:
    """OTLP's JSON: ids in hexadecimal, and fields that a receiver does not know yet."""
    document = MessageToDict(request)
    for resource in document["resourceSpans"]:
        for each in resource["scopeSpans"][0]["spans"]:
            each |= {"traceId": TRACE.hex().upper(), "spanId": SPAN.hex(), "fromTheFuture": {"a": 1}}
    return json.dumps(document).encode()


@pytest.mark.integration
def test_what_is_answered_with_200_is_at_the_broker_and_the_rest_is_counted(
    gateway_url: str, published: Callable[[str, int], list[Interaction]]
) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=gateway_url, headers=key) as client:
        body = gzip.compress(traces("proto", CALL, WITHOUT_CONTENT, NO_CALL).SerializeToString())
        answer = client.post("/v1/traces", content=body, headers=PROTOBUF | {"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-protobuf")
        told = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert told.rejected_spans == 1
        assert "without content" in told.error_message
        answer = client.post("/v1/traces", content=as_json(traces("json", CALL)), headers=JSON)
        assert (answer.status_code, answer.json()) == (200, {})
        answer = client.post("/v1/traces", content=as_json(traces("json", WITHOUT_CONTENT)), headers=JSON)
        assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    (proto,), (from_json,) = published("proto", 1), published("json", 1)
    assert proto.model_copy(update={"application": "json"}) == from_json
    assert from_json.interaction_id == f"{TRACE.hex()}-{SPAN.hex()}"


def gateway(**options: Any) -> TestClient:
    settings = Settings(
        disk_free_bytes=0, gateway=Gateway(spool_bytes=0, **options), limits=Limits(message_bytes=2_000)
    )
    return TestClient(create_gateway(settings, "127.0.0.1:9", verify_run=lambda *_: False), base_url="http://127.0.0.1")


def post(client: TestClient, body: bytes, path: str = "/v1/traces", **headers: str) -> httpx.Response:
    said = PROTOBUF | {name.replace("_", "-"): value for name, value in headers.items()}
    answer: httpx.Response = client.post(path, content=body, headers=said)
    return answer


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_refusals_are_a_status_in_the_form_of_the_question(path: str) -> None:
    client = gateway(max_body_bytes=1_000)
    answers = {
        400: post(client, b"\xff\xff", path),
        413: post(client, b"\x00" * 2_000, path),
        415: post(client, b"", path, Content_Type="text/plain"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert Status.FromString(answer.content).message
        assert "Retry-After" not in answer.headers
    for body in (b"{", b"[]", b'{"resourceSpans": 5, "resourceLogs": 5}'):
        assert post(client, body, path, Content_Type="application/json").json()["message"]
    assert post(client, gzip.compress(b"\x00" * 10**6), path, Content_Encoding="gzip").status_code == 413


def test_ids_that_are_not_hexadecimal_are_a_bad_request() -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}
    assert post(gateway(), json.dumps(body).encode(), Content_Type="application/json").status_code == 400


def test_without_a_broker_or_a_free_place_the_exporter_is_asked_to_come_again() -> None:
    body = traces("shop", CALL).SerializeToString()
    answer = post(gateway(), body)
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert "broker" in Status.FromString(answer.content).message


def test_what_needs_no_broker_is_answered_without_one() -> None:
    assert ExportTraceServiceResponse.FromString(post(gateway(), b"").content) == ExportTraceServiceResponse()
    large = span({"gen_ai.operation.name": "chat", "gen_ai.prompt": "x" * 3_000, "gen_ai.completion": "y"})
    answer = post(gateway(), traces("shop", large, NO_CALL).SerializeToString())
    told = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, told.rejected_spans) == (200, 1)
    assert "limits.message_bytes" in told.error_message


def test_a_key_with_the_scope_publish_is_needed_where_there_are_keys() -> None:
    key, digest = new_key()
    client = gateway(keys=[Key(name="reader", sha256=digest, scopes=["read"])])
    assert post(client, b"").status_code == 401
    assert post(client, b"", Authorization=f"Bearer {key}").status_code == 403


def test_questions_that_wait_are_a_warning_and_no_rejection() -> None:
    record = {"event_name": "gen_ai.user.message", "trace_id": TRACE, "span_id": SPAN, "time_unix_nano": 1}
    body = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}]).SerializeToString()
    client = gateway()
    told = ExportLogsServiceResponse.FromString(post(client, body, "/v1/logs").content).partial_success
    assert told.rejected_log_records == 0
    assert "wait in memory" in told.error_message
    assert 'tocsin_gateway_otlp_total{outcome="waiting",signal="logs"} 1.0' in client.get("/metrics").text


CLIENT = gateway()


@hypothesis_settings(deadline=None)
@given(st.binary(max_size=200) | st.just(traces("shop", CALL).SerializeToString()[:-7]))
def test_bytes_of_any_kind_are_answered(body: bytes) -> None:
    assert post(CLIENT, body).status_code in (200, 400, 503)
