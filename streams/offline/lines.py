"""From a record of somebody's file to a message for the running system, or to why it would be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from streams.core.decoding import Bounds, DeadLetter
from streams.offline.interactions import (
    OF_THE_TABLE,
    ROW,
    STORED,
    Read,
    bare_text,
    bounds_of_history,
    interaction_of,
    parsed,
)
from streams.offline.records import Record
from streams.settings import Limits
from tocsin.contracts import Interaction
from tocsin.transports import MAX_MESSAGE_BYTES, Message, message_of

LONGEST_ID = 160  # leaves room for the run in an id of 200


@dataclass(frozen=True)
class Reading:
    """How the records of a file are to be understood.

    Attributes:
        application: of records that name none; empty refuses them.
        columns: fields of an interaction by the name (or path, with dots) that the file has for them.
        known_only: leave out what is no field, instead of refusing the record.
        any_age: take what is older than the retention; the running system then takes it too.
        run: set where the times are the moments of publishing: every run is new traffic then, with ids of its own.
    """

    application: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    known_only: bool = False
    any_age: bool = False
    run: str = ""


@dataclass(frozen=True)
class Ready:
    """An interaction to publish, and when it happened."""

    message: Message
    occurred_at: datetime


@dataclass(frozen=True)
class Refused:
    """A record that the running system would not take; the detail names fields, never their content."""

    number: int
    reason: str
    detail: str


class Lines:
    """Reads records by the decoder and the limits of the running system.

    Args:
        reading: how.
        limits: as configured.
        file_time: of records that say no time, a microsecond apart in the order of the file.
    """

    def __init__(self, reading: Reading, limits: Limits, file_time: datetime) -> None:
        self._reading, self._limits, self._file_time = reading, limits, file_time
        self._bounds: Bounds = bounds_of_history(limits)

    def read(self, record: Record, now: datetime) -> Ready | Refused:
        """What a record says, at this time."""
        found = self._found(record)
        if isinstance(found, DeadLetter):
            return Refused(record.number, found.reason, found.detail)
        assert isinstance(found.value, Interaction)  # what was scored elsewhere was left out
        return self._judged(found.value, record.number, now)

    def _found(self, record: Record) -> Read:
        plain = parsed(record, self._bounds)
        if isinstance(plain, DeadLetter):
            return plain
        fields = self._fields(plain, record)
        if bare_text(fields) is not None:
            return DeadLetter("schema", "text: no field of an interaction; say --map prompt=text if it is the prompt")
        return interaction_of(fields, 0, self._bounds)

    def _fields(self, plain: Mapping[str, Any], record: Record) -> dict[str, Any]:
        named = {name: _at(plain, path) for name, path in self._reading.columns.items()}
        taken = set(self._reading.columns.values())
        fields = {name: value for name, value in plain.items() if name not in (*taken, *STORED)}
        fields |= {name: value for name, value in named.items() if value is not None}
        said = _nested(fields)
        if self._reading.known_only:
            known = {*Interaction.model_fields, *OF_THE_TABLE, *ROW, "text", "model_provider", "model_version"}
            said = {name: value for name, value in said.items() if name in known or name == "template_version"}
        if "occurred_at" in said and not ROW.intersection(said):
            said["occurred_at"] = _zoned(said["occurred_at"])
        defaults: dict[str, Any] = {
            "interaction_id": _id_of(record),
            "occurred_at": (self._file_time + timedelta(microseconds=record.number)).isoformat(),
            "application": self._reading.application,
        }
        return {**defaults, **said}

    def _judged(self, interaction: Interaction, number: int, now: datetime) -> Ready | Refused:
        reading, limits = self._reading, self._limits
        changes: dict[str, Any] = {"history": True} if reading.any_age else {}
        at = interaction.occurred_at
        if reading.run:
            at = changes["occurred_at"] = now
            changes["interaction_id"] = f"{interaction.interaction_id[:LONGEST_ID]}~{reading.run}"
            if interaction.session_id:
                changes["session_id"] = f"{interaction.session_id[:LONGEST_ID]}~{reading.run}"
        if at > now + timedelta(seconds=limits.future_seconds):
            return Refused(number, "future", f"occurred_at: more than {limits.future_seconds:g} s ahead")
        if at < now - timedelta(days=limits.retention_days) and not reading.any_age:
            return Refused(number, "too_old", f"occurred_at: older than {limits.retention_days} days, the retention")
        message = message_of(interaction.model_copy(update=changes))
        most = min(limits.message_bytes, MAX_MESSAGE_BYTES)
        if len(message.value) > most:
            return Refused(number, "too_large", f"{len(message.value)} bytes, the limit is {most}")
        return Ready(message, interaction.occurred_at)


def _id_of(record: Record) -> str:
    """An id from place and content: the same file, also one that has grown since, gives the same ids."""
    value = record.value if isinstance(record.value, bytes) else orjson.dumps(record.value, default=str)
    return blake2b(b"%d %s" % (record.number, value.strip()), digest_size=16).hexdigest()


def _at(plain: Mapping[str, Any], path: str) -> Any:
    """The value under a name, or under a path of names with dots between them."""
    if path in plain:
        return plain[path]
    found: Any = plain
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`model.name` as the field `name` of `model`, and so on: files of columns know no other way."""
    said: dict[str, Any] = {}
    for name, value in fields.items():
        outer, dot, inner = name.partition(".")
        if not dot:
            said.setdefault(name, value)
        elif isinstance(said.setdefault(outer, {}), dict):
            said[outer] = {**said[outer], inner: str(value) if outer == "attributes" else value}
    return said


def _zoned(value: Any) -> Any:
    """A time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value  # said by the decoder
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value
