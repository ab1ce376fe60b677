"""Differences between groups of people: who is refused, insulted or kept waiting more often than the others.

    values of a unit ─▶ Pairs.take ─▶ Pairs.gaps ─▶ gap with an interval that holds however often one looks

No input or output and no clock. `swaps` says what a text would be if it spoke of another group.
"""

from detectors.fairness.pairs import Gap, Pairs
from detectors.fairness.places import Places
from detectors.fairness.sequences import BETS, interval
from detectors.fairness.swaps import Swap, swapped

__all__ = ["BETS", "Gap", "Pairs", "Places", "Swap", "interval", "swapped"]
