"""Bets on ranks that are uniform while nothing changes.

A bet (A, theta) multiplies its capital by 1 - theta + (theta / A) * 1{rank in its tail of size A}: a factor of
expectation one, so that capital grows on average by nothing but its inflow until something changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Tails = Literal["up", "down", "both"]


@dataclass(frozen=True)
class Bets:
    """Bets (A, theta) on the upper tail, the lower tail, or each of them on both."""

    levels: tuple[tuple[float, float], ...]
    tails: Tails = "both"
    lose: tuple[float, ...] = field(init=False)
    win: tuple[float, ...] = field(init=False)
    low: tuple[float, ...] = field(init=False)
    high: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        sides = {"up": (True,), "down": (False,), "both": (True, False)}[self.tails]
        bets = [(up, size, theta) for up in sides for size, theta in self.levels]
        object.__setattr__(self, "lose", tuple(1 - theta for _, _, theta in bets))
        object.__setattr__(self, "win", tuple(1 - theta + theta / size for _, size, theta in bets))
        object.__setattr__(self, "high", tuple(1 - size if up else 2.0 for up, size, _ in bets))
        object.__setattr__(self, "low", tuple(-1.0 if up else size for up, size, _ in bets))

    def __len__(self) -> int:
        return len(self.lose)

    def factors(self, rank: float) -> list[float]:
        """(bets,) what each bet's capital is multiplied by."""
        return [
            win if rank > high or rank < low else lose
            for win, lose, high, low in zip(self.win, self.lose, self.high, self.low, strict=True)
        ]


@dataclass
class Capital:
    """Capital of a lane's bets, in pages, with the times it was put in; lives for one batch."""

    capital: list[float]
    start: list[float]

    @classmethod
    def empty(cls, bets: int) -> Capital:
        """No capital."""
        return cls([0.0] * bets, [0.0] * bets)

    @property
    def total(self) -> float:
        """Pages that the evidence is worth; 1 is a page."""
        return sum(self.capital)

    def bet(self, bets: Bets, rank: float, inflow: float, unit: int, discount: float, latched: bool) -> None:
        """Put the inflow in evenly, then bet everything on one rank; the sum of a latched lane stays at 1 at most."""
        share = inflow / len(bets)
        for k, factor in enumerate(bets.factors(rank)):
            factor *= discount
            self.capital[k] = (self.capital[k] + share) * factor
            self.start[k] = (self.start[k] + share * unit) * factor
        if latched and (total := self.total) > 1:
            self.capital = [part / total for part in self.capital]
            self.start = [part / total for part in self.start]

    def age(self, unit: int) -> int:
        """Units since the capital of the best bet was put in, on average: the estimated beginning."""
        best = max(range(len(self.capital)), key=self.capital.__getitem__)
        return max(1, round(unit - self.start[best] / self.capital[best]) + 1) if self.capital[best] > 0 else 1
