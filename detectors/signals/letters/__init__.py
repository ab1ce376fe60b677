"""How likely English puts a letter behind two others: 27³ log probabilities, and how texts are read for them.

`python -m detectors.signals.letters.train` makes `table.npz` anew from the data that `table.json` names.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["LETTERS", "TABLE", "places", "plain", "read_table", "triples"]

LETTERS = 27
"""a to z, and 0 for everything between words."""
TABLE = Path(__file__).with_name("table.npz")

# What is spelled by other rules than words: numbers, paths, identifiers, abbreviations.
_SYMBOLS = re.compile(r"(?<!\S)\S*[\d_/@\\=<>{}()\[\]#$%^&*+|~`]\S*|\b[A-Za-z]*[a-z][A-Z]\w*|\b[A-Z]{2,}\b")
_PLACES = np.zeros(256, dtype=np.uint8)
_PLACES[ord("a") : ord("z") + 1] = np.arange(1, LETTERS)


def plain(text: str) -> str:
    """The words of a text in ASCII: accents are taken off, other scripts are left out."""
    words = _SYMBOLS.sub(" ", text)
    if not words.isascii():
        words = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return words.lower()


def places(text: str) -> NDArray[np.uint8]:
    """(n,) the letter of every character of an ASCII text."""
    return _PLACES[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]


def triples(letters: NDArray[np.uint8]) -> NDArray[np.intp]:
    """(n - 2,) index into the table of every letter but the first two, given these."""
    wide = letters.astype(np.intp)
    return (wide[:-2] * LETTERS + wide[1:-1]) * LETTERS + wide[2:]


@cache
def read_table() -> NDArray[np.float32]:
    """(27³,) natural logarithms."""
    with np.load(TABLE) as arrays:
        return np.asarray(arrays["log_probabilities"], dtype=np.float32)
