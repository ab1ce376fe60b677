"""The toxicity head: its rows, its thresholds, and how it is measured on mentions of groups and on ordinary traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.heads.toxicity import OUTPUTS
from detectors.heads.training.blended import Plan, Trained
from detectors.heads.training.cards import flagged, held_out_figures, least_threshold, of_groups, of_kinds, source_of
from detectors.heads.training.derived import carriers, carrying, disturbed, exchanged, named_group
from detectors.heads.training.encoded import KEPT_CHARACTERS
from detectors.heads.training.measures import percent
from detectors.heads.training.nonsense import nonsense
from detectors.heads.training.sentences import (
    Sentence,
    function_sentences,
    held_out_sentences,
    training_sentences,
)
from detectors.heads.training.sources import (
    RESPONSES,
    Row,
    assistant_prompts,
    assistant_responses,
    public_rows,
    read,
    row,
    some,
)

__all__ = ["PLAN", "Judge", "measure_toxicity", "natural_mentions", "toxicity_rows"]

PLAN = Plan(outputs=OUTPUTS, weights=(1.0, 0.7, 0.3, 0.3, 0.3, 0.3, 0.5), spelled=2)
_CARRYING_RESPONSES = 6_000
_WHOLE_RESPONSES = 300
_NATURAL_MENTIONS = 1_410
_TRAFFIC = ("prompts", "responses")
_ABUSE = 2
"""The first outputs: what counts as flagged for mentions of groups."""
_LEAST = {"toxicity": 0.5, "identity_attack": 0.3}

Judge = Callable[[Sequence[str]], NDArray[np.float64]]
"""Texts to the probabilities (n, outputs) of the head that saw every row."""


def toxicity_rows(data: Path) -> list[Row]:
    """All rows for the toxicity head, in a fixed order: public sets, our sentences, and what is made of both."""
    public, own = public_rows(data), list(_own())
    natural = assistant_prompts(data) + some(assistant_responses(data), _CARRYING_RESPONSES)
    derived = [*carriers(natural), *exchanged(public), *disturbed([*public, *own])]
    return [*public, *own, *derived, *(row("own", text, dict.fromkeys(OUTPUTS, 0.0), 1) for text in nonsense())]


def natural_mentions(data: Path) -> list[Sentence]:
    """Sentences of sets that are never trained on, with a group's name put in; all harmless."""
    records = [{"text": one["prompt"], "key": ""} for one in read(data, "interactions/gsm8k")]
    records += [{"text": one["knowledge"], "key": ""} for one in read(data, "interactions/halueval_qa")]
    records += [{"text": answer, "key": ""} for answer in _pandalm_answers(data)]
    found = carrying(records, _NATURAL_MENTIONS, seed=7)
    return [Sentence(text, text, group, "natural", toxic=False, attack=False) for text, _, group in found]


def measure_toxicity(data: Path, rows: Sequence[Row], trained: Trained, judge: Judge) -> dict[str, Any]:
    """The figures of the card."""
    sources, held_out = source_of(rows), trained.held_out
    thresholds = _thresholds(sources, held_out)
    abuse = list(thresholds.values())[:_ABUSE]
    mentions = [*held_out_sentences(), *natural_mentions(data)]
    functions = function_sentences()
    return {
        "outputs": thresholds,
        "rows": len(rows),
        "held_out": held_out_figures(rows, held_out, thresholds),
        "traffic": {
            **{source: _flags(flagged(held_out[sources == source], list(thresholds.values()))) for source in _TRAFFIC},
            **{name: _flags(flagged(judge(texts), list(thresholds.values()))) for name, texts in _fresh(data).items()},
        },
        "mentions": of_groups(mentions, flagged(judge([one.text for one in mentions])[:, :_ABUSE], abuse)),
        "rated_mentions": _rated(rows, flagged(held_out[:, :_ABUSE], abuse)),
        "functions": of_kinds(
            [(one.kind, one.attack) for one in functions],
            flagged(judge([one.text for one in functions])[:, :_ABUSE], abuse),
        ),
    }


def _own() -> Iterator[Row]:
    for one in training_sentences():
        labels = {"toxicity": float(one.toxic), "identity_attack": float(one.attack)}
        yield row("own", one.text, labels, 0.7, key=one.frame)


def _thresholds(sources: NDArray[np.str_], held_out: NDArray[np.float64]) -> dict[str, float]:
    """Few false flags on ordinary traffic and on ordinary sentences that name a group, both held out."""
    traffic, natural = np.isin(sources, _TRAFFIC), sources == "carriers"
    found = {}
    for column, output in enumerate(OUTPUTS):
        scores = held_out[:, column]
        bounds = [(scores[traffic], 0.002 if column < _ABUSE else 0.001)] + [(scores[natural], 0.01)] * (
            column < _ABUSE
        )
        found[output] = least_threshold(bounds, _LEAST.get(output, 0.4))
    return found


def _fresh(data: Path) -> dict[str, list[str]]:
    """Traffic that is not trained on; responses in their whole length."""
    responses = some(assistant_responses(data), RESPONSES + _WHOLE_RESPONSES)[RESPONSES:]
    return {
        "responses, whole": [one["text"] for one in responses],
        "clinc150": [one["text"] for one in some(read(data, "drift/clinc150"), 3_000)],
        "gsm8k": [one["prompt"][:KEPT_CHARACTERS] for one in some(read(data, "interactions/gsm8k"), 600, "prompt")],
        "pandalm": [answer[:KEPT_CHARACTERS] for answer in _pandalm_answers(data)[:400]],
    }


def _pandalm_answers(data: Path) -> list[str]:
    """Answers of models, each once; a few records hold no text."""
    records = read(data, "interactions/pandalm_preferences")
    answers = dict.fromkeys(one[name] for one in records for name in ("response_1", "response_2"))
    return [answer for answer in answers if isinstance(answer, str) and answer.strip()]


def _flags(flags: NDArray[np.bool_]) -> dict[str, Any]:
    return {"rows": len(flags), "flagged_percent": percent(flags)}


def _rated(rows: Sequence[Row], flags: NDArray[np.bool_]) -> dict[str, Any]:
    """Harmless texts of the public sets that name a group, as people wrote and rated them."""
    chosen = [
        (group, index)
        for index, one in enumerate(rows)
        if one.measured and one.source not in ("own", "madlibs") and one.labels.get("toxicity") == 0
        if (group := named_group(one.text))
    ]
    groups = np.array([group for group, _ in chosen])
    hits = flags[[index for _, index in chosen]]
    every = {name: _flags(hits[groups == name]) for name in sorted(set(groups.tolist()))}
    return {"all": _flags(hits), "groups": {name: one for name, one in every.items() if one["rows"] >= 20}}
