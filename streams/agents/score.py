"""SCORE: interactions and feedback in; rows, dead letters and signals out.

Order of the writes: rows, ledger, signals, acknowledgement. After a crash the batch comes again: rows that are there
are not written twice, signals are (the watch stage keeps a mark for each source partition).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.scoring import Scores
from sinks.clickhouse import Store, StoreRejected
from sinks.recovery import Recovery
from sinks.rows import dead_letter_row, feedback_row, interaction_row, token_of
from streams.agents.ledger import Fate, Ledger
from streams.core.decoding import CONFLICT, Accepted, DeadLetter, bounds_of, decode_feedback, decode_interaction
from streams.metrics import DEAD_LETTERS, DUPLICATES, SCORING_SECONDS, STORED
from streams.publisher import Publisher
from streams.scoring import Scoring
from streams.settings import Settings
from streams.worker import Record
from tocsin.contracts import SCHEMA_VERSION, Interaction
from tocsin.messages import FEEDBACK, INTERACTIONS, SIGNALS, Source, pack_vector

MOST_DAYS = 60_000  # of history; a row counts its days in 16 bits


@dataclass(frozen=True)
class _Taken:
    """An interaction to be scored; `row` says whether it has no row yet."""

    record: Record
    source: Source
    interaction: Interaction
    flags: tuple[str, ...]
    row: bool


class ScoreStage:
    """The handler of `tocsin.interactions`."""

    def __init__(
        self, store: Store, publisher: Publisher, scorer: Scoring, settings: Settings, clock: Callable[[], datetime]
    ) -> None:
        self._store, self._publisher, self._scorer, self._clock = store, publisher, scorer, clock
        self._recovery, self._ledger = Recovery(store), Ledger(INTERACTIONS, store)
        self._bounds, self._limits = bounds_of(settings.limits), settings.limits
        callers = max(settings.scoring.threads, settings.scoring.processes)
        self._pool = ThreadPoolExecutor(callers, thread_name_prefix="score")

    async def __call__(self, records: list[Record]) -> None:
        """Store and publish a batch."""
        taken, dead, fates = await asyncio.to_thread(self._sort, records)
        scores = await self._score([each.interaction for each in taken])
        signals = await asyncio.to_thread(self._store_batch, taken, scores, dead, fates)
        await self._publisher.publish(SIGNALS, [(each.application, each.value) for each in in_order_of_time(signals)])
        _count(fates)

    def _store_batch(
        self,
        taken: Sequence[_Taken],
        scores: Sequence[Scores],
        dead: list[dict[str, Any]],
        fates: Sequence[tuple[Record, Fate]],
    ) -> list[Outgoing]:
        """Rows, dead letters, ledger; returns what is to be published."""
        rejected = self._insert(taken, scores, dead)
        self._ledger.close([(record, rejected.get(record, fate)) for record, fate in fates])
        return [
            Outgoing(
                each.source.partition,
                each.interaction.occurred_at,
                each.interaction.application,
                scored_json(each.interaction, each.source, score, each.flags),
            )
            for each, score in zip(taken, scores, strict=True)
            if each.record not in rejected
        ]

    def _sort(self, records: list[Record]) -> tuple[list[_Taken], list[dict[str, Any]], list[tuple[Record, Fate]]]:
        """What is to be scored, the rows of dead letters, and what became of each record."""
        now = self._clock()
        read = [(record, decode_interaction(record.value, now, self._bounds, record)) for record in records]
        known = self._known([result.value for _, result in read if isinstance(result, Accepted)])
        taken: list[_Taken] = []
        dead: list[dict[str, Any]] = []
        fates: list[tuple[Record, Fate]] = []
        for record, result in read:
            if isinstance(result, DeadLetter):
                dead.append(self._dead_letter(record, result))
                fates.append((record, "dead_lettered"))
                continue
            interaction, flags = result.value, result.flags
            places = known.setdefault((interaction.application, interaction.interaction_id), {})
            hour, own = int(interaction.occurred_at.timestamp()) // 3600, (record.partition, record.offset)
            if places.get(hour, own) != own:
                fates.append((record, "duplicate"))
                continue
            others = [place for other, place in places.items() if other != hour]
            if any(place[0] != own[0] or place[1] < own[1] for place in others):
                flags = (*flags, CONFLICT)  # the same id at another time: both are kept, and the first one is the unit
            taken.append(_Taken(record, record.source, interaction, flags, row=hour not in places))
            places[hour] = own
            fates.append((record, "stored"))
        return taken, dead, fates

    def _known(self, interactions: Sequence[Interaction]) -> dict[tuple[str, str], dict[int, tuple[int, int]]]:
        """Where interactions with these ids are stored: (application, id) to hour to (partition, offset)."""
        known: dict[tuple[str, str], dict[int, tuple[int, int]]] = {}
        for row in self._recovery.stored_interactions(interactions):
            places = known.setdefault((row["application"], row["interaction_id"]), {})
            places[int(row["hour"]) // 3600] = (int(row["source_partition"]), int(row["source_offset"]))
        return known

    async def _score(self, interactions: list[Interaction]) -> list[Scores]:
        """Scores in order; several threads take pieces, since the encoder runs outside the interpreter's lock."""
        piece = self._scorer.batch  # on a CPU a fraction of a second: an exit waits for no more
        pieces = [interactions[start : start + piece] for start in range(0, len(interactions), piece)]
        loop = asyncio.get_running_loop()
        with SCORING_SECONDS.time():
            done = await asyncio.gather(
                *(loop.run_in_executor(self._pool, self._scorer.score, part) for part in pieces)
            )
        return [score for piece in done for score in piece]

    def _insert(
        self, taken: Sequence[_Taken], scores: Sequence[Scores], dead: list[dict[str, Any]]
    ) -> dict[Record, Fate]:
        """Write rows and dead letters; returns the records that the store refuses for their content."""
        rows = [(each, self._row(each, score)) for each, score in zip(taken, scores, strict=True) if each.row]
        refused = self._insert_or_bisect(rows)
        dead += [self._dead_letter(each.record, DeadLetter("rejected", "the store refuses it")) for each in refused]
        self._store.insert("dead_letters", dead, token_of(dead))
        return {each.record: "dead_lettered" for each in refused}

    def _insert_or_bisect(self, rows: list[tuple[_Taken, dict[str, Any]]]) -> list[_Taken]:
        if not rows:
            return []
        try:
            found = [row for _, row in rows]
            self._store.insert("interactions", found, token_of(found))
        except StoreRejected:
            if len(rows) == 1:
                return [rows[0][0]]
            half = len(rows) // 2
            return self._insert_or_bisect(rows[:half]) + self._insert_or_bisect(rows[half:])
        return []

    def _row(self, each: _Taken, score: Scores) -> dict[str, Any]:
        return interaction_row(
            each.interaction,
            each.source,
            signals=score.signals,
            labels=score.labels,
            flags=[*score.flags, *each.flags],
            vectors=(score.prompt_vector, score.response_vector),
            encoder=score.encoder,
            heads=score.heads,
            retention_days=self._limits.retention_days + self._days_missed(each.interaction),
        )

    def _days_missed(self, interaction: Interaction) -> int:
        """How old history is: its retention begins now."""
        return min(MOST_DAYS, max(0, (self._clock() - interaction.occurred_at).days)) if interaction.history else 0

    def _dead_letter(self, record: Record, letter: DeadLetter) -> dict[str, Any]:
        DEAD_LETTERS.labels(record.topic, letter.reason).inc()
        return dead_letter_row(
            record.source, record.at, letter.reason, letter.detail, record.value, self._limits.dead_letter_days
        )


def scored_json(interaction: Interaction, source: Source, score: Scores, flags: Sequence[str] = ()) -> bytes:
    """The JSON of a `Scored`, which the watch stage is told of an interaction.

    Of parts that were validated already: to build the model and let it write itself takes five times as long.
    """
    message: dict[str, Any] = {
        "kind": "scored",
        "schema_version": SCHEMA_VERSION,
        "source": {"topic": source.topic, "partition": source.partition, "offset": source.offset},
        "interaction_id": interaction.interaction_id,
        "application": interaction.application,
        "occurred_at": interaction.occurred_at,
        "attributes": interaction.attributes,
        "signals": score.signals,
        "labels": score.labels,
        "flags": [*score.flags, *flags],
        "prompt_vector": _packed(score.prompt_vector),
        "response_vector": _packed(score.response_vector),
        "encoder": score.encoder,
    }
    if interaction.session_id is not None:
        message["session_id"] = interaction.session_id
    for name, part in (("model", interaction.model), ("prompt_template", interaction.prompt_template)):
        if part is not None:
            message[name] = part.model_dump(exclude_none=True)
    return orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)


def _packed(vector: NDArray[np.float32]) -> str:
    """A vector that is exact in bfloat16, which is then the upper half of each number."""
    return pack_vector(vector.view("<u2")[1::2].tobytes())


class Outgoing(NamedTuple):
    """A message to the watch stage, and the partition that its interaction came from."""

    partition: int
    occurred_at: datetime
    application: str
    value: bytes


def in_order_of_time(messages: Sequence[Outgoing]) -> Iterator[Outgoing]:
    """Partitions merged by event time, each in its own order, which the marks of the watch stage rely on.

    A backlog comes partition by partition; a unit that is late for its stream brings no budget with it.
    """
    by_partition: dict[int, list[Outgoing]] = {}
    for each in messages:
        by_partition.setdefault(each.partition, []).append(each)
    return merge(*by_partition.values(), key=lambda each: each.occurred_at)


def _count(fates: Sequence[tuple[Record, Fate]]) -> None:
    counters = {"stored": STORED, "duplicate": DUPLICATES}
    for (topic, fate), number in Counter((record.topic, fate) for record, fate in fates).items():
        if fate in counters:
            counters[fate].labels(topic).inc(number)


class FeedbackStage:
    """The handler of `tocsin.feedback`: rows and dead letters."""

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._store, self._recovery, self._ledger = store, Recovery(store), Ledger(FEEDBACK, store)
        self._bounds, self._limits, self._clock = bounds_of(settings.limits), settings.limits, clock

    async def __call__(self, records: list[Record]) -> None:
        """Store a batch."""
        await asyncio.to_thread(self._store_batch, records)

    def _store_batch(self, records: list[Record]) -> None:
        now, rows, dead, fates = self._clock(), [], [], list[tuple[Record, Fate]]()
        read = [(record, decode_feedback(record.value, now, self._bounds, record)) for record in records]
        readable = [result.value for _, result in read if isinstance(result, Accepted)]
        known = {
            row["feedback_id"]: (int(row["source_partition"]), int(row["source_offset"]))
            for row in self._recovery.stored_feedback(readable)
        }
        for record, result in read:
            source = record.source
            if isinstance(result, DeadLetter):
                DEAD_LETTERS.labels(record.topic, result.reason).inc()
                days = self._limits.dead_letter_days
                dead.append(dead_letter_row(source, record.at, result.reason, result.detail, record.value, days))
                fates.append((record, "dead_lettered"))
                continue
            own = (record.partition, record.offset)
            if result.value.feedback_id not in known:
                known[result.value.feedback_id] = own
                rows.append(feedback_row(result.value, source, self._limits.retention_days))
            fates.append((record, "stored" if known[result.value.feedback_id] == own else "duplicate"))
        self._store.insert("feedback", rows, token_of(rows))
        self._store.insert("dead_letters", dead, token_of(dead))
        self._ledger.close(fates)
        _count(fates)
