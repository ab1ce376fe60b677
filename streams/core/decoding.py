"""Bytes from a topic to what they say, or to a dead letter with its reason. Never an exception."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from streams.settings import Limits
from tocsin.contracts import SCHEMA_VERSION, Feedback, Interaction, Turn
from tocsin.messages import Source

Reason = Literal[
    "empty", "too_large", "not_json", "not_an_object", "unknown_version", "schema", "future", "too_old", "rejected"
]

CONFLICT = "id_conflict"
"""Flag of an interaction whose id another one at another time has already: stored, and no unit."""

NAME = re.compile(r"[\w.\[\]-]{1,60}", re.ASCII)

ParsedT = TypeVar("ParsedT")

INTERACTION: TypeAdapter[Interaction] = TypeAdapter(Interaction)
FEEDBACK: TypeAdapter[Feedback] = TypeAdapter(Feedback)


@dataclass(frozen=True)
class Bounds:
    """What is accepted.

    Attributes:
        message_bytes: a larger message is a dead letter.
        text_characters: longer texts are cut and flagged.
        future: how far ahead of the clock an interaction may be.
        age: how old it may be.
    """

    message_bytes: int
    text_characters: int
    future: timedelta
    age: timedelta


def bounds_of(limits: Limits) -> Bounds:
    """The configured limits."""
    return Bounds(
        message_bytes=limits.message_bytes,
        text_characters=limits.text_characters,
        future=timedelta(seconds=limits.future_seconds),
        age=timedelta(days=limits.retention_days),
    )


@dataclass(frozen=True)
class Origin:
    """Where a message was read, and the broker's time of it (to the millisecond).

    What came without an id or a time has them from here, so that it is the same however often it is read. The time is
    part of the id because a topic that is made anew begins at offset 0 again.
    """

    topic: str
    partition: int
    offset: int
    at: datetime

    @property
    def source(self) -> Source:
        """The place, as rows and messages name it."""
        return Source(topic=self.topic, partition=self.partition, offset=self.offset)

    def complete(self, plain: dict[str, Any], own: tuple[str, str]) -> None:
        """Add the fields of the id and of the time, where they are missing."""
        id_field, time_field = own
        if id_field not in plain:
            plain[id_field] = f"{self.topic}/{self.partition}/{self.offset}/{round(self.at.timestamp() * 1000)}"
        if time_field not in plain:
            plain[time_field] = self.at


@dataclass(frozen=True)
class Accepted(Generic[ParsedT]):
    """A readable message, with what had to be mended."""

    value: ParsedT
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeadLetter:
    """A message that can never be read. The detail names fields, never their content."""

    reason: Reason
    detail: str


def decode_interaction(
    raw: bytes | None, now: datetime, bounds: Bounds, origin: Origin | None = None
) -> Accepted[Interaction] | DeadLetter:
    """An interaction; its texts cut to the limit, its time within the bounds."""
    parsed = _parse(raw, INTERACTION, bounds, origin, ("interaction_id", "occurred_at"))
    if isinstance(parsed, DeadLetter):
        return parsed
    untimely = _untimely("occurred_at", parsed.occurred_at, now, bounds)
    if untimely is not None and not (parsed.history and untimely.reason == "too_old"):
        return untimely
    cut = _cut(parsed, bounds.text_characters)
    return Accepted(cut, () if cut is parsed else ("cut",))


def decode_feedback(
    raw: bytes | None, now: datetime, bounds: Bounds, origin: Origin | None = None
) -> Accepted[Feedback] | DeadLetter:
    """Feedback, its time within the bounds."""
    parsed = _parse(raw, FEEDBACK, bounds, origin, ("feedback_id", "given_at"))
    if isinstance(parsed, DeadLetter):
        return parsed
    return _untimely("given_at", parsed.given_at, now, bounds) or Accepted(parsed)


def _untimely(field: str, moment: datetime, now: datetime, bounds: Bounds) -> DeadLetter | None:
    if moment > now + bounds.future:
        return DeadLetter("future", f"{field}: more than {bounds.future.total_seconds():g} s ahead")
    if moment < now - bounds.age:
        return DeadLetter("too_old", f"{field}: older than {bounds.age.days} days, the retention")
    return None


def decode(raw: bytes | None, adapter: TypeAdapter[ParsedT], bounds: Bounds) -> Accepted[ParsedT] | DeadLetter:
    """A message between the stages."""
    parsed = _parse(raw, adapter, bounds)
    return parsed if isinstance(parsed, DeadLetter) else Accepted(parsed)


def _parse(
    raw: bytes | None,
    adapter: TypeAdapter[ParsedT],
    bounds: Bounds,
    origin: Origin | None = None,
    own: tuple[str, str] = ("", ""),
) -> ParsedT | DeadLetter:
    if not raw:
        return DeadLetter("empty", "the message has no value")
    if len(raw) > bounds.message_bytes:
        return DeadLetter("too_large", f"{len(raw)} bytes, the limit is {bounds.message_bytes}")
    try:
        plain = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return DeadLetter("not_json", f"line {error.lineno}, column {error.colno}")
    if not isinstance(plain, dict):
        return DeadLetter("not_an_object", f"a JSON {type(plain).__name__}")
    version = plain.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        known = isinstance(version, int) and not isinstance(version, bool)
        return DeadLetter("unknown_version", f"schema_version: {version if known else type(version).__name__}")
    if origin is not None:
        origin.complete(plain, own)
    try:
        return adapter.validate_python(plain)
    except ValidationError as error:
        return DeadLetter("schema", _fields_at_fault(error))


def _fields_at_fault(error: ValidationError) -> str:
    faults = error.errors(include_input=False, include_url=False, include_context=False)[:5]
    return "; ".join(f"{_place(fault)}: {_said(fault)}" for fault in faults)


def _place(fault: ErrorDetails) -> str:
    """The path to the field; a key that does not look like a name may be a text in the wrong place and is not shown."""
    return ".".join(str(part) if NAME.fullmatch(str(part)) else "?" for part in fault["loc"])[:100]


def _said(fault: ErrorDetails) -> str:
    """What is wrong, in words that hold nothing of the message."""
    return "unknown kind" if fault["type"] == "union_tag_invalid" else fault["msg"]


def _cut(interaction: Interaction, limit: int) -> Interaction:
    changes: dict[str, object] = {}
    if isinstance(interaction.prompt, str):
        if len(interaction.prompt) > limit:
            changes["prompt"] = interaction.prompt[:limit]
    elif any(len(turn.content) > limit for turn in interaction.prompt):
        changes["prompt"] = [Turn(role=turn.role, content=turn.content[:limit]) for turn in interaction.prompt]
    if len(interaction.response) > limit:
        changes["response"] = interaction.response[:limit]
    if any(len(passage) > limit for passage in interaction.context):
        changes["context"] = [passage[:limit] for passage in interaction.context]
    for name in ("reference", "error"):
        text = getattr(interaction, name)
        if text is not None and len(text) > limit:
            changes[name] = text[:limit]
    return interaction.model_copy(update=changes) if changes else interaction
