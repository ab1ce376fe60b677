"""The HTTP front of chDB with faults: `python -m benchmarks.chaos.clickhouse DIRECTORY PORT`.

The file `fault` in the working directory names the one that is on: `hang` answers nothing until it is gone (and then
runs what was asked, perhaps long after its client gave up), `slow` takes a second more for each statement, `readonly`
makes the engine refuse whatever would write.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import uvicorn
from chdb.state.sqlitelike import Connection
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.clickhouse_http import create_front

FAULT = Path("fault")
SLOW_SECONDS, POLL_SECONDS = 1.0, 0.1


class Faulty:
    """Middleware that does what the file says."""

    def __init__(self, front: ASGIApp, fault: Path) -> None:
        self._front, self._fault = front, fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            while (fault := self._on()) == "hang":
                await asyncio.sleep(POLL_SECONDS)
            if fault == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            if fault == "readonly":
                query = [*parse_qsl(scope["query_string"].decode(), keep_blank_values=True), ("readonly", "2")]
                scope = {**scope, "query_string": urlencode(query).encode()}
        await self._front(scope, receive, send)

    def _on(self) -> str:
        try:
            return self._fault.read_text()
        except FileNotFoundError:
            return ""


def main() -> None:
    """Serve until SIGTERM."""
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    engine = Connection(str(directory))  # the engine lives as long as one handle is open
    front = Faulty(create_front(str(directory)), FAULT.absolute())
    uvicorn.run(front, port=port, access_log=False, timeout_graceful_shutdown=2)
    engine.close()


if __name__ == "__main__":
    main()
