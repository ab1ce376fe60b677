"""Fairness of one application: every unit to the groups that it is in, and what is said of them from time to time.

A grouping is a field whose values are groups of people: an attribute such as a tenant or a region, or the groups that a
text mentions. Sequences last `period_days` of event time and begin anew, so that what was mended long ago does not
speak for ever. Each period has the part of the page budget that its time brings, shared alike by all comparisons that
there can be; a comparison that pages has found a gap at its own part, and pages once a period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from detectors.fairness import Gap, Pairs, Places
from streams.core.budget import Budget
from streams.core.events import Compared, Comparison, Event, Raised
from streams.core.units import Unit
from streams.core.wording import FAIRNESS
from tocsin.messages import Effect, Page

SHOWN_ALPHA = 0.05
"""The level of the intervals that are shown; what pages is at the level of the budget."""
LOOKED_AFTER_UNITS, LOOKED_AFTER_SECONDS = 256, 600.0
SIGHTINGS = 32
"""A value is a group once so many units had it: an id makes none."""
MOST_NAMES = 1_000
LONGEST_NAME = 100
MOST_ALPHA = 0.25


@dataclass(frozen=True)
class Measure:
    """How a signal is compared: by the rate above a threshold, by its mean, or by its place among other values."""

    signal: str
    kind: str
    threshold: float = 0.0

    def read(self, unit: Unit) -> float:
        """The number that people are shown the mean of; NaN where the signal does not apply."""
        value = unit.signals.get(self.signal, np.nan)
        return float(value > self.threshold) if self.kind == "rate" and value == value else value


@dataclass(frozen=True)
class FairnessRules:
    """What the person configured.

    Attributes:
        groupings: fields, named as those of segments.
        measures: signals that are compared.
        budget: pages that fairness may spend.
        least_units: of a group and of the rest, before anything is said.
        least_effect: smaller gaps page nobody.
        most_groups: of a grouping, the first ones.
        period_days: how long a sequence lasts.
    """

    groupings: tuple[str, ...]
    measures: tuple[Measure, ...]
    budget: Budget = field(default_factory=Budget)
    least_units: int = 200
    least_effect: float = 0.01
    most_groups: int = 16
    period_days: float = 30.0

    @property
    def comparisons(self) -> int:
        """How many there can be."""
        return len(self.groupings) * self.most_groups * len(self.measures)


def _mirrors(gap: Gap, other: Gap) -> bool:
    """Whether each is the rest of the other, as where there are but two groups: one gap, told of whoever is higher."""
    early = 2 * SIGHTINGS  # units from before a value was known to be a group count for the rest
    apart = abs(gap.units - other.rest_units), abs(gap.rest_units - other.units)
    return gap.signal == other.signal and gap.group != other.group and max(apart) <= early


def groups_of(unit: Unit, grouping: str) -> tuple[str, ...]:
    """The groups that a unit is in; of mentioned groups, which a label lists with commas, perhaps several."""
    value = unit.fields.get(grouping, "")
    names = value.split(",") if grouping.endswith(".groups") else [value]
    return tuple(dict.fromkeys(kept for name in names if 0 < len(kept := name.strip()) <= LONGEST_NAME))


class Fairness:
    """The comparisons of one application in the current period."""

    def __init__(self, application: str, rules: FairnessRules, configuration: str = "") -> None:
        self.application, self.rules, self.configuration = application, rules, configuration
        self.places = Places.empty(len(rules.measures))
        self._begin(0.0, 0.0)

    def _begin(self, at: float, alpha: float) -> None:
        self.began_at, self.alpha, self.clock, self.looked_at, self.unlooked = at, alpha, at, at, 0
        self.pairs = {name: Pairs(len(self.rules.measures)) for name in self.rules.groupings}
        self.sightings: dict[str, dict[str, int]] = {name: {} for name in self.rules.groupings}
        self.paged: set[tuple[str, str, str]] = set()

    def apply(self, units: Sequence[Unit], sharing: frozenset[str]) -> list[Event]:
        """Take consecutive units in; `sharing` are the applications that share the budget."""
        events: list[Event] = []
        length = self.rules.period_days * 24 * 3600
        for unit in units:
            if not self.began_at or unit.occurred_at >= self.began_at + length:
                rate = self.rules.budget.pages_per_second(self.application, sharing)
                events += self._look(None) if self.began_at else []
                self._begin(unit.occurred_at, min(MOST_ALPHA, rate * length) / self.rules.comparisons)
            self.clock = max(self.clock, unit.occurred_at)
            self.unlooked += self._take(unit)
            if self.unlooked >= LOOKED_AFTER_UNITS and self.clock >= self.looked_at + LOOKED_AFTER_SECONDS:
                events += self._look(unit)
        return events

    def _take(self, unit: Unit) -> bool:
        """Whether the unit is in any group; most mention none, and cost nothing."""
        groups = {name: groups_of(unit, name) for name in self.pairs}
        if not any(groups.values()):
            return False
        shown = np.array([measure.read(unit) for measure in self.rules.measures])
        ranked = np.array([measure.kind == "place" for measure in self.rules.measures])
        values = np.where(ranked, self.places.place(shown), shown)
        for grouping, named in groups.items():
            pairs = self.pairs[grouping]
            for name in named:
                self._sight(grouping, name)
            if named:
                pairs.take([name for name in named if name in pairs.groups], values, shown)
        return True

    def _sight(self, grouping: str, name: str) -> None:
        pairs, seen = self.pairs[grouping], self.sightings[grouping]
        if name in pairs.groups or len(pairs.groups) >= self.rules.most_groups:
            return
        seen[name] = seen.get(name, 0) + 1
        if seen[name] >= SIGHTINGS:
            del seen[name]
            pairs.add(name)
        elif len(seen) > MOST_NAMES:
            self.sightings[grouping] = {each: left for each, count in seen.items() if (left := count // 2)}

    def _look(self, unit: Unit | None) -> list[Event]:
        """What is shown, and the pages that the unit completes."""
        self.looked_at, self.unlooked = self.clock, 0
        found: list[Comparison] = []
        raised: list[Event] = []
        for grouping, pairs in self.pairs.items():
            shown = pairs.gaps(SHOWN_ALPHA, self.rules.least_units)
            strict = pairs.gaps(self.alpha, self.rules.least_units)
            for gap, sure in zip(shown, strict, strict=True):
                key = (grouping, gap.group, self.rules.measures[gap.signal].signal)
                if unit is not None and key not in self.paged and self._pages(sure, shown):
                    self.paged.add(key)
                    raised.append(Raised(self._page(grouping, gap, unit)))
                found.append(self._comparison(grouping, gap, key in self.paged))
        return [Compared(tuple(found)), *raised] if found else []

    def _pages(self, sure: Gap, others: Sequence[Gap]) -> bool:
        told_of_the_other = sure.gap < 0 and any(_mirrors(sure, other) and other.low > 0 for other in others)
        return (sure.low > 0 or sure.high < 0) and abs(sure.gap) >= self.rules.least_effect and not told_of_the_other

    def _comparison(self, grouping: str, gap: Gap, paged: bool) -> Comparison:
        measure = self.rules.measures[gap.signal]
        return Comparison(
            application=self.application,
            began_at=self.began_at,
            compared_at=self.clock,
            field=grouping,
            value=gap.group,
            signal=measure.signal,
            measure=measure.kind,
            units=gap.units,
            rest_units=gap.rest_units,
            pairs=gap.pairs,
            mean=gap.mean,
            rest_mean=gap.rest_mean,
            gap=gap.gap,
            low=gap.low,
            high=gap.high,
            paged=paged,
        )

    def _page(self, grouping: str, gap: Gap, unit: Unit) -> Page:
        measure, segment = self.rules.measures[gap.signal], f"{grouping}={gap.group}"
        identity = f"tocsin:fairness:{self.application}:{segment}:{measure.signal}:{self.began_at}"
        places = measure.kind == "place"
        return Page(
            page_id=str(uuid5(NAMESPACE_URL, identity)),
            application=self.application,
            stream=measure.signal,
            segment=segment,
            lane=FAIRNESS,
            reference_id="the rest of the traffic in the same period",
            position=gap.units,
            interaction_id=unit.interaction_id,
            occurred_at=datetime.fromtimestamp(unit.occurred_at, UTC),
            began_at=datetime.fromtimestamp(self.began_at, UTC),
            units_since_beginning=gap.units,
            evidence=1.0,
            threshold=self.alpha,
            effect=Effect(
                quantity=f"{'rate' if measure.kind == 'rate' else 'mean'} of {measure.signal}",
                before=gap.rest_mean,
                now=gap.mean,
                low=None if places else gap.rest_mean + gap.low,
                high=None if places else gap.rest_mean + gap.high,
                units=gap.units,
            ),
            configuration=self.configuration,
        )

    # -- snapshots -------------------------------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """What a snapshot keeps as plain values; `arrays` is the rest."""
        return {
            "rules": self._shape(),
            "times": [self.began_at, self.alpha, self.clock, self.looked_at, self.unlooked],
            "groups": {name: list(pairs.groups) for name, pairs in self.pairs.items()},
            "sightings": self.sightings,
            "paged": sorted(self.paged),
        }

    def arrays(self) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Sums and first values, by names that `restore` knows."""
        found = {
            f"fairness/{i}/{name}": array
            for i, pairs in enumerate(self.pairs.values())
            for name, array in pairs.arrays.items()
        }
        return found | {"fairness/places": self.places.first}

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> None:
        """Go on where a snapshot stood; if other signals or groupings are configured by now, begin anew."""
        if plain["rules"] != self._shape():
            return
        self.began_at, self.alpha, self.clock, self.looked_at, self.unlooked = plain["times"]
        for i, name in enumerate(self.rules.groupings):
            prefix = f"fairness/{i}/"
            held = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            self.pairs[name] = Pairs.restored(plain["groups"][name], held)
        self.sightings = {name: dict(seen) for name, seen in plain["sightings"].items()}
        self.paged = {(grouping, group, signal) for grouping, group, signal in plain["paged"]}
        self.places = Places(arrays["fairness/places"])

    def _shape(self) -> list[Any]:
        measures = [[each.signal, each.kind, each.threshold] for each in self.rules.measures]
        return [list(self.rules.groupings), measures]
