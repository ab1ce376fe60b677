"""The model in torch: on a CPU the measure of the quantised one, on a GPU the fast one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.encoder import Precision
from detectors.encoder.batches import Shape
from detectors.encoder.chunks import CHUNK_TOKENS
from detectors.encoder.minilm import load_model

__all__ = ["CpuModel", "CudaModel", "open_model"]

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GPU_TOKENS = 32_768
"""Tokens of a batch on a GPU: large enough to fill one, small enough for two at once in a few GB."""


class CpuModel:
    """Runs the model eagerly on the CPU; chunks of one length share a call, so that nothing is padded."""

    shape = Shape(chunks=8, tokens=8 * CHUNK_TOKENS)
    texts = 256

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def run(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean-pooled hidden states (chunks, 3, 384); see `Model`."""
        tokens = torch.from_numpy(ids)
        with torch.inference_mode():
            states: NDArray[np.float32] = self._model(tokens, _mask(tokens, torch.from_numpy(lengths))).numpy()
        return states


class CudaModel:
    """Runs the model on a GPU. Two threads keep it busy: one waits for its states while the other's are computed.

    Out of memory halves the batch, for good, and goes on: other processes may share the GPU.
    """

    texts = 2_048

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self.shape = Shape(chunks=4_096, tokens=GPU_TOKENS, pads=True)
        self._model, self._device = model, device

    def run(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean-pooled hidden states (chunks, 3, 384); see `Model`."""
        try:
            return self._run(ids, lengths)
        except torch.OutOfMemoryError:
            if len(ids) == 1:
                raise
        self._halve(ids.size)
        half = len(ids) // 2
        return np.concatenate((self.run(ids[:half], lengths[:half]), self.run(ids[half:], lengths[half:])))

    def _run(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # Pinned memory is copied beside the computing; the wait at the end is for this batch alone.
            tokens = self._pinned(torch.from_numpy(ids)).to(self._device, non_blocking=True)
            there = self._pinned(torch.from_numpy(lengths)).to(self._device, non_blocking=True)
            states = self._model(tokens, _mask(tokens, there))
            here = torch.empty(states.shape, dtype=states.dtype, pin_memory=self._device.type == "cuda")
            here.copy_(states, non_blocking=True)
            if self._device.type == "cuda":
                done = torch.cuda.Event()  # type: ignore[no-untyped-call]
                done.record()
                done.synchronize()
        found: NDArray[np.float32] = here.numpy()
        return found

    def _pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory() if self._device.type == "cuda" else tensor

    def _halve(self, size: int) -> None:
        tokens = max(min(self.shape.tokens, size) // 2, CHUNK_TOKENS)
        self.shape = Shape(self.shape.chunks, tokens, pads=True)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning("the GPU is out of memory: batches have %d tokens at most from now on", tokens)


def open_model(weights: Path, device: Literal["cpu", "cuda"], precision: Precision) -> CpuModel | CudaModel:
    """Load the weights from their directory."""
    model = load_model(weights, attention="sdpa").to(device=torch.device(device), dtype=DTYPES[precision])
    return CudaModel(model, torch.device(device)) if device == "cuda" else CpuModel(model)


def _mask(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """1 for a token, 0 for filling: int64 (chunks, tokens)."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return (places < lengths[:, None]).long()
