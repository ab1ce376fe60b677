"""Bets that units are among the strangest: they find change that is concentrated in a few percent of the traffic.

A bet (A, theta) multiplies its capital by 1 - theta + (theta / A) * 1{p < A}, where p is the conformal p-value of a
unit's strangeness: a factor of expectation one while nothing changes, so that capital grows on average by nothing but
its inflow (conformal e-testing, arXiv 2006.02329). One finite calibration set is bet against again and again, which
costs ln(c)/n nats a unit whatever the bet; `REUSE` covers skewed tails besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from detectors.drift import FloatArray

SHARE = 0.28
LEVELS = ((0.0005, 0.02), (0.002, 0.03), (0.01, 0.05), (0.05, 0.2))
LEAST_EXPECTED = 3  # calibration units in a tail, so that one of them does not decide alone
REUSE = 1.5  # price of using the calibration part again and again, in units of ln(c)/n a unit
CHUNK = 512
"""Units over which what capital loses is kept apart from it, so that a run of ordinary units is a single sum."""


@dataclass(frozen=True)
class Bets:
    """Sizes of tails, and the factors of units in them and outside, the price of reuse included.

    Attributes:
        sizes: (bets,) A.
        gain: (bets,) factor of a unit inside over that of one outside.
        left: (CHUNK + 1, bets) what is left of capital after so many units outside.
    """

    sizes: FloatArray
    gain: FloatArray
    left: FloatArray

    @classmethod
    def against(cls, calibration: int, units_per_page: float) -> Bets:
        """The bets that a calibration part of n units bears, where a stream's inflow is one page in c units."""
        sizes = np.array([max(size, LEAST_EXPECTED / calibration) for size, _ in LEVELS])
        theta = np.array([theta for _, theta in LEVELS])
        price = math.exp(-REUSE * math.log(max(units_per_page / SHARE, 1.0)) / calibration)
        return cls(sizes, 1 + theta / sizes / (1 - theta), ((1 - theta) * price) ** np.arange(CHUNK + 1)[:, None])


def capital(book: FloatArray, bets: Bets, units: int) -> FloatArray:
    """(bets,) pages that each bet's evidence is worth after so many units."""
    return np.asarray(book[0] * bets.left[units % CHUNK])
