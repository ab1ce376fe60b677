"""A local OpenAI-compatible server that judges as it is told: rightly, wrongly, late, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[dict[str, Any]], Answer]


def content(text: str) -> Answer:
    """A chat completion that says this."""
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def says(verdict: str) -> Behaviour:
    return lambda _: content(json.dumps({"verdict": verdict}))


def fails(status: int, retry_after: str = "") -> Behaviour:
    return lambda _: (status, {"Retry-After": retry_after} if retry_after else {}, b'{"error": "no"}')


def late(seconds: float) -> Behaviour:
    def answer(_: dict[str, Any]) -> Answer:
        time.sleep(seconds)
        return content('{"verdict": "good"}')

    return answer


def raw(body: bytes) -> Behaviour:
    return lambda _: (200, {}, body)


class JudgeServer:
    """Requests seen, and what is answered to them: the queued behaviours in turn, then always the last."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._queued: deque[Behaviour] = deque()
        self._always: Behaviour = says("good")
        self._lock = threading.Lock()
        self.url = ""

    def will(self, *behaviours: Behaviour, then: Behaviour | None = None) -> None:
        self._queued = deque(behaviours)
        self._always = then or self._always

    def answer(self, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            behaviour = self._queued.popleft() if self._queued else self._always
        return behaviour(body)


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    judge = JudgeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, answer = judge.answer(dict(self.headers), {"path": self.path, **body})
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
            except (BrokenPipeError, ConnectionResetError):
                pass  # who asked did not wait

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def texts_of(requests: Sequence[dict[str, Any]]) -> list[str]:
    """What was said to the judge in each request."""
    return ["\n".join(message["content"] for message in request["messages"]) for request in requests]
