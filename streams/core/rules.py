"""What the person configured, as far as the monitors need it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from detectors.drift.bets import Tails
from streams.core.budget import Budget
from streams.core.fairness import FairnessRules
from streams.core.units import REPEAT_SIGNALS


@dataclass(frozen=True)
class Rules:
    """What the person configured.

    Attributes:
        reference_units: units that make a reference.
        watched: signals to watch, and on which side harm lies.
        budget: the page budget.
        configuration: hash of the settings, carried by every page.
        segments: fields whose values make segments, see `segments.names_of`.
        most_segments: of an application, at most.
        segment_share: part of an application's budget that its watched segments share.
        least_effect: below it nothing pages, in the measure of the lane; 0 switches it off.
        least_effects: the same for single streams.
        fairness: which groups are compared; None if none are.
    """

    reference_units: int
    watched: Mapping[str, Tails]
    budget: Budget
    configuration: str = ""
    segments: tuple[str, ...] = ()
    most_segments: int = 32
    segment_share: float = 0.5
    least_effect: float = 0.0
    least_effects: Mapping[str, float] = field(default_factory=dict)
    fairness: FairnessRules | None = None

    @property
    def tails(self) -> dict[str, Tails]:
        """All signals that are watched: the configured ones, and how often texts repeat."""
        return dict(self.watched) | dict.fromkeys(REPEAT_SIGNALS.values(), "up")

    def pages_per_second(self, application: str, sharing: Collection[str]) -> float:
        """Everything that an application may spend: on its streams, and on comparing groups."""
        budgets = [self.budget, *([self.fairness.budget] if self.fairness else [])]
        return sum(budget.pages_per_second(application, sharing) for budget in budgets)

    def least_effect_of(self, stream: str) -> float:
        """The smallest change of a stream that may page."""
        return self.least_effects.get(stream, self.least_effect)
