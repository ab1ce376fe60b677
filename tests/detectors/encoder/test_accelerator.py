"""The path of a GPU, computed on the CPU where there is none: filling up, two threads, want of memory."""

import numpy as np
import pytest
import torch

from detectors.encoder import NoGpuError, UnknownBackendError, open_encoder, opening
from detectors.encoder.chunks import Chunker
from detectors.encoder.minilm import load_model
from detectors.encoder.pooled import PooledEncoder
from detectors.encoder.torch_backend import CudaModel
from detectors.encoder.weights import find_weights

TEXTS = [
    "Danke!",
    "How do I change the address of my delivery?",
    "My cat " + "sleeps and purrs and " * 90 + "eats.",
    "",
] * 3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Small(torch.nn.Module):
    """A GPU with room for so many tokens."""

    def __init__(self, model: torch.nn.Module, tokens: int) -> None:
        super().__init__()
        self.model, self.tokens, self.sizes = model, tokens, []

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.sizes.append(ids.numel())
        if ids.numel() > self.tokens:
            raise torch.OutOfMemoryError
        return self.model(ids, mask)


@pytest.fixture(scope="module")
def model():
    return load_model(find_weights().directory, attention="sdpa").to(DEVICE)


def encoder_over(model: torch.nn.Module) -> PooledEncoder:
    return PooledEncoder(CudaModel(model, DEVICE), Chunker(find_weights().tokenizer), "weights.gpu", threads=2)


def test_filling_up_changes_next_to_nothing(model, reference_encoder):
    theirs, ours = reference_encoder.encode(TEXTS), encoder_over(model).encode(TEXTS)
    np.testing.assert_allclose(ours.inner, theirs.inner, atol=2e-4)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=2e-3)


def test_want_of_memory_halves_the_batch_for_good_and_goes_on(model, reference_encoder, caplog):
    small = Small(model, 600)
    encoder = encoder_over(small)
    np.testing.assert_allclose(encoder.encode(TEXTS).inner, reference_encoder.encode(TEXTS).inner, atol=2e-4)
    assert "out of memory: batches have" in caplog.text
    small.sizes.clear()
    encoder.encode([f"{text} again" for text in TEXTS])
    assert max(small.sizes) <= 600


def test_a_chunk_that_does_not_fit_at_all_is_an_error(model):
    with pytest.raises(torch.OutOfMemoryError):
        encoder_over(Small(model, 2)).encode(["one text"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_one_clear_line(cache):
    with pytest.raises(
        NoGpuError, match=r"sees no GPU: install the driver .* or set scoring\.backend to auto or onnx"
    ) as no:
        open_encoder("cuda", cache=cache)
    assert "\n" not in str(no.value)


def test_without_a_driver_auto_is_the_cpu(cache, encoder, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "DRIVER", tmp_path / "none")
    assert open_encoder("auto", cache=cache).fingerprint == encoder.fingerprint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_driver_that_torch_cannot_use_leaves_auto_on_the_cpu(cache, encoder, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "DRIVER", tmp_path)
    assert open_encoder("auto", cache=cache).fingerprint == encoder.fingerprint


def test_bfloat16_on_the_cpu_is_close_and_has_a_fingerprint_of_its_own(cache, reference_encoder):
    rounded = open_encoder("torch", cache=cache, precision="bf16")
    assert rounded.fingerprint != reference_encoder.fingerprint
    theirs, ours = reference_encoder.encode(TEXTS).vectors, rounded.encode(TEXTS).vectors
    assert ((theirs * ours).sum(1)[theirs.any(1)] > 0.995).all()


def test_a_precision_that_a_backend_has_not_is_named(cache):
    with pytest.raises(UnknownBackendError, match="torch has no precision 'fp16': it has fp32, bf16"):
        open_encoder("torch", cache=cache, precision="fp16")
    with pytest.raises(UnknownBackendError, match="onnx has no precision 'bf16': it has int8 only"):
        open_encoder("onnx", cache=cache, precision="bf16")
