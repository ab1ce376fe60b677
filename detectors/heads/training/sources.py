"""The public sets that heads are trained on, as rows with labels. What is too large gives a fixed part.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectors.heads.toxicity import CATEGORIES
from detectors.heads.training.encoded import KEPT_CHARACTERS

__all__ = [
    "LICENCES",
    "RESPONSES",
    "Row",
    "assistant_prompts",
    "assistant_responses",
    "hash_of",
    "public_rows",
    "read",
    "row",
    "some",
]

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
    "pandalm": "WeOpenML/PandaLM, Apache-2.0",
    "s_labs": "S-Labs prompt-injection set, MIT",
    "xstest": "paul-rottger/exaggerated-safety, CC-BY-4.0",
    "own": "sentences written for this project",
}
RESPONSES = 2_500
"""So many ordinary responses are trained on: the first ones of `some`."""
_WEAK_MODELS = re.compile(r"llama_7b|pythia|1_12b", re.IGNORECASE)
"""Left out of ordinary traffic: they sometimes answer with abuse that nobody labelled."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A text with its labels by output (1 or 0; absent: unknown), its weight, and the key that decides its fold.

    A row that is not measured was derived from another one: it is trained on and counts in no figure.
    """

    source: str
    text: str
    labels: Mapping[str, float]
    weight: float
    key: str
    measured: bool = True


def row(
    source: str, text: str, labels: Mapping[str, float], weight: float, key: str = "", measured: bool = True
) -> Row:
    """A row of a text's beginning; its key is the text itself, unless another is given."""
    return Row(source, text[:KEPT_CHARACTERS], labels, weight, key or text[:KEPT_CHARACTERS], measured)


def hash_of(text: str) -> int:
    """A number that depends on the text alone, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big")


def read(data: Path, name: str) -> list[Record]:
    """The records of a set."""
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def some(records: Sequence[Record], count: int, field: str = "text") -> list[Record]:
    """A fixed part of the records, in a fixed order."""
    return sorted(records, key=lambda record: hash_of(record[field]))[:count]


def public_rows(data: Path) -> list[Row]:
    """The rows of all sets for the toxicity head, in a fixed order, each text of a set once."""
    rows: list[Row] = []
    for part in _PARTS:
        rows += {one.text: one for one in part(data) if one.text.strip()}.values()
    return rows


def assistant_prompts(data: Path) -> list[Record]:
    """Ordinary prompts to assistants: `text` and `key`, each once."""
    records = read(data, "interactions/oasst_model_eval") + read(data, "interactions/arena_hard")
    return [{"text": prompt, "key": prompt} for prompt in dict.fromkeys(record["prompt"] for record in records)]


def assistant_responses(data: Path) -> list[Record]:
    """Ordinary responses of capable models: `text`, and as `key` the prompt, each once."""
    records = read(data, "interactions/oasst_model_eval") + read(data, "interactions/arena_hard")
    usable = {one["response"]: one["prompt"] for one in records if not _WEAK_MODELS.search(one["model"])}
    return [{"text": response, "key": prompt} for response, prompt in usable.items()]


def _davidson(data: Path) -> Iterator[Row]:
    records = read(data, "toxicity/davidson")
    of_hate = _words_of_hate(records)
    for one in records:
        labels = {"toxicity": float(one["label"] != "neither"), "identity_attack": float(one["label"] == "hate")}
        # Raters marked much of the hate as merely offensive; teaching that it is none would teach the opposite.
        if one["label"] == "offensive" and _words(one["text"]) & of_hate:
            del labels["identity_attack"]
        yield row("davidson", html.unescape(one["text"]), labels, 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']{3,}", text.lower()))


def _words_of_hate(records: Sequence[Record]) -> set[str]:
    """Words over three times as frequent in hate as elsewhere in abuse, seen four times or more."""
    hate: collections.Counter[str] = collections.Counter()
    rest: collections.Counter[str] = collections.Counter()
    for one in records:
        if one["label"] != "neither":
            (hate if one["label"] == "hate" else rest).update(_words(one["text"]))
    scale = math.log(rest.total()) - math.log(hate.total())
    return {
        word
        for word, count in hate.items()
        if count >= 4 and math.log(count + 0.5) - math.log(rest[word] + 0.5) + scale > 1.2
    }


def _abuse(toxic: bool) -> dict[str, float]:
    """Labels of a text of which only the toxicity is known: what is harmless attacks nobody."""
    return {"toxicity": 1} if toxic else {"toxicity": 0, "identity_attack": 0}


def _surge(data: Path) -> Iterator[Row]:
    for one in read(data, "toxicity/surge"):
        yield row("surge", one["text"], _abuse(one["label"] == "Toxic"), 4)


def _toxigen(data: Path) -> Iterator[Row]:
    for one in read(data, "toxicity/toxigen"):
        hate = float(one["label"] == "hate")
        yield row("toxigen", one["text"], {"toxicity": hate, "identity_attack": hate}, 5)


def _toxic_spans(data: Path) -> Iterator[Row]:
    for one in some(read(data, "toxicity/toxic_spans_positives"), 4_000):
        yield row("toxic_spans", one["text"], _abuse(True), 0.7)


def _madlibs(data: Path) -> Iterator[Row]:
    for one in some(read(data, "toxicity/madlibs"), 3_000):
        yield row("madlibs", one["text"], _abuse(one["label"] == "BAD"), 0.4)


def _wikipedia(data: Path) -> Iterator[Row]:
    records = read(data, "toxicity/context_toxicity")
    toxic = [one for one in records if one["label"] == "1"]
    for one in toxic + some([one for one in records if one["label"] == "0"], 3_000):
        yield row("wikipedia", one["text"], _abuse(one["label"] == "1"), 1)


def _moderation(data: Path) -> Iterator[Row]:
    for one in read(data, "toxicity/moderation_categories"):
        given = {name: value for name, value in one["labels"].items() if value is not None}
        labels = {output: float(given[name]) for output, name in CATEGORIES.items() if name in given}
        labels["unsafe"] = float(any(given.values()))
        if any(given.get(name) for name in ("H", "H2", "HR", "V2")):
            labels["toxicity"] = 1
        elif not labels["unsafe"]:
            labels["toxicity"] = 0
        if given.get("H") or given.get("H2"):
            labels["identity_attack"] = 1
        elif "H" in given and "H2" in given:
            labels["identity_attack"] = 0
        yield row("moderation", one["text"], labels, 3)


def _traffic(source: str, records: Sequence[Record], weight: float) -> Iterator[Row]:
    """Ordinary traffic: nothing of all this."""
    labels = dict.fromkeys(("toxicity", "identity_attack", *CATEGORIES, "unsafe"), 0.0)
    for one in records:
        yield row(source, one["text"], labels, weight, key=one.get("key", ""))


def _ordinary_questions(data: Path) -> list[Record]:
    return some([one for one in read(data, "injection/s_labs") if one["label"] == "0"], 3_000)


_PARTS: tuple[Callable[[Path], Iterator[Row]], ...] = (
    _davidson,
    _surge,
    _toxigen,
    _toxic_spans,
    _madlibs,
    _wikipedia,
    _moderation,
    lambda data: _traffic("prompts", assistant_prompts(data), 1),
    lambda data: _traffic("responses", some(assistant_responses(data), RESPONSES), 1),
    lambda data: _traffic("s_labs", _ordinary_questions(data), 0.5),
)
