"""Publishing that outlasts the broker: what it does not take now waits on our disk, and follows when it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from streams.gateway.instruments import Instruments
from streams.gateway.publisher import BrokerAway, MessageRejected, Publisher
from tocsin.spool import Spool
from tocsin.transports import MAX_MESSAGE_BYTES, Message

log = logging.getLogger(__name__)

BATCH = 500
RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""A broker that has not acknowledged by then is as good as away; what it got all the same, it gets twice."""

Waiting = tuple[Sequence[Message], asyncio.Future[None]]


class SpoolingPublisher:
    """What `send` returned for is durable: on all in-sync replicas of the broker, or on this machine's disk.

    While anything waits on disk, what comes goes there too, so that order holds. After a crash the spool is delivered
    at the next start; what was under way may reach the broker twice, which ids make harmless.

    Args:
        publisher: the way to the broker; started and closed by its owner.
        spool: with `keep_all`; None to depend on the broker alone.
        instruments: counts what the broker has and what waits.
    """

    def __init__(self, publisher: Publisher, spool: Spool | None, instruments: Instruments) -> None:
        self._publisher, self._spool, self._instruments = publisher, spool, instruments
        self._pending: list[Waiting] = []
        self._to_write, self._written = asyncio.Event(), asyncio.Event()
        self._away = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to deliver what an earlier process left. Needs a running loop."""
        if self._spool is not None:
            work = {"spool-write": self._write(self._spool), "spool-deliver": self._deliver(self._spool)}
            self._tasks = [asyncio.create_task(each, name=name) for name, each in work.items()]

    async def close(self) -> None:
        """Stop; what waits stays on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._spool is not None:
            await asyncio.to_thread(self._spool.close)

    async def send(self, messages: Sequence[Message]) -> None:
        """Return when all are durable.

        Raises:
            BrokerAway: the broker did not acknowledge, and the spool takes nothing.
            MessageRejected: a message is too large for the broker.
        """
        if self._spool is None or not self._tasks:
            await self._acknowledged(messages)
        elif self._away or self._spool.untaken:
            await self._keep(messages)
        else:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._acknowledged(messages)
            except (BrokerAway, TimeoutError):
                self._notice_outage()
                await self._keep(messages)

    async def ready(self) -> str:
        """`ready` if the broker answers, `spooling` if the spool has room at least, or nothing."""
        if await self._publisher.reachable():
            return "ready"
        return "spooling" if self._spool is not None and self._tasks and self._spool.has_room else ""

    async def _acknowledged(self, messages: Sequence[Message]) -> None:
        with self._instruments.acknowledge_seconds.time():
            await self._publisher.send(messages)
        for message in messages:
            self._instruments.acknowledged.labels(message.topic).inc()

    async def _keep(self, messages: Sequence[Message]) -> None:
        if any(len(message.value) > MAX_MESSAGE_BYTES for message in messages):
            raise MessageRejected("larger than every broker takes")  # later there would be nobody to tell
        written = asyncio.get_running_loop().create_future()
        self._pending.append((messages, written))
        self._to_write.set()
        await written

    async def _write(self, spool: Spool) -> None:
        """Write to disk for all who wait for it: one synchronisation for many requests."""
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            pending, self._pending = self._pending, []
            messages = [message for part, _ in pending for message in part]
            failure: BrokerAway | None = None
            try:
                await asyncio.to_thread(spool.append, messages)
            except OSError as error:
                log.warning("the broker is away, and the spool takes nothing: %s", type(error).__name__)
                failure = BrokerAway("and the spool takes nothing")
            for _, written in pending:
                if not written.done():  # nobody waits for it any more
                    written.set_exception(failure) if failure else written.set_result(None)
            self._count_waiting(spool)
            self._written.set()

    async def _deliver(self, spool: Spool) -> None:
        if recovered := await asyncio.to_thread(spool.recover):
            log.warning("%d messages were left in the spool; they are delivered now", recovered)
        while True:
            self._count_waiting(spool)
            messages = await asyncio.to_thread(spool.take, BATCH)
            if not messages:
                self._away = False
                await self._written.wait()
                self._written.clear()
                continue
            await self._deliver_batch(messages)
            await asyncio.to_thread(spool.settle, len(messages))

    async def _deliver_batch(self, messages: Sequence[Message]) -> None:
        """Try until the broker has all of them. Nothing waits behind it at the end of an outage: the next go direct."""
        while True:
            try:
                await self._acknowledged(messages)
            except BrokerAway:
                self._notice_outage()
                await asyncio.sleep(RETRY_SECONDS)
            except MessageRejected:
                await self._deliver_singly(messages)
                return
            else:
                if self._away:
                    log.warning("the broker is back; what is in the spool is delivered now")
                self._away = False
                return

    async def _deliver_singly(self, messages: Sequence[Message]) -> None:
        """One of them is refused for its size, which only a limit of the broker below the usual one brings about."""
        for message in messages:
            if len(messages) > 1:
                await self._deliver_batch([message])
            else:
                self._instruments.refused.labels(message.topic).inc()
                log.error("the broker refuses a message of %d bytes: raise its limit", len(message.value))

    def _notice_outage(self) -> None:
        if not self._away:
            log.warning("the broker is away; what is accepted waits on disk")
        self._away = True

    def _count_waiting(self, spool: Spool) -> None:
        self._instruments.spooled.set(spool.waiting)
