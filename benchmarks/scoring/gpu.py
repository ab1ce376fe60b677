"""Scoring on a GPU: interactions a second, how much of its arithmetic is used, how long it waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scoring.contestants import pieces, texts_of
from benchmarks.scoring.traffic import endless
from detectors.encoder import DIMENSIONS, open_encoder
from detectors.encoder.pooled import PooledEncoder
from detectors.encoder.torch_backend import CudaModel
from detectors.scoring import Scorer
from tocsin.contracts import Interaction

LAYERS, THREADS = 6, 4
PROMPT_TOKENS, RESPONSE_TOKENS = 30, 200


def measure(cache: Path, count: int) -> dict[str, Any]:
    """The figures of one GPU: prompts of 30 tokens, responses of 200."""
    encoder = open_encoder("cuda", cache=cache, threads=THREADS)
    assert isinstance(encoder, PooledEncoder)  # the shipped model
    model = encoder._model
    assert isinstance(model, CudaModel)
    scorer = Scorer(encoder)
    draw = endless(PROMPT_TOKENS, RESPONSE_TOKENS)
    interactions = list(islice(draw, count))
    _all(scorer, interactions[: 4 * scorer.batch])  # kernels are chosen and memory is taken at the first batches
    busy = _Busy(model)
    seconds: dict[str, tuple[float, float, float]] = {}
    for name, work in (("encoder", lambda piece: encoder.encode(texts_of(piece))), ("scoring", scorer.score)):
        busy.seconds = 0.0
        began, cpu_began = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, pieces(interactions, scorer.batch)))
        torch.cuda.synchronize()
        seconds[name] = (time.perf_counter() - began, time.process_time() - cpu_began, busy.seconds)
    tokens = PROMPT_TOKENS + RESPONSE_TOKENS
    wall, cpu, computing = seconds["scoring"]
    flops = count * (_flops(PROMPT_TOKENS) + _flops(RESPONSE_TOKENS))
    return {
        "gpu": torch.cuda.get_device_name(),
        "interactions": count,
        "tokens of an interaction": tokens,
        "encoder alone: interactions/s": round(count / seconds["encoder"][0]),
        "with every head and signal: interactions/s": round(count / wall),
        "share of the measured bf16 ceiling": round(flops / wall / _ceiling(), 3),
        "share of time the GPU waits": round(max(0.0, 1 - computing / wall), 3),
        "CPU cores used beside it": round(cpu / wall, 2),
    }


def _flops(tokens: int) -> float:
    """Multiplications and additions of one pass: products with weights, and attention."""
    return LAYERS * (24.0 * tokens * DIMENSIONS**2 + 4.0 * tokens**2 * DIMENSIONS)


def _ceiling() -> float:
    """Operations a second of the largest products that the GPU is good at, in bf16."""
    a, b = (torch.randn(8_192, 8_192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8_192**3 / (time.perf_counter() - began)


def _all(scorer: Scorer, interactions: Sequence[Interaction]) -> None:
    for piece in pieces(interactions, scorer.batch):
        scorer.score(piece)


class _Busy:
    """Counts the time in which the GPU computes, by events around each run."""

    def __init__(self, model: CudaModel) -> None:
        self.seconds = 0.0
        self._model = model._model
        model._model = self  # type: ignore[assignment]

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> NDArray[np.float32]:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        states = self._model(ids, mask)
        after.record()
        after.synchronize()
        self.seconds += before.elapsed_time(after) / 1_000
        return states
