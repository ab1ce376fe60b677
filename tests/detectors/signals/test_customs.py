"""Signals of others: through an entry point, and what happens when names collide."""

import pytest

from detectors.signals import Output, SignalConflictError, Signals, custom, discover

PACKAGE = """
import numpy as np
from detectors.signals import Output, Readings

class Shouting:
    outputs = (Output("shouting", "probability", "share of capitals"),)
    labels = ()
    heads = ()

    def score_texts(self, texts):
        shares = [sum(map(str.isupper, text)) / max(len(text), 1) for text in texts.texts]
        return Readings({"shouting": np.array(shares)})
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A tiny package, as an installer would leave it."""
    metadata = tmp_path / "shouting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[tocsin.signals]\nshouting = shouting:Shouting\n", encoding="utf-8")
    (tmp_path / "shouting.py").write_text(PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def twice():
    class Twice:
        outputs = (Output("relevance", "scalar", "taken already"),)
        labels: tuple[str, ...] = ()
        heads: tuple[str, ...] = ()

        def score_texts(self, texts):
            raise AssertionError("a signal that is refused is never asked")

    return Twice()


def test_no_package_brings_a_signal_by_itself():
    assert custom() == []


@pytest.mark.usefixtures("installed")
def test_an_installed_package_brings_its_signal(encoder):
    from detectors.scoring import Scorer

    scorer = Scorer(encoder, Signals().with_others(custom()))
    assert scorer.score_texts(["ABcd"])[0].signals == {"shouting": 0.5}


@pytest.mark.usefixtures("installed")
def test_it_stands_behind_those_of_the_product():
    names = list(discover().with_others(custom()).outputs())
    assert {"prompt.shouting", "response.shouting", "relevance"} <= set(names)


def test_two_signals_of_one_name_are_refused(twice):
    with pytest.raises(SignalConflictError, match="there is a signal 'relevance' already"):
        discover().with_others([twice])


def test_what_is_no_signal_is_refused():
    with pytest.raises(SignalConflictError, match="neither score_texts nor score_interactions"):
        Signals().with_others([object()])
