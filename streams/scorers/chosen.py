"""The signals of an installation: those of the product, those of installed packages, and those that settings name."""

from __future__ import annotations

from detectors.signals import SignalConflictError, Signals, custom, discover
from detectors.signals.heavy import HeavySignal, HeavyUnavailableError
from detectors.signals.heavy.opening import open_heavy
from streams.scorers.guarded import guarded
from streams.scorers.http import open_http_scorer
from streams.settings import ConfigurationError, Settings

__all__ = ["chosen_signals"]


def chosen_signals(settings: Settings, *, load: bool = False) -> Signals:
    """Every signal that interactions get.

    Args:
        settings: the effective settings.
        load: load the models of `scoring.heavy` now; whoever only needs names and thresholds does without.

    Raises:
        ConfigurationError: two signals have one name, or a model cannot be loaded.
    """
    scoring = settings.scoring
    found = [(type(each).__name__, each) for each in custom()]
    found += [(each.name, open_http_scorer(each)) for each in scoring.http_scorers]
    try:
        heavy: list[tuple[str, HeavySignal]] = [(each.name, open_heavy(**each.model_dump())) for each in scoring.heavy]
        for _, signal in heavy if load else ():
            signal.load()
        return discover().with_others(guarded(name, signal) for name, signal in (*found, *heavy))
    except (SignalConflictError, HeavyUnavailableError) as error:
        raise ConfigurationError(f"scoring: {error}") from None
