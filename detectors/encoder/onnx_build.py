"""Builds the int8 graph: `python -m detectors.encoder.onnx_build WEIGHTS GRAPH`. Takes some 20 seconds and torch.

Export, fusion, dynamic quantisation per channel. Weights take 7 bits of the 8: processors without VNNI add pairs of
products in 16 bits, which full weights overflow (worst cosine to fp32 .949 instead of .980), and so every processor
computes the same integers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer

from detectors.encoder.minilm import load_model

__all__ = ["build"]

_OPSET = 17
_HEADS = 12
_HIDDEN = 384


def build(weights: Path, graph: Path) -> None:
    """Write the graph at once: whoever builds at the same time finds either nothing or the whole."""
    graph.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=graph.parent, prefix=".building-") as directory:
        exported, fused, quantised = (Path(directory, f"{step}.onnx") for step in ("exported", "fused", "quantised"))
        _export(weights, exported)
        optimizer.optimize_model(
            str(exported), model_type="bert", num_heads=_HEADS, hidden_size=_HIDDEN
        ).save_model_to_file(str(fused))
        quantize_dynamic(
            fused,
            quantised,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # Fused operators are unknown to shape inference.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        quantised.replace(graph)


def _export(weights: Path, target: Path) -> None:
    # Two chunks of an odd length, so that neither size is taken for a constant.
    ids = torch.full((2, 17), 1000)
    axes = {0: "chunks", 1: "tokens"}
    with torch.inference_mode():
        torch.onnx.export(
            load_model(weights),
            (ids, torch.ones_like(ids)),
            str(target),
            opset_version=_OPSET,
            dynamo=False,
            input_names=["ids", "mask"],
            output_names=["inner"],
            dynamic_axes={"ids": axes, "mask": axes, "inner": {0: "chunks"}},
        )


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
