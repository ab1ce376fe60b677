"""Interactions to score: real ones of several sets mixed, or short ones without end."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from tocsin.contracts import Interaction, now

DATA = Path(os.environ.get("TOCSIN_DATA", Path(__file__).parents[3] / "shared" / "data"))
SETS = ("arena_hard", "oasst_model_eval", "pandalm_preferences", "gsm8k", "xstest")
WORDS = ["order", "refund", "password", "address", "delivery", "account", "card", "shop", "price", "return", "help"]


def mixed(n: int, seed: int = 0) -> list[Interaction]:
    """n different interactions, alike many of each set, in a random order as traffic comes."""
    random = np.random.default_rng(seed)
    found: list[Interaction] = []
    for name in SETS:
        with gzip.open(DATA / "interactions" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        different = list({(row["prompt"], row["response"]): None for row in rows if row.get("response")})
        for index in random.permutation(len(different))[: -(-n // len(SETS))]:
            found.append(interaction(*different[index]))
    return [found[index] for index in random.permutation(len(found))[:n]]


def endless(prompt_words: int = 8, response_words: int = 16, seed: int = 0) -> Iterator[Interaction]:
    """Interactions of about so many tokens, every one another; a word of these is a token."""
    random = np.random.default_rng(seed)
    for number in count():
        asked, told = (" ".join(random.choice(WORDS, size - 1)) for size in (prompt_words, response_words))
        yield interaction(f"{asked} {number}", f"{told} {number}")


def interaction(prompt: str, response: str) -> Interaction:
    """As a service sends it."""
    return Interaction(application="benchmark", prompt=prompt, response=response, occurred_at=now(), latency_ms=812.5)
