"""Bets that units are among the strangest: they find change that is concentrated in a few percent of the traffic.

A bet (A, theta) multiplies its capital by 1 - theta + (theta / A) * 1{p < A}, where p is the conformal p-value of a
unit's strangeness: a factor of expectation one while nothing changes, so that capital grows on average by nothing but
its inflow (conformal e-testing, arXiv 2412.03464). One finite calibration set is bet against again and again, which
costs ln(c)/n nats a unit whatever the bet; `REUSE` covers skewed tails besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from detectors.drift import FloatArray, IntArray

SHARE = 0.4
LEVELS = ((0.0005, 0.02), (0.002, 0.03), (0.01, 0.05), (0.05, 0.2))
LEAST_EXPECTED = 3  # calibration units in a tail, so that one of them does not decide alone
REUSE = 1.5  # price of using the calibration part again and again, in units of ln(c)/n a unit
CAPITAL, START, HITS = range(3)


@dataclass(frozen=True)
class Bets:
    """Sizes of tails and the factors that units in them and outside them bring, the price included.

    Attributes:
        sizes: (bets,) A.
        lose: (bets,) factor of a unit outside.
        win: (bets,) factor of a unit inside.
    """

    sizes: FloatArray
    lose: FloatArray
    win: FloatArray

    @classmethod
    def against(cls, calibration: int, units_per_page: float) -> Bets:
        """The bets that a calibration part of n units bears, where a stream's inflow is one page in c units."""
        sizes = np.array([max(size, LEAST_EXPECTED / calibration) for size, _ in LEVELS])
        theta = np.array([theta for _, theta in LEVELS])
        price = math.exp(-REUSE * math.log(max(units_per_page / SHARE, 1.0)) / calibration)
        return cls(sizes, (1 - theta) * price, (1 - theta + theta / sizes) * price)


def p_values(counts: IntArray, places: IntArray, bins: IntArray, uniforms: FloatArray) -> FloatArray:
    """(n,) conformal p-values of units by their (n,) places and bins among (buckets, bins) counted before."""
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    upto = above[places, bins]
    return np.asarray((upto - counts[places, bins] * (1 - uniforms) + uniforms) / (above[places, 0] + 1))


@dataclass
class Played:
    """What betting on some units gave.

    Attributes:
        page: the unit whose evidence reached 1 first, or none.
        evidence: then.
        age: estimated units since the change began, then.
        effect: estimated share of the traffic that is affected, then.
        restless: whether the evidence was ever at least `calm`.
    """

    page: int | None = None
    evidence: float = 0.0
    age: int = 1
    effect: float = 0.0
    restless: bool = False


def play(
    book: FloatArray,
    bets: Bets,
    p: FloatArray,
    inflow: FloatArray,
    first_unit: int,
    latched_from: int,
    least_effect: float,
    calm: float,
) -> Played:
    """Bet on units one after another; evidence is judged at units in a tail, for only these raise it.

    Args:
        book: (3, bets) capital in pages; capital times the unit it was put in at; capital times units in the tail since
            then. Changed in place.
        bets: what to bet.
        p: (n,) p-values.
        inflow: (n,) pages that each unit brings to the stream.
        first_unit: number of the first unit, from 1.
        latched_from: unit (from 0) from which on the stream is latched, n if it is not.
        least_effect: share below which nothing pages.
        calm: evidence that counts as restless.
    """
    share = SHARE * inflow / len(bets.sizes)
    added = np.stack([share, share * np.arange(first_unit, first_unit + len(p)), np.zeros(len(p))], axis=1)[:, :, None]
    inside = p < bets.sizes[-1]
    played = Played(restless=float(book[CAPITAL].sum()) >= calm)
    for i, (put, hit) in enumerate(zip(added, inside.tolist(), strict=True)):
        book += put
        if not hit:
            book *= bets.lose
            continue
        won = p[i] < bets.sizes
        book[HITS] += book[CAPITAL] * won
        book *= np.where(won, bets.win, bets.lose)
        total = float(book[CAPITAL].sum())
        played.restless |= total >= calm
        if total >= 1:
            best = int(book[CAPITAL].argmax())
            age = max(1, round(first_unit + i - book[START, best] / book[CAPITAL, best]) + 1)
            effect = max(0.0, float(book[HITS, best] / book[CAPITAL, best] / age - bets.sizes[best]))
            if i < latched_from and played.page is None and effect >= least_effect:
                played.page, played.evidence, played.age, played.effect = i, total, age, effect
            if played.page is None or i > played.page:
                book /= total  # evidence is worth a page at most while nobody is told
    return played
