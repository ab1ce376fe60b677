"""The page budget: how much of it an application gets, and how much of that each unit of event time brings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

SECONDS = 30 * 24 * 3600.0
LONGEST_GAP = 3600.0


@dataclass(frozen=True)
class Budget:
    """Expected false pages over everything that is watched.

    Attributes:
        pages_per_30_days: what the person set.
        weights: applications whose share is not 1.
    """

    pages_per_30_days: float = 1.0
    weights: Mapping[str, float] | None = None

    def weight(self, application: str) -> float:
        """Relative share of an application."""
        return (self.weights or {}).get(application, 1.0)

    def pages_per_second(self, application: str, sharing: Collection[str]) -> float:
        """The application's part, when these applications share the budget; it counts itself in."""
        total = sum(self.weight(name) for name in sorted({*sharing, application}))
        return self.pages_per_30_days / SECONDS * self.weight(application) / total


def parts(segments: int, segment_share: float) -> tuple[float, float]:
    """What of an application's inflow goes to the whole of it, and what to each of its watched segments.

    The segments share alike, by the clock: were it by what they are sent, a segment that grows would page on credit of
    the very change that it should be tested for.
    """
    return (1 - segment_share, segment_share / segments) if segments else (1.0, 0.0)


def elapsed(clock: float, occurred_at: float) -> float:
    """Seconds of event time that a unit brings: none if it is late, an hour at most after a gap."""
    return min(max(occurred_at - clock, 0.0), LONGEST_GAP)
