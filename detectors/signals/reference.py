"""Reference metrics: how close a response comes to the answer that was expected, where the service sends one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from detectors.signals import READ_CHARACTERS, WORD, Exchanges, FloatArray, InteractionSignal, Output, Readings

__all__ = ["SIGNALS", "ReferenceMetrics"]

_ARTICLES = frozenset({"a", "an", "the"})


class ReferenceMetrics(InteractionSignal):
    """Words compared as SQuAD does, in lower case without articles and punctuation; ROUGE-L is F1 of the longest
    common subsequence (Lin 2004), and the cosine that of the encoder's vectors."""

    outputs = (
        Output("exact_match", "binary", "the response is the reference answer", higher_is_worse=False, watched=False),
        Output("token_f1", "probability", "F1 of the words of response and reference answer", higher_is_worse=False),
        Output(
            "rouge_l",
            "probability",
            "F1 of their longest common sequence of words",
            higher_is_worse=False,
            watched=False,
        ),
        Output("reference_similarity", "scalar", "cosine of response and reference answer", higher_is_worse=False),
    )

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """None where there is no reference answer; the cosine neither where the response is empty."""
        pairs = zip(exchanges.responses.texts, exchanges.references.texts, strict=True)
        rows = np.array([_overlap(*pair) for pair in pairs], dtype=np.float64).reshape(-1, 3)
        names = ("exact_match", "token_f1", "rouge_l")
        return Readings(dict(zip(names, rows.T, strict=True)) | {"reference_similarity": _cosines(exchanges)})


def _overlap(response: str, reference: str) -> tuple[float, float, float]:
    expected = _words(reference)
    if not expected:
        return (float("nan"),) * 3
    given = _words(response)
    common = (Counter(expected) & Counter(given)).total()
    total = len(expected) + len(given)
    return float(expected == given), 2 * common / total, 2 * common_sequence(expected, given) / total


def _words(text: str) -> list[str]:
    return [word for word in WORD.findall(text[:READ_CHARACTERS].lower()) if word not in _ARTICLES]


def common_sequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a machine word of places at a time (Hyyrö 2004).

    >>> common_sequence("a b c d".split(), "b x d".split())
    2
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        kept = row & places.get(word, 0)
        row = ((row + kept) | (row - kept)) & full
    return len(one) - row.bit_count()


def _cosines(exchanges: Exchanges) -> FloatArray:
    responses, references = exchanges.responses.encoding, exchanges.references.encoding
    cosines = np.einsum("nd,nd->n", responses.vectors, references.vectors, dtype=np.float64)
    cosines[(responses.tokens == 0) | (references.tokens == 0)] = np.nan
    return np.asarray(np.clip(cosines, -1, 1))  # rounded vectors are not exactly of unit length


SIGNALS = (ReferenceMetrics,)
