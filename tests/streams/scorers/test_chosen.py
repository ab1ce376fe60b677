"""Which signals an installation has, and what holds when one of others misbehaves."""

import numpy as np
import pytest

from detectors.encoder import open_encoder
from detectors.scoring import Scorer
from detectors.signals import Output, Readings, Signals, discover
from streams.pipeline import rules_of
from streams.scorers.chosen import chosen_signals
from streams.scorers.guarded import guarded
from streams.settings import ConfigurationError, Settings

TONE = {"name": "tone", "url": "http://127.0.0.1:9/", "outputs": [{"name": "warmth", "watched": "response"}]}


def settings(**scoring):
    return Settings(scoring=scoring)


class Own:
    """A signal whose behaviour a test chooses."""

    outputs = (Output("mood", "probability", "of the text"),)
    labels = ("kind",)
    heads = ()

    def __init__(self, say):
        self.say = say

    def score_texts(self, texts):
        return self.say(texts)


def test_by_default_they_are_those_of_the_product():
    assert chosen_signals(Settings()).outputs() == discover().outputs()


def test_an_http_scorer_stands_beside_them_and_is_watched_as_it_says():
    outputs = chosen_signals(settings(http_scorers=[TONE])).outputs()
    assert outputs["response.warmth"].watched
    assert not outputs["prompt.warmth"].watched
    assert "response.warmth" in rules_of(settings(http_scorers=[TONE])).watched


def test_a_person_chooses_what_is_watched():
    rules = rules_of(Settings(watch={"signals": {"relevance": False, "prompt.reading_ease": True}}))
    assert "relevance" not in rules.watched
    assert rules.watched["prompt.reading_ease"] == "down"


def test_choosing_a_signal_that_there_is_not_is_an_error():
    with pytest.raises(ConfigurationError, match="there is no signal 'relevanse'"):
        rules_of(Settings(watch={"signals": {"relevanse": False}}))


def test_a_name_that_is_taken_is_an_error():
    taken = TONE | {"reads": "interactions", "outputs": [{"name": "relevance"}]}
    with pytest.raises(ConfigurationError, match="there is a signal 'relevance' already"):
        chosen_signals(settings(http_scorers=[taken]))


def test_a_model_that_is_not_there_is_an_error_at_the_start():
    heavy = [{"kind": "presidio", "name": "people", "model": "no_such_model"}]
    assert "prompt.people" in chosen_signals(settings(heavy=heavy)).outputs()
    with pytest.raises(ConfigurationError, match=r"^scoring: people: "):
        chosen_signals(settings(heavy=heavy), load=True)


def raising(texts):
    raise RuntimeError(texts.texts[0])


@pytest.mark.parametrize(
    "say",
    [
        raising,
        lambda texts: None,
        lambda texts: Readings({}),
        lambda texts: Readings({"mood": np.zeros(1)}, {"kind": ["a", "b"]}),
        lambda texts: Readings({"mood": np.array(["a", "b"])}, {"kind": ["a", "b"]}),
        lambda texts: Readings({"mood": np.zeros(2)}, {"kind": ["a"]}),
    ],
)
def test_a_signal_that_breaks_its_contract_is_absent(say, texts, caplog):
    found = guarded("own", Own(say)).score_texts(texts("a secret", "b"))
    assert np.isnan(found.numbers["mood"]).all()
    assert found.labels == {"kind": ["", ""]}
    assert "signal own failed" in caplog.text
    assert "secret" not in caplog.text


def test_numbers_out_of_range_and_what_was_not_declared_are_left_out(texts):
    said = Readings({"mood": np.array([0.5, 7, np.inf]), "more": np.ones(3)}, {"kind": ["a", "b", "c"]})
    found = guarded("own", Own(lambda texts: said)).score_texts(texts("a", "b", "c"))
    np.testing.assert_array_equal(found.numbers["mood"], [0.5, np.nan, np.nan])
    assert set(found.numbers) == {"mood"}


def test_the_other_signals_are_read_all_the_same():
    signals = Signals(texts=discover().texts).with_others([guarded("own", Own(raising))])
    scorer = Scorer(open_encoder("onnx", cache=Settings().cache), signals)
    scores = scorer.score_texts(["What a stupid idiot you are."])[0]
    assert "mood" not in scores.signals
    assert "toxicity" in scores.flags
