"""Rows of the injection head, and how it is measured."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectors.heads.training.blended import Plan, Trained
from detectors.heads.training.cards import flagged, held_out_figures, least_threshold, of_kinds, source_of
from detectors.heads.training.measures import percent
from detectors.heads.training.nonsense import nonsense
from detectors.heads.training.sentences import fill, injection_texts, read_frames
from detectors.heads.training.sources import Row, read, row, some
from detectors.heads.training.toxicity import Judge

__all__ = ["PLAN", "injection_rows", "measure_injection"]

PLAN = Plan(outputs=("injection",), weights=(1.0,), spelled=1)
_OWN = 2_000
_FLAGGED_PROMPTS = 0.005
"""Of ordinary prompts; it decides the threshold."""
_EVERY = 3
"""A third of clinc150 is enough."""
_PROMPTS = {
    "oasst": "interactions/oasst_model_eval",
    "arena": "interactions/arena_hard",
    "pandalm": "interactions/pandalm_preferences",
}
_HARMLESS, _INJECTION = {"injection": 0.0}, {"injection": 1.0}


def injection_rows(data: Path, seed: int = 6) -> list[Row]:
    """Injections and ordinary prompts; then posts of people, and harmless requests that speak as injections do."""
    rows = [
        row("s_labs", one["text"], _INJECTION if one["label"] == "1" else _HARMLESS, 1)
        for one in read(data, "injection/s_labs")
    ]
    for source, name in _PROMPTS.items():
        rows += [
            row(source, prompt, _HARMLESS, 2) for prompt in dict.fromkeys(one["prompt"] for one in read(data, name))
        ]
    rows += [row("davidson", one["text"], _HARMLESS, 0.3) for one in _posts(data)]
    rows += [row("own", text, _HARMLESS, 1) for text in nonsense()]
    rows += _requests(random.Random(seed))  # noqa: S311 - chooses words, guards no secret
    return [one for one in {one.text: one for one in rows}.values() if one.text.strip()]


def measure_injection(data: Path, rows: Sequence[Row], trained: Trained, judge: Judge) -> dict[str, Any]:
    """The figures of the card. clinc150 is not trained on."""
    sources, held_out = source_of(rows), trained.held_out
    ordinary = held_out[np.isin(sources, list(_PROMPTS)), 0]
    threshold = least_threshold([(ordinary, _FLAGGED_PROMPTS)], 0.5)
    fresh = flagged(judge([one["text"] for one in read(data, "drift/clinc150")[::_EVERY]]), [threshold])
    kinds = injection_texts()
    return {
        "outputs": {"injection": threshold},
        "rows": len(rows),
        "held_out": held_out_figures(rows, held_out, {"injection": threshold}),
        "traffic": {"clinc150": {"rows": len(fresh), "flagged_percent": percent(fresh)}},
        "functions": of_kinds(
            [(name, bad) for name, bad, _ in kinds], flagged(judge([text for _, _, text in kinds]), [threshold])
        ),
    }


def _posts(data: Path) -> list[dict[str, str]]:
    return some([one for one in read(data, "toxicity/davidson") if one["label"] == "neither"], 2_000)


def _requests(rng: random.Random) -> Iterator[Row]:
    frames = read_frames("requests")
    for frame in [*frames, *rng.choices(frames, k=_OWN - len(frames))]:
        text = fill(frame, "control", rng)
        yield row("own", text.lower() if rng.random() < 0.4 else text, _HARMLESS, 1, key=frame)
