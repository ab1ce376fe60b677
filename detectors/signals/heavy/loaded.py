"""A model of the transformers library, loaded once, from a directory or a hub, and used by one thread at a time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from detectors.signals.heavy import HeavyUnavailableError

__all__ = ["LoadedOnce", "readable"]

T = TypeVar("T")


class LoadedOnce(Generic[T]):
    """Holds what `load` gives. Whoever uses it takes the lock: a tokenizer keeps the padding of its last call."""

    def __init__(self, what: str, load: Callable[[], T]) -> None:
        self.lock = Lock()
        self._what, self._load = what, load
        self._loading = Lock()
        self._held: T | None = None

    def get(self) -> T:
        """The model.

        Raises:
            HeavyUnavailableError: it cannot be loaded.
        """
        with self._loading:
            if self._held is None:
                try:
                    self._held = self._load()
                except (ImportError, OSError, ValueError, KeyError) as error:
                    raise HeavyUnavailableError(f"{self._what}: {_line(error)}") from None
            return self._held


def readable(text: str, characters: int) -> str:
    """The beginning of a text, without halves of surrogate pairs, which tokenizers refuse."""
    return text[:characters].encode("utf-8", "replace").decode("utf-8")


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
