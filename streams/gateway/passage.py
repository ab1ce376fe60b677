"""What every publishing request goes through, in this order: key, free place, body, contract, broker or spool."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from streams.access import Denied, check_host, check_key
from streams.gateway.body import read_body, read_json
from streams.gateway.instruments import Instruments
from streams.gateway.publisher import BrokerAway, MessageRejected
from streams.gateway.refusal import Fault, Refusal, invalid, try_later
from streams.gateway.spooling import SpoolingPublisher
from streams.settings import Scope, Settings
from tocsin.contracts import Feedback, Interaction
from tocsin.transports import Message

DISK_RETRY_SECONDS, BROKER_RETRY_SECONDS, BUSY_RETRY_SECONDS = 60, 5, 1

Published = TypeVar("Published", Interaction, Feedback)


class Passage:
    """The steps of a request; each raises `Refusal`."""

    def __init__(self, settings: Settings, publisher: SpoolingPublisher, instruments: Instruments) -> None:
        self._settings = settings
        self._publisher = publisher
        self._instruments = instruments
        self._in_flight = 0

    def authorise(self, request: Request, scope: Scope) -> str:
        """The name of the key that was presented."""
        keys = self._settings.gateway.keys
        verdict = check_key(keys, request.headers.get("authorization", ""), scope)
        if not keys:  # then nothing but the Host keeps web pages of other origins out
            verdict = check_host(request.headers.get("host", ""), self._settings)
        if isinstance(verdict, Denied):
            raise unauthorised(verdict.reason) if verdict.status == 401 else Refusal(403, verdict.reason)
        return verdict.name

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place among those who wait for the broker. Taken before the body is read, it bounds memory too."""
        if self._in_flight >= self._settings.gateway.max_in_flight:
            raise try_later(429, "too many requests wait for the broker", BUSY_RETRY_SECONDS)
        if _disk_free_bytes(self._settings.data_directory) < self._settings.disk_free_bytes:
            raise try_later(503, "the disk is nearly full", DISK_RETRY_SECONDS)
        self._in_flight += 1
        self._instruments.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._instruments.in_flight.set(self._in_flight)

    async def body(self, request: Request, types: Sequence[str]) -> bytes:
        """The body as it is, when it is of one of these types."""
        return await read_body(request, self._settings.gateway.max_body_bytes, types)

    async def contracts(self, request: Request, adapter: TypeAdapter[list[Published]]) -> list[Published]:
        """The body as a list of valid objects, also when it is a single one."""
        document = await read_json(request, self._settings.gateway.max_body_bytes)
        several = isinstance(document, list)
        if several and len(document) > (most := self._settings.gateway.max_batch):
            raise Refusal(413, f"more than {most} in one request (gateway.max_batch)")
        try:
            return adapter.validate_python(document if several else [document])
        except ValidationError as error:
            raise invalid(error, skip=0 if several else 1) from None

    async def fields(self, request: Request, *, reserved: Sequence[str]) -> Mapping[str, Any]:
        """The body as one object, without the fields that the gateway fills in itself."""
        given = await read_json(request, self._settings.gateway.max_body_bytes)
        if not isinstance(given, dict):
            raise Refusal(400, "the body must be one object")
        if faults := [Fault(name, "is filled in by the gateway") for name in reserved if name in given]:
            raise Refusal(400, "not valid; nothing of this request was taken", faults)
        return given

    async def send(self, messages: Sequence[Message]) -> None:
        """Return when all of them are durable: at the broker, or in the spool."""
        most = self._settings.limits.message_bytes
        large = [i for i, message in enumerate(messages) if len(message.value) > most]
        if large:
            faults = [Fault(str(i), f"larger than {most} bytes") for i in large]
            raise Refusal(413, "too large; nothing of this request was taken", faults)
        try:
            await self._publisher.send(messages)
        except BrokerAway:
            raise try_later(503, "the broker did not acknowledge", BROKER_RETRY_SECONDS) from None
        except MessageRejected:
            raise Refusal(413, "a message is larger than the broker takes") from None


def unauthorised(reason: str) -> Refusal:
    """401, with the challenge that goes with it."""
    return Refusal(401, reason, headers={"WWW-Authenticate": 'Bearer realm="tocsin"'})


def _disk_free_bytes(directory: Path) -> int:
    """Free space where the data is, or will be."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free
