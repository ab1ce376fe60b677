"""The demonstration's script: ordinary traffic, and four changes that are mixed into it one after the other.

Nothing here says when a page is due; that is for the detectors to find out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import resources

import numpy as np
import yaml

from streams.demo.conversations import Exchange, exchanges
from streams.demo.rudeness import rude_requests
from tocsin.contracts import Interaction, Model

APPLICATION = "chat-partner"
SPAN = timedelta(days=30)
REFERENCE_UNITS = 2_500
SPARE = 60  # repeats are not counted as learned, so the reference takes a little longer than its units
BASELINE_UNITS = 1_000
PHASE_UNITS = 420
SHIFTED = 0.4
TECHNICAL = ("tech_support", "computers", "coding", "ai")
LANGUAGES = ("german", "french", "spanish", "italian", "dutch", "portuguese")


@dataclass(frozen=True)
class Event:
    """One interaction to be published, the rating that follows it, and whether it was changed on purpose."""

    interaction: Interaction
    rating: float | None
    shifted: bool


@dataclass(frozen=True)
class Phase:
    """A stretch of the replay."""

    name: str
    title: str
    events: tuple[Event, ...]


def phases(now: datetime, seed: int = 0) -> list[Phase]:
    """The whole replay, its last interaction now.

    The conversations are dealt to a random order: those of the first months were held by other people than the last
    ones, which is a change of its own and would be paged. Times within a conversation stay as they were.
    """
    random = np.random.default_rng(seed)
    sessions = _sessions(exchanges(seed), random)
    sizes = [REFERENCE_UNITS + SPARE, BASELINE_UNITS, *[PHASE_UNITS] * 4]
    total, begin = sum(sizes), now - SPAN
    shifts = [
        ("reference", "the reference is learned", None),
        ("baseline", "ordinary traffic", None),
        ("topic", "40 % of the requests are about computers", _corpus(("english",), TECHNICAL)),
        ("language", "40 % of the requests are in other languages", _corpus(LANGUAGES, ())),
        ("insults", "40 % of the requests are rude", [(request, "") for request in rude_requests()]),
        ("regression", "model version 2 answers, 40 % of it wrongly", None),
    ]
    found, used, position = [], 0, 0
    for (name, title, pairs), size in zip(shifts, sizes, strict=True):
        events: list[Event] = []
        for unit in range(size):
            at = begin + SPAN * ((position + unit + 1) / total)
            shifted = name not in ("reference", "baseline") and random.random() < SHIFTED
            if shifted and pairs is not None:
                prompt, response = pairs[int(random.integers(len(pairs)))]
                ordinary = sessions[int(random.integers(len(sessions)))][0]
                events.append(
                    _event(replace(ordinary, prompt=prompt, response=response or ordinary.response), at, True)
                )
                continue
            session, used = sessions[used], used + 1
            if name == "regression":
                wrong = sessions[int(random.integers(len(sessions)))][0].response if random.random() < 0.5 else STUCK
                session = [replace(session[0], response=wrong)] if shifted else session[:1]
            events += _dealt(session, at, shifted, version="2" if name == "regression" else "1")
        position += size
        events.sort(key=lambda event: event.interaction.occurred_at)
        found.append(Phase(name, title, tuple(events)))
    return found


STUCK = "I'm sorry, could you say that again?"


def _sessions(found: Sequence[Exchange], random: np.random.Generator) -> list[list[Exchange]]:
    sessions: dict[str, list[Exchange]] = {}
    for exchange in found:
        sessions.setdefault(exchange.session_id, []).append(exchange)
    dealt = list(sessions.values())
    random.shuffle(dealt)
    return dealt


def _dealt(session: Sequence[Exchange], at: datetime, shifted: bool, version: str) -> Iterator[Event]:
    """A session that begins at a time; its later turns follow as they did."""
    for exchange in session:
        yield _event(exchange, at + (exchange.said_at - session[0].said_at), shifted, exchange.session_id, version)


def _event(exchange: Exchange, at: datetime, shifted: bool, session_id: str | None = None, version: str = "1") -> Event:
    interaction = Interaction(
        occurred_at=at,
        application=APPLICATION,
        environment="demonstration",
        prompt=exchange.prompt,
        response=exchange.response,
        session_id=session_id,
        model=Model(provider="chitchat", name="partner", version=version),
        latency_ms=exchange.latency_ms,
    )
    return Event(interaction, exchange.rating if session_id else None, shifted)


def _corpus(languages: Sequence[str], topics: Sequence[str]) -> list[tuple[str, str]]:
    """Distinct pairs of request and answer of `chatterbot-corpus`; all topics if none are named."""
    pairs: dict[tuple[str, str], None] = {}
    for language in languages:
        for file in sorted(resources.files("chatterbot_corpus").joinpath("data", language).iterdir(), key=str):
            if topics and file.name.removesuffix(".yml") not in topics:
                continue
            for said in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
                if len(said) >= 2:
                    pairs[str(said[0]), str(said[1])] = None
    return list(pairs)
