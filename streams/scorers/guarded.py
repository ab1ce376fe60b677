"""Signals that are not ours, held to the contract: whatever goes wrong in one, its numbers are absent and that is all.

Such a signal is somebody else's program, a large model or a service over the network. Were it to raise, the score stage
would take the same batch again and again, and every other signal with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from detectors.signals import Exchanges, FloatArray, InteractionSignal, Output, Readings, Texts, TextSignal
from streams.metrics import SIGNAL_FAILURES

__all__ = ["guarded"]

logger = logging.getLogger(__name__)
_RANGES = {"scalar": (-np.inf, np.inf), "binary": (0.0, 1.0), "probability": (0.0, 1.0)}


def guarded(name: str, signal: TextSignal | InteractionSignal) -> TextSignal | InteractionSignal:
    """The same signal, which never raises and never answers what it did not declare.

    Args:
        name: stands in metrics and in the log.
        signal: of any origin.
    """
    return _Texts(name, signal) if isinstance(signal, TextSignal) else _Interactions(name, signal)


class _Guarded:
    def __init__(self, name: str, signal: TextSignal | InteractionSignal) -> None:
        self._name = name
        self.outputs, self.labels, self.heads = signal.outputs, signal.labels, signal.heads

    def _read(self, ask: Callable[[], Readings], count: int) -> Readings:
        if not count:
            return self._absent(count)
        try:
            return _held_to(ask(), self.outputs, self.labels, count)
        except Exception as error:  # noqa: BLE001  foreign code: nobody knows what it raises
            kind = type(error).__name__
            SIGNAL_FAILURES.labels(self._name, kind).inc()
            logger.warning("signal %s failed: %s", self._name, kind)  # the message might hold what was read
            return self._absent(count)

    def _absent(self, count: int) -> Readings:
        numbers = {output.name: np.full(count, np.nan) for output in self.outputs}
        return Readings(numbers, {label: [""] * count for label in self.labels})


class _Texts(_Guarded):
    def __init__(self, name: str, signal: TextSignal) -> None:
        super().__init__(name, signal)
        self._signal = signal

    def score_texts(self, texts: Texts) -> Readings:
        return self._read(lambda: self._signal.score_texts(texts), len(texts))


class _Interactions(_Guarded):
    def __init__(self, name: str, signal: InteractionSignal) -> None:
        super().__init__(name, signal)
        self._signal = signal

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        return self._read(lambda: self._signal.score_interactions(exchanges), len(exchanges))


def _held_to(readings: Readings, outputs: Sequence[Output], labels: Sequence[str], count: int) -> Readings:
    """Just what was declared; a number outside its kind's range is absent.

    Raises:
        KeyError, TypeError, ValueError: a column is missing, is not of numbers, or has another length.
    """
    numbers = {output.name: _column(readings.numbers[output.name], output, count) for output in outputs}
    words: dict[str, Sequence[str]] = {label: [str(word) for word in readings.labels[label]] for label in labels}
    if any(len(column) != count for column in words.values()):
        raise ValueError(f"labels are not {count}")
    return Readings(numbers, words)


def _column(values: FloatArray, output: Output, count: int) -> FloatArray:
    column = np.array(values, dtype=np.float64).reshape(count)
    low, high = _RANGES[output.kind]
    fits = np.isfinite(column) & (column >= low) & (column <= high)
    if output.kind == "binary":
        fits &= (column == 0) | (column == 1)
    column[~fits] = np.nan
    return column
