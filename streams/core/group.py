"""The units that are compared with one reference: all of an application's, or those of one segment.

Units are collected, a reference is fitted and in force; after a retraining run a candidate is collected, its reference
is proposed, and in force once a person has promoted it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from detectors.drift import Alarm, Batch, FloatArray, ReferenceRefused
from streams.core.columns import Columns, Rows
from streams.core.events import Event, Shown
from streams.core.fitting import make_reference
from streams.core.learning import Learning
from streams.core.reference import Reference, StreamDetector
from streams.core.rules import Rules
from streams.core.units import VECTOR_STREAMS, Unit

LEARNING = "learning"
RECENT_OF_ALL, RECENT_OF_A_SEGMENT = 512, 128


@dataclass
class Group:
    """One reference in the making or in force, and the streams that are watched against it.

    Attributes:
        application: whose traffic it is.
        segment: of which part of it, "" for all.
        rules: what the person configured.
        learning: units for the first reference; None once there is one.
        candidate: units for a reference to be proposed.
        proposed: a reference that awaits a person's word.
        reference: the one in force.
        detectors: its detectors, by stream.
        states: of the detectors, by stream.
        paid: what the application's meter (see `ApplicationMonitor.metered`) stood at when a unit last brought inflow.
        unshown: units since the evidence was last shown.
        changed: whether anything is otherwise than in the last snapshot.
        recent: the last units, for explanations.
    """

    application: str
    segment: str
    rules: Rules
    learning: Learning | None = field(default_factory=Learning)
    candidate: Learning | None = None
    proposed: Reference | None = None
    reference: Reference | None = None
    detectors: dict[str, StreamDetector] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)
    paid: float = 0.0
    unshown: int = 0
    changed: bool = True
    recent: deque[Unit] = field(init=False)

    def __post_init__(self) -> None:
        self.recent = deque(maxlen=RECENT_OF_A_SEGMENT if self.segment else RECENT_OF_ALL)

    # -- references ------------------------------------------------------------------------------------------------

    @property
    def collecting(self) -> Learning | None:
        """The units that are being collected for a reference, if any are."""
        return self.learning or self.candidate

    def note(self, unit: Unit) -> bool:
        """Collect a unit if a reference is in the making; whether there are enough for it now."""
        if self.collecting is None:
            return False
        self.collecting.add(unit)
        return self.collecting.done(self.rules.reference_units)

    def ask(self, asked: tuple[str, str] | None) -> None:
        """Collect a reference to be proposed, of this run and model version; None: neither collect nor propose one."""
        self.candidate = Learning(run_id=asked[0], model_version=asked[1]) if asked is not None else None
        self.proposed = self.proposed if asked is not None else None
        self.changed = True

    def fit(self, pages_per_second: float) -> Reference:
        """A reference out of what was collected; the collection is over, whatever comes of it.

        Raises:
            ReferenceRefused: nothing can be learned from these units; the first reference is collected anew.
        """
        collected = self.collecting
        if collected is None or not collected.units:
            raise ReferenceRefused("no traffic was collected")
        if self.learning is not None:
            self.learning = Learning()
        else:
            self.candidate = None
        self.changed = True
        return make_reference(
            self.application, collected.units, self.rules.tails, pages_per_second, collected.run_id, self.segment
        )

    def is_foreign(self, unit: Unit) -> bool:
        """Whether a unit comes from another encoder than the references: in force, or waiting to be."""
        known = {each.encoder for each in (self.reference, self.proposed) if each is not None}
        return self.reference is not None and unit.encoder not in known

    def promote(self, reference: Reference, meter: float) -> None:
        """Put a reference in force, against which every stream starts afresh."""
        self.proposed, self.learning, self.paid = None, None, meter
        self.hold(reference)
        self.start()

    def hold(self, reference: Reference) -> None:
        """Compare with a reference, by the least effects that are configured now: no reference freezes them."""
        self.reference = reference
        self.detectors = {
            name: replace(detector, least_effect=self.rules.least_effect_of(name))
            for name, detector in reference.detectors.items()
        }

    def start(self) -> None:
        """Start every stream afresh."""
        self.states = {name: detector.start() for name, detector in self.detectors.items()}
        self.changed = True

    # -- streams ---------------------------------------------------------------------------------------------------

    def update(self, columns: Columns, rows: Rows, meter: FloatArray) -> tuple[dict[str, Any], list[tuple[str, Alarm]]]:
        """States after these rows and the pages in them, by stream; changes nothing.

        Args:
            columns: consecutive units of the application.
            rows: those of this group.
            meter: (n,) pages that groups of this kind were due by each unit of the columns.
        """
        assert self.reference is not None
        places = self.reference.places(columns.seconds[rows])
        inflow = np.diff(meter[rows], prepend=self.paid) / len(self.detectors)
        states: dict[str, Any] = {}
        found: list[tuple[str, Alarm]] = []
        for name, detector in self.detectors.items():
            uniforms = columns.uniforms(name)[rows] if name in VECTOR_STREAMS else None
            batch = Batch(self.reference.values(name, columns, rows), inflow, uniforms, places)
            states[name], alarms = detector.update(self.states[name], batch)
            found += [(name, alarm) for alarm in alarms]
        return states, found

    def take(self, units: Sequence[Unit], states: Mapping[str, Any] | None, meter: float) -> None:
        """Go on after these units, in these states (None: nothing is watched yet)."""
        self.recent.extend(units)
        self.unshown += len(units)
        self.paid, self.changed = meter, True
        if states is not None:
            self.states = dict(states)

    def evidence(self) -> dict[str, float]:
        """Between 0 and 1 for every stream; 1 is a page."""
        return {name: detector.read(self.states[name]) for name, detector in self.detectors.items()}

    def shown(self, at: float) -> list[Event]:
        """A point for every stream's curve, or the progress of learning."""
        if self.learning is not None:
            learned, wanted = self.learning.distinct, self.rules.reference_units
            progress = min(1.0, learned / wanted)
            return [Shown(self.application, LEARNING, at, learned, progress, latched=False, segment=self.segment)]
        return [
            Shown(
                self.application, name, at, state.units, self.detectors[name].read(state), state.latched, self.segment
            )
            for name, state in self.states.items()
        ]
