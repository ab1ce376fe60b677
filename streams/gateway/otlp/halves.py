"""Messages of calls that are not answered yet, as older instrumentations log them: in memory, bounded in every way.

The question is logged when the call begins and the answer when it ends, so they arrive in different requests. A restart
of the gateway forgets the questions that wait; instrumentations that put both in one span or record need none of this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from streams.gateway.otlp.reading import Key, Part

LONGEST_SECONDS = 600.0
MOST_CALLS = 10_000
MOST_CHARACTERS = 20_000_000


class Halves:
    """Questions by their call; the oldest go first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, tuple[float, dict[str, Part]]] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, parts: Sequence[Part], now: float) -> None:
        """Keep questions; `now` in seconds of a clock that does not go back. What is told twice is kept once."""
        for part in parts:
            _, kept = self._waiting.setdefault(part.key, (now, {}))
            name = f"{part.at} {part.name} {part.body}"
            if name not in kept:
                kept[name] = part
                self._characters += len(name)
        while self._waiting and self._over(now):
            self.forget(next(iter(self._waiting)))

    def asked(self, key: Key) -> list[Part]:
        """The question of a call, in the order of time."""
        _, kept = self._waiting.get(key, (0.0, {}))
        return sorted(kept.values(), key=lambda part: part.at)

    def forget(self, key: Key) -> None:
        """Its call is published, or given up."""
        _, kept = self._waiting.pop(key, (0.0, {}))
        self._characters -= sum(map(len, kept))

    def _over(self, now: float) -> bool:
        oldest = next(iter(self._waiting.values()))[0]
        many = len(self._waiting) > MOST_CALLS or self._characters > MOST_CHARACTERS
        return many or now - oldest > LONGEST_SECONDS
