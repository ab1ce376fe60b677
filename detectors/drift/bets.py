"""Bets on the values of a signal: what each pays for a value, by the value's place in the reference.

A bet is a density over that place which a change of one kind would give: a shift of the mean, more outliers on one
side, a wider or narrower spread. It sees places and no sizes, so that no distribution needs a case of its own, and
within a bin it pays the bin's average, so that a value which is half of all values is one outcome and not a gamble.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from detectors.drift import FloatArray

Tails = Literal["up", "down", "both"]
"""On which side harm lies."""

SHIFTS = (0.2, 0.5, 1.2)
"""Of the mean of normal places, in standard deviations; a factor of 2.5 between them costs a sixth of the growth."""
OUTLIERS = ((0.02, 0.1), (0.1, 0.1))
"""(share, shape): so many of the units are outliers, whose distance p from the end is spread as p ** shape."""
SPREADS = (1.3, 0.75)
"""Factors of the standard deviation of normal places."""

Distribution = Callable[[FloatArray], FloatArray]


def _shift(size: float) -> Distribution:
    return lambda place: np.asarray(ndtr(ndtri(place) - size))


def _outliers(share: float, shape: float) -> Distribution:
    return lambda place: (1 - share) * place + share * (1 - (1 - place) ** shape)


def _spread(factor: float) -> Distribution:
    return lambda place: np.asarray(ndtr(ndtri(place) / factor))


def _mirrored(bet: Distribution) -> Distribution:
    return lambda place: 1 - bet(1 - place)


def payoffs(shares: FloatArray, tails: Tails) -> FloatArray:
    """What each bet pays in each bin, before it is set against the average pay.

    Args:
        shares: (bins,) of the reference in each bin, from the lowest values to the highest; they sum to 1. A bin
            without a share says nothing and pays 1.
        tails: bets on one side are about the mean and outliers there; on both, about the spread too.

    Returns:
        (bins, bets), none negative.
    """
    up = [_shift(size) for size in SHIFTS] + [_outliers(*kind) for kind in OUTLIERS]
    down = [_mirrored(bet) for bet in up]
    bets = {"up": up, "down": down, "both": up + down + [_spread(factor) for factor in SPREADS]}[tails]
    ends = np.minimum(np.concatenate([[0.0], np.cumsum(shares)]), 1)
    ends[-1] = 1
    mass, width = np.stack([np.diff(bet(ends)) for bet in bets], axis=1), np.diff(ends)[:, None]
    return np.asarray(np.divide(mass, width, out=np.ones_like(mass), where=width > 0))
