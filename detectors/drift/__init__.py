"""Change detection under a budget of false pages.

The budget is counted in *pages*: every unit brings a stream a small inflow of them, which its lanes may spend.
The lanes of a vector stream are looks (diffuse change) and novelty (concentrated change), that of a signal bets on its
values (`rank`). All of them are made to hold `expected false pages <= inflow`, averaged over references: a lane spends
either a p-value's level or the capital of bets whose expectation is at most one; expectations add up over lanes and
streams whatever their dependence, so no correction for multiplicity is needed.

Sources: e-detectors (Shin, Ramdas, Rinaldo, arXiv 2203.03532); conformal e-testing (arXiv 2006.02329, 2412.03464).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

CALM = 0.1
"""A latched stream whose evidence stays under this for one reference length is armed again by itself."""


class ReferenceRefused(Exception):
    """Traffic that cannot serve as a reference: too little, degenerate, not finite, or from several encoders."""


@dataclass(frozen=True)
class Batch:
    """Consecutive units of one stream.

    Attributes:
        values: (n, d) float32 unit vectors, or (n,) float64 numbers; rows that are no such thing are skipped.
        inflow: (n,) pages that each unit brings to this stream.
        uniforms: (n,) numbers in [0, 1) drawn from the units' ids: they break ties of strangeness, so that a replay
            decides alike. Signals need none.
        buckets: (n,) place of each unit in the cycle of the traffic (`cycle.Cycle`); none: there is one place.
    """

    values: NDArray[np.floating]
    inflow: FloatArray
    uniforms: FloatArray | None = None
    buckets: IntArray | None = None

    def __len__(self) -> int:
        return len(self.inflow)


@dataclass(frozen=True)
class Alarm:
    """A page of one stream.

    Attributes:
        index: the unit of the batch that completed the evidence.
        position: units of the stream since its start, this one included.
        lane: what saw it.
        evidence: at least 1.
        threshold: pages of inflow that were at stake.
        age: estimated units since the change began.
        effect: size of the change in the lane's own measure, which a detector's `least_effect` is compared with.
    """

    index: int
    position: int
    lane: str
    evidence: float
    threshold: float
    age: int
    effect: float = 0.0


StateT = TypeVar("StateT")


class Detector(Protocol[StateT]):
    """One stream's detector: three pure functions. The shell keeps the state, and may store and restore it."""

    def start(self) -> StateT:
        """The state before the first unit, and again once a page is dealt with."""
        ...

    def update(self, state: StateT, batch: Batch) -> tuple[StateT, list[Alarm]]:
        """The state after a batch, and the pages in it: at most one, since a page latches the stream.

        However a sequence is cut into batches, states and alarms come out bit for bit the same.
        """
        ...

    def read(self, state: StateT) -> float:
        """Evidence between 0 and 1; 1 is a page."""
        ...


def to_arrays(state: object, prefix: str) -> dict[str, NDArray[np.generic]]:
    """A state's (or reference's) fields as arrays named `prefix/field`, for storing."""
    return {f"{prefix}/{field.name}": np.asarray(getattr(state, field.name)) for field in fields(state)}  # type: ignore[arg-type]


def from_arrays(kind: type[StateT], arrays: dict[str, NDArray[np.generic]], prefix: str) -> StateT:
    """The inverse of `to_arrays`; scalars come back as Python numbers."""
    found = {field.name: arrays[f"{prefix}/{field.name}"] for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: array.item() if array.ndim == 0 else array for name, array in found.items()})
