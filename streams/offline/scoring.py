"""Scores of what a file holds: the scorer of the live workers, opened only when a text needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from detectors.scoring import Scorer
from streams.agents.score import scored_json
from streams.core.decoding import Accepted, DeadLetter
from streams.offline.interactions import bare_text, bounds_of_history, interaction_of, parsed
from streams.offline.records import Record
from streams.scoring import open_scorer
from streams.settings import Settings
from tocsin.contracts import Interaction
from tocsin.messages import Scored, Source

CHUNK = 256
UNSAID = {"source", "kind", "schema_version"}  # of a message, what a file need not repeat


class Scoring:
    """Scores as the live worker does, on as many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.bounds = settings, bounds_of_history(settings.limits)

    @cached_property
    def scorer(self) -> Scorer:
        """Made when it is first needed: opening takes a second, and stored scores need none."""
        return open_scorer(self._settings, self._settings.scoring.threads)

    def score(self, read: Sequence[Accepted[Scored] | Accepted[Interaction]], first: int) -> list[Scored]:
        """Messages as the watch stage gets them, in order; what carries its scores keeps them.

        Args:
            read: interactions.
            first: the place of the first one in the file.
        """
        unscored = [each.value for each in read if isinstance(each.value, Interaction)]
        scores = iter(self.scorer.score(unscored) if unscored else ())
        messages = []
        for offset, each in enumerate(read, first):
            if isinstance(each.value, Interaction):
                source = Source(topic="file", partition=0, offset=offset)
                messages.append(Scored.model_validate_json(scored_json(each.value, source, next(scores), each.flags)))
            else:
                messages.append(each.value)
        return messages


def chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Records by so many that the encoder is used well."""
    while chunk := list(islice(records, CHUNK)):
        yield chunk


def score_records(records: Iterator[Record], settings: Settings, *, vectors: bool = False) -> Iterator[dict[str, Any]]:
    """One object for each record, in order; one that cannot be read gives `{"error": …}` and stops nothing.

    Args:
        records: interactions, or `{"text": …}`.
        settings: which encoder, and the limits.
        vectors: write all that `tocsin backtest` reads, and no texts, so that it need not encode them again.
    """
    scoring, first = Scoring(settings), 0
    for chunk in chunks(records):
        found: dict[int, dict[str, Any]] = {}
        texts: dict[int, str] = {}
        read: dict[int, Accepted[Scored] | Accepted[Interaction]] = {}
        for i, record in enumerate(chunk):
            plain = parsed(record, scoring.bounds)
            text = None if vectors or isinstance(plain, DeadLetter) else bare_text(plain)
            said = plain if isinstance(plain, DeadLetter) else interaction_of(plain, first + i, scoring.bounds)
            if text is not None:
                texts[i] = text
            elif isinstance(said, DeadLetter):
                found[i] = {"error": said.detail}
            else:
                read[i] = said
        for i, scores in zip(texts, scoring.scorer.score_texts(list(texts.values())) if texts else (), strict=True):
            found[i] = {"signals": scores.signals, "labels": scores.labels, "flags": scores.flags}
        shown = {"exclude": UNSAID, "exclude_none": True} if vectors else {"include": {"signals", "labels", "flags"}}
        for i, message in zip(read, scoring.score(list(read.values()), first), strict=True):
            found[i] = message.model_dump(mode="json", **shown)
        yield from (found[i] for i in range(len(chunk)))
        first += len(chunk)
