"""Units collected until they make a reference."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.core.units import REPEAT_SIGNALS, Unit

MOST_LEARNED = 4  # times the units wanted; by then a stream of repeats is left out instead of waited for


@dataclass
class Learning:
    """Units collected for a reference; after a retraining run only those of its model version, if it named one."""

    units: list[Unit] = field(default_factory=list)
    run_id: str = ""
    model_version: str = ""
    distinct: int = 0

    def add(self, unit: Unit) -> None:
        """Take a unit in. Vectors of different encoders never mix: a change of encoder begins anew."""
        if self.model_version and self.model_version not in unit.fields.get("model", "").split():
            return
        if self.units and self.units[-1].encoder != unit.encoder:
            self.units, self.distinct = [], 0
        self.units.append(unit)
        self.distinct += not unit.signals[REPEAT_SIGNALS["prompt"]]

    def done(self, wanted: int) -> bool:
        """Whether it is time to fit: that many units that repeat no earlier prompt, or far more in all."""
        return self.distinct >= wanted or len(self.units) >= MOST_LEARNED * wanted
