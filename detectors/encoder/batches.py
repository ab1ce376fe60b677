"""Chunks to batches: sorted by length, so that little or nothing is computed for padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

__all__ = ["Shape", "batches"]


@dataclass(frozen=True)
class Shape:
    """What a backend takes at once.

    chunks: most chunks of one call. 1 where a result would depend on its neighbours, as with scales of whole tensors.
    tokens: most tokens of one call, padding included; a single chunk may have more.
    pads: whether chunks of different lengths may share a call; the shorter ones are then filled up.
    """

    chunks: int
    tokens: int
    pads: bool = False


def batches(lengths: Sequence[int], shape: Shape) -> list[list[int]]:
    """Indices of the chunks of each call, shortest chunks first. Every chunk is in exactly one.

    >>> batches([5, 3, 5, 5], Shape(chunks=2, tokens=100))
    [[1], [0, 2], [3]]
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    runs = [order] if shape.pads else [list(same) for _, same in groupby(order, key=lengths.__getitem__)]
    cut: list[list[int]] = []
    for run in runs:
        batch: list[int] = []
        for index in run:  # the longest of a batch is its last one: all others are filled up to it
            full = len(batch) == shape.chunks or (len(batch) + 1) * lengths[index] > shape.tokens
            if batch and full:
                cut.append(batch)
                batch = []
            batch.append(index)
        if batch:
            cut.append(batch)
    return cut
