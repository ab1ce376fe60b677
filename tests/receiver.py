"""Where notifications arrive, and what becomes of a pager that is away for a while."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Receiver:
    """Listens on loopback from `with` to the end of its block.

    Attributes:
        arrived: each message that was answered with 200: its id, and the pages that it tells of.
        away: whether it answers 503 instead.
    """

    def __init__(self) -> None:
        self.arrived, self.away = list[tuple[str, tuple[str, ...]]](), False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not receiver.away:
                    pages = re.findall(r"^page: (\S+)$", body["message"], re.MULTILINE)
                    receiver.arrived.append((self.headers["X-Tocsin-Id"], tuple(pages)))
                self.send_response(503 if receiver.away else 200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def ids(self) -> Counter[str]:
        """How often each message arrived."""
        return Counter(name for name, _ in self.arrived)

    @property
    def told(self) -> Counter[str]:
        """In how many messages each page was told, copies of one counted once."""
        return Counter(page for _, pages in set(self.arrived) for page in pages)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
