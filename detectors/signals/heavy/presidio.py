"""Personal data by presidio (extra `pii`): with a spaCy model also names and places; slower than patterns by far."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from detectors.signals import Output, Readings, Texts
from detectors.signals.heavy.loaded import LoadedOnce, readable

__all__ = ["Presidio"]

_CHARACTERS = 20_000
_LANGUAGE = "en"
_NOBODY_S = frozenset({"URL", "DATE_TIME"})  # presidio finds them too, and they are of no person


class Presidio:
    """What presidio's recognizers are confident enough of; English. Without a model they find no names."""

    heads: tuple[str, ...] = ()

    def __init__(self, name: str, model: str, threshold: float, watched: bool) -> None:
        self._analyzer = LoadedOnce(name, lambda: _load(model))
        self._least_confidence = threshold
        self.outputs: tuple[Output, ...] = (
            Output(
                name, "binary", "presidio finds personal data", threshold=0.5, higher_is_worse=True, watched=watched
            ),
            Output(f"{name}_count", "scalar", "how many finds of presidio", higher_is_worse=True, watched=False),
        )
        self.labels: tuple[str, ...] = (f"{name}_kinds",)

    def load(self) -> None:
        """Load presidio and its model."""
        self._analyzer.get()

    def score_texts(self, texts: Texts) -> Readings:
        """Counts; the label names the kinds of entities."""
        found = [self._find(text) for text in texts.texts]
        counts = np.array([each.total() for each in found], dtype=np.float64)
        first, second = (output.name for output in self.outputs)
        kinds = [", ".join(sorted(each)).lower() for each in found]
        return Readings({first: (counts > 0).astype(np.float64), second: counts}, {self.labels[0]: kinds})

    def _find(self, text: str) -> Counter[str]:
        analyzer = self._analyzer.get()
        with self._analyzer.lock:
            results = analyzer.analyze(readable(text, _CHARACTERS), _LANGUAGE, score_threshold=self._least_confidence)
        return Counter(result.entity_type for result in results if result.entity_type not in _NOBODY_S)


def _load(model: str) -> Any:
    """An analyzer that downloads nothing: a blank pipeline, or a model that is installed."""
    import spacy
    import tldextract.tldextract as domains
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # Else the first email address has it fetch the list of public suffixes; it brings one.
    domains.TLD_EXTRACTOR = domains.TLDExtract(suffix_list_urls=(), cache_dir=None)
    engine = SpacyNlpEngine(models=[{"lang_code": _LANGUAGE, "model_name": model or _LANGUAGE}])
    engine.nlp = {_LANGUAGE: spacy.load(model) if model else spacy.blank(_LANGUAGE)}
    return AnalyzerEngine(nlp_engine=engine, supported_languages=[_LANGUAGE])
