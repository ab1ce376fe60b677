"""What the pages need from the rest of the system, and the times they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

Row = Mapping[str, Any]


class Reports(Protocol):
    """Named queries over the store. The pages call `read` in a worker thread; it may block."""

    @property
    def statements(self) -> Mapping[str, str]:
        """The SQL of every query by its name."""
        ...

    def read(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        """The rows of a query; times have a zone."""
        ...


class CommandNotSent(Exception):
    """The broker did not take a command: nothing has changed, the person may try again."""


RANGES = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
MOVED = 0.1
"""Evidence from which a stream counts as moved; an incident ends by itself below it."""
REMEMBERED = timedelta(days=30)
"""How far back a stream's last evidence is looked for."""


@dataclass(frozen=True)
class Span:
    """A range of time and the step that a chart reads it in."""

    since: datetime
    until: datetime
    points: int

    @property
    def step(self) -> int:
        """Seconds between two points, at least one."""
        return max(1, round((self.until - self.since).total_seconds() / self.points))


def span(name: str, now: datetime, points: int) -> Span:
    """The range of an address's `range`, 24 hours where it says something else."""
    return Span(now - RANGES.get(name, RANGES["24h"]), now, points)
