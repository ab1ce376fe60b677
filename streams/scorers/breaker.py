"""A circuit breaker: after failures in a row nobody is asked for a while, then one caller tries again."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

__all__ = ["Breaker"]


class Breaker:
    """Asked before a call and told of its end; safe to share between threads.

    Args:
        failures: so many in a row open it.
        pause_seconds: how long it stays open; the first call after that is the trial of all.
        clock: seconds that never go back.
    """

    def __init__(self, failures: int, pause_seconds: float, clock: Callable[[], float]) -> None:
        self._limit, self._pause, self._clock = failures, pause_seconds, clock
        self._lock = Lock()
        self._failed, self._opens_at = 0, 0.0

    def allows(self) -> bool:
        """Whether a call may be made now."""
        with self._lock:
            if self._failed < self._limit:
                return True
            if self._clock() < self._opens_at:
                return False
            self._opens_at = self._clock() + self._pause  # for the others, until this trial has ended
            return True

    def succeeded(self) -> None:
        """A call ended well."""
        with self._lock:
            self._failed = 0

    def failed(self) -> None:
        """A call failed."""
        with self._lock:
            self._failed += 1
            self._opens_at = self._clock() + self._pause
