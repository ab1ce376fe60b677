"""Traffic in which something changes: from one unit on, a share of the units comes from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Float32Array

CHANGE_AT = 1_024
NULL = "assistant"
RAMP_TO = 0.3


@dataclass(frozen=True)
class Change:
    """What comes in, and how much of it.

    Attributes:
        source: the set that the changed units are drawn from.
        share: of the units after the change.
        over: units in which the share grows to that; 0 for at once.
    """

    source: str
    share: float
    over: int = 0


SHIFTS = {
    "topic 5 %": Change("topic", 0.05),
    "topic 10 %": Change("topic", 0.1),
    "topic 20 %": Change("topic", 0.2),
    "topic 50 %": Change("topic", 0.5),
    "code 5 %": Change("code", 0.05),
    "German 5 %": Change("German", 0.05),
    "JSON 10 %": Change("JSON", 0.1),
}
RAMPS = {f"0 to 30 % topic over {over:,}": Change("topic", RAMP_TO, over) for over in (2_000, 20_000, 200_000)}
CHANGES = SHIFTS | RAMPS
NOTHING = Change(NULL, 0.0)
SETS = (NULL, *dict.fromkeys(change.source for change in CHANGES.values()))


class Mixture:
    """Ordinary traffic with a change at unit 1,024; rows are drawn at once, gathered as they are read."""

    def __init__(
        self, sets: Mapping[str, Float32Array], change: Change, random: np.random.Generator, horizon: int
    ) -> None:
        self._change, self._ordinary, self._other = change, sets[NULL], sets[change.source]
        length = CHANGE_AT + horizon
        since = np.arange(length) - CHANGE_AT + 1
        share = change.share * np.clip(since / change.over if change.over else since, 0, 1)
        self.changed: NDArray[np.bool_] = random.random(length) < share
        self._rows = np.where(
            self.changed,
            random.integers(len(self._other), size=length),
            random.integers(len(self._ordinary), size=length),
        )

    def __len__(self) -> int:
        return len(self._rows)

    def values(self, start: int, stop: int) -> Float32Array:
        """(stop - start, d) units."""
        return self.of({NULL: self._ordinary, self._change.source: self._other}, start, stop)

    def of(self, tables: Mapping[str, Float32Array], start: int, stop: int) -> Float32Array:
        """(stop - start, …) what tables hold of these units, each with one row for every row of its set."""
        rows, changed = self._rows[start:stop], self.changed[start:stop]
        ordinary, other = tables[NULL], tables[self._change.source]
        found = np.empty((len(rows), *ordinary.shape[1:]), np.float32)
        found[~changed], found[changed] = ordinary[rows[~changed]], other[rows[changed]]
        return found
