"""Pages are counted where they are, however the stream is fed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.drift.play import Watched, count_pages, first_page
from detectors.drift import Alarm, Batch


@dataclass(frozen=True)
class EveryNth:
    """Pages at the n-th unit since its start and is silent from then on."""

    n: int

    def start(self) -> int:
        return 0

    def update(self, state: int, batch: Batch) -> tuple[int, list[Alarm]]:
        after = state + len(batch)
        at = self.n - state - 1
        paged = state < self.n <= after
        return after, [Alarm(at, self.n, "toy", 1.0, 0.0, 1)] if paged else []


@dataclass(frozen=True)
class Zeros:
    n: int

    def __len__(self) -> int:
        return self.n

    def values(self, start: int, stop: int) -> np.ndarray:
        return np.zeros((stop - start, 1))


def test_every_page_starts_the_stream_afresh() -> None:
    watched = Watched(EveryNth(70), np.zeros(7_000), np.zeros(7_000))
    assert count_pages(watched, 1_000, 0, 7_000) == 100
    assert count_pages(watched, 1_000, 100, 169) == 0
    assert count_pages(watched, 1_000, 100, 170) == 1


def test_the_first_page_after_the_change_counts_and_those_before_are_told() -> None:
    found = first_page(EveryNth(300), Zeros(4_000), 1e-3, np.zeros(4_000), change_at=1_000)
    assert (found.early, found.delay, found.state) == (3, 200, 300)


def test_a_change_that_is_not_found_counts_with_the_whole_horizon() -> None:
    found = first_page(EveryNth(9_999), Zeros(4_000), 1e-3, np.zeros(4_000), change_at=1_000)
    assert (found.alarm, found.delay) == (None, 3_000)
