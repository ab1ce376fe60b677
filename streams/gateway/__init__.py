"""The HTTP front for publishing: validates, hands to the broker, and answers when the broker has it durably.

refusal       answers that say no
body          bytes to JSON, bounded
publisher     the producer behind it
instruments   what it counts
app           routes, and the one way that every request takes
"""

from streams.gateway.app import create_gateway
from streams.gateway.publisher import BrokerAway, MessageRejected, Publisher

__all__ = ["BrokerAway", "MessageRejected", "Publisher", "create_gateway"]
