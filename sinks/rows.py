"""Rows of our tables out of what the stages know. Pure: no store, no clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tocsin.contracts import Feedback, Interaction
from tocsin.messages import Page, Source

Row = dict[str, Any]


def interaction_row(
    interaction: Interaction,
    source: Source,
    *,
    signals: Mapping[str, float],
    labels: Mapping[str, str],
    flags: Sequence[str],
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
    encoder: str,
    heads: str,
    retention_days: int,
) -> Row:
    """A row of `interactions`."""
    model, template = interaction.model, interaction.prompt_template
    return {
        "application": interaction.application,
        "environment": interaction.environment,
        "interaction_id": interaction.interaction_id,
        "occurred_at": interaction.occurred_at,
        "session_id": interaction.session_id or "",
        "subject_id": interaction.subject_id or "",
        "prompt": prompt_as_text(interaction),
        "response": interaction.response,
        "context": list(interaction.context),
        "reference": interaction.reference or "",
        "model_provider": (model and model.provider) or "",
        "model_name": (model and model.name) or "",
        "model_version": (model and model.version) or "",
        "template_name": (template and template.name) or "",
        "template_version": (template and template.version) or "",
        "attributes": dict(interaction.attributes),
        "finish_reason": interaction.finish_reason or "",
        "error": interaction.error or "",
        "signals": dict(signals),
        "labels": dict(labels),
        "flags": list(flags),
        "prompt_vector": vectors[0],
        "response_vector": vectors[1],
        "encoder": encoder,
        "heads": heads,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "retention_days": retention_days,
    }


def prompt_as_text(interaction: Interaction) -> str:
    """The prompt as people read it; a chat with the role before each message."""
    if isinstance(interaction.prompt, str):
        return interaction.prompt
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in interaction.prompt)


def feedback_row(feedback: Feedback, source: Source, retention_days: int) -> Row:
    """A row of `feedback`; a number goes to `rating`, anything else to `text`."""
    number = isinstance(feedback.value, float)
    return {
        "application": feedback.application,
        "interaction_id": feedback.interaction_id,
        "feedback_id": feedback.feedback_id,
        "given_at": feedback.given_at,
        "kind": feedback.kind,
        "rating": feedback.value if number else None,
        "text": "" if number else feedback.value,
        "author": feedback.author or "",
        "source_partition": source.partition,
        "source_offset": source.offset,
        "retention_days": retention_days,
    }


def dead_letter_row(
    source: Source, received_at: datetime, reason: str, detail: str, raw: bytes | None, retention_days: int
) -> Row:
    """A row of `dead_letters`; see `kept_bytes` for its `raw`."""
    return {
        "topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "received_at": received_at,
        "reason": reason,
        "detail": detail,
        "raw": kept_bytes(raw or b""),
        "retention_days": retention_days,
    }


BASE64 = "base64:"


def kept_bytes(raw: bytes) -> str:
    """Any bytes as a text: themselves where they are UTF-8, else base64 behind `base64:`."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = BASE64
    return BASE64 + base64.b64encode(raw).decode() if text.startswith(BASE64) else text


def original_bytes(kept: str) -> bytes:
    """The inverse of `kept_bytes`."""
    return base64.b64decode(kept.removeprefix(BASE64)) if kept.startswith(BASE64) else kept.encode()


def token_of(rows: Sequence[Row]) -> str:
    """Names a list of rows by the messages they come from: of two inserts with one token, the second is dropped."""
    named = ("topic", "source_partition", "source_offset", "interaction_id", "feedback_id", "received_at")
    identities = [[str(row[name]) for name in named if name in row] for row in rows]
    return sha256(json.dumps(identities).encode()).hexdigest()


def page_row(page: Page) -> Row:
    """A row of `pages`; the whole explanation as JSON."""
    return {
        "page_id": page.page_id,
        "application": page.application,
        "segment": page.segment,
        "stream": page.stream,
        "lane": page.lane,
        "reference_id": page.reference_id,
        "position": page.position,
        "occurred_at": page.occurred_at,
        "began_at": page.began_at,
        "evidence": page.evidence,
        "explanation": page.model_dump_json(),
        "configuration": page.configuration,
    }
