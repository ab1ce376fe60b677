"""Checks what tocsin needs before it is needed."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from detectors.encoder import EncoderError
from sinks.clickhouse import StoreError
from sinks.notification import NotificationConfigurationError, Notifier
from streams.engines import EngineError, open_engines
from streams.ownership import is_owned, was_owned
from streams.scoring import open_scorer
from streams.settings import Settings
from streams.topics import TopicError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; takes some seconds, because it starts the engines for a moment unless they run."""
    checks: dict[str, Callable[[Settings], str]] = {
        "python": _python,
        "disk": _disk,
        "gateway port": _port,
        "encoder and heads": _encoder,
        "engines": _engines,
        "notification targets": _targets,
    }
    return list(_run(checks, settings))


def _run(checks: dict[str, Callable[[Settings], str]], settings: Settings) -> Iterator[Finding]:
    for name, check in checks.items():
        try:
            yield Finding(name, True, check(settings))
        except (_Wrong, EncoderError, StoreError, EngineError, TopicError, NotificationConfigurationError) as error:
            yield Finding(name, False, str(error))


class _Wrong(Exception):
    """Something is missing."""


def _python(_: Settings) -> str:
    return f"{sys.version.split()[0]} on {sys.platform}"


def _disk(settings: Settings) -> str:
    directory = settings.data_directory.absolute()
    while not directory.exists():
        directory = directory.parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _Wrong(f"{directory} cannot be written to")
    free = shutil.disk_usage(directory).free
    if free < settings.disk_free_bytes:
        least = settings.disk_free_bytes / 1e9
        raise _Wrong(f"{free / 1e9:.1f} GB free at {directory}, the gateway refuses below {least:.1f} GB")
    return f"{free / 1e9:.1f} GB free"


def _port(settings: Settings) -> str:
    where = f"{settings.gateway.host}:{settings.gateway.port}"
    if is_owned(settings.data_directory):
        return "in use by tocsin itself"
    try:
        socket.create_server((settings.gateway.host, settings.gateway.port)).close()
    except OSError as error:
        raise _Wrong(f"{where}: {error.strerror}") from None
    return f"{where} is free"


def _encoder(settings: Settings) -> str:
    scorer = open_scorer(settings)
    scored = scorer.score_texts(["a short sentence to try the encoder"])[0]
    return f"{scored.encoder}, {len(scorer.outputs)} signals"


def _engines(settings: Settings) -> str:
    if is_owned(settings.data_directory):
        return "running"
    with TemporaryDirectory(prefix="tocsin-") as scratch:
        if not was_owned(settings.data_directory):  # a look leaves no data directory behind
            settings = settings.model_copy(update={"data_directory": Path(scratch)})
        return _opened(settings)


def _opened(settings: Settings) -> str:
    with open_engines(settings) as engines:
        where = "embedded broker" if not settings.broker.bootstrap else engines.bootstrap
        return f"{where}, {'embedded store' if not settings.clickhouse.host else settings.clickhouse.host}"


def _targets(settings: Settings) -> str:
    targets = Notifier([url.get_secret_value() for url in settings.notification.urls]).targets
    return ", ".join(targets) or "none configured: nobody is told of a page"
