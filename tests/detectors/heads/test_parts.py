"""What the heads are put together from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.heads.features import layer_features, refusal_features
from detectors.heads.mlp import Fit, fit, sigmoid
from detectors.heads.ngrams import BUCKETS, SEEN_CHARACTERS, NgramModel, ngrams
from detectors.heads.training.measures import auroc, auroc_interval, calibration_error, f1, percent, share


def grams(text: str) -> list[str]:
    """The n-grams one by one, as a person would count them."""
    words = [f" {word} " for word in text[:SEEN_CHARACTERS].lower().split()]
    return [word[at : at + size] for word in words for size in range(2, 6) for at in range(len(word) - size + 1)]


@given(st.lists(st.text(max_size=40), max_size=6))
def test_as_many_ngrams_are_hashed_as_there_are(texts):
    buckets, owners = ngrams(texts)
    assert np.bincount(owners, minlength=len(texts)).tolist() == [len(grams(text)) for text in texts]
    assert (buckets < BUCKETS).all()


@given(st.text(max_size=60))
def test_equal_ngrams_share_a_bucket(text):
    buckets, _ = ngrams([text])
    # Different ones may, too, but in 60 characters hardly ever.
    assert len(set(buckets.tolist())) <= len(set(grams(text)))


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_the_neighbours_of_a_text_do_not_change_its_ngrams(texts):
    rng = np.random.default_rng(0)
    model = NgramModel(rng.normal(size=(2, BUCKETS)).astype(np.float32), np.ones(2, np.float32))
    alone = np.vstack([model.logits([text]) for text in texts])
    np.testing.assert_array_equal(model.logits(texts), alone)


def test_features_ignore_the_length_of_a_state():
    inner = np.random.default_rng(0).normal(size=(2, 3, 384)).astype(np.float32)
    np.testing.assert_allclose(layer_features(inner * 7), layer_features(inner), rtol=1e-4)
    assert not layer_features(np.zeros((1, 3, 384), np.float32)).any()


def test_an_expression_of_refusal_is_a_feature():
    nothing = np.zeros((2, 3, 384), np.float32)
    declined, pitied = refusal_features(["I cannot help with that.", "I'm sorry to hear that you are ill."], nothing)
    assert declined[384] > pitied[384] == 0


def test_fitting_learns_and_is_deterministic():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8)).astype(np.float32)
    y = np.stack((x[:, 0] * x[:, 1] > 0, x[:, 2] > 0), 1).astype(np.float32)
    y[::3, 1] = np.nan
    plan = Fit(hidden=32, epochs=40, batch=32, drop_in=0, drop_hidden=0)
    one, other = (fit(x, y, np.ones(600, np.float32), np.ones(2, np.float32), plan) for _ in range(2))
    np.testing.assert_array_equal(one.logits(x), other.logits(x))
    assert auroc(x[:, 0] * x[:, 1] > 0, one.logits(x)[:, 0].astype(np.float64)) > 0.95
    assert auroc(x[:, 2] > 0, one.logits(x)[:, 1].astype(np.float64)) > 0.99


def test_measures_are_right_on_small_cases():
    labels = np.array([False, False, True, True])
    assert auroc(labels, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert auroc(labels, np.ones(4)) == 0.5
    assert np.isnan(auroc(np.ones(3, bool), np.ones(3)))
    assert auroc_interval(np.ones(3, bool), np.ones(3)) is None
    assert f1(labels, np.array([True, False, True, True])) == pytest.approx(0.8)
    assert calibration_error(labels, np.array([0.0, 0.0, 1.0, 1.0])) == 0
    assert calibration_error(labels, np.full(4, 0.99)) == pytest.approx(0.49)
    assert percent(labels) == share(2, 4)
    assert share(0, 0) is None
    assert sigmoid(np.array([-1e9, 0, 1e9], np.float32)).tolist() == pytest.approx([0, 0.5, 1])


def test_intervals_hold_what_they_promise():
    rng = np.random.default_rng(1)
    held = ranked = 0
    for _ in range(400):
        _, low, high = percent(rng.random(200) < 0.1)
        held += low <= 10 <= high
        labels = np.repeat([False, True], 100)
        _, least, most = auroc_interval(labels, rng.normal(size=200) + labels)
        ranked += least <= 0.7602 <= most  # the area of two normal curves one deviation apart
    assert held >= 0.92 * 400
    assert ranked >= 0.92 * 400
