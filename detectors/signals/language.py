"""Language: which one a text is written in, and whether the response keeps to the prompt's."""

from __future__ import annotations

import threading
from functools import lru_cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from detectors.signals import Exchanges, InteractionSignal, Output, Readings, Texts, TextSignal

__all__ = ["SIGNALS", "UNKNOWN", "Language", "LanguageMismatch", "identify"]

UNKNOWN = "unknown"
_NO_LANGUAGE = "zxx"
_LEAST_CHARACTERS = 40
_CHARACTERS = 500
_LEAST_CONFIDENCE = 0.7
_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=2_048)
def _identify(text: str) -> str:
    with _loading:
        identifier = _load()
    # Identifying reads the model and changes nothing, so threads may share it.
    language, confidence = identifier.classify(text)
    sure = confidence >= _LEAST_CONFIDENCE and language != _NO_LANGUAGE
    return str(language) if sure else UNKNOWN


def identify(text: str) -> str:
    """ISO 639 code of a text's language; `unknown` below 40 characters, and where the identifier is not sure."""
    seen = text[:_CHARACTERS].strip()
    return _identify(seen) if len(seen) >= _LEAST_CHARACTERS else UNKNOWN


class Language(TextSignal):
    """The language as a label."""

    labels = ("language",)

    def score_texts(self, texts: Texts) -> Readings:
        """A code for every text, or `unknown`."""
        return Readings({}, {"language": [identify(text) for text in texts.texts]})


class LanguageMismatch(InteractionSignal):
    """Prompt and response in different languages, which is also what a request for a translation looks like."""

    outputs = (Output("language_mismatch", "binary", "prompt and response differ in language", threshold=0.5),)

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """0 or 1; none where either language is unknown."""
        pairs = zip(exchanges.prompts.texts, exchanges.responses.texts, strict=True)
        differ = [_differ(identify(prompt), identify(response)) for prompt, response in pairs]
        return Readings({"language_mismatch": np.array(differ, dtype=np.float64)})


def _differ(one: str, other: str) -> float:
    return float("nan") if UNKNOWN in (one, other) else float(one != other)


SIGNALS = (Language, LanguageMismatch)
