"""The refusal head: does a response decline what was asked?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.heads.features import refusal_features
from detectors.heads.mlp import sigmoid

__all__ = ["RefusalHead"]


@dataclass(frozen=True, eq=False)
class RefusalHead:
    """A logistic regression; coefficients (387,) and intercept (1,)."""

    coefficients: NDArray[np.float32]
    intercept: NDArray[np.float32]

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.float32]]) -> RefusalHead:
        """The head from stored arrays."""
        return cls(arrays["coefficients"], arrays["intercept"])

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What to store."""
        return {"coefficients": self.coefficients, "intercept": self.intercept}

    def probabilities(self, texts: Sequence[str], inner: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n,) of responses and their hidden states (n, 3, 384)."""
        return self.of_features(refusal_features(texts, inner))

    def of_features(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n,) of features (n, 387)."""
        return sigmoid(features @ self.coefficients + self.intercept)
