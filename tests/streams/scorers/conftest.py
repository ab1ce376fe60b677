"""A scorer's server on this machine that answers as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from detectors.encoder import Encoding
from detectors.signals import Exchanges, Texts
from tocsin.contracts import Interaction


class Server(ThreadingHTTPServer):
    """Counts requests and answers with `answer(body)`: an object, bytes, a status, or None for silence."""

    daemon_threads = True
    request_queue_size = 64  # of the five that are usual, a busy machine resets the sixth caller
    answer: Callable[[dict[str, Any]], Any]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.done = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/score"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.headers.append(dict(self.headers))
        found = self.server.answer(body)
        if found is None:  # a byte now and then, so that no read of a socket ever times out
            self.send_response(200)
            self.end_headers()
            while not self.server.done.wait(0.02):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
            return
        status, content = (found, b"") if isinstance(found, int) else (200, found)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *words: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.done.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def texts() -> Callable[..., Texts]:
    """Texts as a scorer gets them; no scorer of others reads vectors."""

    def of(*said: str) -> Texts:
        n = len(said)
        nothing, none = np.zeros((n, 3, 384), np.float32), np.zeros(n, np.int32)
        return Texts(said, Encoding(np.zeros((n, 384), np.float32), nothing, none, none, nothing, none + 1))

    return of


@pytest.fixture
def exchanges(texts: Callable[..., Texts]) -> Callable[..., Exchanges]:
    def of(*pairs: tuple[str, str], **fields: Any) -> Exchanges:
        interactions = [Interaction(application="shop", prompt=one, response=other, **fields) for one, other in pairs]
        sides = [
            [pair[0] for pair in pairs],
            [pair[1] for pair in pairs],
            [one.reference or "" for one in interactions],
        ]
        return Exchanges(interactions, *(texts(*side) for side in sides))

    return of


@pytest.fixture
def seconds() -> Iterator[Callable[[], float]]:
    """How long it took since the test began."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began
