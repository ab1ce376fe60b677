"""Real traffic for the demonstration: the conversations of the `chitchat-dataset` package as interactions.

One partner's turn is the prompt, the other's next turn the response; the conversation is the session, and its rating
arrives as feedback. A session counts once for a detector, so most conversations give one exchange (not the greeting), a
long one gives one from each half, as two sessions, and a few dozen are taken whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any

import numpy as np

LONG = 20
WHOLE = 36


@dataclass(frozen=True)
class Exchange:
    """A prompt, the response to it, and what is known about them.

    Attributes:
        session_id: one of the detectors' units, unless `first` is false.
        said_at: when the response was complete.
        latency_ms: from the end of the prompt to the beginning of the response.
        rating: of the conversation, 1 to 10, if this is the exchange that carries it.
        first: whether it is the first of its session.
    """

    session_id: str
    prompt: str
    response: str
    said_at: datetime
    latency_ms: float
    rating: float | None = None
    first: bool = True


def _turns(conversation: dict[str, Any]) -> list[tuple[str, datetime, datetime]]:
    """Text, beginning and end of each turn; a turn may be several messages."""
    return [
        (
            "\n".join(message["text"] for message in turn),
            datetime.fromisoformat(turn[0]["timestamp"]),
            datetime.fromisoformat(turn[-1]["timestamp"]),
        )
        for turn in conversation["messages"]
        if turn
    ]


def _exchange(
    session_id: str,
    turns: Sequence[tuple[str, datetime, datetime]],
    at: int,
    rating: float | None,
    *,
    first: bool = True,
) -> Exchange:
    (prompt, _, asked), (response, answering, answered) = turns[at], turns[at + 1]
    latency_ms = max(0.0, (answering - asked).total_seconds() * 1000)
    return Exchange(session_id, prompt, response, answered, latency_ms, rating, first)


def exchanges(seed: int = 0) -> list[Exchange]:
    """All exchanges of the demonstration, in the order in which they were said."""
    text = resources.files("chitchat_dataset").joinpath("dataset.json").read_text(encoding="utf-8")
    random = np.random.default_rng(seed)
    found: list[Exchange] = []
    whole = 0
    for name, conversation in json.loads(text).items():
        turns = _turns(conversation)
        if len(turns) < 3:
            continue  # nothing but a greeting
        ratings = conversation.get("ratings") or {}
        rating = float(np.mean(list(ratings.values()))) if ratings else None
        if LONG <= len(turns) < 2 * LONG and whole < WHOLE:
            whole += 1
            found += _whole(name, turns, rating)
            continue
        halves = (
            [(1, len(turns) - 1)] if len(turns) < LONG else [(1, len(turns) // 2), (len(turns) // 2, len(turns) - 1)]
        )
        for half, (begin, end) in enumerate(halves):
            at = int(random.integers(begin, end))
            found.append(_exchange(f"{name}/{half}", turns, at, rating if half == 0 else None))
    return sorted(found, key=lambda exchange: exchange.said_at)


def _whole(name: str, turns: Sequence[tuple[str, datetime, datetime]], rating: float | None) -> Iterator[Exchange]:
    for at in range(1, len(turns) - 1, 2):
        yield _exchange(name, turns, at, rating if at == 1 else None, first=at == 1)
