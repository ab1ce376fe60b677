"""What a response is beyond its prompt: it tells "the model changed" from "users changed".

A ridge regression predicts the response's vector from the prompt's; what is left over is a stream of its own. While
prompts and model stay as they were, residuals are exchangeable with those of the reference that the regression has not
seen, so that the guarantee of the vector detector carries over unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.drift import Float32Array, ReferenceRefused
from detectors.drift.usable import usable

REGRESSION_SHARE = 0.3
PENALTY = 30.0
"""Of the regression, in pairs: prompts' vectors have length 1, so a direction needs about that many pairs to count."""


@dataclass(frozen=True)
class Given:
    """The regression of responses on prompts.

    Attributes:
        prompt_mean: (d,) of the pairs fitted.
        response_mean: (d,) of the pairs fitted.
        slope: (d, d) response predicted = response_mean + (prompt - prompt_mean) @ slope.
        held_out: (N,) pairs that the regression has not seen; only their residuals may calibrate a detector.
    """

    prompt_mean: Float32Array
    response_mean: Float32Array
    slope: Float32Array
    held_out: NDArray[np.bool_]

    def residual(self, prompts: Float32Array, responses: Float32Array) -> Float32Array:
        """(n, d) unit vectors of what the prompt does not explain; NaN where prompt or response is no unit vector."""
        known = usable(prompts) & usable(responses)
        residual = np.full(responses.shape, np.nan, np.float32)
        centred = prompts[known] - self.prompt_mean
        left = responses[known] - self.response_mean - _row_by_row(centred, self.slope)
        lengths = np.sqrt(np.einsum("nd,nd->n", left, left))[:, None]
        residual[known] = left / np.where(lengths > 0, lengths, np.nan)
        return residual


def fit(prompts: Float32Array, responses: Float32Array, *, seed: int = 0) -> Given:
    """Fit the regression on a random part of (N, d) pairs; pairs with an unusable vector are left out of it.

    Raises:
        ReferenceRefused: no more usable pairs in that part than it would take to say anything.
    """
    known = usable(prompts) & usable(responses)
    fitted = np.zeros(len(prompts), np.bool_)
    fitted[np.random.default_rng(seed).permutation(len(prompts))[: int(REGRESSION_SHARE * len(prompts))]] = True
    rows = fitted & known
    if rows.sum() < PENALTY:
        raise ReferenceRefused(f"{int(rows.sum())} pairs of prompt and response are too few for a regression")
    x, y = prompts[rows].astype(np.float64), responses[rows].astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    spread = float((x**2).sum()) / x.shape[1]
    slope = np.linalg.solve(x.T @ x + PENALTY * spread / len(x) * np.eye(x.shape[1]), x.T @ y)
    return Given(x_mean.astype(np.float32), y_mean.astype(np.float32), slope.astype(np.float32), ~fitted)


def _row_by_row(rows: Float32Array, matrix: Float32Array) -> Float32Array:
    """(n, d) times (d, k), each row a product of its own.

    Residuals enter states, and BLAS picks its kernel by the shape: multiplied at once, a row's last bit would depend on
    how a topic was cut into batches.
    """
    out = np.empty((len(rows), matrix.shape[1]), np.float32)
    for row, result in zip(rows, out, strict=True):
        np.dot(row, matrix, out=result)
    return out
