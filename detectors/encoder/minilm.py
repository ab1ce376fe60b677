"""The model as a torch module that returns the pooled hidden states; torch and transformers are loaded here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

from detectors.encoder import LAYERS

__all__ = ["PooledModel", "load_model"]


class PooledModel(torch.nn.Module):
    """Mean-pools the hidden states of `LAYERS`."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ids, mask: int64 (chunks, tokens), mask 1 for a token; returns float32 (chunks, 3, 384)."""
        states = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        weights = mask.unsqueeze(-1).float()
        pooled = [(states[layer].float() * weights).sum(1) / weights.sum(1) for layer in LAYERS]
        return torch.stack(pooled, 1)


def load_model(directory: Path, attention: Literal["eager", "sdpa"] = "eager") -> PooledModel:
    """The model from a local directory; asks no network and draws no progress bar.

    attention: `eager` is what the exporter and the graph optimiser understand, `sdpa` is faster.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    model = AutoModel.from_pretrained(str(directory), local_files_only=True, attn_implementation=attention)
    return PooledModel(model.eval())
