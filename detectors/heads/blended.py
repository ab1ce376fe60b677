"""The form of the text heads: networks on the encoder's layers and character n-grams, whose logits are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import Encoding
from detectors.heads.features import layer_features
from detectors.heads.mlp import Network, sigmoid
from detectors.heads.ngrams import NgramModel

__all__ = ["BlendedHead", "Parts", "blend"]

_SHARES = (0.2, 0.5, 0.3)
"""Of the logit: the network on the last layer, those on all layers, and the n-grams."""

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Parts:
    """What is averaged: logits (n, outputs) of the last layer's network and of all layers', of the n-grams (n, s).

    The n-grams judge the first s outputs.
    """

    last: F32
    together: F32
    spelled: F32


@dataclass(frozen=True, eq=False)
class BlendedHead:
    """Judges texts. scale, shift: (outputs,), which calibrate the averaged logits."""

    last: Network
    inner: tuple[Network, ...]
    spelling: NgramModel
    scale: F32
    shift: F32

    @classmethod
    def of(cls, arrays: dict[str, F32]) -> BlendedHead:
        """The head from stored arrays."""
        count = sum(name.startswith("inner") and name.endswith(".mean") for name in arrays)
        return cls(
            Network.of(arrays, "last."),
            tuple(Network.of(arrays, f"inner{number}.") for number in range(count)),
            NgramModel(arrays["spelling.weights"], arrays["spelling.bias"]),
            arrays["scale"],
            arrays["shift"],
        )

    def arrays(self) -> dict[str, F32]:
        """What to store."""
        stored = self.last.arrays("last.")
        for number, network in enumerate(self.inner):
            stored |= network.arrays(f"inner{number}.")
        stored |= {"spelling.weights": self.spelling.weights, "spelling.bias": self.spelling.bias}
        return {**stored, "scale": self.scale, "shift": self.shift}

    def probabilities(self, texts: Sequence[str], encoding: Encoding) -> F32:
        """Probabilities (n, outputs). The worst chunk of a long text counts."""
        if not len(encoding):
            return np.empty((0, len(self.scale)), dtype=np.float32)
        last, together = self._networks(encoding.parts)
        networks = _SHARES[0] * last + _SHARES[1] * together
        # The n-grams are those of a text's beginning: they speak of its first chunk, and of no other.
        first = np.cumsum(encoding.counts) - encoding.counts
        of_chunks = _joined(networks, np.empty((len(networks), 0), dtype=np.float32))
        of_chunks[first] = _joined(networks[first], self.spelling.logits(texts))
        return sigmoid(encoding.largest(of_chunks * self.scale + self.shift))

    def parts(self, texts: Sequence[str], inner: F32) -> Parts:
        """What is averaged, of texts of one chunk and their states (n, 3, 384)."""
        return Parts(*self._networks(inner), self.spelling.logits(texts))

    def logits(self, texts: Sequence[str], inner: F32) -> F32:
        """Calibrated logits (n, outputs) of texts of one chunk and their states (n, 3, 384)."""
        calibrated: F32 = blend(self.parts(texts, inner)) * self.scale + self.shift
        return calibrated

    def _networks(self, inner: F32) -> tuple[F32, F32]:
        features = layer_features(inner)
        together: F32 = np.mean([network.logits(features) for network in self.inner], axis=0)
        return self.last.logits(features[:, -inner.shape[2] :]), together


def blend(parts: Parts) -> F32:
    """One logit of each output, not calibrated (n, outputs)."""
    return _joined(_SHARES[0] * parts.last + _SHARES[1] * parts.together, parts.spelled)


def _joined(networks: F32, spelled: F32) -> F32:
    """Weighted logits of the networks and the n-grams; outputs without n-grams rest on the networks alone."""
    joined: F32 = networks / np.float32(_SHARES[0] + _SHARES[1])
    judged = spelled.shape[1]
    joined[:, :judged] = networks[:, :judged] + np.float32(_SHARES[2]) * spelled
    return joined
