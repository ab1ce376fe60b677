"""The model in torch, fp32: slower, and the measure of the quantised one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.encoder.minilm import load_model

__all__ = ["TorchBackend", "open_backend"]


class TorchBackend:
    """Runs the model eagerly on the CPU."""

    batch = 8

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean-pooled hidden states (chunks, 3, 384); see `Backend`."""
        tokens = torch.from_numpy(ids)
        with torch.inference_mode():
            states: NDArray[np.float32] = self._model(tokens, torch.ones_like(tokens)).numpy()
        return states


def open_backend(weights: Path) -> TorchBackend:
    """Load the weights from their directory."""
    return TorchBackend(load_model(weights))
