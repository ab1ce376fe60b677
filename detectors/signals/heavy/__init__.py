"""Signals that need a large model: slower than everything else together, so none is on by default.

HeavyUnavailableError   the model or the package that it needs is not there: stop at start-up

`opening` makes one by its kind. Here torch may be imported, but not before a model is loaded.
"""

from __future__ import annotations

from typing import Protocol

from detectors.signals import InteractionSignal, TextSignal

__all__ = ["HeavyInteractionSignal", "HeavySignal", "HeavyTextSignal", "HeavyUnavailableError"]


class HeavyUnavailableError(Exception):
    """A model or a package is missing, or is of another kind than it should be. The message is one line."""


class _Loaded(Protocol):
    def load(self) -> None:
        """Load the model, which the first texts would do otherwise.

        Raises:
            HeavyUnavailableError: it cannot be.
        """
        ...


class HeavyTextSignal(TextSignal, _Loaded, Protocol):
    """A text signal with a model. It may raise, as in want of memory: whoever asks it guards it."""


class HeavyInteractionSignal(InteractionSignal, _Loaded, Protocol):
    """An interaction signal with a model; otherwise as `HeavyTextSignal`."""


HeavySignal = HeavyTextSignal | HeavyInteractionSignal
