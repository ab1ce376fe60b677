"""A small receiver that Apprise posts to, in the place of a chat or a pager."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """Listens on loopback; a context manager.

    Attributes:
        received: the title of each notification, by its id.
        page_ids: of the pages that they tell of.
    """

    def __init__(self) -> None:
        self.received: dict[str, str] = {}
        self.page_ids: set[str] = set()
        received, page_ids = self.received, self.page_ids

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                received[self.headers["X-Tocsin-Id"]] = body["title"]
                page_ids.update(re.findall(r"^page: (\S+)$", body["message"], re.MULTILINE))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """The Apprise URL of this receiver."""
        return f"json://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
