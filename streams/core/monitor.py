"""Watches one application: learns references, feeds every stream, says when a page is due.

No clock and no input or output: the same messages in the same order give the same pages, however they are cut into
batches. The live worker and the backtest both run exactly this.

An application is a `Group` of all its units and one for each of its segments; sessions, repeats, the clock and the
meter of the page budget are the application's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from detectors.drift import Alarm, FloatArray, ReferenceRefused
from streams.core.budget import elapsed, parts
from streams.core.columns import Columns, Rows
from streams.core.decoding import CONFLICT
from streams.core.events import Event, Learned, Raised, Retired, Shown
from streams.core.fairness import Fairness
from streams.core.group import LEARNING, Group
from streams.core.learning import Learning
from streams.core.page import make_page
from streams.core.reference import Reference
from streams.core.rules import Rules
from streams.core.segments import ELECTED_EVERY, LEARNING_AT_ONCE, Tally, elect, names_of
from streams.core.units import REPEAT_SIGNALS, Repeats, Sessions, Unit, to_unit
from tocsin.messages import ACCEPTED, Scored, SegmentEvidence

__all__ = ["LEARNING", "SHOWN_EVERY", "ApplicationMonitor", "Event", "Learned", "Raised", "Retired", "Rules", "Shown"]

SHOWN_EVERY = 32
SHOWN_SECONDS = 60.0
"""Evidence is shown after so many units and so much event time: runs of units may be long where traffic is dense."""

ALL = ""  # the segment that is the whole application


class ApplicationMonitor:
    """One application's streams.

    Attributes:
        groups: the whole application under "", and its segments.
        clock: the latest event time, in seconds since 1970.
        shown_at: the clock when evidence was last shown.
        metered: pages that the whole, and each watched segment, were due so far; a unit brings its group what came
            since the group's last one, so that all inflows add up to the application's own.
        tally: sizes of segments; None once a person has said what the references are.
        asked: run and model version of a reference that is to be proposed.
        fairness: groups of people beside the rest; None if none are compared.
    """

    def __init__(self, application: str, rules: Rules) -> None:
        self.application, self.rules = application, rules
        self.clock = 0.0
        self.metered: tuple[float, float] = (0.0, 0.0)
        self.shown_at = 0.0
        self.units_seen = 0
        self.sessions = Sessions()
        self.repeats = {stream: Repeats() for stream in REPEAT_SIGNALS}
        self.groups = {ALL: Group(application, ALL, rules)}
        self.tally: Tally | None = Tally()
        self.asked: tuple[str, str] | None = None
        self.fairness = Fairness(application, rules.fairness, rules.configuration) if rules.fairness else None

    @property
    def whole(self) -> Group:
        """The group of all units."""
        return self.groups[ALL]

    @property
    def reference(self) -> Reference | None:
        """The reference of the whole application that is in force."""
        return self.whole.reference

    def apply(self, scored: Sequence[Scored], sharing: frozenset[str]) -> list[Event]:
        """Take consecutive interactions in; `sharing` are the applications that share the budget."""
        events: list[Event] = []
        run: list[tuple[Unit, tuple[str, ...]]] = []
        clock = self.clock
        for message in scored:
            # of two rows with one id, a restart would not know which is the unit: it is the first
            if CONFLICT in message.flags or not self.sessions.first(message.session_id):
                continue
            unit = self._marked(to_unit(message))
            run.append((unit, names_of(unit.fields, self.rules.segments)))
            clock = max(clock, unit.occurred_at)
            full = self._note(*run[-1])
            if full or self._elects(len(run)) or self._shows(len(run), clock):
                events += self._advance(run, sharing)
                run = []
        return events + self._advance(run, sharing)

    def rearm(self) -> list[Event]:
        """An incident was resolved: every stream starts afresh against its reference."""
        events: list[Event] = []
        for group in self._watched():
            group.start()
            events += group.shown(self.clock + 0.001)  # a millisecond after the last point, which it would replace
        return events

    def propose(self, run_id: str, model_version: str) -> None:
        """Collect references from the traffic that follows: of the application, and of its segments in their turn.

        A person who accepts a change twice does not lose what was collected since the first time.
        """
        under_way = self.whole.candidate
        if run_id.startswith(ACCEPTED) and under_way is not None and not under_way.model_version:
            return
        self.asked = run_id, model_version
        self.whole.ask(self.asked)
        for segment in self._segments():
            segment.ask(None)
        self._ask_segments()

    def promote(self, reference: Reference) -> list[Event]:
        """Make a proposed reference the current one, and with it those that the same run proposed for segments.

        A segment without one is forgotten, since its reference is no longer what was accepted; it is learned anew.
        """
        self.whole.promote(reference, self.metered[0])
        self.asked = None
        events: list[Event] = []
        for group in list(self._segments()):
            proposed = group.proposed
            if proposed is not None and (proposed.run_id, proposed.encoder) == (reference.run_id, reference.encoder):
                group.promote(proposed, self.metered[1])
                events.append(Learned(proposed, proposed=False))
            else:
                events += self._forget(group.segment)
        return events

    def learn_now(self, sharing: frozenset[str]) -> list[Event]:
        """Fit references from what was collected so far, however much that is; nothing is learned after.

        Segments are those that have enough units among these.

        Raises:
            ReferenceRefused: the whole application has too little, or no stream of it can be fitted.
        """
        units = self.whole.learning.units if self.whole.learning else []
        events = [self._fitted(self.whole, sharing)]
        tally = Tally()
        for unit in units:
            tally.add(names_of(unit.fields, self.rules.segments))
        self.tally = None
        most = self.rules.most_segments
        _, chosen = elect(tally.close(), (), (), most, at_once=most)
        for name in sorted(chosen):
            group = Group(self.application, name, self.rules)
            mine = [unit for unit in units if name in names_of(unit.fields, self.rules.segments)]
            group.learning = Learning(mine)
            with suppress(ReferenceRefused):
                events.append(self._fitted(group, sharing))
                self.groups[name] = group
        return events

    def collect(self, units: Iterable[Unit]) -> None:
        """Begin with units that a reference was made of before; when there are enough, the next unit has it fitted."""
        assert self.whole.learning is not None
        for unit in units:
            self.whole.learning.add(self._marked(unit))

    # -- units -----------------------------------------------------------------------------------------------------

    def _marked(self, unit: Unit) -> Unit:
        """The unit with what it repeats as signals."""
        again = {REPEAT_SIGNALS[stream]: float(ring.seen(unit, stream)) for stream, ring in self.repeats.items()}
        return unit.with_signals(again)

    def _note(self, unit: Unit, names: tuple[str, ...]) -> bool:
        """Count and collect a unit; whether a reference must be fitted right after it."""
        if self.tally is not None and self.rules.segments:
            self.tally.add(names)
        if self.whole.candidate is None and self.whole.is_foreign(unit):
            self.propose(run_id="", model_version="")  # another encoder asks for other references, and is no page
        concerned = [self.whole, *(self.groups[name] for name in names if name in self.groups)]
        full = [group.note(unit) for group in concerned]
        return any(full)

    def _elects(self, more: int = 0) -> bool:
        """Whether segments are elected after so many more units."""
        return (self.units_seen + more) % ELECTED_EVERY == 0

    def _shows(self, more: int, clock: float) -> bool:
        """Whether evidence is shown after so many more units, at this time."""
        pause = SHOWN_SECONDS if self.whole.learning is None else 0.0  # a history is imported in a moment
        return self.whole.unshown + more >= SHOWN_EVERY and clock >= self.shown_at + pause

    def _advance(self, run: Sequence[tuple[Unit, tuple[str, ...]]], sharing: frozenset[str]) -> list[Event]:
        if not run:
            return []
        events = self._watch(run, sharing)
        self.units_seen += len(run)
        if self.fairness is not None:
            events += self.fairness.apply([unit for unit, _ in run], sharing)
        events += self._learn(sharing)
        if self._elects():
            events += self._elect()
        if self._shows(0, self.clock):
            self.shown_at = self.clock
            for group in self.groups.values():
                if group.unshown >= SHOWN_EVERY:
                    group.unshown, group.changed = 0, True
                    events += group.shown(self.clock)
        return events

    # -- references and segments -----------------------------------------------------------------------------------

    def _segments(self) -> Iterator[Group]:
        return (group for name, group in self.groups.items() if name != ALL)

    def _watched(self) -> Iterator[Group]:
        return (group for group in self.groups.values() if group.reference is not None)

    def _parts(self) -> tuple[float, float]:
        watched = sum(group.reference is not None for group in self._segments())
        return parts(watched, self.rules.segment_share)

    def _learn(self, sharing: frozenset[str]) -> list[Event]:
        events: list[Event] = []
        for group in self.groups.values():
            if group.collecting is None or not group.collecting.done(self.rules.reference_units):
                continue
            try:
                events.append(self._fitted(group, sharing))
            except ReferenceRefused:
                if group is self.whole:
                    self.asked = None
                continue  # nothing to be learned from these; the next ones may do
        return events

    def _fitted(self, group: Group, sharing: frozenset[str]) -> Event:
        """Fit what a group has collected: its first reference, or one to be proposed."""
        first = group.learning is not None
        # the price of the lanes that bet is fixed here: by the share that will be left once all segments are watched
        segments = len(self.groups) - 1 if group.segment else len(self.rules.segments)
        whole, each = parts(segments, self.rules.segment_share)
        rate = self.rules.budget.pages_per_second(self.application, sharing) * (each if group.segment else whole)
        reference = group.fit(rate)
        if first:
            group.promote(reference, self.metered[bool(group.segment)])
        else:
            group.proposed = reference
            self._ask_segments()
        return Learned(reference, proposed=not first)

    def _ask_segments(self) -> None:
        """Let the largest segments that are still to propose a reference collect one, as many as may at a time."""
        if self.asked is None:
            return
        free = LEARNING_AT_ONCE - sum(group.collecting is not None for group in self._segments())
        lacking = [group for group in self._segments() if group.collecting is None and group.proposed is None]
        for group in sorted(lacking, key=self._volume, reverse=True)[: max(0, free)]:
            group.ask(self.asked)

    def _volume(self, group: Group) -> tuple[float, str]:
        return self.tally.volumes.get(group.segment, 0.0) if self.tally else 0.0, group.segment

    def _elect(self) -> list[Event]:
        if self.tally is None or not self.rules.segments:
            return []
        self._ask_segments()
        watched = [group.segment for group in self._segments() if group.reference is not None]
        learning = [group.segment for group in self._segments() if group.learning is not None]
        busy = sum(group.candidate is not None for group in self._segments())
        places = LEARNING_AT_ONCE - busy
        old, young = elect(self.tally.close(), watched, learning, self.rules.most_segments, places)
        gone = {*watched, *learning} - old - young
        events = [event for name in sorted(gone) for event in self._forget(name)]
        for name in sorted(young - set(learning)):
            self.groups[name] = Group(self.application, name, self.rules)
        return events

    def _forget(self, segment: str) -> list[Event]:
        group = self.groups.pop(segment)
        return [Retired(group.reference)] if group.reference is not None else []

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self, run: Sequence[tuple[Unit, tuple[str, ...]]], sharing: frozenset[str]) -> list[Event]:
        """Feed all streams; at a page stop them all at that unit, so that it can say what else had moved by then."""
        columns = Columns([unit for unit, _ in run])
        rows = {
            name: np.array([i for i, (_, names) in enumerate(run) if name == ALL or name in names], np.int64)
            for name in self.groups
        }
        clocks, meters = self._meter(columns.units, sharing)
        events: list[Event] = []
        start = 0
        while start < len(run):
            stop = len(run)
            states, alarms = self._update(columns, rows, meters, start, stop)
            if alarms:
                stop = 1 + min(int(rows[name][rows[name] >= start][alarm.index]) for name, _, alarm in alarms)
                states, alarms = self._update(columns, rows, meters, start, stop)
            self.clock, self.metered = clocks[stop - 1], (float(meters[0, stop - 1]), float(meters[1, stop - 1]))
            for name, group in self.groups.items():
                mine = _between(rows[name], start, stop)
                if len(mine):
                    meter = float(meters[int(name != ALL), mine[-1]])
                    group.take([columns.units[i] for i in mine], states.get(name), meter)
            for name, stream, alarm in alarms:
                events.append(self._raised(self.groups[name], stream, alarm, columns.units[stop - 1]))
            for name in dict.fromkeys(name for name, _, _ in alarms):
                events += self.groups[name].shown(self.clock)
            start = stop
        return events

    def _update(
        self, columns: Columns, rows: dict[str, Rows], meters: FloatArray, start: int, stop: int
    ) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str, Alarm]]]:
        """States after the units from `start` to `stop`, and pages: segment, stream, alarm; changes nothing."""
        states: dict[str, dict[str, Any]] = {}
        found: list[tuple[str, str, Alarm]] = []
        for group in self._watched():
            mine = _between(rows[group.segment], start, stop)
            if len(mine):
                states[group.segment], alarms = group.update(columns, mine, meters[int(group.segment != ALL)])
                found += [(group.segment, stream, alarm) for stream, alarm in alarms]
        return states, found

    def _meter(self, units: Sequence[Unit], sharing: frozenset[str]) -> tuple[list[float], FloatArray]:
        """The clock after each unit, and (2, n) what the whole and each segment were due by then."""
        rate = self.rules.budget.pages_per_second(self.application, sharing)
        whole, each = (rate * part for part in self._parts())
        clock, (due, due_each) = self.clock, self.metered
        clocks, meters = [], np.empty((2, len(units)))
        for i, unit in enumerate(units):
            seconds = elapsed(clock, unit.occurred_at)
            due, due_each = due + whole * seconds, due_each + each * seconds
            clock = max(clock, unit.occurred_at)
            clocks.append(clock)
            meters[:, i] = due, due_each
        return clocks, meters

    def _raised(self, group: Group, stream: str, alarm: Alarm, unit: Unit) -> Raised:
        segments = [
            SegmentEvidence(segment=each.segment, evidence=each.detectors[stream].read(each.states[stream]))
            for each in self._watched()
            if stream in each.detectors
        ]
        return Raised(make_page(group, stream, alarm, unit, segments))


def _between(rows: Rows, start: int, stop: int) -> Rows:
    return rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
