"""Dead letters: looked at, and published again when they, or what is read, have been mended.

A letter has the id `topic/partition/offset`, where it was read. Published again it is a new message of its topic, with
an offset of its own: the ledger accounts for both. It is marked after the broker has it, so that a crash between the
two may publish it twice; its interaction or feedback keeps one id, and the second one counts as a duplicate.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from sinks.queries import Queries
from sinks.rows import original_bytes
from streams.core.decoding import Accepted, Bounds, DeadLetter, Origin, decode_feedback, decode_interaction
from tocsin.contracts import Feedback, Interaction, now
from tocsin.messages import FEEDBACK, INTERACTIONS, Source
from tocsin.transports import Message, message_of

if TYPE_CHECKING:  # the command line shows letters without a store of its own
    from sinks.clickhouse import Store

Row = dict[str, Any]
Send = Callable[[Sequence[Message]], Awaitable[list[Source]]]
Outcome = Literal["replayed", "would be replayed", "replayed before", "unreadable", "unknown"]

EVER = datetime(1970, 1, 1, tzinfo=UTC)
START = "/-1/-1"
PAGE = 200


@dataclass(frozen=True)
class Selection:
    """Which dead letters; empty is all.

    Attributes:
        topic: of this topic.
        reason: with this reason.
        since: that came at this time or later.
        ids: these alone.
        after: behind this id, in the order of ids.
        limit: so many at most.
    """

    topic: str = ""
    reason: str = ""
    since: datetime = EVER
    ids: Sequence[str] = ()
    after: str = START
    limit: int = PAGE


@dataclass(frozen=True)
class Order:
    """What is to be published again.

    Attributes:
        selection: which letters; with `fixes`, these.
        fixes: the new bytes of letters, by id.
        again: also those that were replayed before.
        dry_run: only say what would become of them.
    """

    selection: Selection
    fixes: Mapping[str, bytes] = field(default_factory=dict)
    again: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Replayed:
    """What became of a page of letters, and where to go on; `after` is empty when there are no more."""

    outcomes: Sequence[tuple[str, Outcome, str]]
    after: str


def latest(store: Store, selection: Selection) -> list[Row]:
    """The latest dead letters without their bytes. Blocks."""
    return Queries(store).read(
        "dead_letters_latest",
        topic=selection.topic,
        reason=selection.reason,
        since=selection.since,
        limit=selection.limit,
    )


def page(store: Store, selection: Selection) -> list[Row]:
    """Dead letters with their original bytes, in the order of ids. Blocks.

    Raises:
        ValueError: `after` is no id.
    """
    topic, partition, offset = selection.after.rsplit("/", 2)
    rows = Queries(store).read(
        "dead_letters_page",
        topic=selection.topic,
        reason=selection.reason,
        since=selection.since,
        ids=list(selection.ids),
        after_topic=topic,
        after_partition=int(partition),
        after_offset=int(offset),
        limit=selection.limit,
    )
    return [row | {"raw": original_bytes(row["raw"])} for row in rows]


async def replay(store: Store, send: Send, bounds: Bounds, order: Order) -> Replayed:
    """Publish a page of dead letters again: those that are readable now, and that were not replayed before."""
    selection = replace(order.selection, ids=list(order.fixes)) if order.fixes else order.selection
    letters = await asyncio.to_thread(page, store, selection)
    outcomes: list[tuple[str, Outcome, str]] = []
    ready: list[tuple[Row, Message]] = []
    for letter in letters:
        letter_id = letter["letter_id"]
        readable = prepared(letter, order.fixes.get(letter_id, letter["raw"]), bounds)
        if letter["replays"] and not order.again:
            outcomes.append((letter_id, "replayed before", ""))
        elif isinstance(readable, DeadLetter):
            outcomes.append((letter_id, "unreadable", f"{readable.reason}: {readable.detail}"))
        else:
            outcomes.append((letter_id, "would be replayed" if order.dry_run else "replayed", ""))
            ready.append((letter, readable))
    if ready and not order.dry_run:
        places = await send([message for _, message in ready])
        marks = [_mark(letter, place, order) for (letter, _), place in zip(ready, places, strict=True)]
        await asyncio.to_thread(store.insert, "dead_letter_replays", marks)
    found = {letter["letter_id"] for letter in letters}
    if order.fixes:
        outcomes += [(letter_id, "unknown", "") for letter_id in order.fixes if letter_id not in found]
    more = len(letters) == selection.limit and not order.fixes
    return Replayed(outcomes, letters[-1]["letter_id"] if more else "")


def prepared(letter: Row, raw: bytes, bounds: Bounds) -> Message | DeadLetter:
    """The message to publish, or why it would be a dead letter again. An id or a time that is missing is the letter's.

    Without that, each try would make another one, and a repeat would not be known for one.
    """
    whole = replace(bounds, text_characters=sys.maxsize)  # it is cut when it is read
    origin = Origin(letter["topic"], letter["partition"], letter["offset"], letter["received_at"])
    decoded: Accepted[Interaction] | Accepted[Feedback] | DeadLetter
    if letter["topic"] == INTERACTIONS:
        decoded = decode_interaction(raw, now(), whole, origin)
    elif letter["topic"] == FEEDBACK:
        decoded = decode_feedback(raw, now(), whole, origin)
    else:
        return DeadLetter("rejected", "no service has written this topic; it cannot be replayed")
    return decoded if isinstance(decoded, DeadLetter) else message_of(decoded.value)


def _mark(letter: Row, place: Source, order: Order) -> Row:
    return {
        "topic": letter["topic"],
        "source_partition": letter["partition"],
        "source_offset": letter["offset"],
        "replayed_at": now(),
        "fixed": int(letter["letter_id"] in order.fixes),
        "target_partition": place.partition,
        "target_offset": place.offset,
        "retention_days": letter["retention_days"],
    }
