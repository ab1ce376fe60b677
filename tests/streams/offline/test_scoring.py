"""`tocsin score`: every line is answered in order, whatever it holds; its vectors can be replayed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streams.offline.records import open_records
from streams.offline.scoring import score_records
from streams.settings import Settings
from tests.streams.offline.conftest import Line, interactions
from tocsin.messages import Scored

Write = Callable[..., Path]


def scored(file: Path, settings: Settings, **options: Any) -> list[Line]:
    with open_records(file) as records:
        return list(score_records(records, settings, **options))


def test_scoring_answers_every_line_in_order_and_nothing_stops_it(write: Write, settings: Settings) -> None:
    interaction = {"prompt": "What is your name?", "response": "I am sorry, but I cannot help with that."}
    (stored,) = interactions(1)
    lines: Sequence[Line | str] = [
        {"text": "you are a horrible idiot"},
        "no json",
        interaction,
        "",
        '{"prompt": 5}',
        '{"prompt": "a", "response": "b", "colour": "red"}',
        '"text"',
        '{"text": "\\ud83d"}',
        stored,
        {"text": ""},
        {"text": "what a lovely day"},
    ]
    found = scored(write(lines), settings)
    kinds = ["error" if "error" in each else "signals" for each in found]
    assert kinds == ["signals", "error", "signals", *["error"] * 4, "signals", "signals", "signals"]
    assert found[0]["signals"]["toxicity"] > found[-1]["signals"]["toxicity"]
    assert found[2]["signals"]["refusal"] > 0.5
    assert found[7]["signals"] == stored["signals"]
    assert all("idiot" not in str(each) and "lovely" not in str(each) for each in found)
    assert scored(write([]), settings) == []


def test_a_line_with_its_vectors_is_read_again_as_it_was_and_holds_no_text(write: Write, settings: Settings) -> None:
    said = {"prompt": "you are a horrible idiot", "response": "No.", "session_id": "s", "model": {"name": "m"}}
    lines = [said | {"occurred_at": "2026-01-01T00:00:00Z", "latency_ms": 7}, {"text": "hello"}, interactions(1)[0]]
    file = write(lines)
    first = scored(file, settings, vectors=True)
    again = scored(write(first, "again.jsonl"), settings, vectors=True)
    assert again == first
    assert "idiot" not in json.dumps(first)
    assert first[0]["signals"]["latency_ms"] == 7
    assert {"session_id", "model", "occurred_at", "application", "interaction_id"} <= set(first[0])
    source = {"topic": "file", "partition": 0, "offset": 0}
    assert all(Scored.model_validate(each | {"source": source}) for each in first)
