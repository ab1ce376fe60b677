"""What the heads read, computed alike in training and in production."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.encoder import DIMENSIONS

__all__ = ["OPENING_CHARACTERS", "layer_features", "refusal_features", "sounds_like_refusal"]

OPENING_CHARACTERS = 200
"""A refusal shows itself at the beginning."""
_SEEN_CHARACTERS = 8_000
_LOUDER = 3
"""An expression says more than one of 384 coordinates does, and regularisation should shrink it less."""

_REFUSAL = re.compile(
    r"""\b(?:
    i(?:['’]m|\ am)\ (?:very\ |so\ |truly\ )?(?:sorry(?!\ to\ hear)|afraid|(?:un|not\ )able)
    |i(?:['’]m|\ am)\ not\ (?:comfortable|programmed)
    |i\ (?:can(?:['’]t|not|\ not)|could(?:n['’]t|\ not)|won['’]t|will\ not|must\ decline|have\ to\ decline)
    |i\ (?:do(?:n['’]t|\ not)\ feel|would\ (?:advise|urge|not)|(?:must|strongly)\ (?:advise|urge|emphasi[sz]e))
    |(?:cannot|can['’]t|not\ able\ to|unable\ to|not\ going\ to)\ (?:provide|help|assist|fulfil|support|give|answer)
    |(?:cannot|can['’]t|not\ able\ to|unable\ to|not\ going\ to)\ (?:engage|create|write|comply|discuss)
    |as\ an?\ (?:\w+\ ){0,3}(?:ai|assistant|language\ model)\b
    |(?:not|never)\ (?:appropriate|ethical|acceptable|right)\ (?:or\ \w+\ )?(?:to|for)
    |sorry,?\ but|illegal\ and\ unethical|against\ (?:my|the\ law)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def layer_features(inner: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hidden states (n, layers, 384) to features (n, layers x 384), every layer of length sqrt(384).

    The row of a text without tokens stays zero.
    """
    norms = np.linalg.norm(inner, axis=2, keepdims=True)
    scaled = np.divide(inner, norms, out=np.zeros_like(inner), where=norms > 0) * np.float32(DIMENSIONS**0.5)
    flat: NDArray[np.float32] = scaled.reshape(len(inner), inner.shape[1] * inner.shape[2])
    return flat


def sounds_like_refusal(text: str) -> bool:
    """Whether an expression of refusal occurs anywhere."""
    return _REFUSAL.search(text[:_SEEN_CHARACTERS]) is not None


def refusal_features(texts: Sequence[str], inner: NDArray[np.float32]) -> NDArray[np.float32]:
    """Final layer (n, 384); per text, expressions of refusal in its opening and anywhere, and the log of its length."""
    surface = [
        (
            _LOUDER * min(2, len(_REFUSAL.findall(text[:OPENING_CHARACTERS]))),
            _LOUDER * min(3, len(_REFUSAL.findall(text[:_SEEN_CHARACTERS]))),
            np.log1p(len(text)) / 4,
        )
        for text in texts
    ]
    numbers = np.array(surface, dtype=np.float32).reshape(len(texts), 3)
    return np.hstack((layer_features(inner[:, -1:]), numbers))
