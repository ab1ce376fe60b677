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

from detectors.drift import FloatArray, IntArray

SHARE = 0.4
LEVELS = ((0.0005, 0.02), (0.002, 0.03), (0.01, 0.05), (0.05, 0.2))
LEAST_EXPECTED = 3  # calibration units in a tail, so that one of them does not decide alone
REUSE = 1.5  # price of using the calibration part again and again, in units of ln(c)/n a unit
CHUNK = 512
"""Units over which what capital loses is kept apart from it, so that a run of ordinary units is a single sum."""

CAPITAL, START, HITS = range(3)


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


def capital(book: FloatArray, bets: Bets, units: int) -> FloatArray:
    """(bets,) pages that each bet's evidence is worth after so many units."""
    return np.asarray(book[CAPITAL] * bets.left[units % CHUNK])


def play(
    book: FloatArray,
    bets: Bets,
    p: FloatArray,
    inflow: FloatArray,
    units: int,
    latched_from: int,
    least_effect: float,
    calm: float,
) -> Played:
    """Bet on units of one chunk, one after another; evidence is judged at units in a tail, for only these raise it.

    Args:
        book: (3, bets) capital in pages; capital times the unit it was put in at; capital times units in the tail since
            then; all of it before what was lost since the chunk began. Changed in place.
        bets: what to bet.
        p: (n,) p-values.
        inflow: (n,) pages that each unit brings to the stream.
        units: of the stream before these.
        latched_from: unit (from 0) from which on the stream is latched, n if it is not.
        least_effect: share below which nothing pages.
        calm: evidence that counts as restless.
    """
    n, begun = len(p), units % CHUNK
    share = SHARE / len(bets.sizes) * inflow[:, None] / bets.left[begun : begun + n]
    put = np.stack([share, share * np.arange(units + 1, units + n + 1)[:, None]])
    played, done = Played(restless=float(capital(book, bets, begun).sum()) >= calm), 0
    for i in np.flatnonzero(p < bets.sizes[-1]).tolist():
        _add(book, put[:, done : i + 1])
        done, won = i + 1, p[i] < bets.sizes
        book[HITS] += book[CAPITAL] * won
        book *= np.where(won, bets.gain, 1.0)
        worth = book[CAPITAL] * bets.left[begun + i + 1]
        total = float(worth.sum())
        played.restless |= total >= calm
        if total >= 1:
            best = int(worth.argmax())
            age = max(1, round(units + i + 1 - book[START, best] / book[CAPITAL, best]) + 1)
            effect = max(0.0, float(book[HITS, best] / book[CAPITAL, best] / age - bets.sizes[best]))
            if i < latched_from and played.page is None and effect >= least_effect:
                played.page, played.evidence, played.age, played.effect = i, total, age, effect
            if played.page is None or i > played.page:
                book /= total  # evidence is worth a page at most while nobody is told
    _add(book, put[:, done:])
    if begun + n == CHUNK:
        book *= bets.left[CHUNK]
    return played


def _add(book: FloatArray, put: FloatArray) -> None:
    """Put (2, n, bets) into the book unit by unit: the same sum however units are cut."""
    book[:HITS] = np.add.accumulate(np.concatenate([book[:HITS, None], put], axis=1), axis=1)[:, -1]
