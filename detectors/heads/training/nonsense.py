"""Texts that say nothing: mashed keys, runs of one letter, codes. Without them a head calls them what it likes."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Iterator

__all__ = ["nonsense"]

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SYLLABLES = ("ha", "he", "la", "na", "blah ", "lol", "ab", "xo")
_EMOJI = "🙂🙃😀🎉🚀🍕🐈🌧️"
_MARKS = "!?.,-_*#=~/|\ufffd\u0301\x00"


def nonsense(count: int = 600, seed: int = 8) -> list[str]:
    """Texts of 1 to some 1,000 characters, each once. Deterministic."""
    rng = random.Random(seed)  # noqa: S311 - chooses letters, guards no secret
    return list(dict.fromkeys(text for _ in range(count) for text in _one_of_each(rng)))[:count]


def _one_of_each(rng: random.Random) -> Iterator[str]:
    length = int(2 ** rng.uniform(0, 10))
    letter, few = rng.choice(string.ascii_letters), 1 + length // 6
    yield letter * length
    yield rng.choice(_MARKS) * length + rng.choice(("", letter))
    yield rng.choice(_SYLLABLES) * few
    yield "".join(rng.choices(_EMOJI, k=few))
    yield "".join(rng.choices(_MARKS + " ", k=few))
    yield " ".join(_mashed(rng) for _ in range(few))
    yield "".join(rng.choices(string.ascii_lowercase + "    ", k=length))
    yield "".join(rng.choices(string.digits + " .", k=length))
    yield " ".join(f"{rng.randrange(256):02x}" for _ in range(few))
    yield base64.b64encode(rng.randbytes(length)).decode()


def _mashed(rng: random.Random) -> str:
    """What a hand leaves that falls on a keyboard."""
    return "".join(rng.choices(rng.choice(_ROWS), k=rng.randint(3, 9)))
