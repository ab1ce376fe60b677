"""A monitor as bytes and back, in parts: what is the application's own together with the group of all units, and each
segment, so that a small batch stores what it changed and not every segment.

Vectors are not in it: the units that a monitor still holds are named by their ids and read again from the interactions
table, where they lie with the very same bits. A unit that was erased meanwhile is left out. After an upgrade a snapshot
may be `Outdated`: the watch stage then makes the reference again from the interactions that it was made of.
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

VERSION = 4
WHAT = "the snapshot"
COLLECTED = ("learning", "candidate")
Part = tuple[dict[str, Any], Arrays]


@dataclass(frozen=True)
class Snapshot:
    """A stored monitor by its parts, read but not yet filled with units and references."""

    parts: dict[str, Part]

    @property
    def unit_ids(self) -> set[str]:
        """Interactions that must be read for it."""
        return {unit_id for plain, _ in self.parts.values() for unit_id in plain["units"]}

    @property
    def reference_ids(self) -> set[str]:
        """References that must be read for it."""
        named = (plain[name] for plain, _ in self.parts.values() for name in ("reference", "proposed"))
        return {found for found in named if found}


def dump(monitor: ApplicationMonitor) -> bytes:
    """The whole monitor as bytes."""
    parts = {name: np.frombuffer(_part(monitor, group), np.uint8) for name, group in monitor.groups.items()}
    return pack(VERSION, {}, parts)


def read(data: bytes) -> Snapshot:
    """The inverse of `dump`, but for units and references.

    Raises:
        Outdated: written by another version of the program.
    """
    return read_parts({name: part.tobytes() for name, part in unpack(VERSION, data, WHAT)[1].items()})


def changed_parts(monitor: ApplicationMonitor) -> dict[str, bytes]:
    """What changed since this was last asked, by segment; the application's own part always."""
    parts = {name: _part(monitor, group) for name, group in monitor.groups.items() if name == ALL or group.changed}
    for group in monitor.groups.values():
        group.changed = False
    return parts


def read_parts(parts: Mapping[str, bytes]) -> Snapshot:
    """The latest parts of a monitor; those of segments that it has no more are left out.

    Raises:
        Outdated: written by another version of the program.
    """
    whole = unpack(VERSION, parts[ALL], WHAT)
    segments = {name: unpack(VERSION, parts[name], WHAT) for name in whole[0]["segments"]}
    return Snapshot({ALL: whole, **segments})


def restore(
    snapshot: Snapshot, rules: Rules, units: Mapping[str, Unit], references: Mapping[str, Reference]
) -> ApplicationMonitor:
    """A monitor that goes on bit for bit where the stored one stood; without segments that are configured no more."""
    plain, arrays = snapshot.parts[ALL]
    monitor = ApplicationMonitor(plain["application"], rules)
    monitor.clock, monitor.shown_at, monitor.units_seen = plain["clock"], plain["shown_at"], plain["units_seen"]
    monitor.metered = plain["metered"][0], plain["metered"][1]
    monitor.asked = (plain["asked"][0], plain["asked"][1]) if plain["asked"] else None
    monitor.tally = Tally(plain["tally"][1], plain["tally"][0]) if plain["tally"] else None
    monitor.sessions = Sessions(arrays["sessions"].tolist())
    if monitor.fairness is not None and "fairness" in plain:
        monitor.fairness.restore(plain["fairness"], arrays)
    for segment, part in snapshot.parts.items():
        if segment == ALL or is_configured(segment.partition("=")[0], rules.segments):
            group = Group(monitor.application, segment, rules)
            _restore_group(group, part, units, references)
            monitor.groups[segment] = group
    recent = monitor.whole.recent
    monitor.repeats = {stream: Repeats.after(recent, stream, plain["units_seen"]) for stream in REPEAT_SIGNALS}
    return monitor


def _part(monitor: ApplicationMonitor, group: Group) -> bytes:
    plain, arrays = _group_part(group)
    if group is monitor.whole:
        arrays["sessions"] = monitor.sessions.snapshot()
        plain |= {
            "application": monitor.application,
            "clock": monitor.clock,
            "shown_at": monitor.shown_at,
            "metered": monitor.metered,
            "units_seen": monitor.units_seen,
            "asked": monitor.asked,
            "tally": [monitor.tally.total, monitor.tally.volumes] if monitor.tally else None,
            "segments": [name for name in monitor.groups if name != ALL],
        }
        if monitor.fairness is not None:
            plain["fairness"] = monitor.fairness.plain()
            arrays |= monitor.fairness.arrays()
    return pack(VERSION, plain, arrays)


class _Held:
    """Units that a group holds, each with a number."""

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


def _group_part(group: Group) -> Part:
    held = _Held()
    arrays: Arrays = {"recent": held.numbers(group.recent)}
    for name, state in group.states.items():
        arrays |= to_arrays(state, f"states/{name}")
    collected = {}
    for name in COLLECTED:
        learning: Learning | None = getattr(group, name)
        if learning is not None:
            arrays[name] = held.numbers(learning.units)
            collected[name] = [learning.run_id, learning.model_version]
    arrays["repeats"] = held.repeats()
    return {
        "units": list(held.units),
        "paid": group.paid,
        "unshown": group.unshown,
        "reference": group.reference.reference_id if group.reference else "",
        "proposed": group.proposed.reference_id if group.proposed else "",
        "collected": collected,
    }, arrays


def _restore_group(group: Group, part: Part, units: Mapping[str, Unit], references: Mapping[str, Reference]) -> None:
    plain, arrays = part
    held = _restore_units(plain["units"], arrays["repeats"], units)

    def named(name: str) -> list[Unit]:
        return [held[number] for number in arrays[name].tolist() if number in held]

    group.recent.extend(named("recent"))
    collected: dict[str, Learning] = {}
    for name, (run_id, model_version) in plain["collected"].items():
        collected[name] = Learning(run_id=run_id, model_version=model_version)
        for unit in named(name):
            collected[name].add(unit)
    group.learning, group.candidate = (collected.get(name) for name in COLLECTED)
    group.proposed = references.get(plain["proposed"])
    reference = references.get(plain["reference"])
    if reference is not None:
        group.hold(reference)
        for name, detector in group.detectors.items():
            kind = RankState if isinstance(detector, RankDetector) else VectorState
            group.states[name] = from_arrays(kind, arrays, f"states/{name}")
    elif group.learning is None:  # its reference is gone from the table
        group.learning = Learning()
    group.paid, group.unshown = plain["paid"], plain["unshown"]
    group.changed = False


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
