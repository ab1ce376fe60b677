"""Runs tocsin until a signal says stop, or something fails."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson

from streams.engines import Engines
from streams.engines.ownership import is_owned
from streams.front import Front, create_front
from streams.listening import listen
from streams.pipeline import Role, run_workers
from streams.settings import Settings

logger = logging.getLogger(__name__)

RUNNING = "running.json"


def log_to_stderr(level: str) -> None:
    """One line an event, to stderr; the libraries only where something is wrong. Never any content."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=True
    )
    libraries = ("faust", "mode", "aiokafka", "httpx", "httpcore", "uvicorn", "clickhouse_connect")
    for name in (*libraries, "urllib3.connectionpool"):  # its warnings show addresses, with our parameters in them
        logging.getLogger(name).setLevel(logging.ERROR)


@asynccontextmanager
async def running(
    settings: Settings, engines: Engines, roles: Collection[Role], *, gateway: bool
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
        tasks = await run_workers(settings, engines, roles, url, stack)
        if listening is not None:
            await stack.enter_async_context(Front(create_front(settings, engines, url), listening))
            marker = settings.data_directory / RUNNING
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_bytes(orjson.dumps({"url": url, "bootstrap": engines.bootstrap}))
            stack.callback(marker.unlink, missing_ok=True)
        yield url, tasks


async def serve(
    settings: Settings, engines: Engines, roles: Collection[Role], *, gateway: bool, announce: Callable[[str], None]
) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        Exception: what ended a worker; the process should stop, and be started again by whoever supervises it.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(settings, engines, roles, gateway=gateway) as (url, tasks):
        announce(url)
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            logger.error("%s ended", task.get_name())
            task.result()
        stopping.cancel()


def where_it_runs(data_directory: Path) -> str | None:
    """The address of the front that owns this data directory; None if none does, also after it was killed."""
    if not is_owned(data_directory):
        return None
    try:
        found = orjson.loads((data_directory / RUNNING).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return str(found["url"])
