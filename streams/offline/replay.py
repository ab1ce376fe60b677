"""Monitors fed from a file: the decoder, the scorer, the rule for duplicates and the monitors of the live workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detectors.drift import ReferenceRefused
from streams.core.budget import elapsed
from streams.core.decoding import Accepted, DeadLetter
from streams.core.events import Event, Learned, Raised
from streams.core.monitor import ApplicationMonitor
from streams.core.reference import Reference
from streams.core.rules import Rules
from streams.core.units import Sessions
from streams.offline.interactions import dimensions, interaction_of, parsed
from streams.offline.records import Record
from streams.offline.scoring import Scoring
from streams.pipeline import rules_of
from streams.settings import ConfigurationError, Settings
from tocsin.contracts import Interaction
from tocsin.messages import Page, Scored

NEVER = 10**9  # units; while the reference is read, it is the file's length that decides and no monitor


@dataclass
class Standing:
    """How far a replay is and what it has counted; plain values, so that a checkpoint can hold it.

    Attributes:
        before: records of the reference's own file that were taken in.
        taken: records of the file that were taken in.
        learned: whether the references are made.
        encoders: applications that are watched, with the encoder of their reference; they share the budget.
        clocks: latest event time of each application, seconds since 1970.
        lengths: of the vectors of each encoder.
        expected: pages of budget that were handed out.
        pages: how many were sent.
        late: interactions older than one of their application before them; they bring no budget.
        duplicates: interactions left out because their id came before, in the same hour.
        unreadable: records left out.
        other_encoders: interactions whose vectors could not be compared, by their encoder.
        refused: streams that are not watched, and why.
    """

    before: int = 0
    taken: int = 0
    learned: bool = False
    encoders: dict[str, str] = field(default_factory=dict)
    clocks: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    expected: float = 0.0
    pages: int = 0
    late: int = 0
    duplicates: int = 0
    unreadable: int = 0
    other_encoders: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Replay:
    """The state of a replay.

    Attributes:
        standing: how far it is.
        monitors: by application.
        ids: interactions of late, digested: what is delivered twice counts once, as in the table.
        fitted: references made since somebody last looked.
        rules: for monitors at this point of the replay.
    """

    def __init__(self, settings: Settings, *, tolerant: bool = False) -> None:
        self.standing = Standing()
        self.monitors: dict[str, ApplicationMonitor] = {}
        self.ids = Sessions()
        self.fitted: list[Reference] = []
        self._scoring, self._live, self._tolerant = Scoring(settings), rules_of(settings), tolerant

    @property
    def rules(self) -> Rules:
        """As configured, once the references are made."""
        return self._live if self.standing.learned else replace(self._live, reference_units=NEVER)

    def take(self, records: Sequence[Record], *, its_own: bool = False) -> tuple[list[Scored], list[Page]]:
        """Take the next records in; `its_own` says that they are the reference's own file.

        Returns:
            Their messages as the watch stage gets them, and the pages that they complete.

        Raises:
            ConfigurationError: one cannot be read, or does not fit to the ones before; names its line.
        """
        first = self.standing.before + self.standing.taken
        read = self._read(records, first)
        messages = self._scoring.score([each for _, each in read], first)
        self._count(messages, [number for number, _ in read])
        pages = self._watch(messages)
        if its_own:
            self.standing.before += len(records)
        else:
            self.standing.taken += len(records)
        return messages, pages

    def learn(self) -> None:
        """Make every application's reference of what was taken in; one that has too little goes on collecting.

        Raises:
            ConfigurationError: none of them can be made.
        """
        everybody, refused = frozenset(self.monitors), dict[str, str]()
        for name, monitor in sorted(self.monitors.items()):
            try:
                for event in monitor.learn_now(everybody):
                    self._note(event)
            except ReferenceRefused as reason:
                refused[name] = str(reason)
        if not self.standing.encoders:
            name, why = next(iter(refused.items()), ("the file", "it holds no interaction"))
            raise ConfigurationError(f"backtest: the reference of {name} is refused: {why}")
        self.standing.learned = True

    def summary(self) -> dict[str, Any]:
        """What the replay comes to; `expected_false_pages` is the budget of the event time that was watched."""
        standing = self.standing
        without = sorted(self.monitors.keys() - standing.encoders.keys())
        return {
            "events": standing.taken,
            "pages": standing.pages,
            "expected_false_pages": standing.expected,
            "late": standing.late,
            "duplicates": standing.duplicates,
            "unreadable": standing.unreadable,
            "other_encoders": standing.other_encoders,
            "not_watched": standing.refused | dict.fromkeys(without, "too few of its interactions for a reference"),
        }

    def _read(
        self, records: Sequence[Record], first: int
    ) -> list[tuple[int, Accepted[Scored] | Accepted[Interaction]]]:
        """The interactions with their line numbers, without what cannot be read and what came before."""
        kept = []
        for index, record in enumerate(records, first):
            plain = parsed(record, self._scoring.bounds)
            said = plain if isinstance(plain, DeadLetter) else interaction_of(plain, index, self._scoring.bounds)
            if isinstance(said, DeadLetter):
                if not self._tolerant:
                    raise ConfigurationError(f"backtest: line {record.number}: {said.detail}")
                self.standing.unreadable += 1
                continue
            one = said.value
            hour = int(one.occurred_at.timestamp()) // 3600
            if self.ids.first(f"{one.application}\0{hour}\0{one.interaction_id}"):
                kept.append((record.number, said))
            else:
                self.standing.duplicates += 1
        return kept

    def _count(self, messages: Sequence[Scored], numbers: Sequence[int]) -> None:
        """Budget, late ones and encoders."""
        standing = self.standing
        rate = {name: self._live.pages_per_second(name, standing.encoders) for name in standing.encoders}
        for message, number in zip(messages, numbers, strict=True):
            name, at = message.application, message.occurred_at.timestamp()
            clock = standing.clocks.setdefault(name, at)
            standing.late += at < clock
            standing.expected += rate.get(name, 0.0) * elapsed(clock, at)
            standing.clocks[name] = max(clock, at)
            length = dimensions(message.prompt_vector)
            if standing.lengths.setdefault(message.encoder, length) != length:
                raise ConfigurationError(
                    f"backtest: line {number}: vectors of another length than before from encoder {message.encoder}"
                )
            self._count_encoder(message, number)

    def _count_encoder(self, message: Scored, number: int) -> None:
        """Vectors compare under one encoder only: two in one reference are an error, others after it are counted."""
        standing = self.standing
        first = next(iter(standing.lengths))
        if not standing.learned and message.encoder != first:
            raise ConfigurationError(
                f"backtest: line {number}: vectors of encoder {message.encoder} after those of {first}; a reference is"
                " made of one: leave out the lines of the other, or all vectors, to have the texts encoded anew"
            )
        if standing.encoders.get(message.application, message.encoder) != message.encoder:
            standing.other_encoders[message.encoder] = standing.other_encoders.get(message.encoder, 0) + 1

    def _watch(self, messages: Sequence[Scored]) -> list[Page]:
        sharing, pages = frozenset(self.standing.encoders), []
        for name, mine in _by_application(messages).items():
            if name not in self.monitors:
                self.monitors[name] = ApplicationMonitor(name, self.rules)
            for event in self.monitors[name].apply(mine, sharing):
                self._note(event)
                if isinstance(event, Raised):
                    pages.append(event.page)
        places = {(message.application, message.interaction_id): i for i, message in enumerate(messages)}
        pages.sort(key=lambda page: places[page.application, page.interaction_id])
        self.standing.pages += len(pages)
        return pages

    def _note(self, event: Event) -> None:
        """A reference of the whole in force makes its application one of those that share the budget."""
        if not isinstance(event, Learned):
            return
        reference = event.reference
        self.fitted.append(reference)
        if not event.proposed and not reference.segment:
            self.standing.encoders[reference.application] = reference.encoder
            self.standing.refused |= {
                f"{reference.application}: {name}": why for name, why in reference.refused.items()
            }


def _by_application(messages: Iterable[Scored]) -> Mapping[str, list[Scored]]:
    found: dict[str, list[Scored]] = {}
    for message in messages:
        found.setdefault(message.application, []).append(message)
    return found


def finding(page: Page) -> dict[str, Any]:
    """A page as the backtest prints it."""
    said = {"page_id", "application", "segment", "stream", "lane", "position", "occurred_at", "effect", "share"}
    said |= {"evidence", "interaction_id", "attribution"}
    plain = page.model_dump(mode="json", include=said | {"began_at"})
    if plain["attribution"] is None:
        del plain["attribution"]
    return plain | {"began_estimate": plain.pop("began_at")}
