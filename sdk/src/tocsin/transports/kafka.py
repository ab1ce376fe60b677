"""Straight to the broker with kafka-python. At least once; acknowledged means that all in-sync replicas have it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from tocsin.transports import Message, Outcome

REBUILD_AFTER_SECONDS = 60.0
DELIVERY_TIMEOUT_SECONDS = 30
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

PRODUCER_SETTINGS: Mapping[str, Any] = {
    "acks": "all",
    # With idempotence a producer never recovers once batches expired in an outage. Repeats are harmless: ids are keys.
    "enable_idempotence": False,
    # Without idempotence, only one request in flight keeps the order of a session when a request is tried again.
    "max_in_flight_requests_per_connection": 1,
    "batch_size": 262_144,
    "linger_ms": 20,
    "reconnect_backoff_max_ms": 1_000,
    "request_timeout_ms": 10_000,
    "delivery_timeout_ms": DELIVERY_TIMEOUT_SECONDS * 1_000,  # must exceed request_timeout_ms + linger_ms
    "max_block_ms": 10_000,
    "bootstrap_timeout_ms": 10_000,
    "metrics_enabled": False,
}


class KafkaTransport:
    """Delivers through a producer of its own, which it makes again when nothing got through for a minute."""

    def __init__(self, bootstrap: Sequence[str], options: Mapping[str, Any]) -> None:
        _quieten(logging.getLogger("kafka"))
        self._settings = {**PRODUCER_SETTINGS, **options, "bootstrap_servers": list(bootstrap)}
        self._producer: Any = None  # kafka-python has no types
        self._last_success = time.monotonic()

    def deliver(self, messages: Sequence[Message]) -> Outcome:
        """Send all and wait until each is acknowledged or has failed."""
        try:
            producer = self._open()
            sent = self._send(producer, messages)
            producer.flush(DELIVERY_TIMEOUT_SECONDS + 5)
        except KafkaError as error:  # no broker, no such topic yet, or no end to the flush
            outcome = Outcome(undelivered=messages, reason=type(error).__name__)
        else:
            outcome = _outcome(messages, sent)
        if outcome.acknowledged:
            self._last_success = time.monotonic()
        elif time.monotonic() - self._last_success > REBUILD_AFTER_SECONDS:
            self.close()
            self._last_success = time.monotonic()
        return outcome

    def close(self) -> None:
        """Close the producer. All that it was given has been answered, unless it hangs: then it is left behind."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=1)
            except KafkaTimeoutError:
                logging.getLogger("tocsin").warning("a Kafka producer did not close in time")

    def _open(self) -> Any:
        if self._producer is None:
            self._producer = KafkaProducer(**self._settings)
            # Its own exit handler would run before the client's and close it with messages still in the queue.
            self._producer._unregister_cleanup()
        return self._producer

    def _send(self, producer: Any, messages: Sequence[Message]) -> list[Any]:
        """A future for each message, or the error that it met at once."""
        sent: list[Any] = []
        for message in messages:
            try:
                sent.append(producer.send(message.topic, message.value, message.key))
            except TOO_LARGE as error:
                sent.append(error)
        return sent


def _outcome(messages: Sequence[Message], sent: Sequence[Any]) -> Outcome:
    acknowledged = refused = 0
    undelivered: list[Message] = []
    reason = ""
    for message, answer in zip(messages, sent, strict=True):
        error = answer if isinstance(answer, Exception) else answer.exception
        if error is None and answer.is_done:
            acknowledged += 1
            continue
        reason = type(error).__name__
        if isinstance(error, TOO_LARGE):
            refused += 1
        else:
            undelivered.append(message)
    return Outcome(acknowledged, refused, undelivered, reason)


def _quieten(library: logging.Logger) -> None:
    """Keep kafka-python's log out of the service's: a line for each connection refused, and content at level debug.

    A service that wants it sets a level of the logger `kafka` before its first message; debug is raised to info.
    """
    library.setLevel(max(library.level, logging.INFO) if library.level else logging.CRITICAL)
