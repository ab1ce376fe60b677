"""The HTTP front for publishing: validates, hands to the broker, and answers when it or our disk has it durably.

refusal       answers that say no
body          bytes to JSON, bounded
publisher     the producer behind it
spooling      the disk beside it, for while the broker is away
otlp          OpenTelemetry's spans and log events, as interactions
instruments   what it counts
app           routes, and the one way that every request takes
"""

from streams.gateway.app import create_gateway
from streams.gateway.publisher import BrokerAway, MessageRejected, Publisher

__all__ = ["BrokerAway", "MessageRejected", "Publisher", "create_gateway"]
