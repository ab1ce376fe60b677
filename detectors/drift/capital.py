"""Capital of bets, in pages, with when it was put in and what the signal has shown since."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.drift import FloatArray


@dataclass
class Capital:
    """The capital of a lane's bets while a batch is gone through.

    Every part of it remembers its entry: the unit at which it was put in, and the sum of the signal's excess over the
    reference's mean before that unit. Kept as capital times entry, that is put in and multiplied like capital itself.

    Attributes:
        flat: (3 bets,) capital, then capital times the first and the second number of its entry. One array is twice as
            fast as three.
    """

    flat: FloatArray

    @classmethod
    def of(cls, *rows: FloatArray) -> Capital:
        """Of three rows of (bets,)."""
        return cls(np.concatenate(rows))

    @property
    def rows(self) -> FloatArray:
        """(3, bets) a view."""
        return self.flat.reshape(3, -1)

    def stakes(self, inflow: FloatArray, entries: FloatArray) -> FloatArray:
        """(n, 3 bets) what (n,) inflow puts in, in equal parts, at the first n entries."""
        parts = np.empty((len(inflow), 3, len(self.flat) // 3))
        parts[:] = (inflow / parts.shape[2])[:, None, None]
        parts[:, 1:] *= entries[: len(inflow), :, None]
        return parts.reshape(len(inflow), len(self.flat))

    def bet(self, stake: FloatArray, factor: FloatArray) -> float:
        """Put a stake in, multiply, both (3 bets,); what there is in all."""
        self.flat += stake
        self.flat *= factor
        return sum(self.flat[: len(self.flat) // 3].tolist(), 0.0)

    def change(self, total: float, now: FloatArray) -> tuple[int, float]:
        """Units since capital was put in, on average, and the size of their mean excess; `now` is the next entry."""
        units, excess = (now - self.rows[1:].sum(axis=1) / total).tolist()
        return max(1, round(units)), abs(excess / units)


def entries_of(units: int, before: float, excess: FloatArray) -> FloatArray:
    """(n + 1, 2) entries of capital that is put in at each of n units, and at the one after them."""
    entries = np.empty((len(excess) + 1, 2))
    entries[:, 0] = np.arange(units + 1, units + len(entries) + 1)
    entries[0, 1], entries[1:, 1] = before, excess
    np.add.accumulate(entries[:, 1], out=entries[:, 1])
    return entries


def thrice(rows: FloatArray) -> FloatArray:
    """(n, 3 bets) of (n, bets): what holds for capital holds for its entries."""
    return np.concatenate([rows, rows, rows], axis=1)
