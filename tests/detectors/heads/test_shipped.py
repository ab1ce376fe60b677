"""The heads as they ship: they do what their cards say."""

from pathlib import Path

import numpy as np
import pytest

from detectors import heads
from detectors.encoder import weights_of
from detectors.heads import HeadMismatchError, read_card, read_head, write_head
from detectors.heads.blended import BlendedHead
from detectors.heads.page import heads_page
from detectors.heads.refusal import RefusalHead
from detectors.heads.toxicity import OUTPUTS
from detectors.heads.training.measures import auroc
from detectors.heads.training.refusal import completions
from detectors.heads.training.sentences import held_out_sentences, injection_texts
from detectors.heads.training.sources import hash_of, read, some

NAMES = sorted(path.stem for path in Path(heads.__file__).parent.glob("*.npz"))
TARGETS = {"davidson": 0.975, "surge": 0.97, "toxigen": 0.96}


@pytest.fixture(scope="module")
def toxicity() -> BlendedHead:
    return BlendedHead.of(read_head("toxicity").arrays)


@pytest.fixture(scope="module")
def injection() -> BlendedHead:
    return BlendedHead.of(read_head("injection").arrays)


def test_there_are_three_heads():
    assert NAMES == ["injection", "refusal", "toxicity"]


@pytest.mark.parametrize("name", NAMES)
def test_a_head_comes_with_a_card_and_fits_the_encoder(name, encoder):
    head = read_head(name)
    head.require(encoder.heads_fingerprint)
    assert head.card["name"] == name
    assert head.card["encoder"] == weights_of(encoder.heads_fingerprint)
    assert {"outputs", "data", "rows", "split", "held_out", "traffic", "limits"} <= set(head.card)
    assert head.version.startswith(f"{name}-")


@pytest.mark.parametrize("name", NAMES)
def test_a_head_refuses_another_encoder(name):
    with pytest.raises(HeadMismatchError, match="000000000000"):
        read_head(name).require("000000000000.torch-fp32.4x256")


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_small(name):
    assert (Path(heads.__file__).parent / f"{name}.npz").stat().st_size < 5 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_every_group_and_every_limit(name):
    page, card = heads_page(), read_card(name)
    for line in (*card["limits"], *card.get("mentions", {"groups": {}})["groups"]):
        assert line in page


@pytest.mark.parametrize(("source", "least"), TARGETS.items())
def test_the_card_meets_the_target_of(source, least):
    assert read_card("toxicity")["held_out"]["toxicity"][source]["auroc"][0] >= least


def test_harmless_mentions_of_every_group_pass():
    groups = read_card("toxicity")["mentions"]["groups"]
    assert len(groups) >= 40
    for name, one in groups.items():
        assert one["harmless"] >= 40, name
        assert one["harmless_flagged_percent"][0] <= 5, name


def test_the_card_says_what_the_toxicity_head_does(toxicity, encoder):
    sentences = [one for one in held_out_sentences() if one.group in {"muslim", "gay", "disabled"}]
    limits = [read_card("toxicity")["outputs"][name] for name in OUTPUTS[:2]]
    texts = [one.text for one in sentences]
    flags = (toxicity.probabilities(texts, encoder.encode(texts))[:, :2] > limits).any(axis=1)
    hostile = np.array([one.attack for one in sentences])
    assert flags[~hostile].mean() <= 0.05
    said = read_card("toxicity")["mentions"]["groups"]
    for group in ("muslim", "gay", "disabled"):
        chosen = hostile & np.array([one.group == group for one in sentences])
        # One sentence of the 20 may fall to the other side where a processor rounds differently.
        assert 100 * flags[chosen].mean() == pytest.approx(said[group]["hostile_found_percent"][0], abs=5.1)


def test_the_card_says_what_the_injection_head_does(injection, encoder):
    card = read_card("injection")
    kinds = injection_texts()
    texts = [text for _, _, text in kinds]
    flags = injection.probabilities(texts, encoder.encode(texts))[:, 0] > card["outputs"]["injection"]
    for kind, said in card["functions"].items():
        chosen = np.array([name == kind for name, _, _ in kinds])
        assert 100 * flags[chosen].mean() == pytest.approx(said["flagged_percent"][0], abs=13)


def test_the_heads_read_both_backends_alike(toxicity, encoder, reference_encoder):
    texts = [one.text for one in held_out_sentences()[:60]]
    quantised, full = (toxicity.probabilities(texts, one.encode(texts))[:, :2] for one in (encoder, reference_encoder))
    assert np.mean((quantised > 0.5) == (full > 0.5)) > 0.95


def test_an_insult_late_in_a_long_text_is_found(toxicity, encoder):
    insult = "You are a worthless piece of shit, you stupid bastard, and everybody hates you. " * 6
    dull = "The committee met on Tuesday and discussed the new timetable for the regional buses. " * 40
    texts = [dull, dull + insult]
    calm, angry = toxicity.probabilities(texts, encoder.encode(texts))[:, 0]
    assert angry > calm + 0.3


def test_a_text_is_judged_alike_whatever_stands_beside_it(toxicity, encoder):
    texts = ["hello there", "", "you stupid idiot", "word " * 900, "\ud83d half a pair"]
    together = toxicity.probabilities(texts, encoder.encode(texts))
    alone = np.vstack([toxicity.probabilities([text], encoder.encode([text])) for text in texts])
    # Products of matrices of another size are summed in another order.
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_text_is_too_odd(toxicity, injection, encoder, awkward):
    for head in (toxicity, injection):
        probabilities = head.probabilities([awkward], encoder.encode([awkward]))
        assert np.isfinite(probabilities).all()
        assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "!" * 5_000, "hahahahahahaha", "asdkjh qwoieu zxmcnb alskdj fgh", "🙂🙃" * 40, "0123456789 " * 20],
    ids=["one letter", "exclamation marks", "laughter", "mashed keys", "emoji", "digits"],
)
def test_nonsense_is_no_attack(text, toxicity, injection, encoder):
    for name, head in (("toxicity", toxicity), ("injection", injection)):
        thresholds = list(read_card(name)["outputs"].values())
        assert not (head.probabilities([text], encoder.encode([text]))[0] > thresholds).any(), name


def test_no_texts_give_no_probabilities(toxicity, encoder):
    assert toxicity.probabilities([], encoder.encode([])).shape == (0, len(OUTPUTS))


def test_the_refusal_head_ranks_labelled_completions(encoder, data):
    rows = sorted((row for row in completions(data) if row.refused >= 0), key=lambda row: hash_of(row.text))[:60]
    head = RefusalHead.of(read_head("refusal").arrays)
    texts = [row.text for row in rows]
    scores = head.probabilities(texts, encoder.encode(texts).inner).astype(np.float64)
    assert auroc(np.array([row.refused == 1 for row in rows]), scores) > 0.93


def test_requests_of_a_set_that_was_not_trained_on_are_no_injections(injection, encoder, data):
    texts = [one["text"] for one in some(read(data, "drift/clinc150"), 300)]
    flags = injection.probabilities(texts, encoder.encode(texts))[:, 0] > read_card("injection")["outputs"]["injection"]
    assert flags.mean() <= 0.03


def test_a_stored_head_comes_back(tmp_path, toxicity):
    card = {"name": "toxicity", "encoder": "0"}
    write_head("toxicity", toxicity.arrays(), card, tmp_path, np.float16)
    again = read_head("toxicity", tmp_path)
    assert again.card == card
    inner = np.random.default_rng(0).normal(size=(3, 3, 384)).astype(np.float32)
    texts = ["one", "two", "three"]
    np.testing.assert_array_equal(BlendedHead.of(again.arrays).logits(texts, inner), toxicity.logits(texts, inner))
    once = (tmp_path / "toxicity.npz").read_bytes()
    write_head("toxicity", toxicity.arrays(), card, tmp_path, np.float16)
    assert (tmp_path / "toxicity.npz").read_bytes() == once
