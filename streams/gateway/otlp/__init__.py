"""OpenTelemetry over HTTP: calls of language models among spans and log events become interactions.

wire         protobuf and JSON
conventions  the attribute names and what they say
reading      spans and records to interactions
halves       questions that wait for their answers
receiver     the endpoints
"""

from streams.gateway.otlp.receiver import OtlpReceiver

__all__ = ["OtlpReceiver"]
