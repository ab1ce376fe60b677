"""Log lines to stderr, for people or for programs. They never hold content."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

import orjson

TEXT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
AGAIN_SECONDS = 10.0
LIBRARIES = ("faust", "mode", "aiokafka", "httpx", "httpcore", "uvicorn", "clickhouse_connect", "urllib3")


class NotAgain(logging.Filter):
    """Keeps a library that tries ten times a second from saying so ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is one of ours, or was not said within a while."""
        about = record.name, str(record.msg)
        if not record.name.startswith(LIBRARIES) or record.created - self._said.get(about, 0.0) > AGAIN_SECONDS:
            self._said[about] = record.created
            return True
        return False


class JsonLines(logging.Formatter):
    """One object a line: `at`, `level`, `logger`, `message`, and `error` with a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def log_to_stderr(level: str, form: Literal["text", "json"] = "text") -> None:
    """One line an event; the libraries only where something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    handler.addFilter(NotAgain())
    for name in LIBRARIES:  # below errors some tell what they send, and to which address, with our parameters in it
        logging.getLogger(name).setLevel(logging.ERROR)
