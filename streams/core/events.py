"""What a monitor says: pages, references, points of evidence curves."""

from __future__ import annotations

from dataclasses import dataclass

from streams.core.reference import Reference
from tocsin.messages import Page


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
class Retired:
    """A segment was forgotten, and its reference with it."""

    reference: Reference


@dataclass(frozen=True)
class Shown:
    """A point of a stream's evidence curve; `segment` is "" for the whole application."""

    application: str
    stream: str
    occurred_at: float
    units: int
    evidence: float
    latched: bool
    segment: str = ""


Event = Raised | Learned | Retired | Shown
