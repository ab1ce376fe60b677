"""The sets of texts, by name.

Data: CLINC150, BANKING77, Schema-Guided Dialogues, Tatoeba, arena-hard, GSM8K as JSON Lines under the directory that
`TOCSIN_DATA` names, and the conversations of the package `chitchat-dataset`; see benchmarks/README.md.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = Path(os.environ.get("TOCSIN_DATA", Path(__file__).parents[3] / "shared" / "data"))
CODE = re.compile(
    r"```|\b(python|javascript|typescript|c\+\+|java|sql|html|css|php|rust|bash|regex|api|function)\b", re.I
)
JSON_SUFFIX = " Answer in JSON."
JSON_TEXTS = 3_000
FEW = 5_000
EVERY_SESSION = 7
GPT = ("gpt-4-0314", "gpt-4-0613", "gpt-3.5-turbo-0125")
GSM = ("6b_finetuning", "175b_finetuning", "175b_verification")


@cache
def _rows(file: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _distinct(file: str, field: str) -> list[str]:
    return list(dict.fromkeys(row[field] for row in _rows(file)))


def _few(texts: list[str], count: int) -> list[str]:
    return [texts[i] for i in np.sort(np.random.default_rng(0).permutation(len(texts))[:count])]


def assistant() -> list[str]:
    """Requests to assistants: the traffic in which nothing changes."""
    return _distinct("drift/clinc150", "text")


@cache
def domains() -> NDArray[np.str_]:
    """(n,) the domain of each text of `assistant`."""
    of = {row["text"]: row["topic"].partition("/")[0] for row in reversed(_rows("drift/clinc150"))}
    return np.array([of[text] for text in assistant()])


def _turn_rows() -> list[dict[str, Any]]:
    return [row for row in _rows("drift/schema_guided_dialogues") if row["session"] % EVERY_SESSION == 0]


@cache
def sessions() -> list[NDArray[np.int64]]:
    """Of each session, its turns as rows of the set `turns`."""
    place = {text: i for i, text in enumerate(SETS["turns"]())}
    found: dict[int, list[int]] = {}
    for row in _turn_rows():
        found.setdefault(row["session"], []).append(place[row["text"]])
    return [np.array(turns) for turns in found.values()]


def _conversations() -> list[str]:
    """The first turn of every conversation, in the order of their beginnings; repeats stay in."""
    text = resources.files("chitchat_dataset").joinpath("dataset.json").read_text(encoding="utf-8")
    told = sorted(json.loads(text).values(), key=lambda conversation: str(conversation["start"]))
    return ["\n".join(message["text"] for message in conversation["messages"][0]) for conversation in told]


def _answers(file: str, model: str) -> list[str]:
    """One response a prompt, in the order of the prompts."""
    found = {row["prompt"]: row["response"] for row in _rows(file) if row["model"] == model}
    return [found[prompt] for prompt in _distinct(file, "prompt")]


SETS: dict[str, Callable[[], list[str]]] = {
    "assistant": assistant,
    "few": lambda: _few(assistant(), FEW),
    "topic": lambda: _distinct("drift/banking77", "text"),
    "German": lambda: _distinct("drift/tatoeba_german", "text"),
    "code": lambda: [text for text in _distinct("interactions/arena_hard", "prompt") if CODE.search(text)],
    "JSON": lambda: [text + JSON_SUFFIX for text in _few(assistant(), JSON_TEXTS)],
    "turns": lambda: list(dict.fromkeys(row["text"] for row in _turn_rows())),
    "conversations": _conversations,
    "arena prompts": lambda: _distinct("interactions/arena_hard", "prompt"),
    "gsm8k prompts": lambda: _distinct("interactions/gsm8k", "prompt"),
    **{model: partial(_answers, "interactions/arena_hard", model) for model in GPT},
    **{model: partial(_answers, "interactions/gsm8k", model) for model in GSM},
}
