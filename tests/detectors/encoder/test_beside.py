"""A small sentence-transformers model, made here: 32 dimensions, other weights than the shipped one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from detectors.encoder import WeightsMissingError, open_encoder
from detectors.encoder.weights import find_weights
from detectors.scoring import Scorer

TEXTS = [
    "How do I change the address of my delivery?",
    "",
    "Danke!",
    "A harbour at dawn. " * 300,
    "half \ud83d of a pair",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(7)
    made = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(str(find_weights().directory))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(str(made / "bert"))
    tokenizer.save_pretrained(str(made / "bert"))
    transformer = Transformer(str(made / "bert"), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(made / "whole"))
    return made / "whole"


@pytest.fixture(scope="module")
def beside(directory, cache):
    return open_encoder("torch", cache=cache, model=str(directory))


def test_vectors_are_the_models_and_the_rest_is_the_shipped_ones(beside, reference_encoder):
    found, shipped = beside.encode(TEXTS), reference_encoder.encode(TEXTS)
    assert found.vectors.shape == (len(TEXTS), beside.dimensions) == (len(TEXTS), 32)
    np.testing.assert_array_equal(found.inner, shipped.inner)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), [1, 0, 1, 1, 1], atol=1e-2)


def test_a_short_text_gets_what_sentence_transformers_gives(beside, directory):
    from sentence_transformers import SentenceTransformer

    published = SentenceTransformer(str(directory), device="cpu").encode(TEXTS[:1], normalize_embeddings=True)
    np.testing.assert_allclose(beside.encode(TEXTS[:1]).vectors, published, atol=4e-3)


def test_it_has_a_fingerprint_of_its_own_and_the_heads_keep_theirs(beside, reference_encoder):
    assert beside.fingerprint != reference_encoder.fingerprint
    assert beside.heads_fingerprint == reference_encoder.fingerprint
    scored = Scorer(beside).score_texts(["Danke!"])[0]
    assert scored.encoder == beside.fingerprint
    assert "toxicity" in scored.signals
    assert scored.prompt_vector.shape == (32,)


def test_all_of_a_long_text_counts(beside):
    sea, cake = "A harbour at dawn. " * 40, "Whisk two eggs with sugar. " * 40
    both, first = beside.encode([sea + cake, sea]).vectors
    assert both @ first < 0.999


def test_a_model_that_is_nowhere_says_what_to_do(cache):
    with pytest.raises(WeightsMissingError, match=r"scoring\.model: .* is no directory, and the hub does not give it"):
        open_encoder("torch", cache=cache, model="no such/model at all")


def test_a_directory_without_a_model_says_so(cache, tmp_path):
    with pytest.raises(WeightsMissingError, match=r"is no sentence-transformers model that can be loaded"):
        open_encoder("torch", cache=cache, model=str(tmp_path))
