"""Watches one application: learns a reference, feeds every stream, says when a page is due.

No clock and no input or output: the same messages in the same order give the same pages, however they are cut into
batches. The live worker and the backtest both run exactly this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from detectors.drift import Alarm, Batch, FloatArray, ReferenceRefused
from detectors.drift.bets import Tails
from streams.core.budget import Budget, elapsed
from streams.core.explain import effect_of, exemplars_of, shifts_of
from streams.core.reference import Reference, make_reference
from streams.core.units import REPEAT_SIGNALS, VECTOR_STREAMS, Repeats, Sessions, Unit, is_judged, to_unit, uniform
from tocsin.messages import Exemplar, Moved, Page, Scored

WINDOW = 512
SHOWN_EVERY = 32
LEARNING = "learning"
MOST_LEARNED = 4  # times the units wanted; by then a stream of repeats is left out instead of waited for


@dataclass(frozen=True)
class Rules:
    """What the person configured.

    Attributes:
        reference_units: units that make a reference.
        watched: signals, and on which side harm lies.
        budget: the page budget.
        configuration: hash of the settings, carried by every page.
    """

    reference_units: int
    watched: Mapping[str, Tails]
    budget: Budget
    configuration: str = ""


@dataclass(frozen=True)
class Raised:
    """A page is due."""

    page: Page


@dataclass(frozen=True)
class Learned:
    """A reference was fitted; it is in force at once, or proposed after a retraining run."""

    reference: Reference
    proposed: bool


@dataclass(frozen=True)
class Shown:
    """A point of a stream's evidence curve."""

    application: str
    stream: str
    occurred_at: float
    units: int
    evidence: float
    latched: bool


Event = Raised | Learned | Shown


@dataclass
class Learning:
    """Units collected for a reference; after a retraining run only those of its model version, if it named one."""

    units: list[Unit] = field(default_factory=list)
    repeated: list[bool] = field(default_factory=list)
    run_id: str = ""
    model_version: str = ""

    def add(self, unit: Unit) -> None:
        """Take a unit in. Vectors of different encoders never mix: a change of encoder begins anew."""
        if self.model_version and self.model_version not in unit.fields.get("model", "").split():
            return
        if self.units and self.units[-1].encoder != unit.encoder:
            self.units, self.repeated = [], []
        self.units.append(unit)
        self.repeated.append(bool(unit.signals[REPEAT_SIGNALS["prompt"]]))

    def distinct(self) -> int:
        """Units that do not repeat an earlier prompt."""
        return len(self.units) - sum(self.repeated)

    def done(self, wanted: int) -> bool:
        """Whether it is time to fit."""
        return self.distinct() >= wanted or len(self.units) >= MOST_LEARNED * wanted


class ApplicationMonitor:
    """One application's streams."""

    def __init__(self, application: str, rules: Rules) -> None:
        self.application, self.rules = application, rules
        self.clock = 0.0
        self.units_seen = 0
        self.sessions = Sessions()
        self.repeats = {stream: Repeats() for stream in REPEAT_SIGNALS}
        self.recent: deque[Unit] = deque(maxlen=WINDOW)
        self.learning: Learning | None = Learning()
        self.candidate: Learning | None = None
        self.proposed: Reference | None = None
        self.reference: Reference | None = None
        self.states: dict[str, Any] = {}

    def apply(self, scored: Sequence[Scored], sharing: frozenset[str]) -> list[Event]:
        """Take consecutive interactions in; `sharing` are the applications that share the budget."""
        events: list[Event] = []
        pending: list[Unit] = []
        for message in scored:
            if not self.sessions.first(message.session_id):
                continue
            pending.append(self._unit(message))
            shown = (self.units_seen + len(pending)) % SHOWN_EVERY == 0
            if self.learning or self.candidate or shown or self._is_foreign(pending[-1]):
                events += self._advance(pending, sharing)
                pending = []
        return events + self._advance(pending, sharing)

    def rearm(self) -> list[Event]:
        """An incident was resolved: every stream starts afresh against its reference."""
        if self.reference is None:
            return []
        self.states = {name: detector.start() for name, detector in self.reference.detectors.items()}
        return self._shown(self.clock + 0.001)  # a millisecond after the last point, which it would replace

    def propose(self, run_id: str, model_version: str) -> None:
        """Collect a reference from the traffic that follows."""
        self.candidate = Learning(run_id=run_id, model_version=model_version)

    def promote(self, reference: Reference) -> None:
        """Make a proposed reference the current one."""
        self.reference, self.proposed, self.learning = reference, None, None
        self.rearm()

    def learn_now(self, sharing: frozenset[str]) -> Learned:
        """Fit the reference from what was collected so far, however much that is.

        Raises:
            ReferenceRefused: it is too little, or no stream can be fitted.
        """
        if self.learning is None or not self.learning.units:
            raise ReferenceRefused("no traffic was collected")
        reference = self._fit(self.learning, sharing)
        self.promote(reference)
        return Learned(reference, proposed=False)

    def _unit(self, message: Scored) -> Unit:
        unit = to_unit(message)
        again = {REPEAT_SIGNALS[stream]: float(ring.seen(unit, stream)) for stream, ring in self.repeats.items()}
        return unit.with_signals(again)

    def _advance(self, units: list[Unit], sharing: frozenset[str]) -> list[Event]:
        if not units:
            return []
        events: list[Event] = []
        if self.learning is not None:
            events += self._learn(units, sharing)
        else:
            known = self.proposed is not None and self.proposed.encoder == units[-1].encoder
            if self.candidate is None and self._is_foreign(units[-1]) and not known:
                self.propose(run_id="", model_version="")  # another encoder asks for another reference, and is no page
            if self.candidate is not None:
                events += self._collect(units, sharing)
            events += self._watch(units, sharing)
        self.units_seen += len(units)
        if self.units_seen % SHOWN_EVERY == 0:
            events += self._shown()
        return events

    def _is_foreign(self, unit: Unit) -> bool:
        return self.reference is not None and unit.encoder != self.reference.encoder

    def _fit(self, learning: Learning, sharing: frozenset[str]) -> Reference:
        rate = self.rules.budget.pages_per_second(self.application, sharing)
        watched = dict(self.rules.watched) | dict.fromkeys(REPEAT_SIGNALS.values(), "up")
        return make_reference(self.application, learning.units, watched, rate, learning.run_id)

    def _learn(self, units: list[Unit], sharing: frozenset[str]) -> list[Event]:
        assert self.learning is not None
        for unit in units:
            self.learning.add(unit)
            self.clock = max(self.clock, unit.occurred_at)
            self.recent.append(unit)
        if not self.learning.done(self.rules.reference_units):
            return []
        try:
            return [self.learn_now(sharing)]
        except ReferenceRefused:
            self.learning = Learning()  # nothing to be learned from these; the next ones may do
            return []

    def _collect(self, units: list[Unit], sharing: frozenset[str]) -> list[Event]:
        assert self.candidate is not None
        for unit in units:
            self.candidate.add(unit)
        if not self.candidate.done(self.rules.reference_units):
            return []
        candidate, self.candidate = self.candidate, None
        try:
            self.proposed = self._fit(candidate, sharing)
        except ReferenceRefused:
            return []
        return [Learned(self.proposed, proposed=True)]

    def _watch(self, units: list[Unit], sharing: frozenset[str]) -> list[Event]:
        """Feed all streams; at a page stop them all at that unit, so that it can say what else had moved by then."""
        assert self.reference is not None
        inflow, clocks = self._inflow(units, sharing)
        events: list[Event] = []
        start = 0
        while start < len(units):
            states, alarms = self._update(units[start:], inflow[start:])
            first = min((alarm.index for _, alarm in alarms), default=None)
            stop = len(units) if first is None else start + first + 1
            if first is not None:
                states, alarms = self._update(units[start:stop], inflow[start:stop])
            self.recent.extend(units[start:stop])
            self.states, self.clock = states, clocks[stop - 1]
            if alarms:
                events += [Raised(self._page(stream, alarm, units[stop - 1])) for stream, alarm in alarms]
                events += self._shown()
            start = stop
        return events

    def _inflow(self, units: Sequence[Unit], sharing: frozenset[str]) -> tuple[FloatArray, list[float]]:
        """(n,) pages that each unit brings to each stream, and the latest event time up to each."""
        assert self.reference is not None
        rate = self.rules.budget.pages_per_second(self.application, sharing) / len(self.reference.detectors)
        clock, inflow, clocks = self.clock, np.empty(len(units)), []
        for i, unit in enumerate(units):
            inflow[i] = rate * elapsed(clock, unit.occurred_at)
            clock = max(clock, unit.occurred_at)
            clocks.append(clock)
        return inflow, clocks

    def _update(self, units: Sequence[Unit], inflow: FloatArray) -> tuple[dict[str, Any], list[tuple[str, Alarm]]]:
        assert self.reference is not None
        states: dict[str, Any] = {}
        found: list[tuple[str, Alarm]] = []
        for name, detector in self.reference.detectors.items():
            uniforms = np.array([uniform(unit.interaction_id, name) for unit in units])
            batch = Batch(self._values(name, units), inflow, uniforms)
            states[name], alarms = detector.update(self.states[name], batch)
            found += [(name, alarm) for alarm in alarms]
        return states, found

    def _values(self, stream: str, units: Sequence[Unit]) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
        """Vectors or numbers of a stream; NaN where a unit does not count for it, which the detectors skip."""
        assert self.reference is not None
        if stream not in VECTOR_STREAMS:
            return np.array([unit.signals.get(stream, np.nan) for unit in units])
        missing = np.full(len(self.reference.samples[stream][0]), np.nan, np.float32)
        rows = []
        for unit in units:
            rows.append(unit.vectors[stream] if is_judged(stream, unit, self.reference.encoder) else missing)
        return np.array(rows, np.float32)

    def _evidence(self) -> dict[str, float]:
        assert self.reference is not None
        return {name: detector.read(self.states[name]) for name, detector in self.reference.detectors.items()}

    def _shown(self, at: float | None = None) -> list[Event]:
        at = self.clock if at is None else at
        if self.reference is None:
            learned, wanted = self.learning.distinct() if self.learning else 0, self.rules.reference_units
            return [Shown(self.application, LEARNING, at, learned, min(1.0, learned / wanted), latched=False)]
        return [
            Shown(self.application, name, at, self.states[name].units, evidence, self.states[name].latched)
            for name, evidence in self._evidence().items()
        ]

    def _page(self, stream: str, alarm: Alarm, unit: Unit) -> Page:
        reference = self.reference
        assert reference is not None
        window = list(self.recent)
        if stream in VECTOR_STREAMS:
            window = [recent for recent in window if is_judged(stream, recent, reference.encoder)]
        since = window[-min(alarm.age, len(window)) :]
        effect, share = effect_of(reference, stream, alarm, window)
        ordinary = [Exemplar(interaction_id=member, score=0.0) for member in reference.ordinary[stream]]
        others = {name: evidence for name, evidence in self._evidence().items() if name != stream}
        identity = f"tocsin:page:{reference.reference_id}:{stream}:{unit.interaction_id}"
        return Page(
            page_id=str(uuid5(NAMESPACE_URL, identity)),
            application=self.application,
            stream=stream,
            lane=alarm.lane,
            reference_id=reference.reference_id,
            position=alarm.position,
            interaction_id=unit.interaction_id,
            occurred_at=datetime.fromtimestamp(unit.occurred_at, UTC),
            began_at=datetime.fromtimestamp(min(since[0].occurred_at, unit.occurred_at), UTC),
            units_since_beginning=alarm.age,
            evidence=alarm.evidence,
            threshold=alarm.threshold,
            share=share,
            effect=effect,
            exemplars=exemplars_of(reference, stream, self.states[stream], alarm, window),
            ordinary=ordinary,
            moved=[
                Moved(stream=name, evidence=others[name]) for name in sorted(others, key=lambda name: -others[name])
            ],
            versions=shifts_of(reference.composition, since),
            configuration=self.rules.configuration,
        )
