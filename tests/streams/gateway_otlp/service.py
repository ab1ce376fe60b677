"""A service as people write it: OpenAI's client, an instrumentation, OpenTelemetry's SDK and its exporters.

`python service.py LIBRARY OPENAI_URL`; what is exported where is set in the environment, as OpenTelemetry has it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from importlib import import_module

from openai import AsyncOpenAI, InternalServerError, OpenAI
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

INSTRUMENTORS = {
    "official": "opentelemetry.instrumentation.openai_v2",
    "openllmetry": "opentelemetry.instrumentation.openai",
    "openinference": "openinference.instrumentation.openai",
}
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello, how are you?"}]


def ask(url: str, tracer: TracerProvider) -> None:
    client = OpenAI(base_url=url, api_key="x", max_retries=0)
    create = client.chat.completions.create
    with tracer.get_tracer("shop").start_as_current_span("checkout", attributes={"tenant": "acme"}):
        create(model="gpt-test", messages=TURNS)
        list(create(model="gpt-test", messages=[{"role": "user", "content": "streamed"}], stream=True))
    create(model="gpt-test", messages=[{"role": "user", "content": "use a tool"}])
    client.embeddings.create(model="embed", input="no call of a language model")
    with suppress(InternalServerError):
        create(model="gpt-test", messages=[{"role": "user", "content": "please fail"}])
    asyncio.run(ask_asynchronously(url))


async def ask_asynchronously(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
        await client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": "async"}])


def main(library: str, url: str) -> None:
    tracer, logger = TracerProvider(), LoggerProvider()
    tracer.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logger.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    providers = {"tracer_provider": tracer} | ({} if library == "openinference" else {"logger_provider": logger})
    import_module(INSTRUMENTORS[library]).OpenAIInstrumentor().instrument(**providers)
    ask(url, tracer)
    for provider in (logger, tracer):
        assert provider.force_flush()
        provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
