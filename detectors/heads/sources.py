"""The public sets that heads are trained on, as rows with labels: a fixed part of each, so that training is short.

Where the sets come from and under which licences: NOTICE, and the heads' cards.
"""

from __future__ import annotations

import collections
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectors.heads.features import sounds_like_refusal
from detectors.heads.identity_sentences import training_sentences

__all__ = ["LICENCES", "ORDINARY", "Completion", "Row", "completions", "hash_of", "toxicity_rows"]

LICENCES = {
    "davidson": "t-davidson/hate-speech-and-offensive-language, MIT",
    "surge": "surge-ai/toxicity, MIT",
    "toxigen": "microsoft/TOXIGEN, CDLA-Permissive-2.0",
    "toxic_spans": "ipavlopoulos/toxic_spans, CC0-1.0",
    "madlibs": "conversationai/unintended-ml-bias-analysis, Apache-2.0",
    "wikipedia": "ipavlopoulos/context_toxicity, Apache-2.0",
    "moderation": "openai/moderation-api-release, MIT",
    "prompts": "Open-Assistant/oasst-model-eval and lm-sys/arena-hard-auto, Apache-2.0",
    "responses": "Open-Assistant/oasst-model-eval and lm-sys/arena-hard-auto, Apache-2.0",
    "identity": "sentences written for this project",
    "xstest": "paul-rottger/exaggerated-safety, CC-BY-4.0",
}
ORDINARY = "ordinary traffic"
_CUT = 1_000
"""Characters of a training text, which is what keeps the encoding short."""
_UNKNOWN = float("nan")


@dataclass(frozen=True)
class Row:
    """A text with its labels (1, 0, or NaN for unknown), its weight, and the key that decides its fold."""

    source: str
    text: str
    toxic: float
    attack: float
    weight: float
    key: str


@dataclass(frozen=True)
class Completion:
    """A model's response; refused: 1 or 0 as a person saw it, partial refusals counted, NaN where nobody looked."""

    model: str
    prompt: str
    text: str
    refused: float


def hash_of(text: str) -> int:
    """A number that depends on the text alone, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _read(data: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a set."""
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def toxicity_rows(data: Path) -> list[Row]:
    """All rows for the toxicity head, in a fixed order, each text once."""
    rows: list[Row] = []
    for part in _TOXICITY:
        rows += {row.text: row for row in part(data) if row.text.strip()}.values()
    return rows


def completions(data: Path) -> list[Completion]:
    """Rows for the refusal head: judged completions to prompts that provoke, and ordinary traffic.

    Ordinary responses without any expression of refusal are taken for answers; of the others nothing is known.
    """
    judged = [
        Completion(row["model"], row["prompt"], row["response"], float(not row["refusal"].startswith("1")))
        for row in _read(data, "interactions/xstest")
    ]
    ordinary = [
        Completion(ORDINARY, row.key, row.text, _UNKNOWN if sounds_like_refusal(row.text) else 0)
        for row in _assistant(data, "responses", "response", 600)
    ]
    return judged + ordinary


def _row(source: str, text: str, toxic: float, attack: float, weight: float, key: str = "") -> Row:
    return Row(source, text[:_CUT], toxic, attack, weight, key or text[:_CUT])


def _some(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: hash_of(row["text"]))[:count]


def _davidson(data: Path) -> Iterator[Row]:
    rows = _read(data, "toxicity/davidson")
    of_hate = _words_of_hate(rows)
    chosen = [row for row in rows if row["label"] == "hate"]
    for label, count in (("offensive", 1_900), ("neither", 1_900)):
        chosen += _some([row for row in rows if row["label"] == label], count)
    for row in chosen:
        attack = float(row["label"] == "hate")
        # Raters marked much of the hate as merely offensive; teaching that it is none would teach the opposite.
        if row["label"] == "offensive" and _words(row["text"]) & of_hate:
            attack = _UNKNOWN
        yield _row("davidson", html.unescape(row["text"]), float(row["label"] != "neither"), attack, 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']{3,}", text.lower()))


def _words_of_hate(rows: list[dict[str, Any]]) -> set[str]:
    """Words over three times as frequent in hate as elsewhere in abuse, seen four times or more."""
    hate: collections.Counter[str] = collections.Counter()
    rest: collections.Counter[str] = collections.Counter()
    for row in rows:
        if row["label"] != "neither":
            (hate if row["label"] == "hate" else rest).update(_words(row["text"]))
    scale = math.log(rest.total()) - math.log(hate.total())
    return {
        word
        for word, count in hate.items()
        if count >= 4 and math.log(count + 0.5) - math.log(rest[word] + 0.5) + scale > 1.2
    }


def _surge(data: Path) -> Iterator[Row]:
    for row in _read(data, "toxicity/surge"):
        toxic = row["label"] == "Toxic"
        yield _row("surge", row["text"], float(toxic), _UNKNOWN if toxic else 0, 4)


def _toxigen(data: Path) -> Iterator[Row]:
    for row in _read(data, "toxicity/toxigen"):
        hate = float(row["label"] == "hate")
        yield _row("toxigen", row["text"], hate, hate, 5)


def _toxic_spans(data: Path) -> Iterator[Row]:
    for row in _some(_read(data, "toxicity/toxic_spans_positives"), 1_300):
        yield _row("toxic_spans", row["text"], 1, _UNKNOWN, 0.7)


def _madlibs(data: Path) -> Iterator[Row]:
    for row in _some(_read(data, "toxicity/madlibs"), 1_000):
        bad = row["label"] == "BAD"
        yield _row("madlibs", row["text"], float(bad), _UNKNOWN if bad else 0, 0.4)


def _wikipedia(data: Path) -> Iterator[Row]:
    rows = _read(data, "toxicity/context_toxicity")
    toxic = [row for row in rows if row["label"] == "1"]
    for row in toxic + _some([row for row in rows if row["label"] == "0"], 1_200):
        bad = row["label"] == "1"
        yield _row("wikipedia", row["text"], float(bad), _UNKNOWN if bad else 0, 1)


def _moderation(data: Path) -> Iterator[Row]:
    for row in _read(data, "toxicity/moderation_categories"):
        labels = row["labels"]
        abusive = any(labels.get(name) for name in ("H", "H2", "HR", "V2"))
        toxic = 1.0 if abusive else _UNKNOWN if any(labels.values()) else 0.0
        hate = [labels.get(name) for name in ("H", "H2")]
        attack = 1.0 if any(hate) else _UNKNOWN if None in hate else 0.0
        yield _row("moderation", row["text"], toxic, attack, 3)


def _assistant(data: Path, source: str, field: str, count: int) -> Iterator[Row]:
    """Ordinary traffic. Weak models are left out: they sometimes answer with abuse that nobody labelled."""
    weak = re.compile(r"llama_7b|pythia|1_12b", re.IGNORECASE)
    rows = _read(data, "interactions/oasst_model_eval") + _read(data, "interactions/arena_hard")
    usable = {row[field]: {"text": row[field], **row} for row in rows if not weak.search(row["model"])}
    for row in _some(list(usable.values()), count):
        yield _row(source, row["text"], 0, 0, 3, key=row["prompt"])


def _identity(_: Path) -> Iterator[Row]:
    for one in training_sentences():
        yield _row("identity", one.text, float(one.toxic), float(one.attack), 0.7, key=one.frame)


_TOXICITY: tuple[Callable[[Path], Iterator[Row]], ...] = (
    _davidson,
    _surge,
    _toxigen,
    _toxic_spans,
    _madlibs,
    _wikipedia,
    _moderation,
    lambda data: _assistant(data, "prompts", "prompt", 800),
    lambda data: _assistant(data, "responses", "response", 600),
    _identity,
)
