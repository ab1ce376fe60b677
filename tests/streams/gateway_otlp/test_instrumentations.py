"""Real instrumentations of OpenAI's real client, through OpenTelemetry's SDK and exporters, to the broker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from tests.fake_openai import MODEL, fake_openai
from tests.streams.gateway_otlp.conftest import KEY
from tocsin import Interaction

pytestmark = pytest.mark.integration

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
SETUPS = {
    "official-spans": ("official", LATEST | {CAPTURE: "span_only"}),
    "official-events": ("official", LATEST | {CAPTURE: "event_only"}),
    "official-messages": ("official", {CAPTURE: "true"}),  # the older default: one log event a message
    "openllmetry": ("openllmetry", {}),
    "openinference": ("openinference", {}),
}


def serve(setup: str, gateway_url: str) -> None:
    """Run the service to its end."""
    library, chosen = SETUPS[setup]
    settings = {
        "OTEL_SERVICE_NAME": setup,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging,service.version=7,host.name=h",
        "OTEL_EXPORTER_OTLP_ENDPOINT": gateway_url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{KEY}",
        **chosen,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | settings
    with fake_openai() as url:
        command = [sys.executable, str(Path(__file__).with_name("service.py")), library, url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("setup", SETUPS)
def test_every_call_of_an_instrumented_service_is_an_interaction(
    setup: str, gateway_url: str, published: Callable[[str, int], list[Interaction]]
) -> None:
    serve(setup, gateway_url)
    messages = setup == "official-messages"  # these tell no model, and of a failed call the question alone
    found = published(setup, 4 if messages else 5)
    said = [each.prompt_text for each in found]
    assert said == ["Hello, how are you?", "streamed", "use a tool", *([] if messages else ["please fail"]), "async"]
    answers = {each.prompt_text: each for each in found}
    plain, streamed, tool = answers["Hello, how are you?"], answers["streamed"], answers["use a tool"]
    assert not isinstance(plain.prompt, str)
    assert (plain.prompt[0].role, plain.prompt[0].content) == ("system", "Be brief.")
    assert (plain.response, streamed.response) == ("Echo: Hello, how are you?", "Echo: streamed")
    assert re.fullmatch(r"weather\(\{\"city\": ?\"Oslo\"\}\)", tool.response)
    assert plain.environment == "staging"
    assert dict(plain.attributes) == {"service.version": "7"}
    assert plain.finish_reason == "stop"
    assert re.fullmatch(r"[0-9a-f]{32}-[0-9a-f]{16}", plain.interaction_id)
    if setup != "official-events":  # such an event has one time
        assert plain.latency_ms
    if messages:
        return
    assert plain.model is not None
    assert (plain.model.provider, plain.model.name) == ("openai", MODEL)
    assert plain.usage is not None
    assert (plain.usage.input_tokens, plain.usage.output_tokens) == (11, 7)
    failed = answers["please fail"]
    assert (failed.response, (failed.error or "").rpartition(".")[2]) == ("", "InternalServerError")


def test_an_exporter_knows_what_it_may_send_again(gateway_url: str) -> None:
    provider = TracerProvider()
    span = provider.get_tracer("t").start_span("chat", attributes={"gen_ai.operation.name": "chat"})
    span.end()
    assert isinstance(span, ReadableSpan)
    key = {"Authorization": f"Bearer {KEY}"}
    refused = OTLPSpanExporter(f"{gateway_url}/v1/traces").export([span])
    taken = OTLPSpanExporter(f"{gateway_url}/v1/traces", headers=key).export([span])  # it has no content: a warning
    assert (refused, taken) == (SpanExportResult.FAILURE, SpanExportResult.SUCCESS)
