"""A small network in numpy: standardise, one hidden layer with GELU, logits. Its fitting too, as torch stays outside.

The loss is a cross-entropy in which an unknown label (NaN) does not count; AdamW (Loshchilov and Hutter 2019),
one-cycle learning rate, dropout. Deterministic for a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fit", "Network", "fit", "sigmoid"]

F32 = NDArray[np.float32]


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of logits; never overflows."""
    bounded = np.clip(logits, -30, 30)
    probabilities: F32 = np.reciprocal(1 + np.exp(-bounded))
    return probabilities


@dataclass(frozen=True, eq=False)
class Network:
    """mean, scale: (features,) of the training rows; inward (features, hidden) and outward (hidden, outputs)."""

    mean: F32
    scale: F32
    inward: F32
    inward_bias: F32
    outward: F32
    outward_bias: F32

    @classmethod
    def of(cls, arrays: dict[str, F32], prefix: str) -> Network:
        """The network from stored arrays whose names begin with `prefix`."""
        return cls(**{field.name: arrays[prefix + field.name] for field in fields(cls)})

    def arrays(self, prefix: str) -> dict[str, F32]:
        """What to store."""
        return {prefix + field.name: getattr(self, field.name) for field in fields(self)}

    def logits(self, features: F32) -> F32:
        """Logits (n, outputs) of features (n, features)."""
        standardised: F32 = (features - self.mean) / self.scale
        hidden, _ = _gelu(standardised @ self.inward + self.inward_bias)
        answer: F32 = hidden @ self.outward + self.outward_bias
        return answer


@dataclass(frozen=True)
class Fit:
    """How to fit a network."""

    hidden: int = 128
    epochs: int = 10
    batch: int = 256
    peak_rate: float = 3e-3
    decay: float = 1e-2
    drop_in: float = 0.1
    drop_hidden: float = 0.3
    seed: int = 0


def fit(features: F32, labels: F32, weights: F32, outputs: F32, plan: Fit) -> Network:
    """Fit to features (n, f) and labels (n, o) in {0, 1, NaN}, with weights of rows (n,) and of outputs (o,)."""
    rng = np.random.default_rng(plan.seed)
    mean, scale = features.mean(0), features.std(0) + np.float32(1e-3)
    x = (features - mean) / scale
    known, targets = ~np.isnan(labels), np.nan_to_num(labels)
    parameters = [
        rng.normal(0, x.shape[1] ** -0.5, (x.shape[1], plan.hidden)).astype(np.float32),
        np.zeros(plan.hidden, np.float32),
        rng.normal(0, plan.hidden**-0.5, (plan.hidden, labels.shape[1])).astype(np.float32),
        np.zeros(labels.shape[1], np.float32),
    ]
    optimiser = _AdamW(parameters, plan.decay)
    starts = range(0, len(x), plan.batch)
    for epoch in range(plan.epochs):
        order = rng.permutation(len(x))
        for number, start in enumerate(starts):
            rows = order[start : start + plan.batch]
            share = (epoch * len(starts) + number) / (plan.epochs * len(starts))
            pull = known[rows] * weights[rows, None] * outputs / weights[rows].sum()
            gradients = _gradients(parameters, x[rows], targets[rows], pull, plan, rng)
            optimiser.step(gradients, plan.peak_rate * _one_cycle(share))
    return Network(mean, scale, *parameters)


def _gradients(
    parameters: list[F32], x: F32, targets: F32, pull: F32, plan: Fit, rng: np.random.Generator
) -> list[F32]:
    inward, inward_bias, outward, outward_bias = parameters
    x = x * _dropout(x.shape, plan.drop_in, rng)
    hidden, slope = _gelu(x @ inward + inward_bias)
    kept = _dropout(hidden.shape, plan.drop_hidden, rng)
    hidden = hidden * kept
    error = (sigmoid(hidden @ outward + outward_bias) - targets) * pull
    back = error @ outward.T * kept * slope
    return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def _dropout(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> F32:
    kept = rng.random(shape, dtype=np.float32) >= share
    return kept.astype(np.float32) / np.float32(1 - share)


def _gelu(x: F32) -> tuple[F32, F32]:
    """GELU in its form with tanh, and its slope."""
    slant = np.float32((2 / np.pi) ** 0.5)
    curve = np.tanh(slant * (x + np.float32(0.044715) * x**3))
    slope = (1 + curve) / 2 + x * (1 - curve**2) / 2 * slant * (1 + np.float32(0.134145) * x**2)
    return x * (1 + curve) / 2, slope


def _one_cycle(share: float) -> float:
    """The learning rate as a part of its peak: up from a 25th within the first 30 %, then down to nothing."""
    if share < 0.3:
        return 1 / 25 + (1 - 1 / 25) * (1 - float(np.cos(np.pi * share / 0.3))) / 2
    return (1 + float(np.cos(np.pi * (share - 0.3) / 0.7))) / 2


class _AdamW:
    def __init__(self, parameters: list[F32], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._steps = 0
        self._first = [np.zeros_like(parameter) for parameter in parameters]
        self._second = [np.zeros_like(parameter) for parameter in parameters]

    def step(self, gradients: list[F32], rate: float) -> None:
        """Change the parameters in place."""
        self._steps += 1
        moments = zip(self._parameters, gradients, self._first, self._second, strict=True)
        for parameter, gradient, first, second in moments:
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            step = first / (1 - 0.9**self._steps) / (np.sqrt(second / (1 - 0.999**self._steps)) + 1e-8)
            parameter -= rate * (step + self._decay * parameter)
