"""What a stage does besides its topics goes round: work, a pause, work again; of several workers one does it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiokafka.errors import KafkaError

from sinks.clickhouse import StoreUnavailable
from tocsin.messages import PAGES

logger = logging.getLogger(__name__)

STANDBY_SECONDS = 2.0
AWAY_SECONDS = 15.0

Leads = Callable[[], bool]
"""Whether this worker is the one; safe in any thread."""


def always() -> bool:
    """For a process that has no others beside it."""
    return True


class Lead:
    """Of the respond workers, the one that the broker gave the pages to. The others wait until it is gone.

    Args:
        owns: whether a partition of a topic is this worker's and of no other one.
    """

    def __init__(self, owns: Callable[[str, int], bool]) -> None:
        self._owns = owns
        self._said = False

    def __call__(self) -> bool:
        """Whether it is this one."""
        leads = self._owns(PAGES, 0)
        if leads is not self._said:
            self._said = leads
            logger.info("this worker responds" if leads else "this worker responds no more")
        return leads


async def go_round(
    what: str,
    work: Callable[[], Awaitable[float | None]],
    every: float,
    *,
    leads: Leads = always,
    woken: asyncio.Event | None = None,
) -> None:
    """Round after round, until cancelled; an engine that is away is waited for.

    Args:
        what: for the log, a plural.
        work: one round; it may return the seconds until the next one.
        every: seconds between rounds otherwise.
        leads: nothing is done while it says no.
        woken: ends a pause.
    """
    woken = woken or asyncio.Event()
    while True:
        woken.clear()
        pause = min(every, STANDBY_SECONDS)
        if leads():
            try:
                found = await work()
                pause = every if found is None else found
            except (StoreUnavailable, KafkaError) as error:
                logger.warning("%s wait: %s", what, error)
                pause = min(every, AWAY_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), pause)
