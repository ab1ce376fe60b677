"""From a record to an interaction that is still to be scored, or to one that carries what the product stored of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
from pydantic import TypeAdapter

from detectors.encoder.bfloat16 import from_bfloat16, to_bfloat16
from streams.core.decoding import NAME, Accepted, Bounds, DeadLetter, decode, decode_interaction
from streams.offline.records import Record
from streams.settings import Limits
from tocsin.contracts import Interaction
from tocsin.messages import Scored, pack_vector, unpack_vector

APPLICATION = "file"  # of lines that name none
START, SPACING = datetime(2020, 1, 1, tzinfo=UTC), timedelta(minutes=1)  # of lines that say no time
ANY_TIME = {"future": timedelta(days=365 * 5_000), "age": timedelta(days=365 * 1_500)}  # history is old, not wrong

VECTORS = ("prompt_vector", "response_vector")
STORED = (*VECTORS, "signals", "encoder")
EMPTY_IS_NONE = ("session_id", "subject_id", "reference", "finish_reason", "error")
OF_THE_TABLE = frozenset(
    {"stored_at", "heads", "flags", "labels", "source_partition", "source_offset", "retention_days"}
)
ROW = frozenset({"model_name", "template_name", "stored_at"})  # each of them says that it is a row of the table
FIELDS = frozenset(Scored.model_fields)
KNOWN = FIELDS | frozenset(Interaction.model_fields) | OF_THE_TABLE
SCORED: TypeAdapter[Scored] = TypeAdapter(Scored)

Read = Accepted[Scored] | Accepted[Interaction] | DeadLetter


def bounds_of_history(limits: Limits) -> Bounds:
    """The live limits, but for the age."""
    return Bounds(limits.message_bytes, limits.text_characters, **ANY_TIME)


def parsed(record: Record, bounds: Bounds) -> dict[str, Any] | DeadLetter:
    """The fields of a record."""
    if isinstance(record.value, dict):
        return record.value
    if len(record.value) > bounds.message_bytes:
        return DeadLetter("too_large", f"{len(record.value)} bytes, the limit is {bounds.message_bytes}")
    try:
        plain = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return DeadLetter("not_json", "not JSON")
    return plain if isinstance(plain, dict) else DeadLetter("not_an_object", f"a JSON {type(plain).__name__}")


def bare_text(plain: Mapping[str, Any]) -> str | None:
    """The text of a record that is just a text."""
    text = plain.get("text")
    return text if isinstance(text, str) and "prompt" not in plain else None


def interaction_of(plain: Mapping[str, Any], index: int, bounds: Bounds) -> Read:
    """What the fields of a record say, read by the decoder of the live workers.

    Args:
        plain: an interaction as services publish it, a row of the table `interactions`, or `{"text": …}`, a prompt.
        index: its place in the replay; gives id and time where the record does not.
        bounds: what is accepted.

    Returns:
        `Scored` if the record carries vectors, signals and the encoder that they come from.
    """
    if (text := bare_text(plain)) is not None:
        plain = {"prompt": text, "response": ""}
    if ROW.intersection(plain):
        plain = _from_row(plain)
    at = (START + SPACING * index).isoformat()
    plain = {"application": APPLICATION, "interaction_id": str(index), "occurred_at": at, **plain}
    if present := [name for name in STORED if name in plain]:
        if missing := [name for name in STORED if name not in plain]:
            return DeadLetter(
                "schema", f"{missing[0]}: missing beside {present[0]}; all of {', '.join(STORED)} or none"
            )
        return _stored(plain, index, bounds)
    published = {name: value for name, value in plain.items() if name not in OF_THE_TABLE}
    return decode_interaction(_bytes(published), START, bounds)


def _from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table, whose names are flat, whose texts are empty where there is none and whose times are UTC."""
    plain = {name: value for name, value in row.items() if not (name in EMPTY_IS_NONE and value == "")}
    for name, field in (("model", "model"), ("template", "prompt_template")):
        parts = {part: plain.pop(f"{name}_{part}", "") for part in ("provider", "name", "version")}
        if parts["name"]:
            plain[field] = {part: value for part, value in parts.items() if value}
    at = plain.get("occurred_at")
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return plain  # said by the decoder
    if isinstance(at, datetime):
        plain["occurred_at"] = (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
    return plain


def _stored(plain: Mapping[str, Any], index: int, bounds: Bounds) -> Accepted[Scored] | DeadLetter:
    if unknown := plain.keys() - KNOWN:
        name = min(unknown)
        return DeadLetter("schema", f"{name if NAME.fullmatch(name) else '?'}: unknown field")
    fields = {name: value for name, value in plain.items() if name in FIELDS and value is not None}
    for name in VECTORS:
        packed = _packed(fields.get(name))
        if packed is None:
            return DeadLetter("schema", f"{name}: is neither finite numbers nor bfloat16 as base64")
        fields[name] = packed
    if dimensions(fields[VECTORS[0]]) != dimensions(fields[VECTORS[1]]):
        return DeadLetter("schema", "response_vector: is of another length than prompt_vector")
    fields |= {"kind": "scored", "source": {"topic": "file", "partition": 0, "offset": index}}
    return decode(_bytes(fields), SCORED, bounds)


def dimensions(packed: str) -> int:
    """How many numbers a vector of a message has."""
    return (len(packed) // 4 * 3 - packed[-2:].count("=")) // 2


def _packed(value: object) -> str | None:
    """A vector as messages carry it, or None for what is no vector."""
    try:
        if isinstance(value, str):
            vector = from_bfloat16(np.frombuffer(unpack_vector(value), "<u2"))
        else:
            vector = np.asarray(value, np.float32)
    except (ValueError, TypeError):
        return None
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        return None
    return value if isinstance(value, str) else pack_vector(to_bfloat16(vector).tobytes())


def _bytes(plain: Mapping[str, Any]) -> bytes:
    """As a message, so that one decoder judges everything; a column of another kind than JSON's is a text to it."""
    return orjson.dumps(plain, default=str, option=orjson.OPT_NON_STR_KEYS)
