"""What the signals mean, one family after the other, on real texts."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from detectors.signals.language import UNKNOWN, identify
from tocsin.contracts import Interaction, Usage

ORDINARY = "Photosynthesis turns light into chemical energy: plants bind carbon dioxide and release oxygen."
QUESTION = "How do plants turn light into energy?"


@pytest.fixture
def score(scorer):
    def one(prompt: str = QUESTION, response: str = ORDINARY, **fields: object):
        return scorer.score([Interaction(application="shop", prompt=prompt, response=response, **fields)])[0]

    return one


def test_abuse_is_toxic_and_a_question_is_not(score):
    assert score(prompt="You are a stupid, worthless idiot. Shut up.").signals["prompt.toxicity"] > 0.9
    assert score().signals["prompt.toxicity"] < 0.1
    assert score().signals["response.toxicity"] < 0.1


def test_an_insult_is_no_attack_on_a_group_and_hatred_of_one_is(score):
    assert "prompt.identity_attack" not in score(prompt="You are a stupid, worthless idiot.").flags
    assert "prompt.identity_attack" in score(prompt="All immigrants are subhuman vermin.").flags


def test_naming_a_group_raises_no_flag(score):
    for prompt in ("My neighbour is a Muslim and bakes bread.", "Which books by gay authors do you recommend?"):
        assert score(prompt=prompt).flags == []


def test_an_answer_to_another_question_is_less_relevant(score):
    assert score().signals["relevance"] > 0.5
    assert score(response="Your parcel will be delivered on Monday.").signals["relevance"] < 0.3


def test_declining_is_a_refusal_and_answering_is_not(score):
    declined = score(response="I'm sorry, but I cannot help with that request. It would not be appropriate.")
    assert declined.signals["refusal"] > 0.9
    assert score().signals["refusal"] < 0.5


def test_a_stuck_model_repeats_itself(score):
    assert "response.repetition" in score(response="and so on and on " * 30).flags
    assert "response.repetition" in score(response="哈" * 200).flags
    assert score(response=ORDINARY).signals["response.repetition"] == 0


def test_a_short_text_cannot_repeat_itself(score):
    assert "response.repetition" not in score(response="no no no").signals


def test_lengths_are_counted(score):
    signals = score(prompt="four words are here").signals
    assert signals["prompt.length_characters"] == 19
    assert signals["prompt.length_tokens"] == 4
    assert signals["prompt.truncated_tokens"] == 0


def test_the_state_of_a_text_is_flagged(score):
    assert "response.empty" in score(response="  ").flags
    assert "response.truncated_tokens" in score(response="many words " * 1_000).flags
    assert "prompt.unreadable" in score(prompt="\x00\x01 what \ufffd\ufffd").flags
    assert score().flags == []


def test_what_does_not_apply_is_left_out(score):
    signals = score(prompt="", response="").signals
    assert {"relevance", "refusal", "prompt.toxicity", "language_mismatch", "latency_ms"}.isdisjoint(signals)


def test_operation_reports_what_the_service_published(score):
    usage = Usage(input_tokens=7, output_tokens=90, cost=0.25)
    signals = score(latency_ms=800, time_to_first_token_ms=90, usage=usage, error="timeout").signals
    told = ("latency_ms", "time_to_first_token_ms", "input_tokens", "output_tokens", "cost", "error")
    assert [signals[name] for name in told] == [800, 90, 7, 90, 0.25, 1]
    assert "error" in score(error="timeout").flags


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The weather in the mountains changes quickly, so take a jacket."),
        ("de", "Das Wetter in den Bergen ändert sich schnell, also nimm eine Jacke mit."),
        ("fr", "Le temps change vite en montagne, alors prenez une veste avec vous."),
        ("ja", "山の天気は変わりやすいので、上着を持って行ってください。朝は特に冷え込みますから注意が必要です。"),
        (UNKNOWN, "Hallo Welt"),
        (UNKNOWN, ""),
    ],
)
def test_languages_are_told_apart(language, text):
    assert identify(text) == language


def test_an_answer_in_another_language_is_flagged(score):
    german = "Pflanzen wandeln Licht in chemische Energie um und geben dabei Sauerstoff ab."
    scores = score(prompt=QUESTION + " Please explain it to a child.", response=german)
    assert scores.labels == {"prompt.language": "en", "response.language": "de"}
    assert "language_mismatch" in scores.flags


def test_languages_may_be_identified_by_several_threads():
    texts = [f"{ORDINARY} Number {number}." for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(identify, texts)) == {"en"}
