"""A monitor as bytes and back.

Vectors are not in it: the units that a monitor still holds are named by their ids and read again from the interactions
table, where they lie with the very same bits. A unit that was erased meanwhile is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detectors.drift import from_arrays, to_arrays
from detectors.drift.rank import RankDetector, RankState
from detectors.drift.vectors import VectorState
from streams.core.archive import Arrays, pack, unpack
from streams.core.monitor import ApplicationMonitor, Learning, Rules
from streams.core.reference import Reference
from streams.core.units import REPEAT_SIGNALS, Repeats, Sessions, Unit

VERSION = 1


@dataclass(frozen=True)
class Snapshot:
    """A stored monitor, read but not yet filled with its units and references."""

    plain: dict[str, Any]
    arrays: Arrays

    @property
    def unit_ids(self) -> set[str]:
        """Interactions that must be read for it."""
        kept = [self.plain["recent"]] + [
            each["ids"] for each in (self.plain["learning"], self.plain["candidate"]) if each
        ]
        return {unit_id for ids in kept for unit_id in ids}

    @property
    def reference_ids(self) -> set[str]:
        """References that must be read for it."""
        return {found for found in (self.plain["reference"], self.plain["proposed"]) if found}


def _learning(learning: Learning | None) -> dict[str, Any] | None:
    if learning is None:
        return None
    return {
        "ids": [unit.interaction_id for unit in learning.units],
        "again": [[unit.signals[name] for name in REPEAT_SIGNALS.values()] for unit in learning.units],
        "run_id": learning.run_id,
        "model_version": learning.model_version,
    }


def dump(monitor: ApplicationMonitor) -> bytes:
    """The monitor as bytes."""
    arrays: Arrays = {"sessions": monitor.sessions.snapshot()}
    for name, state in monitor.states.items():
        arrays |= to_arrays(state, name)
    plain = {
        "application": monitor.application,
        "clock": monitor.clock,
        "units_seen": monitor.units_seen,
        "recent": [unit.interaction_id for unit in monitor.recent],
        "recent_again": [[unit.signals[name] for name in REPEAT_SIGNALS.values()] for unit in monitor.recent],
        "learning": _learning(monitor.learning),
        "candidate": _learning(monitor.candidate),
        "reference": monitor.reference.reference_id if monitor.reference else "",
        "proposed": monitor.proposed.reference_id if monitor.proposed else "",
    }
    return pack(VERSION, plain, arrays)


def read(data: bytes) -> Snapshot:
    """The stored parts.

    Raises:
        ValueError: written by another version of the program.
    """
    return Snapshot(*unpack(VERSION, data, "the snapshot"))


def restore(
    snapshot: Snapshot, rules: Rules, units: Mapping[str, Unit], references: Mapping[str, Reference]
) -> ApplicationMonitor:
    """A monitor that goes on bit for bit where the stored one stood."""
    plain, arrays = snapshot.plain, snapshot.arrays
    monitor = ApplicationMonitor(plain["application"], rules)
    monitor.clock, monitor.units_seen = plain["clock"], plain["units_seen"]
    monitor.sessions = Sessions(arrays["sessions"].tolist())
    monitor.recent.extend(_units(plain["recent"], plain["recent_again"], units))
    monitor.repeats = {stream: Repeats.after(monitor.recent, stream, plain["units_seen"]) for stream in REPEAT_SIGNALS}
    monitor.learning = _restore_learning(plain["learning"], units)
    monitor.candidate = _restore_learning(plain["candidate"], units)
    monitor.reference = references.get(plain["reference"])
    monitor.proposed = references.get(plain["proposed"])
    if monitor.reference:
        monitor.states = {
            name: from_arrays(RankState if isinstance(detector, RankDetector) else VectorState, arrays, name)
            for name, detector in monitor.reference.detectors.items()
        }
    return monitor


def _units(ids: list[str], again: list[list[float]], units: Mapping[str, Unit]) -> list[Unit]:
    return [
        units[unit_id].with_signals(dict(zip(REPEAT_SIGNALS.values(), flags, strict=True)))
        for unit_id, flags in zip(ids, again, strict=True)
        if unit_id in units
    ]


def _restore_learning(stored: dict[str, Any] | None, units: Mapping[str, Unit]) -> Learning | None:
    if stored is None:
        return None
    learning = Learning(run_id=stored["run_id"], model_version=stored["model_version"])
    learning.units = _units(stored["ids"], stored["again"], units)
    learning.repeated = [bool(unit.signals[REPEAT_SIGNALS["prompt"]]) for unit in learning.units]
    return learning
