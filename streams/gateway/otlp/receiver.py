"""`/v1/traces` and `/v1/logs`: OTLP over HTTP. Answered when every interaction in the request is durable."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from streams.gateway.instruments import Instruments
from streams.gateway.otlp.halves import Halves
from streams.gateway.otlp.reading import CHOICE, Key, Part, Read, Unusable, joined, logs_of, spans_of
from streams.gateway.otlp.wire import JSON, PROTOBUF, Form, answered, decoded, refused
from streams.gateway.passage import Passage
from streams.gateway.refusal import Refusal
from tocsin.contracts import Interaction
from tocsin.transports import Message, message_of

WAITING = (
    "{} messages wait in memory for the answer of their call: let the instrumentation put both in one span "
    "(OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental)"
)


class OtlpReceiver:
    """The two endpoints.

    Args:
        passage: what every publishing request goes through.
        instruments: counts spans and records by what became of them.
        message_bytes: a larger interaction is refused.
    """

    def __init__(self, passage: Passage, instruments: Instruments, message_bytes: int) -> None:
        self._passage, self._instruments, self._message_bytes = passage, instruments, message_bytes
        self._halves = Halves()

    async def traces(self, request: Request) -> Response:
        """Publish the calls of models among the spans."""
        return await self._answer(request, self._traces)

    async def logs(self, request: Request) -> Response:
        """Publish the calls of models that are told as log events."""
        return await self._answer(request, self._logs)

    async def _answer(self, request: Request, take: Callable[[bytes, Form], Awaitable[Response]]) -> Response:
        form = JSON if "json" in request.headers.get("content-type", "") else PROTOBUF
        try:
            self._passage.authorise(request, "publish")
            with self._passage.admitted():
                return await take(await self._passage.body(request, (PROTOBUF, JSON)), form)
        except Refusal as refusal:
            return refused(refusal, form)

    async def _traces(self, raw: bytes, form: Form) -> Response:
        def read() -> list[Read]:
            return list(spans_of(decoded(raw, form, ExportTraceServiceRequest()).resource_spans))

        rejected = await self._publish("traces", await asyncio.to_thread(read))
        told = ExportTracePartialSuccess(rejected_spans=rejected.total(), error_message=_told(rejected))
        return answered(ExportTraceServiceResponse(partial_success=told if rejected else None), form)

    async def _logs(self, raw: bytes, form: Form) -> Response:
        def read() -> list[Read | Part]:
            return list(logs_of(decoded(raw, form, ExportLogsServiceRequest()).resource_logs))

        found = await asyncio.to_thread(read)
        parts = [each for each in found if isinstance(each, Part)]
        asked = [part for part in parts if part.name != CHOICE]
        self._halves.keep(asked, time.monotonic())
        choices: dict[Key, Part] = {}
        for part in parts:
            if part.name == CHOICE:  # the first one, where several were asked for
                choices.setdefault(part.key, part)
        whole = [each for each in found if not isinstance(each, Part)]
        answers = [joined(self._halves.asked(key), choice) for key, choice in choices.items()]
        rejected = await self._publish("logs", [*whole, *answers])
        for key in choices:  # not before they are durable: an exporter that is refused sends the choice alone again
            self._halves.forget(key)
        waiting = sum(part.key not in choices for part in asked)
        self._instruments.otlp.labels("logs", "waiting").inc(waiting)
        message = _told(rejected) or (WAITING.format(waiting) if waiting else "")
        told = ExportLogsPartialSuccess(rejected_log_records=rejected.total(), error_message=message)
        return answered(ExportLogsServiceResponse(partial_success=told if message else None), form)

    async def _publish(self, signal: str, found: Iterable[Read]) -> Counter[str]:
        """Publish the interactions; what is refused, by its reason."""
        messages: list[Message] = []
        rejected: Counter[str] = Counter()
        ignored = 0
        for each in found:
            if each is None:
                ignored += 1
            elif isinstance(each, Unusable):
                rejected[each.reason] += 1
            else:
                self._add(each, messages, rejected)
        if messages:
            await self._passage.send(messages)
        counts = {"published": len(messages), "ignored": ignored, "rejected": rejected.total()}
        for outcome, count in counts.items():
            self._instruments.otlp.labels(signal, outcome).inc(count)
        return rejected

    def _add(self, interaction: Interaction, messages: list[Message], rejected: Counter[str]) -> None:
        message = message_of(interaction)
        if len(message.value) > self._message_bytes:
            rejected[f"calls larger than {self._message_bytes} bytes (limits.message_bytes)"] += 1
        else:
            messages.append(message)


def _told(rejected: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in rejected.most_common())
