"""Capital of bets, in pages, with when it was put in and what the signal has shown since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.drift import FloatArray

FORGETTING = 1_024  # units over which the effect of a change that is too small to page is averaged


@dataclass
class Capital:
    """The capital of a lane's bets while a stretch of units is gone through.

    Every part of it remembers its entry: the unit at which it was put in, and the sum of the signal's excess over the
    reference's mean before that unit. Kept as capital times entry, that is put in and multiplied like capital itself.

    Attributes:
        flat: (3 bets,) capital, then capital times the first and the second number of its entry. One array is twice as
            fast as three.
    """

    flat: FloatArray

    @property
    def rows(self) -> FloatArray:
        """(3, bets) a view."""
        return self.flat.reshape(3, -1)

    def bet(self, stake: FloatArray, factor: FloatArray) -> float:
        """Put a stake in, multiply, both (3 bets,); what there is in all."""
        self.flat += stake
        self.flat *= factor
        return sum(self.flat[: len(self.flat) // 3].tolist(), 0.0)

    def change(self, total: float, now: FloatArray) -> tuple[int, float]:
        """Units since capital was put in, on average, and the size of their mean excess; `now` is the next entry."""
        units, excess = (now - self.rows[1:].sum(axis=1) / total).tolist()
        return max(1, round(units)), abs(excess / units)

    def hold(self, total: float, now: FloatArray) -> None:
        """Keep a page's worth, and forget a little of when it began, so that a change that grows is seen to grow."""
        rows = self.rows
        rows /= total
        rows[1:] += (np.outer(now, rows[0]) - rows[1:]) / FORGETTING


def stakes(inflow: FloatArray, entries: FloatArray, bets: int) -> FloatArray:
    """(n, 3 bets) for `Capital.bet`: (n,) inflow, in equal parts, at (n, 2) entries."""
    parts = np.empty((len(inflow), 3, bets))
    parts[:] = (inflow / bets)[:, None, None]
    parts[:, 1:] *= entries[:, :, None]
    return parts.reshape(len(inflow), -1)


def alike(factors: FloatArray) -> FloatArray:
    """(n, 3 bets) for `Capital.bet`: the same (n, bets) factors for the capital and for its entries."""
    parts = np.empty((len(factors), 3, factors.shape[1]))
    parts[:] = factors[:, None]
    return parts.reshape(len(factors), -1)
