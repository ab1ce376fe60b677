"""Human words and figures for what the pages show. One table each; nothing here knows HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

State = Literal["firing", "acknowledged", "resolved", "learning", "watching", "quiet"]

# Every state has a shape and a word, so that nobody needs to tell colours apart.
STATES: Mapping[str, tuple[str, str]] = {
    "firing": ("▲", "incident"),
    "acknowledged": ("△", "acknowledged"),
    "resolved": ("✓", "resolved"),
    "learning": ("◔", "learning"),
    "watching": ("●", "watching"),
    "quiet": ("○", "no traffic"),
}

STREAMS: Mapping[str, str] = {
    "prompt": "what people ask",
    "response": "what the model answers",
    "response_given_prompt": "how the model answers what it is asked",
    "toxicity": "toxicity",
    "identity_attack": "attacks on people for what they are",
    "relevance": "relevance of responses",
    "refusal": "refusals",
    "repetition": "repetition",
    "repeat": "repeats",
    "language_mismatch": "responses in another language than the prompt",
    "length_characters": "length in characters",
    "length_tokens": "length in tokens",
    "truncated_tokens": "tokens cut off",
    "empty": "empty texts",
    "unreadable": "unreadable texts",
    "gibberish": "gibberish",
    "personal_data": "personal data",
    "cut_off": "responses that were cut off",
    "json_invalid": "broken JSON",
    "format_invalid": "responses in another format than declared",
    "unsupported": "words of responses that their context does not hold",
    "token_f1": "agreement with the reference answer",
    "reference_similarity": "likeness to the reference answer",
    "latency_ms": "latency",
    "time_to_first_token_ms": "time to first token",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "cost": "cost",
    "error": "errors",
}

WHO: Mapping[str, str] = {
    "users": "Users ask other things; no change was found in how like questions are answered.",
    "model": "Users ask as before; the model answers differently.",
    "both": "Users ask other things, and what is asked as before is answered differently too.",
    "unclear": "Not clear yet whether users or the model changed.",
}
"""What a page's attribution means."""

LANES: Mapping[str, str] = {
    "look": "the last {} units against the reference",
    "novelty": "units unlike anything in the reference",
    "rank": "values that rank higher or lower than in the reference",
    "rule": "a limit that a person set",
    "fairness": "this group beside the others, at the same time",
}

MEASURES = ("mean", "rate", "share of high values", "share of low values")
_SIDES = {"prompt": "prompts", "response": "responses"}
_UNITS = {"ms": " ms", "tokens": " tokens", "characters": " characters"}


def stream_words(stream: str) -> str:
    """`prompt.toxicity` as "toxicity of prompts"; a stream that nobody listed keeps its name, readable."""
    if stream in STREAMS:
        return STREAMS[stream]
    side, _, signal = stream.partition(".")
    if signal and side in _SIDES:
        return f"{STREAMS.get(signal, signal.replace('_', ' '))} of {_SIDES[side]}"
    return stream.replace("_", " ")


def lane_words(lane: str) -> str:
    """`look 64` as what that look compares."""
    name, _, size = lane.partition(" ")
    return LANES[name].format(size) if name in LANES else lane


def quantity_words(quantity: str) -> str:
    """An effect's quantity; "mean of latency_ms" names its stream in words."""
    measure, of, stream = quantity.rpartition(" of ")
    return f"{measure} of {stream_words(stream)}" if of and measure in MEASURES else quantity


def segment_words(segment: str) -> str:
    """A segment as people say it: "attribute region=eu" is about the region."""
    return segment.removeprefix("attribute ")


def event_words(kind: str) -> str:
    """The name of an entry of an incident's timeline."""
    return capital(kind.replace("_", " "))


def capital(words: str) -> str:
    """The first letter as a capital, the others as they are."""
    return words[:1].upper() + words[1:]


def count(amount: float) -> str:
    """A count with a thin space between thousands."""
    return f"{amount:,.0f}".replace(",", "\u202f")


def number(amount: int, noun: str) -> str:
    """A count with its noun: 1 error, 2 errors."""
    return f"{count(amount)} {noun}{'' if amount == 1 else 's'}"


def figure(amount: float) -> str:
    """Three significant digits, thousands apart."""
    return count(amount) if 1000 <= abs(amount) < 1e15 else f"{amount:.3g}"


def percent(share: float) -> str:
    """A share of one as per cent; small ones keep a digit."""
    return f"{100 * share:.{0 if share >= 0.1 or share == 0 else 1}f}\u202f%"


def stream_unit(stream: str) -> str:
    """The unit that a stream's name ends in, with a space before it, or nothing."""
    return _UNITS.get(stream.rpartition("_")[2], "")


def relative(before: float, now: float) -> str:
    """The change relative to `before`, signed; nothing where that says nothing."""
    if before <= 0 or not math.isfinite(now / before):
        return ""
    ratio = now / before
    return f"×{figure(ratio)}" if ratio >= 2 else f"{100 * (ratio - 1):+.0f}\u202f%".replace("-", "−")
