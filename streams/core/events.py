"""What a monitor says: pages, references, points of evidence curves, groups beside the rest."""

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


@dataclass(frozen=True)
class Comparison:
    """A group beside the rest in one signal and period; a row of `fairness`.

    Attributes:
        application: whose traffic it is.
        began_at, compared_at: beginning of the period, and the clock now, in seconds since 1970.
        field, value: the group, such as `attribute tenant` and `acme`.
        signal, measure: what is compared, and by what: rate, mean or place among the first values.
        units, rest_units, pairs: how many there were.
        mean, rest_mean: rates, or means in the signal's unit.
        gap, low, high: mean difference in the measure, with a 95 % interval that holds however often one looks.
        paged: whether it has paged in this period.
    """

    application: str
    began_at: float
    compared_at: float
    field: str
    value: str
    signal: str
    measure: str
    units: int
    rest_units: int
    pairs: int
    mean: float
    rest_mean: float
    gap: float
    low: float
    high: float
    paged: bool


@dataclass(frozen=True)
class Compared:
    """Groups were compared."""

    comparisons: tuple[Comparison, ...]


Event = Raised | Learned | Retired | Shown | Compared
