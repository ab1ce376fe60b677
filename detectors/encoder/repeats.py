"""A small memory of texts that were computed lately: greetings, retries, prompts of templates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["REMEMBERED_TEXTS", "Repeats"]

REMEMBERED_TEXTS = 2_048
"""At 10 kB each with the states of their layers: some 20 MB."""
LONGEST_CHARACTERS = 2_000
"""Longer texts hardly come twice."""

Value = TypeVar("Value")


class Repeats(Generic[Value]):
    """Values by text, the least recently used forgotten first. Safe from several threads."""

    def __init__(self, size: int = REMEMBERED_TEXTS) -> None:
        self._size = size
        self._known: OrderedDict[str, Value] = OrderedDict()
        self._lock = Lock()

    def fill(self, texts: Sequence[str], compute: Callable[[Sequence[str]], Sequence[Value]]) -> list[Value]:
        """The value of each of these texts, all different; those that are not known are computed at once."""
        with self._lock:
            found = {text: self._known[text] for text in texts if text in self._known}
        missing = [text for text in texts if text not in found]
        found.update(zip(missing, compute(missing) if missing else (), strict=True))
        with self._lock:
            for text in texts:
                if len(text) <= LONGEST_CHARACTERS:
                    self._known[text] = found[text]
                    self._known.move_to_end(text)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return [found[text] for text in texts]
