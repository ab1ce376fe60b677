"""Truncation: the response stops before it is finished."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from detectors.signals import Exchanges, InteractionSignal, Output, Readings

__all__ = ["SIGNALS", "Truncation"]

_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "token_limit", "incomplete"})
_ENDED = frozenset({"stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed", "tool_calls"})
_FENCE = re.compile(r"^[ \t]{0,12}(?:[-*>] {1,3})?(```|~~~)", re.MULTILINE)
_TAIL = 2_000
_LEAST_WORDS, _LEAST_LINES = 8, 2
# The last word joins a sentence to what would come, or its last mark opens something.
_JOINING_WORDS = """
the a an and or of to in for with from by as at on into that which who whose because if when while is are was were
be been has have had will would can could should may might must its their your our my these those this such than
about between through during including however therefore using
"""
_JOINING = frozenset(_JOINING_WORDS.split())
_LAST_WORD = re.compile(r"(?:^|[\s(\"'*_])([A-Za-z]+)$")
_GOES_ON = re.compile(r"[a-zß-ÿ0-9][,(\[–]$|\([^()\n]{1,200}$")
_WORD_LAST = re.compile(r"[a-zß-ÿ,'’-]$")
_SENTENCE = re.compile(r"[a-zß-ÿ)\"”][.!?] +[A-Z\"“]")
_NO_PROSE = re.compile(r"^\s*(?:[|#>]|```|~~~|\d+\s*[=+*/-])|[{};=<>|\\]|\d,$|[#@/]\S*$")
_ITEM = re.compile(r"^\s*(?:[-*•+]|\(?\w{1,3}[.)])\s")
_FINISHED = (".", "!", "?", ":", ";", ")", '"', "”", "…", "*", "`")


class Truncation(InteractionSignal):
    """By the reason that the service reported, where it did; else by what the text shows: a code block that nobody
    closed, a sentence that stops at a word or mark that must be followed, a bracket left open."""

    outputs = (
        Output("cut_off", "binary", "the response ends before it is finished", threshold=0.5, higher_is_worse=True),
    )

    def score_interactions(self, exchanges: Exchanges) -> Readings:
        """0 or 1; none for an empty response whose end nobody explained."""
        pairs = zip(exchanges.interactions, exchanges.responses.texts, strict=True)
        return Readings({"cut_off": np.array([_cut_off(one.finish_reason, text) for one, text in pairs], np.float64)})


def _cut_off(reason: str | None, response: str) -> float:
    word = reason.strip().lower() if reason else ""
    if word in _CUT:
        return 1.0
    if not response or response.isspace():
        return float("nan")
    return 0.0 if word in _ENDED else float(_looks_cut(response))


def _looks_cut(response: str) -> bool:
    fences = _FENCE.findall(response)
    if any(fences.count(mark) % 2 for mark in set(fences)):
        return True
    *before, line = response[-_TAIL:].rstrip().split("\n")
    if not _is_prose(line):
        return False
    last = _LAST_WORD.search(line)
    if (last and last[1] in _JOINING) or _GOES_ON.search(line):
        return True
    if not _WORD_LAST.search(line):
        return False
    return _all_finished(before) or (_SENTENCE.search(line) is not None and _ITEM.match(line) is None)


def _is_prose(line: str) -> bool:
    """Headings, table rows, code and signatures are none: they end without a full stop."""
    return len(line.split()) >= _LEAST_WORDS and not _NO_PROSE.search(line)


def _all_finished(lines: Sequence[str]) -> bool:
    """Whether this text puts a full stop, or its like, behind every line of prose."""
    prose = [line.rstrip() for line in lines if _is_prose(line)]
    return len(prose) >= _LEAST_LINES and all(line.endswith(_FINISHED) for line in prose)


SIGNALS = (Truncation,)
