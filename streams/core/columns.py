"""Consecutive units as columns: read off once, however many groups and streams look at them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from detectors.drift import Float32Array, FloatArray, IntArray
from streams.core.units import Unit, uniform, vectors_of

Rows = IntArray
"""Places of units in the columns, in their order."""


class Columns:
    """n consecutive units of an application."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = units
        self._vectors: dict[tuple[str, str, int], Float32Array] = {}
        self._signals: dict[str, FloatArray] = {}
        self._uniforms: dict[str, FloatArray] = {}

    @cached_property
    def seconds(self) -> FloatArray:
        """(n,) event times since 1970."""
        return np.array([unit.occurred_at for unit in self.units])

    def vectors(self, side: str, encoder: str, dimensions: int) -> Float32Array:
        """(n, dimensions) vectors; NaN where a unit does not count (`units.vectors_of`)."""
        key = side, encoder, dimensions
        if key not in self._vectors:
            self._vectors[key] = vectors_of(side, self.units, encoder, dimensions)
        return self._vectors[key]

    def signal(self, name: str) -> FloatArray:
        """(n,) values; NaN where a unit has none."""
        if name not in self._signals:
            self._signals[name] = np.array([unit.signals.get(name, np.nan) for unit in self.units], np.float64)
        return self._signals[name]

    def uniforms(self, stream: str) -> FloatArray:
        """(n,) what breaks the ties of a stream's ranks."""
        if stream not in self._uniforms:
            self._uniforms[stream] = np.array([uniform(unit.interaction_id, stream) for unit in self.units])
        return self._uniforms[stream]
