"""The toxicity head: two probabilities a text, because abuse and attacks on groups are two things."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detectors.heads.features import layer_features
from detectors.heads.mlp import Network, sigmoid

__all__ = ["OUTPUTS", "ToxicityHead"]

OUTPUTS = ("toxicity", "identity_attack")
"""toxicity: insults, profanity, threats, hate. identity_attack: hostility against people for what they are."""


@dataclass(frozen=True, eq=False)
class ToxicityHead:
    """Networks that differ in their seed; their logits are averaged."""

    networks: tuple[Network, ...]

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.float32]]) -> ToxicityHead:
        """The head from stored arrays."""
        count = sum(key.startswith("mean_") for key in arrays)
        names = [field.name for field in fields(Network)]
        return cls(tuple(Network(**{name: arrays[f"{name}_{n}"] for name in names}) for n in range(count)))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What to store."""
        names = [field.name for field in fields(Network)]
        return {f"{name}_{n}": getattr(network, name) for n, network in enumerate(self.networks) for name in names}

    def logits(self, inner: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, 2) of hidden states (n, 3, 384)."""
        features = layer_features(inner)
        mean: NDArray[np.float32] = np.mean([network.logits(features) for network in self.networks], axis=0)
        return mean

    def probabilities(self, inner: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, 2), in the order of `OUTPUTS`."""
        return sigmoid(self.logits(inner))
