"""The model in ONNX Runtime, int8: the default on a CPU. Its graph is built once, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detectors.encoder import BuildFailedError
from detectors.encoder.batches import Shape
from detectors.encoder.chunks import CHUNK_TOKENS

__all__ = ["OnnxModel", "open_model"]


class OnnxModel:
    """Runs the graph with one thread a call."""

    # Activations are quantised with one scale a tensor: beside other texts a vector turns by as much as quantisation
    # itself costs (cosine .992), and a replay would not reproduce it. Alone, only short texts are slower, by a sixth.
    shape = Shape(chunks=1, tokens=CHUNK_TOKENS)
    texts = 32

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean-pooled hidden states (chunks, 3, 384); see `Model`. One chunk, so that nothing is filled up."""
        states: NDArray[np.float32] = self._session.run(["inner"], {"ids": ids, "mask": np.ones_like(ids)})[0]
        return states


def open_model(weights: Path, cache: Path) -> OnnxModel:
    """Open the graph under `cache`, building it where it is not there yet."""
    graph = cache / "model.onnx"
    if not graph.exists():
        _build(weights, graph)
    return OnnxModel(graph)


def _build(weights: Path, graph: Path) -> None:
    # Another process: torch takes 300 MB that a scoring process must not keep, and the exporters talk a lot.
    command = [sys.executable, "-W", "ignore", "-m", "detectors.encoder.onnx_build", str(weights), str(graph)]
    built = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if built.returncode:
        said = built.stderr.strip().splitlines() or ["no output"]
        raise BuildFailedError(f"the encoder's graph could not be built (exit {built.returncode}): {said[-1]}")
