"""Runs tocsin until a signal says stop, or something fails."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

from streams.engines import Engines
from streams.front import Front, create_front
from streams.health import create_health
from streams.listening import listen
from streams.ownership import answering
from streams.pipeline import Role, run_workers
from streams.settings import Settings

logger = logging.getLogger(__name__)

STOP_SECONDS = 3.5
Start = Callable[..., Awaitable[list[asyncio.Task[None]]]]
"""`run_workers`, or that with another scorer or clock."""


@asynccontextmanager
async def running(
    settings: Settings, engines: Engines, roles: Collection[Role], *, gateway: bool, start: Start = run_workers
) -> AsyncIterator[tuple[str, list[asyncio.Task[None]]]]:
    """Start the workers of these roles, and the HTTP front if wanted; the block ends it all.

    Yields:
        The address of the front (or where it would be), and tasks that end only if something failed.
    """
    async with AsyncExitStack() as stack:
        url = settings.public_url
        listening = listen(settings.gateway.host, settings.gateway.port) if gateway else None
        if listening is not None:
            host, port = listening.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            stack.callback(listening.close)
        tasks = await start(settings, engines, roles, url, stack) if roles else []
        if listening is None and settings.worker.port is not None:
            health = stack.enter_context(listen(settings.worker.host, settings.worker.port, "worker"))
            await stack.enter_async_context(Front(create_health(settings, tasks), health))
        if listening is not None:
            await stack.enter_async_context(Front(create_front(settings, engines, url), listening))
            stack.enter_context(answering(settings.data_directory, url, engines.bootstrap))
        yield url, tasks


async def serve(
    settings: Settings,
    engines: Engines,
    roles: Collection[Role],
    *,
    gateway: bool,
    announce: Callable[[str], None],
    start: Start = run_workers,
) -> None:
    """Run until SIGINT or SIGTERM, and for a few seconds more at most.

    Raises:
        Exception: what ended a worker; the process should stop, and be started again by whoever supervises it.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        _end_within(STOP_SECONDS, 0)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    async with running(settings, engines, roles, gateway=gateway, start=start) as (url, tasks):
        _settle()
        announce(url)
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            logger.error("%s ended", task.get_name())
            _end_within(STOP_SECONDS, 1)
            task.result()
        stopping.cancel()


def _settle() -> None:
    """Spare the collector what was loaded for good: it would walk through all of it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # a batch makes some hundred thousand objects and no cycles


def _end_within(seconds: float, code: int) -> None:
    """End the process then if it has not ended by itself: a thread may be waiting for a store that does not answer.

    What it was doing is done again, as after a kill.
    """

    def end() -> None:
        logger.warning("not everything ended within %g s; what was in hand comes again", seconds)
        leave(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def leave(code: int = 0) -> NoReturn:
    """End the process now: all is closed, and to take the interpreter apart with what is loaded would cost seconds."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
