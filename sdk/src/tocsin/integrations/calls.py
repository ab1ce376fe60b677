"""A call of a model while it runs, and its interaction when it has ended. Nothing in here raises into the service."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, Unpack

from tocsin.client import Client, InteractionFields
from tocsin.contracts import now

log = logging.getLogger("tocsin")

Fields = Mapping[str, Any]

_about: ContextVar[Fields] = ContextVar("tocsin_about", default={})  # noqa: B039  never changed in place


@contextmanager
def about(**fields: Unpack[InteractionFields]) -> Iterator[None]:
    """Fields of the interactions that begin in this block, also in asynchronous code: session, attributes and so on."""
    token = _about.set(_merged(_about.get(), fields))
    try:
        yield
    finally:
        _about.reset(token)


class Call:
    """One call; its interaction is published once, when it is answered or has failed.

    Args:
        client: publishes.
        asked: fields that are known when the call begins; later ones win. Read at once.
    """

    def __init__(self, client: Client, *asked: Callable[[], Fields]) -> None:
        self._client, self._published = client, False
        self._occurred_at, self._began = now(), time.perf_counter()
        self._fields: Fields = {}
        for each in (*asked, _about.get):
            self.safely(partial(self._learn, each))

    def first_token(self) -> None:
        """The answer begins."""
        if "time_to_first_token_ms" not in self._fields:
            self._fields = {**self._fields, "time_to_first_token_ms": self._passed_ms()}

    def answered(self, read: Callable[[], Fields]) -> None:
        """Publish it with its answer."""
        latency_ms = self._passed_ms()
        self.safely(lambda: self._publish({"latency_ms": latency_ms, **read()}))

    def failed(self, error: BaseException) -> None:
        """Publish it as an error; the service handles the error itself."""
        self.answered(lambda: {"response": "", "error": type(error).__name__})

    def safely(self, do: Callable[[], object]) -> None:
        """Do something of ours in the middle of a call of theirs."""
        try:
            do()
        except Exception as error:  # noqa: BLE001  libraries change their objects; a call must outlive any surprise
            _warn_once(type(error).__name__)

    def _passed_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000

    def _learn(self, read: Callable[[], Fields]) -> None:
        self._fields = _merged(self._fields, read())

    def _publish(self, fields: Fields) -> None:
        if not self._published:
            self._published = True
            self._client.publish(**{"occurred_at": self._occurred_at, **_merged(self._fields, fields)})


def _merged(older: Fields, newer: Fields) -> Fields:
    known = {name: value for name, value in newer.items() if value is not None}
    if "attributes" in older and "attributes" in known:
        known["attributes"] = {**older["attributes"], **known["attributes"]}
    return {**older, **known}


@cache
def _warn_once(kind: str) -> None:
    log.warning("a call of a model was not published whole (%s); further ones are not logged", kind)
