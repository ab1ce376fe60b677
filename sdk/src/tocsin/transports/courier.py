"""The bounded queue in front of a transport, and the daemon thread that empties it."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from pydantic import ValidationError

from tocsin.contracts import Feedback, Interaction
from tocsin.transports import MAX_MESSAGE_BYTES, Message, Outcome, Transport, message_of

log = logging.getLogger("tocsin")

Draft = Callable[[], Interaction | Feedback]
"""Makes the object to send, on the courier's thread, because validation costs more than the call may. May raise."""

BATCH = 500
LINGER_SECONDS = 0.02
"""A moment for more messages to gather: waking up for each would cost the service more than the messages do."""
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, LONGEST_RETRY_AFTER_SECONDS = 0.2, 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of the messages so far: each is queued, acknowledged, refused, invalid or dropped.

    Attributes:
        queued: waiting here, the batch that is under way included.
        sent: handed to the transport; counts each try, so it may exceed the rest.
        acknowledged: durable at the broker.
        refused: turned away for good by the gateway or the broker.
        invalid: not an interaction or feedback by the contract, or too large.
        dropped: lost because the queue was full or the client was closed.
    """

    queued: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    invalid: int = 0
    dropped: int = 0


class MessageTooLarge(ValueError):
    """An interaction that a broker would refuse for its size."""


class Courier:
    """Takes drafts from any thread without waiting, and delivers them from its own. At least once, while it runs."""

    def __init__(self, open_transport: Callable[[], Transport], queue_size: int) -> None:
        self._open_transport = open_transport
        self._queue_size = queue_size
        self._queue: SimpleQueue[Draft | None] = SimpleQueue()  # None wakes the thread up, to see that it shall stop
        self._changed = threading.Condition()  # re-entrant: a signal handler may publish in the middle of `put`
        self._stop = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._sent = self._acknowledged = self._refused = self._invalid = self._dropped = 0
        self._queued = 0
        self._warned: set[str] = set()

    @property
    def stats(self) -> Stats:
        """The counts at this instant."""
        with self._changed:
            return Stats(self._queued, self._sent, self._acknowledged, self._refused, self._invalid, self._dropped)

    def put(self, draft: Draft) -> bool:
        """Queue a draft; False if it was dropped. Never waits for the network."""
        with self._changed:
            if self._closed or self._queued >= self._queue_size or not self._running():
                self._dropped += 1
                return False
            self._queued += 1
        self._queue.put(draft)
        return True

    def reject(self, error: Exception) -> None:
        """Count a call that is no draft at all."""
        with self._changed:
            self._invalid += 1
        self._warn_invalid(error)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until nothing is queued; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._queued == 0, timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Take no more, flush, and stop; what is left then is dropped, and False returned."""
        with self._changed:
            self._closed = True
            flushed = self.flush(timeout_seconds)
            self._dropped += self._queued
            self._queued = 0
            thread = self._thread
        self._stop.set()
        self._queue.put(None)
        if flushed and thread is not None:
            thread.join(timeout_seconds)  # it has only connections to close
        return flushed

    def _running(self) -> bool:
        """Start the thread with the first message, so that a process which forks before publishing has none."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="tocsin-courier", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down, or the machine is out of threads
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        transport: Transport | None = None
        waiting: Sequence[Message] = ()
        failures = 0
        while not self._stop.is_set():
            waiting = waiting or self._collect()
            if not waiting:
                continue
            self._sent += len(waiting)
            try:
                transport = transport or self._open_transport()
                outcome = transport.deliver(waiting)
            except Exception as error:  # noqa: BLE001  the supervising loop: the service must outlive any surprise
                transport, outcome = None, Outcome(undelivered=waiting, reason=type(error).__name__)
            waiting = outcome.undelivered
            self._settle(outcome)
            failures = failures + 1 if waiting else 0
            if waiting:
                self._stop.wait(max(_backoff_seconds(failures), _asked_seconds(outcome)))
        if transport is not None:
            transport.close()

    def _collect(self) -> list[Message]:
        """Wait for a draft, take those that are there by then, and encode them."""
        drafts = [self._queue.get()]
        if self._queue.qsize() < BATCH:
            self._stop.wait(LINGER_SECONDS)
        while len(drafts) < BATCH:
            try:
                drafts.append(self._queue.get_nowait())
            except Empty:
                break
        return [message for draft in drafts if draft is not None and (message := self._encode(draft)) is not None]

    def _encode(self, draft: Draft) -> Message | None:
        try:
            message = message_of(draft())
            if len(message.value) > MAX_MESSAGE_BYTES:
                raise MessageTooLarge
            return message
        except Exception as error:  # noqa: BLE001  drafts hold whatever objects the service passed, and those may raise
            with self._changed:
                self._invalid += 1
                self._leave(1)
            self._warn_invalid(error)
            return None

    def _settle(self, outcome: Outcome) -> None:
        with self._changed:
            self._acknowledged += outcome.acknowledged
            self._refused += outcome.refused
            self._leave(outcome.acknowledged + outcome.refused)
        if outcome.undelivered:
            self._warn_once("undelivered", "cannot deliver yet (%s); up to %d wait", outcome.reason, self._queue_size)
        elif "undelivered" in self._warned:
            self._warned.discard("undelivered")
            log.warning("delivering again; %d were dropped so far", self._dropped)
        if outcome.refused:
            self._warn_once("refused", "refused for good (%s); stats.refused counts the further ones", outcome.reason)

    def _leave(self, count: int) -> None:
        """Take messages off the queue's count; the lock is held."""
        late = max(0, count - self._queued)  # `close` wrote them off as dropped while they were under way
        self._dropped -= late
        self._queued -= count - late
        self._changed.notify_all()

    def _warn_invalid(self, error: Exception) -> None:
        fault = type(error).__name__
        if isinstance(error, ValidationError):  # names of fields only: values are content
            places = (detail["loc"] for detail in error.errors(include_input=False, include_context=False))
            fault = ", ".join(sorted({str(place[0]) for place in places if place}))
        self._warn_once("invalid", "not published: invalid (%s); stats.invalid counts the further ones", fault)

    def _warn_once(self, about: str, text: str, *values: object) -> None:
        if about not in self._warned:
            self._warned.add(about)
            log.warning(text, *values)


def _backoff_seconds(failures: int) -> float:
    """Doubling, and spread, so that many services do not come back in step."""
    longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  no secret


def _asked_seconds(outcome: Outcome) -> float:
    return min(outcome.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)
