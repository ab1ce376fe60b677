"""What the comparison of groups needs of the settings."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.signals import Output, Signals
from streams.core.budget import Budget
from streams.core.fairness import FairnessRules, Measure
from streams.settings import ConfigurationError, Settings


def fairness_rules(settings: Settings, signals: Signals) -> FairnessRules | None:
    """Groupings and measures, of what these signals give; None if no grouping is configured.

    Raises:
        ConfigurationError: a grouping or a signal that there is not.
    """
    wanted, outputs = settings.fairness, signals.outputs()
    fields = {*signals.labels(), "template", "model"}
    for name in wanted.groupings:
        named = name.removeprefix("attribute ")
        if name not in fields and (named == name or named in ("", "*")):
            raise ConfigurationError(f"fairness.groupings: {name!r} is no label, template, model or attribute NAME")
    if unknown := [name for name in wanted.signals if name not in outputs]:
        raise ConfigurationError(f"fairness.signals: there is no signal {unknown[0]!r}")
    if not wanted.groupings:
        return None
    return FairnessRules(
        groupings=tuple(dict.fromkeys(wanted.groupings)),
        measures=tuple(measure_of(outputs[name]) for name in dict.fromkeys(wanted.signals)),
        budget=Budget(settings.budget.pages_per_30_days * wanted.budget_share, weights_of(settings)),
        least_units=wanted.least_units,
        least_effect=wanted.least_effect,
        most_groups=wanted.most_groups,
        period_days=wanted.period_days,
    )


def drift_budget(settings: Settings) -> Budget:
    """What is left for everything else."""
    share = settings.fairness.budget_share if settings.fairness.groupings else 0.0
    return Budget(settings.budget.pages_per_30_days * (1 - share), weights_of(settings))


def weights_of(settings: Settings) -> Mapping[str, float]:
    """Relative shares of the applications that have one of their own."""
    return {name: each.weight for name, each in settings.applications.items()}


def measure_of(output: Output) -> Measure:
    """A rate where a signal has a threshold, a mean where it is bounded, places otherwise."""
    if output.threshold is not None:
        return Measure(output.name, "rate", output.threshold)
    return Measure(output.name, "place" if output.kind == "scalar" else "mean")
