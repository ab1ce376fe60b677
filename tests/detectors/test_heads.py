import json
from pathlib import Path

import numpy as np
import pytest

from detectors import heads
from detectors.encoder import weights_of
from detectors.heads import read_card, read_head, write_head
from detectors.heads.features import layer_features, refusal_features
from detectors.heads.held_out_sentences import measuring_sentences
from detectors.heads.identity_sentences import GROUPS, training_sentences
from detectors.heads.measures import auroc, calibration_error, f1
from detectors.heads.mlp import Fit, fit, sigmoid
from detectors.heads.refusal import RefusalHead
from detectors.heads.sources import completions, hash_of, toxicity_rows
from detectors.heads.toxicity import OUTPUTS, ToxicityHead

NAMES = sorted(path.stem for path in Path(heads.__file__).parent.glob("*.npz"))


@pytest.fixture(scope="module")
def toxicity() -> ToxicityHead:
    return ToxicityHead.of(read_head("toxicity").arrays)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_comes_with_a_card_and_fits_the_encoder(name, encoder):
    head = read_head(name)
    head.require(encoder.fingerprint)
    assert head.card["name"] == name
    assert head.card["encoder"] == weights_of(encoder.fingerprint)
    assert {"outputs", "data", "rows", "limits"} <= set(head.card)
    assert head.version.startswith(f"{name}-")


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_small(name):
    assert (Path(heads.__file__).parent / f"{name}.npz").stat().st_size < 3 * 2**20


def test_cards_publish_harmless_mentions_for_forty_groups():
    groups = read_card("toxicity")["mentions"]["groups"]
    assert len(groups) >= 40
    assert all("harmless_flagged_percent" in measured for measured in groups.values())


def test_cards_meet_the_least_we_ask():
    toxicity, refusal = read_card("toxicity"), read_card("refusal")
    for source, least in {"davidson": 0.93, "surge": 0.95, "toxigen": 0.95}.items():
        assert toxicity["held_out"]["toxicity"][source]["auroc"] > least
    assert toxicity["mentions"]["harmless_flagged_percent"] < 6
    assert toxicity["held_out"]["ordinary_traffic_flagged_percent"] < 1.5
    assert refusal["held_out_by_model_and_prompt"]["all"]["f1"] > 0.88


def test_the_card_says_what_the_head_does_on_held_out_sentences(toxicity, encoder):
    card = read_card("toxicity")
    sentences = [one for one in measuring_sentences() if one.group in {"muslim", "gay", "disabled"}]
    flagged = toxicity.probabilities(encoder.encode([one.text for one in sentences]).inner) > [
        card["outputs"][name] for name in OUTPUTS
    ]
    for group in {one.group for one in sentences}:
        chosen = np.array([one.group == group and not one.attack for one in sentences])
        found = 100 * flagged.any(axis=1)[chosen].mean()
        # One sentence of the 18 may fall to the other side where a processor rounds differently.
        assert found == pytest.approx(card["mentions"]["groups"][group]["harmless_flagged_percent"], abs=5.6)


def test_the_head_reads_both_backends_alike(toxicity, encoder, reference_encoder):
    texts = [one.text for one in measuring_sentences()[:60]]
    quantised, full = (toxicity.probabilities(one.encode(texts).inner) for one in (encoder, reference_encoder))
    assert np.mean((quantised > 0.5) == (full > 0.5)) > 0.95


def test_the_toxicity_head_ranks_labelled_texts(toxicity, encoder, data):
    rows = sorted((row for row in toxicity_rows(data) if row.source == "surge"), key=lambda row: hash_of(row.text))[
        :150
    ]
    scores = toxicity.logits(encoder.encode([row.text for row in rows]).inner)[:, 0].astype(np.float64)
    assert auroc(np.array([row.toxic == 1 for row in rows]), scores) > 0.95


def test_the_refusal_head_ranks_labelled_completions(encoder, data):
    rows = sorted((row for row in completions(data) if row.refused >= 0), key=lambda row: hash_of(row.text))[:60]
    head = RefusalHead.of(read_head("refusal").arrays)
    texts = [row.text for row in rows]
    scores = head.probabilities(texts, encoder.encode(texts).inner).astype(np.float64)
    assert auroc(np.array([row.refused == 1 for row in rows]), scores) > 0.93


def test_training_never_sees_the_measuring_sentences():
    trained = training_sentences()
    assert not {one.text.lower() for one in trained} & {one.text.lower() for one in measuring_sentences()}
    assert not {one.frame for one in trained} & {one.frame for one in measuring_sentences()}


def test_every_group_has_every_kind_of_sentence():
    for group in GROUPS.keys() - {"control"}:
        labels = [one.attack for one in training_sentences() if one.group == group]
        assert 0.1 < np.mean(labels) < 0.5


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


def test_a_stored_head_comes_back(tmp_path, toxicity):
    card = {"name": "toxicity", "encoder": "0"}
    write_head("toxicity", toxicity.arrays(), card, tmp_path, np.float16)
    again = ToxicityHead.of(read_head("toxicity", tmp_path).arrays)
    inner = np.random.default_rng(0).normal(size=(3, 3, 384)).astype(np.float32)
    np.testing.assert_array_equal(again.logits(inner), toxicity.logits(inner))
    assert json.loads((tmp_path / "toxicity.json").read_text()) == card


def test_measures_are_right_on_small_cases():
    labels = np.array([False, False, True, True])
    assert auroc(labels, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert auroc(labels, np.ones(4)) == 0.5
    assert np.isnan(auroc(np.ones(3, bool), np.ones(3)))
    assert f1(labels, np.array([True, False, True, True])) == pytest.approx(0.8)
    assert calibration_error(labels, np.array([0.0, 0.0, 1.0, 1.0])) == 0
    assert calibration_error(labels, np.full(4, 0.99)) == pytest.approx(0.49)
    assert sigmoid(np.array([-1e9, 0, 1e9], np.float32)).tolist() == pytest.approx([0, 0.5, 1])
