"""Groundedness: how much of a response is in the passages that the model was given."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from detectors.signals import Exchanges, InteractionSignal, Output, Readings

__all__ = ["SIGNALS", "Groundedness"]

_CHARACTERS = 100_000
_TERM = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,:]\d+)*")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")  # scripts that put no space between words
_STEM = 5
_NAME_WEIGHT = 2.0
_IDLE_WORDS = """
a about above after again against all also am an and any are as at be because been before being below between both
but by can could did do does doing down during each either else few for from further had has have having he her
here hers him his how however i if in into is it its itself just let may me might more most must my no nor not now
of off on once one only or other our out over own same shall she should since so some such than that the their
them then there these they this those through thus to too under until up us very was we were what when where
whether which while who whom whose why will with within without would yes yet you your according answer based
context following given mentioned passage provided question text
"""
_IDLE = frozenset(_IDLE_WORDS.split())


class Groundedness(InteractionSignal):
    """Share of the response's telling words that neither context nor prompt holds; names and numbers count twice.

    It sees words and not claims: what recombines the context's own words wrongly looks grounded. `heavy.entailment`
    reads sentences.
    """

    outputs = (
        Output(
            "unsupported",
            "probability",
            "share of the response's words, names and numbers that are not in its context",
            threshold=0.5,
            higher_is_worse=True,
        ),
    )

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """None without context, without a telling word in the response, or where words have no space between them."""
        rows = zip(exchanges.interactions, exchanges.prompts.texts, exchanges.responses.texts, strict=True)
        shares = [_unsupported(one.context, prompt, response) for one, prompt, response in rows]
        return Readings({"unsupported": np.array(shares, dtype=np.float64)})


def _unsupported(context: Sequence[str], prompt: str, response: str) -> float:
    if not any(context) or _UNSPACED.search(response):
        return float("nan")
    known = {_stem(term) for source in (*context, prompt) for term in _TERM.findall(source[:_CHARACTERS])}
    total = missing = 0.0
    for term in _TERM.findall(response[:_CHARACTERS]):
        if term.lower() in _IDLE:
            continue
        weight = _NAME_WEIGHT if term[0].isupper() or term[0].isdigit() else 1.0
        total += weight
        missing += weight * (_stem(term) not in known)
    return missing / total if total else float("nan")


def _stem(term: str) -> str:
    """Words of one family alike; numbers as they are, without the commas between thousands."""
    return term.replace(",", "") if term[0].isdigit() else term[:_STEM].lower()


SIGNALS = (Groundedness,)
