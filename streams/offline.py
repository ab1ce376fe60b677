"""Scoring and backtesting of files: the same scorer and the same monitors as the live workers, without engines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import Any

import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from detectors.drift import ReferenceRefused
from detectors.encoder import open_encoder
from detectors.scoring import Scorer, Scores
from streams.agents.score import scored_message
from streams.core.budget import SECONDS
from streams.core.monitor import ApplicationMonitor, Event, Raised
from streams.pipeline import rules_of
from streams.settings import ConfigurationError, Settings
from tocsin.contracts import Interaction
from tocsin.messages import Page, Scored, Source

CHUNK = 256
SPACING = timedelta(minutes=1)
START = datetime(2020, 1, 1, tzinfo=UTC)


def score_lines(lines: Iterable[str], settings: Settings) -> Iterator[dict[str, Any]]:
    """One object for each line, in order; a line that cannot be read gives `{"error": …}` and stops nothing."""
    scorer = Scorer(open_encoder(settings.scoring.backend, cache=settings.cache))
    for chunk in _chunks(lines):
        read = [_read(line) for line in chunk]
        texts = [each for each in read if isinstance(each, str)]
        interactions = [each for each in read if isinstance(each, Interaction)]
        by_text, by_interaction = iter(scorer.score_texts(texts)), iter(scorer.score(interactions))
        for each in read:
            if isinstance(each, Mapping):
                yield dict(each)
            else:
                yield _scored(next(by_text) if isinstance(each, str) else next(by_interaction))


def backtest_lines(
    lines: Iterable[str], settings: Settings, reference: Sequence[str], reference_first: int
) -> Iterator[dict[str, Any]]:
    """The pages that a replay would have sent, then a summary.

    Args:
        lines: interactions in the order of time; `{"text": …}` lines are prompts, a minute apart.
        settings: budget and reference as configured.
        reference: lines that make the reference, or none.
        reference_first: how many of `lines` make it, or 0.

    Raises:
        ConfigurationError: a line is no interaction, or the reference is refused.
    """
    began = time.monotonic()
    replay = _Replay(settings)
    for _ in replay.feed(reference, learning=True):
        pass
    rest = (line for line in lines if line.strip())
    for _ in replay.feed(islice(rest, reference_first), learning=True):
        pass
    replay.learn()
    pages = 0
    for page in replay.feed(rest, learning=False):
        pages += 1
        yield _finding(page)
    yield {
        "events": replay.events,
        "pages": pages,
        "expected_false_pages": settings.budget.pages_per_30_days * replay.seconds / SECONDS,
        "seconds": round(time.monotonic() - began, 3),
        "not_watched": replay.not_watched,
    }


class _Replay:
    """Monitors fed from a file."""

    def __init__(self, settings: Settings) -> None:
        self._scorer = Scorer(open_encoder(settings.scoring.backend, cache=settings.cache))
        # the file says how much makes the reference, so no monitor may decide it
        self._rules = rules_of(
            settings.model_copy(update={"watch": settings.watch.model_copy(update={"reference_units": 10**9})})
        )
        self._monitors: dict[str, ApplicationMonitor] = {}
        self._first: datetime | None = None
        self._last: datetime | None = None
        self.events = 0
        self.not_watched: dict[str, str] = {}
        self._learned = False

    @property
    def seconds(self) -> float:
        """Event time that was watched."""
        return (self._last - self._first).total_seconds() if self._first and self._last else 0.0

    def feed(self, lines: Iterable[str], *, learning: bool) -> Iterator[Page]:
        """Pages, as their interactions come by."""
        for chunk in _chunks(track(lines, "learning" if learning else "watching", console=Console(stderr=True))):
            interactions = [self._interaction(line, self.events + i) for i, line in enumerate(chunk)]
            scores = self._scorer.score(interactions)
            scored = [
                scored_message(interaction, Source(topic="file", partition=0, offset=self.events + i), score)
                for i, (interaction, score) in enumerate(zip(interactions, scores, strict=True))
            ]
            self.events += len(chunk)
            if not learning:
                self._first = self._first or interactions[0].occurred_at
                self._last = max(each.occurred_at for each in interactions)
            for event in self._apply(scored):
                if isinstance(event, Raised):
                    yield event.page

    def learn(self) -> None:
        """Fit every application's reference."""
        for name, monitor in self._monitors.items():
            try:
                monitor.learn_now(frozenset(self._monitors))
            except ReferenceRefused as reason:
                raise ConfigurationError(f"backtest: the reference of {name} is refused: {reason}") from None
            if monitor.reference:
                refused = monitor.reference.refused
                self.not_watched |= {f"{name}: {stream}": why for stream, why in refused.items()}
        self._learned = True

    def _apply(self, scored: Sequence[Scored]) -> Iterator[Event]:
        sharing = frozenset(self._monitors)
        for name, run in groupby(scored, key=lambda message: message.application):
            if name not in self._monitors:
                self._monitors[name] = ApplicationMonitor(name, self._rules)
                if self._learned:
                    self.not_watched[name] = "none of its interactions were in the reference"
            yield from self._monitors[name].apply(list(run), sharing)

    def _interaction(self, line: str, number: int) -> Interaction:
        read = _read(line)
        if isinstance(read, str):
            at = START + SPACING * number
            return Interaction(interaction_id=str(number), occurred_at=at, application="file", prompt=read, response="")
        if not isinstance(read, Interaction):
            raise ConfigurationError(f"backtest: line {number + 1}: {read['error']}")
        return read


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    full = (line for line in lines if line.strip())
    while chunk := list(islice(full, CHUNK)):
        yield chunk


def _read(line: str) -> str | Interaction | dict[str, str]:
    try:
        plain = orjson.loads(line.encode("utf-8", "surrogatepass"))
    except orjson.JSONDecodeError:
        return {"error": "not JSON"}
    if isinstance(plain, dict) and isinstance(plain.get("text"), str) and "prompt" not in plain:
        return str(plain["text"])
    if isinstance(plain, dict):
        plain.setdefault("application", "file")
    try:
        return Interaction.model_validate(plain)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        return {"error": f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"}


def _scored(scores: Scores) -> dict[str, Any]:
    return {"signals": scores.signals, "labels": scores.labels, "flags": scores.flags}


def _finding(page: Page) -> dict[str, Any]:
    plain = page.model_dump(
        mode="json", include={"application", "stream", "lane", "position", "occurred_at", "evidence"}
    )
    plain |= {"began_estimate": page.began_at.isoformat(), "effect": page.effect.model_dump(), "share": page.share}
    return plain | {"interaction_id": page.interaction_id}
