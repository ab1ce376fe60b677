"""Groups against the rest, signal by signal, in pairs of neighbours in time.

A pair closes at a unit of the group as soon as others have come since its last pair: the mean of the group's units
since then less that of the others'. Both sides of a pair are of the same hour, so that what changes for everybody
alike, or a group that is larger at a bad time, makes no gap. When a pair closes depends on who came and not on what was
measured; if the group is treated like the rest, its expected difference is therefore zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.fairness.sequences import BETS, gains, interval

FloatArray = NDArray[np.float64]

_TOTALS = ("counts", "sums", "shown")
_ROWS = ("own_counts", "own_shown", "run_counts", "run_sums", "base_counts", "base_sums", "pairs", "moved")


@dataclass(frozen=True)
class Gap:
    """How a group differs from the rest in one signal.

    Attributes:
        group: its name.
        signal: which signal, by its place.
        units, rest_units: that the signal applied to.
        pairs: that were compared.
        mean, rest_mean: of the shown values.
        gap: mean difference of the compared values, group less rest, -1 to 1.
        low, high: an interval for it that holds however often one looks.
    """

    group: str
    signal: int
    units: int
    rest_units: int
    pairs: int
    mean: float
    rest_mean: float
    gap: float
    low: float
    high: float


class Pairs:
    """The groups of one grouping.

    Arrays have a row for each group and a column for each signal. `run_…` is the group's own since its last pair,
    `base_…` what all had together by then; what the others had since follows from the totals.
    """

    def __init__(self, signals: int) -> None:
        self.groups: dict[str, int] = {}
        self.arrays = {name: np.zeros(signals) for name in _TOTALS}
        self.arrays |= {name: np.zeros((0, signals)) for name in _ROWS}
        self.arrays["logs"] = np.zeros((0, signals, 2, len(BETS)))

    @classmethod
    def restored(cls, groups: Sequence[str], arrays: dict[str, FloatArray]) -> Pairs:
        """Out of the names of the groups and the arrays."""
        pairs = cls(0)
        pairs.groups, pairs.arrays = {name: row for row, name in enumerate(groups)}, arrays
        return pairs

    def add(self, group: str) -> None:
        """Compare a further group from now on."""
        self.groups[group] = len(self.groups)
        for name in (*_ROWS, "logs"):
            array = self.arrays[name]
            self.arrays[name] = np.concatenate([array, np.zeros((1, *array.shape[1:]))])
        self.arrays["base_counts"][-1] = self.arrays["counts"]
        self.arrays["base_sums"][-1] = self.arrays["sums"]

    def take(self, groups: Iterable[str], values: FloatArray, shown: FloatArray) -> None:
        """Take in a unit.

        Args:
            groups: those of the compared ones that it is in; none of them is the rest of each.
            values: (signals,) what is compared, in [0, 1]; NaN where a signal does not apply.
            shown: (signals,) what people are shown the mean of.
        """
        known = np.isfinite(values)
        value, seen, held = np.where(known, values, 0.0), np.where(known, shown, 0.0), self.arrays
        held["counts"] += known
        held["sums"] += value
        held["shown"] += seen
        for group in groups:
            row = self.groups[group]
            held["own_counts"][row] += known
            held["own_shown"][row] += seen
            held["run_counts"][row] += known
            held["run_sums"][row] += value
            self._close(row, known)

    def _close(self, row: int, known: NDArray[np.bool_]) -> None:
        held = self.arrays
        others = held["counts"] - held["base_counts"][row] - held["run_counts"][row]
        closes = np.flatnonzero(known & (others > 0))
        if not len(closes):
            return
        at = (row, closes)
        theirs = (held["sums"][closes] - held["base_sums"][at] - held["run_sums"][at]) / others[closes]
        differences = np.clip(held["run_sums"][at] / held["run_counts"][at] - theirs, -1.0, 1.0)
        held["pairs"][at] += 1
        held["moved"][at] += differences
        held["logs"][at] += gains(differences)
        held["run_counts"][at] = held["run_sums"][at] = 0.0
        held["base_counts"][at], held["base_sums"][at] = held["counts"][closes], held["sums"][closes]

    def gaps(self, alpha: float, least_units: int) -> list[Gap]:
        """Every gap whose group and rest have so many units, with intervals at this level."""
        held = self.arrays
        others = held["counts"] - held["own_counts"]
        low, high = interval(held["pairs"], held["logs"], alpha)
        names = list(self.groups)
        large = (np.minimum(held["own_counts"], others) >= least_units) & (held["pairs"] > 0)
        return [
            Gap(
                group=names[at[0]],
                signal=int(at[1]),
                units=int(held["own_counts"][at]),
                rest_units=int(others[at]),
                pairs=int(held["pairs"][at]),
                mean=float(held["own_shown"][at] / held["own_counts"][at]),
                rest_mean=float((held["shown"][at[1]] - held["own_shown"][at]) / others[at]),
                gap=float(held["moved"][at] / held["pairs"][at]),
                low=float(low[at]),
                high=float(high[at]),
            )
            for at in zip(*np.nonzero(large), strict=True)
        ]
