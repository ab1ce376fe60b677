"""Length: how much was said, how much of it the encoder read, and whether it can be read at all."""

from __future__ import annotations

import re

import numpy as np

from detectors.signals import READ_CHARACTERS, Output, Readings, Texts, TextSignal

__all__ = ["SIGNALS", "Length"]

# Control characters but for white space, halves of surrogate pairs, private use, and the mark of a failed decoding.
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ue000-\uf8ff\ufffd]")


class Length(TextSignal):
    """Counts, and two flags on the state of the text."""

    outputs = (
        Output("length_characters", "scalar", "characters", unit="characters", watched=False),
        Output("length_tokens", "scalar", "word pieces of the encoder, read or not", unit="tokens"),
        Output(
            "truncated_tokens",
            "scalar",
            "word pieces past the encoder's last chunk",
            unit="tokens",
            threshold=0,
            watched=False,
        ),
        Output("empty", "binary", "holds nothing to read", threshold=0.5, higher_is_worse=True),
        Output("unreadable", "scalar", "share of characters nobody can read", threshold=0.02, higher_is_worse=True),
    )

    def score_texts(self, texts: Texts) -> Readings:
        """Always applies, but for the share of unreadable characters in a text of none."""
        tokens, truncated = (np.asarray(x, np.float64) for x in (texts.encoding.tokens, texts.encoding.truncated))
        return Readings(
            {
                "length_characters": np.array([len(text) for text in texts.texts], dtype=np.float64),
                "length_tokens": tokens + truncated,
                "truncated_tokens": truncated,
                "empty": (tokens == 0).astype(np.float64),
                "unreadable": np.array([_unreadable(text[:READ_CHARACTERS]) for text in texts.texts], dtype=np.float64),
            }
        )


def _unreadable(text: str) -> float:
    return len(_UNREADABLE.findall(text)) / len(text) if text else float("nan")


SIGNALS = (Length,)
