"""What the gateway counts about itself. Labels are routes, statuses and topics: never an application or a key."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Instruments:
    """The gateway's metrics, in a registry of the caller's choice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        # many 4xx: a service sends what it should not. 429 or 503: the broker or the disk is behind, look there
        self.requests = Counter("tocsin_gateway_requests", "Answered requests", ["route", "status"], registry=registry)
        # flat while requests grow: nothing gets through
        self.acknowledged = Counter(
            "tocsin_gateway_acknowledged", "Messages that the broker has durably", ["topic"], registry=registry
        )
        # above zero for long: the broker is away; near gateway.spool_bytes on disk: callers will get 503
        self.spooled = Gauge(
            "tocsin_gateway_spooled", "Messages on disk that the broker does not have", registry=registry
        )
        # anything: the broker's largest message is below limits.message_bytes, and these are lost; raise it
        self.refused = Counter(
            "tocsin_gateway_refused",
            "Messages from the spool that the broker will not take",
            ["topic"],
            registry=registry,
        )
        # many rejected: an instrumentation does not capture messages; the exporters' logs say so too
        self.otlp = Counter(
            "tocsin_gateway_otlp", "OTLP spans and log records", ["signal", "outcome"], registry=registry
        )
        # near gateway.max_in_flight: callers will get 429; raise it, or make the broker faster
        self.in_flight = Gauge("tocsin_gateway_in_flight", "Requests that wait for the broker", registry=registry)
        # the broker's durable acknowledgement; above a second the broker or its disk is in trouble
        self.acknowledge_seconds = Histogram(
            "tocsin_gateway_acknowledge_seconds", "Time until the broker's acknowledgement", registry=registry
        )
