"""The bounded queue in front of a transport, and the daemon threads that empty it, through a spool if there is one."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tocsin.contracts import Feedback, Interaction
from tocsin.transports import MAX_MESSAGE_BYTES, Message, Outcome, Transport, message_of

if TYPE_CHECKING:  # not every system has the locks of files that it needs
    from tocsin.spool import Spool

log = logging.getLogger("tocsin")

Draft = Callable[[], Interaction | Feedback]
"""Makes the object to send, on the encoder's thread, because validation costs more than the call may. May raise."""

BATCH = 500
LINGER_SECONDS = 0.02
"""A moment for more messages to gather: waking up for each would cost the service more than the messages do."""
PART_BYTES = 500_000
RECOVER_SECONDS = 5.0
"""How often to look whether another process has died and left messages in the spool."""
SPOOL_EXIT_SECONDS = 5.0
MOST_WARNINGS = 20  # of kinds of mistakes; names of fields may come from anywhere
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, LONGEST_RETRY_AFTER_SECONDS = 0.2, 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of the messages so far: each is queued, spooled, acknowledged, refused, invalid or dropped.

    Attributes:
        queued: waiting in memory, the batch that is under way included.
        spooled: waiting on disk, the batch that is under way included.
        sent: handed to the transport; counts each try, so it may exceed the rest.
        acknowledged: durable at the broker, or at the gateway.
        refused: turned away for good by the gateway or the broker.
        invalid: not an interaction or feedback by the contract, or too large.
        dropped: lost because queue or spool were full, or the client was closed.
        recovered: found in the spool, where an earlier process had left them; they come on top of the calls.
    """

    queued: int = 0
    spooled: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    invalid: int = 0
    dropped: int = 0
    recovered: int = 0


class MessageTooLarge(ValueError):
    """An interaction that a broker would refuse for its size."""


class Courier:
    """Takes drafts from any thread without waiting, and delivers them from threads of its own. At least once.

    One thread encodes the drafts, and with a spool writes them to disk; the other one delivers, and may wait for a
    broker for as long as it takes. What no disk takes is handed over in memory, when the other one has nothing in hand.
    """

    def __init__(
        self, open_transport: Callable[[], Transport], queue_size: int, new_spool: Callable[[], Spool] | None = None
    ) -> None:
        self._open_transport = open_transport
        self._queue_size = queue_size
        self._spool = new_spool() if new_spool is not None else None
        self._queue: SimpleQueue[Draft | None] = SimpleQueue()  # None wakes the thread up, to see that it shall stop
        self._lock = threading.RLock()  # re-entrant: a signal handler may publish in the middle of `put`
        self._changed = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._handed: Sequence[Message] = ()
        self._recovered_at = float("-inf")
        self._sent = self._acknowledged = self._refused = self._invalid = self._dropped = 0
        self._queued = 0
        self._warned: set[str] = set()

    @property
    def stats(self) -> Stats:
        """The counts at this instant."""
        spool = self._spool
        spooled, dropped, recovered = (spool.waiting, spool.dropped, spool.recovered) if spool else (0, 0, 0)
        with self._changed:
            return Stats(
                queued=self._queued,
                spooled=spooled,
                sent=self._sent,
                acknowledged=self._acknowledged,
                refused=self._refused,
                invalid=self._invalid,
                dropped=self._dropped + dropped,
                recovered=recovered,
            )

    def put(self, draft: Draft) -> bool:
        """Queue a draft; False if it was dropped. Never waits for the network or the disk."""
        with self._lock:  # in C, while entering the condition is Python
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

    def recover(self) -> None:
        """Begin at once if an earlier process left something in the spool, and not with the first message."""
        if self._spool is not None and self._spool.orphaned():
            with self._changed:
                self._running()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until nothing is queued or spooled; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(self._empty, timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Take no more, flush, and stop; then what is only in memory is dropped. False unless all was delivered."""
        with self._changed:
            self._closed = True
            flushed = self.flush(timeout_seconds)
            self._dropped += self._queued
            self._queued = 0
            self._stop.set()
            self._changed.notify_all()
        self._queue.put(None)
        if self._spool is not None and self._threads:
            self._threads[0].join(SPOOL_EXIT_SECONDS)  # it writes to disk what is still in memory
        if flushed and self._threads:
            self._threads[-1].join(timeout_seconds)  # it has only connections and files to close
        return flushed

    def abandon(self) -> None:
        """In a forked child: the threads are gone, locks may be held for ever, and all that waits is the parent's."""
        if self._spool is not None:
            self._spool.abandon()

    def _empty(self) -> bool:
        return self._queued == 0 and (self._spool is None or self._spool.waiting == 0)

    def _running(self) -> bool:
        """Start the threads with the first message, so that a process which forks before publishing has none."""
        while len(self._threads) < 2:
            target = self._deliver_all if self._threads else self._encode_all
            thread = threading.Thread(target=target, name="tocsin", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down, or the machine is out of threads
                return False
            self._threads.append(thread)
        return True

    def _encode_all(self) -> None:
        while not self._stop.is_set() or not self._queue.empty():
            for messages in _parts(self._collect()):
                if not self._spooled(messages):
                    self._hand_over(messages)

    def _spooled(self, messages: Sequence[Message]) -> bool:
        """Write messages to the spool; False if there is none, or it takes nothing now."""
        if self._spool is None:
            return False
        dropped = self._spool.dropped
        try:
            self._spool.append(messages)
        except OSError as error:
            self._warn_once("spool", "cannot spool (%s); going on in memory", type(error).__name__)
            return False
        self._warned.discard("spool")
        if self._spool.dropped > dropped:
            self._warn_once("room", "the spool is full: the oldest are dropped; stats.dropped counts them")
        with self._changed:
            self._leave(len(messages))
        return True

    def _hand_over(self, messages: Sequence[Message]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._handed or self._stop.is_set())
            self._handed = messages
            self._changed.notify_all()

    def _deliver_all(self) -> None:
        transport: Transport | None = None
        waiting: Sequence[Message] = ()
        in_memory = False
        failures = 0
        while not self._stop.is_set():
            if not waiting:
                waiting, in_memory = self._next()
            if not waiting:
                continue
            self._sent += len(waiting)
            try:
                transport = transport or self._open_transport()
                outcome = transport.deliver(waiting)
            except Exception as error:  # noqa: BLE001  the supervising loop: the service must outlive any surprise
                transport, outcome = None, Outcome(undelivered=waiting, reason=type(error).__name__)
            waiting = outcome.undelivered
            self._settle(outcome, in_memory)
            failures = failures + 1 if waiting else 0
            if waiting:
                self._stop.wait(max(_backoff_seconds(failures), _asked_seconds(outcome)))
        if transport is not None:
            transport.close()
        if self._spool is not None:
            self._threads[0].join()
            self._spool.close()

    def _next(self) -> tuple[Sequence[Message], bool]:
        """Wait for messages to deliver; whether they are in memory only."""
        spool = self._spool
        if spool is not None and time.monotonic() - self._recovered_at > RECOVER_SECONDS:
            self._recovered_at = time.monotonic()
            spool.recover()
        with self._changed:
            self._changed.wait_for(
                lambda: self._handed or self._stop.is_set() or (spool is not None and spool.untaken),
                None if spool is None else RECOVER_SECONDS,
            )
            if self._handed:
                messages, self._handed = self._handed, ()
                self._changed.notify_all()
                return messages, True
        return (spool.take(BATCH) if spool is not None else ()), False

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

    def _settle(self, outcome: Outcome, in_memory: bool) -> None:
        done = outcome.acknowledged + outcome.refused
        if self._spool is not None and not in_memory:
            self._spool.settle(done)
        with self._changed:
            self._acknowledged += outcome.acknowledged
            self._refused += outcome.refused
            self._leave(done if in_memory else 0)
        if outcome.undelivered:
            self._warn_once("undelivered", "cannot deliver yet (%s); what can be kept waits", outcome.reason)
        elif "undelivered" in self._warned:
            self._warned.discard("undelivered")
            log.warning("delivering again; %d were dropped so far", self.stats.dropped)
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
        about = f"invalid {fault}" if len(self._warned) < MOST_WARNINGS else "invalid"
        self._warn_once(about, "not published: invalid (%s); stats.invalid counts the further ones", fault)

    def _warn_once(self, about: str, text: str, *values: object) -> None:
        if about not in self._warned:
            self._warned.add(about)
            log.warning(text, *values)


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Messages in their order, in parts that fit into a spool or a request many times over."""
    start = size = 0
    for end, message in enumerate(messages):
        if size and size + len(message.value) > PART_BYTES:
            yield messages[start:end]
            start, size = end, 0
        size += len(message.value)
    if start < len(messages):
        yield messages[start:]


def _backoff_seconds(failures: int) -> float:
    """Doubling, and spread, so that many services do not come back in step."""
    longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  no secret


def _asked_seconds(outcome: Outcome) -> float:
    return min(outcome.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)
