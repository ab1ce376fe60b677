"""Everything that one partition of `tocsin.signals` feeds: its applications, and marks of what was taken in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.core.events import Event
from streams.core.monitor import ApplicationMonitor
from streams.core.reference import Reference
from streams.core.rules import Rules
from tocsin.messages import Joined, Promote, Propose, Rearm, Scored, SignalsMessage


@dataclass
class PartitionMonitor:
    """The state of the watch stage for one partition.

    Attributes:
        rules: what the person configured.
        applications: monitors by name.
        sharing: applications that share the page budget.
        marks: highest offset taken in, by source topic and partition; what is not above it was seen before.
        changed: applications whose monitor changed since the last snapshot.
    """

    rules: Rules
    applications: dict[str, ApplicationMonitor] = field(default_factory=dict)
    sharing: set[str] = field(default_factory=set)
    marks: dict[tuple[str, int], int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def apply(self, messages: Sequence[SignalsMessage], references: dict[str, Reference]) -> list[Event]:
        """Take messages in, in their order; `references` holds those that a `Promote` among them names."""
        events: list[Event] = []
        run: list[Scored] = []
        for message in messages:
            if not isinstance(message, Joined) and not self._new(message):
                continue
            if run and not (isinstance(message, Scored) and message.application == run[0].application):
                events += self._scored(run)
                run = []
            match message:
                case Scored():
                    run.append(message)
                case Joined():
                    self.sharing.add(message.application)
                case Rearm():
                    events += self._monitor(message.application).rearm()
                case Propose():
                    self._monitor(message.application).propose(message.run_id, message.model_version)
                case Promote():
                    promoted = references.get(message.reference_id)
                    if promoted is not None and not promoted.segment:
                        events += self._monitor(message.application).promote(promoted)
        return events + self._scored(run)

    def _new(self, message: Scored | Rearm | Propose | Promote) -> bool:
        source = (message.source.topic, message.source.partition)
        if message.source.offset <= self.marks.get(source, -1):
            return False
        self.marks[source] = message.source.offset
        return True

    def _monitor(self, application: str) -> ApplicationMonitor:
        self.changed.add(application)
        if application not in self.applications:
            self.applications[application] = ApplicationMonitor(application, self.rules)
        return self.applications[application]

    def _scored(self, run: list[Scored]) -> list[Event]:
        if not run:
            return []
        return self._monitor(run[0].application).apply(run, frozenset(self.sharing))
