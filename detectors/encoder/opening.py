"""From a configuration to an encoder: weights, the backend's libraries, the fingerprint."""

from __future__ import annotations

import logging
from pathlib import Path

from detectors.encoder import BACKENDS, Backend, Encoder, NoGpuError, Precision
from detectors.encoder.chunks import CHUNK_TOKENS, MAX_CHUNKS, Chunker
from detectors.encoder.pooled import Model, PooledEncoder
from detectors.encoder.weights import find_weights

__all__ = ["open_backend"]

logger = logging.getLogger(__name__)

CHUNKING = f"{MAX_CHUNKS}x{CHUNK_TOKENS}"
ONNX = "onnx-int8-1"
"""The last number counts recipes: raise it whenever `onnx_build` would make another graph."""
DRIVER = Path("/dev/nvidiactl")


def open_backend(backend: Backend, precision: Precision, model: str, *, cache: Path, threads: int) -> Encoder:
    """See `open_encoder`."""
    if backend == "cuda":
        _require_gpu()
    elif backend == "auto":
        # Torch takes seconds and 300 MB to load, which a machine without a driver need not spend.
        backend = "cuda" if DRIVER.exists() and _gpu() else "onnx"
        if backend == "cuda":
            logger.info("encoding on the GPU")
    precision = BACKENDS[backend][0] if precision == "auto" else precision
    weights = find_weights()
    if backend == "onnx":
        fingerprint = f"{weights.digest}.{ONNX}.{CHUNKING}"
        shipped = _onnx(weights.directory, cache / fingerprint)
    else:
        where = "-cuda" if backend == "cuda" else ""
        fingerprint = f"{weights.digest}.torch-{precision}{where}.{CHUNKING}"
        shipped = _torch(weights.directory, backend, precision)
        threads = max(threads, 2) if backend == "cuda" else threads  # one batch is prepared while another is computed
    pooled = PooledEncoder(shipped, Chunker(weights.tokenizer), fingerprint, threads)
    if not model:
        return pooled
    from detectors.encoder.beside import open_beside

    return open_beside(model, pooled, "cuda" if backend == "cuda" else "cpu", precision)


def _onnx(directory: Path, cache: Path) -> Model:
    from detectors.encoder.onnx_backend import open_model

    return open_model(directory, cache)


def _torch(directory: Path, backend: Backend, precision: Precision) -> Model:
    from detectors.encoder.torch_backend import open_model

    return open_model(directory, "cuda" if backend == "cuda" else "cpu", precision)


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise NoGpuError(
            f"scoring.backend is cuda, but torch {torch.__version__} ({built}) sees no GPU: "
            "install the driver and a CUDA build of torch, or set scoring.backend to auto or onnx"
        )
