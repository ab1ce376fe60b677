"""A monitor as bytes and back.

Vectors are not in it: the units that a monitor still holds are named by their ids, each once however many groups hold
it, and read again from the interactions table, where they lie with the very same bits. A unit that was erased meanwhile
is left out. After an upgrade a snapshot may be `Outdated`: the watch stage then makes the reference again from the
interactions that it was made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.drift import from_arrays, to_arrays
from detectors.drift.rank import RankDetector, RankState
from detectors.drift.vectors import VectorState
from streams.core.archive import Arrays, pack, unpack
from streams.core.columns import Rows
from streams.core.group import Group
from streams.core.learning import Learning
from streams.core.monitor import ALL, ApplicationMonitor
from streams.core.reference import Reference
from streams.core.rules import Rules
from streams.core.segments import Tally, is_configured
from streams.core.units import REPEAT_SIGNALS, Repeats, Sessions, Unit

VERSION = 2
COLLECTED = ("learning", "candidate")


@dataclass(frozen=True)
class Snapshot:
    """A stored monitor, read but not yet filled with its units and references."""

    plain: dict[str, Any]
    arrays: Arrays

    @property
    def unit_ids(self) -> set[str]:
        """Interactions that must be read for it."""
        return set(self.plain["units"])

    @property
    def reference_ids(self) -> set[str]:
        """References that must be read for it."""
        return {found for each in self.plain["groups"] for found in (each["reference"], each["proposed"]) if found}


class _Held:
    """Units that groups hold, each with a number."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self._numbers: dict[str, int] = {}

    def numbers(self, units: Iterable[Unit]) -> Rows:
        """(n,) the units' numbers; new ones get the next."""
        found = []
        for unit in units:
            self.units.setdefault(unit.interaction_id, unit)
            found.append(self._numbers.setdefault(unit.interaction_id, len(self._numbers)))
        return np.array(found, np.int64)

    def repeats(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(units, sides) which text repeated an earlier one: the table of interactions does not say."""
        return np.array([[unit.signals[name] > 0 for name in REPEAT_SIGNALS.values()] for unit in self.units.values()])


def dump(monitor: ApplicationMonitor) -> bytes:
    """The monitor as bytes."""
    held, arrays = _Held(), dict[str, Any]()
    groups = [_dump_group(f"{i}", group, held, arrays) for i, group in enumerate(monitor.groups.values())]
    arrays |= {"sessions": monitor.sessions.snapshot(), "repeats": held.repeats()}
    plain = {
        "application": monitor.application,
        "clock": monitor.clock,
        "shown_at": monitor.shown_at,
        "metered": monitor.metered,
        "units_seen": monitor.units_seen,
        "asked": monitor.asked,
        "tally": [monitor.tally.total, monitor.tally.volumes] if monitor.tally else None,
        "units": list(held.units),
        "groups": groups,
    }
    return pack(VERSION, plain, arrays)


def _dump_group(prefix: str, group: Group, held: _Held, arrays: Arrays) -> dict[str, Any]:
    """The plain part of a group; its arrays go to `arrays`, its units to `held`."""
    arrays[f"{prefix}/recent"] = held.numbers(group.recent)
    for name, state in group.states.items():
        arrays |= to_arrays(state, f"{prefix}/{name}")
    collected = {}
    for name in COLLECTED:
        learning: Learning | None = getattr(group, name)
        if learning is not None:
            arrays[f"{prefix}/{name}"] = held.numbers(learning.units)
            collected[name] = [learning.run_id, learning.model_version]
    return {
        "segment": group.segment,
        "paid": group.paid,
        "unshown": group.unshown,
        "reference": group.reference.reference_id if group.reference else "",
        "proposed": group.proposed.reference_id if group.proposed else "",
        "collected": collected,
    }


def read(data: bytes) -> Snapshot:
    """The stored parts.

    Raises:
        Outdated: written by another version of the program.
    """
    return Snapshot(*unpack(VERSION, data, "the snapshot"))


def restore(
    snapshot: Snapshot, rules: Rules, units: Mapping[str, Unit], references: Mapping[str, Reference]
) -> ApplicationMonitor:
    """A monitor that goes on bit for bit where the stored one stood; without segments that are configured no more."""
    plain, arrays = snapshot.plain, snapshot.arrays
    monitor = ApplicationMonitor(plain["application"], rules)
    monitor.clock, monitor.shown_at, monitor.units_seen = plain["clock"], plain["shown_at"], plain["units_seen"]
    monitor.metered = plain["metered"][0], plain["metered"][1]
    monitor.asked = (plain["asked"][0], plain["asked"][1]) if plain["asked"] else None
    monitor.tally = Tally(plain["tally"][1], plain["tally"][0]) if plain["tally"] else None
    monitor.sessions = Sessions(arrays["sessions"].tolist())
    held = _restore_units(plain["units"], arrays["repeats"], units)
    for i, stored in enumerate(plain["groups"]):
        if stored["segment"] == ALL or is_configured(stored["segment"].partition("=")[0], rules.segments):
            group = Group(monitor.application, stored["segment"], rules)
            _restore_group(group, f"{i}", stored, arrays, held, references)
            monitor.groups[group.segment] = group
    recent = monitor.whole.recent
    monitor.repeats = {stream: Repeats.after(recent, stream, plain["units_seen"]) for stream in REPEAT_SIGNALS}
    return monitor


def _restore_group(
    group: Group,
    prefix: str,
    stored: Mapping[str, Any],
    arrays: Arrays,
    held: Mapping[int, Unit],
    references: Mapping[str, Reference],
) -> None:
    def units(name: str) -> list[Unit]:
        return [held[number] for number in arrays[f"{prefix}/{name}"].tolist() if number in held]

    group.recent.extend(units("recent"))
    collected: dict[str, Learning] = {}
    for name, (run_id, model_version) in stored["collected"].items():
        collected[name] = Learning(run_id=run_id, model_version=model_version)
        for unit in units(name):
            collected[name].add(unit)
    group.learning, group.candidate = (collected.get(name) for name in COLLECTED)
    group.proposed = references.get(stored["proposed"])
    reference = references.get(stored["reference"])
    if reference is not None:
        group.hold(reference)
        for name, detector in group.detectors.items():
            kind = RankState if isinstance(detector, RankDetector) else VectorState
            group.states[name] = from_arrays(kind, arrays, f"{prefix}/{name}")
    elif group.learning is None:  # its reference is gone from the table
        group.learning = Learning()
    group.paid, group.unshown = stored["paid"], stored["unshown"]


def _restore_units(
    ids: list[str], repeats: np.ndarray[Any, np.dtype[Any]], units: Mapping[str, Unit]
) -> dict[int, Unit]:
    """Units by number, with their repeat signals."""
    names = REPEAT_SIGNALS.values()
    return {
        number: units[unit_id].with_signals(dict(zip(names, repeats[number].astype(float).tolist(), strict=True)))
        for number, unit_id in enumerate(ids)
        if unit_id in units
    }
