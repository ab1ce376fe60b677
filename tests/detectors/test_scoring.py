import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.heads import HeadMismatchError
from detectors.scoring import Scorer
from detectors.signals import Signals, signal_outputs
from tocsin.contracts import Interaction, Turn

any_text = st.text(st.characters(categories=None), max_size=120)


def interaction(prompt: str = "How are you?", response: str = "Fine, thank you.") -> Interaction:
    return Interaction(application="shop", prompt=prompt, response=response)


def assert_sound(scores, outputs) -> None:
    assert set(scores.signals) <= set(outputs)
    assert all(math.isfinite(number) for number in scores.signals.values())
    assert set(scores.flags) <= set(scores.signals)
    for vector in (scores.prompt_vector, scores.response_vector):
        assert vector.shape == (384,)
        assert np.isfinite(vector).all()


def test_scores_carry_what_reproduces_them(scorer, encoder):
    scores = scorer.score([interaction()])[0]
    assert scores.encoder == encoder.fingerprint
    assert [version.split("-")[0] for version in scores.heads.split()] == ["injection", "refusal", "toxicity"]


def test_vectors_are_those_of_the_encoder(scorer, encoder):
    scores = scorer.score([interaction("a prompt", "a response")])[0]
    np.testing.assert_array_equal(scores.prompt_vector, encoder.encode(["a prompt"]).vectors[0])
    np.testing.assert_array_equal(scores.response_vector, encoder.encode(["a response"]).vectors[0])


def test_no_interactions_have_no_scores(scorer):
    assert scorer.score([]) == []
    assert scorer.score_texts([]) == []


def test_of_a_chat_the_last_turn_of_the_user_is_scored(scorer, encoder):
    turns = [Turn(role="system", content="Be brief."), Turn(role="user", content="Where is my parcel?")]
    scores = scorer.score([Interaction(application="shop", prompt=turns, response="On its way.")])[0]
    np.testing.assert_array_equal(scores.prompt_vector, encoder.encode(["Where is my parcel?"]).vectors[0])


def test_scores_do_not_depend_on_the_batch(scorer):
    batch = [interaction(f"Question number {number}?", "An answer. " * number) for number in range(6)]
    for one, together in zip(batch, scorer.score(batch), strict=True):
        alone = scorer.score([one])[0]
        assert alone.signals == pytest.approx(together.signals, rel=1e-4, abs=1e-6)
        assert (alone.flags, alone.labels) == (together.flags, together.labels)
        np.testing.assert_array_equal(alone.prompt_vector, together.prompt_vector)


def test_bare_texts_have_plain_names(scorer):
    scores = scorer.score_texts(["You are a stupid, worthless idiot."])[0]
    assert scores.signals["toxicity"] > 0.9
    assert scores.flags == ["toxicity", "harassment", "unsafe"]
    assert "language" in scores.labels
    assert not scores.response_vector.any()


def test_flags_are_the_signals_above_their_threshold(scorer):
    scores = scorer.score([interaction("You are a stupid, worthless idiot.", "")])[0]
    above = [
        name
        for name, number in scores.signals.items()
        if (threshold := scorer.outputs[name].threshold) is not None and number > threshold
    ]
    assert scores.flags == above
    assert {"prompt.toxicity", "response.empty"} <= set(above)


def test_the_outputs_are_known_beforehand(scorer):
    assert dict(scorer.outputs) == signal_outputs()


def test_a_set_of_signals_may_be_chosen(encoder):
    scores = Scorer(encoder, Signals()).score([interaction()])[0]
    assert (scores.signals, scores.labels, scores.heads) == ({}, {}, "")
    assert scores.prompt_vector.any()


def test_a_head_of_another_encoder_is_refused(encoder):
    class Other:
        fingerprint = heads_fingerprint = "000000000000.onnx-int8-1.4x256"
        dimensions = 384
        encode = encoder.encode

    with pytest.raises(HeadMismatchError, match="belongs to encoder"):
        Scorer(Other())


def test_awkward_texts_get_scores(scorer, awkward):
    for scores in scorer.score([interaction(awkward, awkward), interaction(awkward), interaction(response=awkward)]):
        assert_sound(scores, scorer.outputs)
    assert_sound(scorer.score_texts([awkward])[0], scorer.outputs.keys() | {n.split(".")[-1] for n in scorer.outputs})


def test_awkward_texts_are_flagged(scorer):
    flags = {
        name: scorer.score_texts([text])[0].flags
        for name, text in {"word": "a" * 1_000_000, "lines": "the same line\n" * 10_000, "empty": " "}.items()
    }
    assert flags == {
        "word": ["gibberish", "truncated_tokens", "repetition"],
        "lines": ["truncated_tokens", "repetition"],
        "empty": ["empty"],
    }


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(any_text, any_text), max_size=3))
def test_any_interaction_gets_sound_scores(scorer, pairs):
    # The contract refuses what is no UTF-8; a scorer meets it all the same, after a faulty decoding.
    built = [interaction().model_copy(update={"prompt": prompt, "response": response}) for prompt, response in pairs]
    scores = scorer.score(built)
    assert len(scores) == len(pairs)
    for one in scores:
        assert_sound(one, scorer.outputs)
