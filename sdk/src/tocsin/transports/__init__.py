"""How messages leave a service: what is sent, and what every way of sending it promises.

    courier    the queue and the daemon thread that empties it through one transport
    kafka      straight to the broker
    http       through the gateway

`message_of` is the wire form that all of them share, and the gateway too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from tocsin.contracts import Feedback, Interaction
from tocsin.messages import FEEDBACK, INTERACTIONS

MAX_MESSAGE_BYTES = 1_000_000
"""A Kafka broker takes a record batch of 1 MiB unless told otherwise; this leaves room for the key and the envelope."""


class Message(NamedTuple):
    """One record for the broker."""

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery: every message of it is in exactly one of the three.

    Attributes:
        acknowledged: messages that are durable now.
        refused: messages that the other side will never take.
        undelivered: messages to try again, in order; some may be durable already, and their ids make that harmless.
        reason: why some were refused or undelivered, without any content; empty when all is well.
        retry_after_seconds: how long the other side asks to be left alone.
    """

    acknowledged: int = 0
    refused: int = 0
    undelivered: Sequence[Message] = ()
    reason: str = ""
    retry_after_seconds: float = 0.0


class Transport(Protocol):
    """One way to the broker. Called by the courier's thread alone, so it may block; it need not be thread-safe."""

    def deliver(self, messages: Sequence[Message]) -> Outcome:
        """Send all and wait for the answers, half a minute at most. Foreseeable failures are outcomes."""

    def close(self) -> None:
        """Let go of connections. Called once, last."""


def encoded(contract: BaseModel) -> bytes:
    """The one wire form of an object: compact UTF-8 JSON, absent fields left out, equal for equal objects."""
    return contract.model_dump_json(exclude_none=True).encode()


def message_of(contract: Interaction | Feedback) -> Message:
    """The record for an interaction or for feedback.

    Interactions are keyed by application and session, because Kafka keeps order within a key: the turns of one session
    arrive as they happened, while sessions (and interactions without one) spread evenly over the partitions. The
    application alone would put a large application on a single partition. Feedback is keyed by the interaction it is
    about, so that a correction of a correction arrives last.
    """
    if isinstance(contract, Interaction):
        unit, topic = contract.session_id or contract.interaction_id, INTERACTIONS
    else:
        unit, topic = contract.interaction_id, FEEDBACK
    return Message(topic, f"{contract.application}/{unit}".encode(), encoded(contract))
